"""Replies to bytes and back."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resp.decode import ReplyError, ReplyParser, decode
from resp.encode import encode, encode_command, encode_runs
from resp.replies import (
    EMPTY_ARRAY,
    NULL_ARRAY,
    OK,
    OK_BYTES,
    Attribute,
    BigNumber,
    Boolean,
    Double,
    Error,
    Map,
    NullArray,
    Push,
    Raw,
    Reply,
    SetReply,
    Simple,
    Verbatim,
)

MAP_RESP3 = b"%2\r\n$1\r\nk\r\n:1\r\n:2\r\n#t\r\n"
MESSAGE = b"\r\n$1\r\nm\r\n$1\r\nc\r\n$1\r\nx\r\n$1\r\ny\r\n"
SAMPLES: list[tuple[Reply, bytes, bytes]] = [
    (b"", b"$0\r\n\r\n", b"$0\r\n\r\n"),
    (b"a\r\n", b"$3\r\na\r\n\r\n", b"$3\r\na\r\n\r\n"),
    (bytearray(b"ab"), b"$2\r\nab\r\n", b"$2\r\nab\r\n"),
    (0, b":0\r\n", b":0\r\n"),
    (-1, b":-1\r\n", b":-1\r\n"),
    (10_000, b":10000\r\n", b":10000\r\n"),
    (None, b"$-1\r\n", b"_\r\n"),
    (NULL_ARRAY, b"*-1\r\n", b"_\r\n"),
    (OK, OK_BYTES, OK_BYTES),
    (Error("ERR no\r\n"), b"-ERR no\r\n", b"-ERR no\r\n"),
    (Error(b"ERR a\r\nb"), b"-ERR a  b\r\n", b"-ERR a  b\r\n"),
    (Simple("a\nb"), b"+a b\r\n", b"+a b\r\n"),
    (EMPTY_ARRAY, b"*0\r\n", b"*0\r\n"),
    ([1, None, [b"x"]], b"*3\r\n:1\r\n$-1\r\n*1\r\n$1\r\nx\r\n", b"*3\r\n:1\r\n_\r\n*1\r\n$1\r\nx\r\n"),
    ((b"a", 1), b"*2\r\n$1\r\na\r\n:1\r\n", b"*2\r\n$1\r\na\r\n:1\r\n"),
    (Double(3.1), b"$18\r\n3.1000000000000001\r\n", b",3.1000000000000001\r\n"),
    (Double(float("-inf")), b"$4\r\n-inf\r\n", b",-inf\r\n"),
    (Double(13.361389338970184, human=True), b"$20\r\n13.36138933897018433\r\n", b",13.36138933897018433\r\n"),
    (Boolean(True), b":1\r\n", b"#t\r\n"),
    (Boolean(False), b":0\r\n", b"#f\r\n"),
    (BigNumber(10**30), b"$31\r\n1" + b"0" * 30 + b"\r\n", b"(1" + b"0" * 30 + b"\r\n"),
    (Verbatim(b"txt", b"hi"), b"$2\r\nhi\r\n", b"=6\r\ntxt:hi\r\n"),
    (Map([(b"k", 1), (2, Boolean(True))]), b"*4\r\n$1\r\nk\r\n:1\r\n:2\r\n:1\r\n", MAP_RESP3),
    (SetReply([b"a"]), b"*1\r\n$1\r\na\r\n", b"~1\r\n$1\r\na\r\n"),
    (Push([b"m", b"c", b"x", b"y"]), b"*4" + MESSAGE, b">4" + MESSAGE),
    (Attribute([(b"a", 1)], OK), b"+OK\r\n", b"|1\r\n$1\r\na\r\n:1\r\n+OK\r\n"),
    (Raw(b":7\r\n"), b":7\r\n", b":7\r\n"),
]


@pytest.mark.parametrize(("reply", "resp2", "resp3"), SAMPLES)
def test_encodes(reply: Reply, resp2: bytes, resp3: bytes) -> None:
    assert encode(reply, 2) == resp2
    assert encode(reply, 3) == resp3


@pytest.mark.parametrize(
    "wrong",
    [True, 1.5, "text", {1: 2}, {1}, object(), [b"a", True], [*[b"a"] * 5, "text"], ["x"] * 5, Map([(b"k", 1.5)])],
)
@pytest.mark.parametrize("protocol", [2, 3])
def test_refuses_what_is_no_reply(wrong: Any, protocol: int) -> None:
    with pytest.raises(TypeError, match="is not a reply"):
        encode(wrong, protocol)


@given(st.lists(st.one_of(st.binary(max_size=5), st.binary(min_size=1020, max_size=1030)), max_size=20))
def test_arrays_of_strings_are_what_hiredis_makes_of_them(items: list[bytes]) -> None:
    expected = hiredis.pack_command(tuple(items))
    assert encode(items, 2) == encode(tuple(items), 3) == encode_command(items) == expected


lines = st.binary(max_size=10).map(lambda text: text.translate(None, b"\r\n"))
scalars = st.one_of(
    st.binary(max_size=20),
    st.integers(-(2**63), 2**63 - 1),
    st.none(),
    lines.map(Simple),
    lines.map(Error),
    st.just(NULL_ARRAY),
    st.floats(allow_nan=False).map(Double),
    st.booleans().map(Boolean),
    st.integers().map(BigNumber),
    st.binary(max_size=10).map(lambda text: Verbatim(b"txt", text)),
)


def aggregates(replies: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    items = st.lists(replies, max_size=6)
    pairs = st.lists(st.tuples(replies, replies), max_size=3)
    return st.one_of(
        items,
        items.map(SetReply),
        items.map(Push),
        pairs.map(Map),
        st.builds(Attribute, pairs, replies),
        st.lists(st.binary(max_size=3), max_size=6),
    )


replies = st.recursive(scalars, aggregates, max_leaves=12)


def as_resp3(reply: Any) -> Any:
    """What of a reply RESP3 can say."""
    match reply:
        case NullArray():
            return None
        case list():
            return [as_resp3(item) for item in reply]
        case SetReply(items) | Push(items):
            return type(reply)(as_resp3(items))
        case Map(pairs):
            return Map([(as_resp3(key), as_resp3(value)) for key, value in pairs])
        case Attribute(pairs, inner):
            return Attribute([(as_resp3(key), as_resp3(value)) for key, value in pairs], as_resp3(inner))
    return reply


def as_resp2(reply: Any) -> Any:
    """What of a reply RESP2 can say."""
    match reply:
        case list():
            return [as_resp2(item) for item in reply]
        case SetReply(items) | Push(items):
            return as_resp2(items)
        case Map(pairs):
            return [as_resp2(item) for pair in pairs for item in pair]
        case Attribute(_, inner):
            return as_resp2(inner)
        case Double(value):
            return b"%.17g" % value
        case Boolean(value):
            return int(value)
        case BigNumber(value):
            return b"%d" % value
        case Verbatim(_, text):
            return text
    return reply


@settings(deadline=None)
@given(replies)
def test_what_is_encoded_is_decoded(reply: Any) -> None:
    assert decode(encode(reply, 3)) == as_resp3(reply)
    assert decode(encode(reply, 2)) == as_resp2(reply)


@settings(deadline=None)
@given(st.lists(replies, max_size=3), st.integers(1, 10))
def test_replies_may_arrive_in_pieces(several: list[Any], size: int) -> None:
    data = b"".join(encode(reply, 3) for reply in several)
    parser = ReplyParser()
    received = [reply for i in range(0, len(data), size) for reply in parser.parse(data[i : i + size])]
    assert received == [as_resp3(reply) for reply in several]
    assert parser.is_idle


def test_nesting_is_not_bounded_by_the_interpreter() -> None:
    reply = decode(b"*1\r\n" * 5000 + b":1\r\n")
    for _ in range(5000):
        assert isinstance(reply, list)
        (reply,) = reply
    assert reply == 1


def test_a_large_string_may_arrive_in_pieces() -> None:
    value = b"x\r\n" * 5_000_000
    data = encode(value, 2)
    parser = ReplyParser()
    received = [reply for i in range(0, len(data), 65536) for reply in parser.parse(data[i : i + 65536])]
    assert received == [value]


@pytest.mark.parametrize(
    "data",
    [
        *(b"?\r\n", b":x\r\n", b":\r\n", b"$-2\r\n", b"$x\r\n", b"$536870913\r\n", b"*-2\r\n", b"%-1\r\n", b"*?\r\n"),
        *(b"#x\r\n", b",x\r\n", b",1_0\r\n", b"(x\r\n", b"(1_0\r\n", b"=2\r\nab\r\n", b"$1\r\nabc", b"$?\r\n"),
        *(b"+" + b"x" * 70_000, b"+OK\r\n+OK\r\n", b"*1\r\n", b"+O", b""),
    ],
)
def test_bytes_that_are_no_reply_are_refused(data: bytes) -> None:
    with pytest.raises(ReplyError):
        decode(data)


@pytest.mark.parametrize(
    "replies",
    [
        [b"abc"] * 7,
        [b"abc", b"", b"x" * 1023, b"a", b"b", b"c", b"d"],
        [b"x" * 1024] * 7,
        [b"abc", None, b"abc", b"abc", b"abc", b"abc", b"abc"],
        [OK] * 7,
        [OK, Simple(b"QUEUED")] + [OK] * 5,
        list(range(7)),
        range(9_996, 10_003),
        [-1, 0, 1, 0, 1, 0, 1],
        [[b"a", 1], 2, None, Error(b"ERR x"), OK, Double(0.5), b"z"],
    ],
)
@pytest.mark.parametrize("protocol", [2, 3])
def test_runs_of_replies_are_the_replies_in_a_row(replies: list[Reply], protocol: int) -> None:
    one_by_one = [encode(reply, protocol) for reply in replies]
    assert encode_runs(replies, [1] * 7, protocol) == one_by_one
    joined = [b"".join(one_by_one[start:end]) for start, end in ((0, 3), (3, 4), (4, 7))]
    assert encode_runs(replies, [3, 1, 3], protocol) == joined
    assert encode_runs(replies, [7], protocol) == [b"".join(one_by_one)]
