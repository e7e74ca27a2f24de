"""The request parser: what is accepted, what is refused with which text, and that chunking makes no difference."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resp import parser as parser_module
from resp.encode import encode_command
from resp.parser import Request, RequestLimits, RequestParser, split_requests

SET = [b"SET", b"key:000000000001", b"xxx"]


def parse_all(chunks: list[bytes], **options: bool) -> tuple[list[Request], bytes | None, bool]:
    """What a connection makes of these chunks: requests, text of the error, whether it is broken."""
    parser = RequestParser(**options)
    requests = [request for chunk in chunks for request in parser.parse(chunk)]
    return requests, parser.error.text if parser.error else None, parser.broken


ACCEPTED = [
    (b"*1\r\n$4\r\nPING\r\n", [[b"PING"]]),
    (b"*0\r\n*1\r\n$4\r\nPING\r\n", [[b"PING"]]),
    (b"*-1\r\n*-9223372036854775808\r\n*1\r\n$4\r\nPING\r\n", [[b"PING"]]),
    (b"*1\r\n$0\r\n\r\n", [[b""]]),
    (b"*2\r\n$4\r\nECHO\r\n$6\r\na\r\nb\r\n\r\n", [[b"ECHO", b"a\r\nb\r\n"]]),
    (b"*1\r_$4\r_PINGxxPING\r\n", [[b"PING"], [b"PING"]]),
    (b"PING\r\n", [[b"PING"]]),
    (b"PING\n", [[b"PING"]]),
    (b"\r\n\n  \r\n PING  a\t\x0b\x0c\rb \r\r\n", [[b"PING", b"a", b"b"]]),
    (b"ECHO \"a\\x41\\n\\q\\\"\" 'a\\n\\''\n", [[b"ECHO", b'aA\nq"', b"a\\n'"]]),
    (b'ECHO a"b c" "" "a\\x4g"\n', [[b"ECHO", b"ab c", b"", b"ax4g"]]),
    (b"ECHO \x80\xa0\x85\xff\n", [[b"ECHO", b"\x80\xa0\x85\xff"]]),
    (encode_command([b"ECHO", b"x" * 1023]), [[b"ECHO", b"x" * 1023]]),
    (encode_command([b"ECHO", b"x" * 1024]), [[b"ECHO", b"x" * 1024]]),
    (encode_command([b"x"] * 1023), [[b"x"] * 1023]),
    (encode_command([b"x"] * 1024), [[b"x"] * 1024]),
    (b"*1\r\n$4\r\nPING\r\nPING\n*1\r\n$4\r\nPING\r\n", [[b"PING"]] * 3),
]

REFUSED = [
    (b"*2147483648\r\n", b"invalid multibulk length"),
    (b"*-9223372036854775809\r\n", b"invalid multibulk length"),
    (b"*01\r\n", b"invalid multibulk length"),
    (b"*+1\r\n", b"invalid multibulk length"),
    (b"*-0\r\n", b"invalid multibulk length"),
    (b"*-\r\n", b"invalid multibulk length"),
    (b"*\r\n", b"invalid multibulk length"),
    (b"* 1\r\n", b"invalid multibulk length"),
    (b"*0x1\r\n", b"invalid multibulk length"),
    (b"*1\n\r\n", b"invalid multibulk length"),
    (b"*1\r\n*1\r\n", b"expected '$', got '*'"),
    (b"*1\r\n:1\r\n", b"expected '$', got ':'"),
    (b"*1\r\n\xff\r\n", b"expected '$', got '\xff'"),
    (b"*1\r\n\r\r\n", b"expected '$', got ' '"),
    (b"*1\r\n\n\r\n", b"expected '$', got ' '"),
    (b"*2\r\n$3\r\nGET\r\n$536870913\r\n", b"invalid bulk length"),
    (b"*1\r\n$-1\r\n", b"invalid bulk length"),
    (b"*1\r\n$abc\r\n", b"invalid bulk length"),
    (b"*1\r\n$\r\n", b"invalid bulk length"),
    (b"*1\r\n$04\r\n", b"invalid bulk length"),
    (b"*2\r\n$1\r\nab\r\n$2\r\nc\r\n", b"expected '$', got ' '"),
    (b"*" + b"1" * 65536, b"too big mbulk count string"),
    (b"*1\r\n$" + b"1" * 65536, b"too big bulk count string"),
    (b"x" * 65537, b"too big inline request"),
    (b"x" * 100_000 + b"\r\n", b"too big inline request"),
    (b'SET k "abc\r\n', b"unbalanced quotes in request"),
    (b"SET k 'abc\r\n", b"unbalanced quotes in request"),
    (b'SET k "a"b\r\n', b"unbalanced quotes in request"),
    (b'SET k "a\\\n', b"unbalanced quotes in request"),
    (b'SET k "a\\x\n', b"unbalanced quotes in request"),
    (b"SET k 'a\\\n", b"unbalanced quotes in request"),
]

SHORT = [case[0] for case in (*ACCEPTED, *REFUSED) if len(case[0]) < 100]


@pytest.mark.parametrize(("data", "requests"), ACCEPTED)
def test_accepts(data: bytes, requests: list[Request]) -> None:
    assert parse_all([data]) == (requests, None, False)


@pytest.mark.parametrize(("data", "text"), REFUSED)
def test_refuses_after_handing_out_what_came_before(data: bytes, text: bytes) -> None:
    before = encode_command(SET) * 2
    assert parse_all([before + data]) == ([SET, SET], b"ERR Protocol error: " + text, True)
    assert parse_all([before, data]) == ([SET, SET], b"ERR Protocol error: " + text, True)


@pytest.mark.parametrize("data", SHORT)
def test_every_split_into_two_chunks_gives_the_same(data: bytes) -> None:
    data = encode_command(SET) + data + encode_command(SET)
    whole = parse_all([data])
    for cut in range(len(data)):
        assert parse_all([data[:cut], data[cut:]]) == whole


@pytest.mark.parametrize("data", SHORT)
def test_one_byte_at_a_time_gives_the_same(data: bytes) -> None:
    data = encode_command(SET) + data + encode_command(SET)
    assert parse_all([data[i : i + 1] for i in range(len(data))]) == parse_all([data])


@pytest.mark.parametrize("data", [b"*2\r\n$4\r\nECHO\r\n$10\r\nabc", b"*3\r\n", b"*", b"PING", b"*1\r\n$4\r\nPING\r"])
def test_an_unfinished_request_is_awaited(data: bytes) -> None:
    parser = RequestParser()
    assert parser.parse(data) == []
    assert not parser.broken
    assert parser.held_bytes > 0 or data == b"*3\r\n"


def test_a_line_of_64_kilobytes_is_awaited() -> None:
    for line in (b"x" * 65536, b"*" + b"1" * 65535, b"*1\r\n$" + b"1" * 65535):
        assert parse_all([line]) == ([], None, False)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_announced_length_counts(count: int) -> None:
    """One byte too many takes the line break into the value, so that the next length is found to be none."""
    plain = [b"$2\r\nab\r\n"] * count
    for wrong in range(count):
        elements = [*plain[:wrong], b"$3\r\nab\r\n", *plain[wrong + 1 :]]
        data = b"*%d\r\n" % count + b"".join(elements) + encode_command(SET)
        requests, error, broken = parse_all([data])
        last = wrong == count - 1
        assert requests[:1] != [[b"ab"] * count]
        assert broken or last
        assert last or error == b"ERR Protocol error: expected '$', got '2'"


def test_nothing_is_parsed_once_broken() -> None:
    parser = RequestParser()
    parser.parse(b"*x\r\n")
    assert parser.parse(encode_command(SET)) == []
    assert parser.broken


def test_many_pipelined_requests_in_chunks_of_64_kilobytes() -> None:
    data = encode_command(SET) * 100_000
    parser = RequestParser()
    found = 0
    for start in range(0, len(data), 65536):
        requests = parser.parse(data[start : start + 65536])
        assert all(request == SET for request in requests)
        found += len(requests)
    assert found == 100_000
    assert parser.held_bytes == 0


def test_a_large_value_in_small_chunks_is_copied_a_bounded_number_of_times() -> None:
    value = b"\r\n$*" * (25 * 1024 * 1024 // 4)
    data = encode_command([b"SET", b"k", value])
    parser = RequestParser()
    tracemalloc.start()
    try:
        requests = []
        for start in range(0, len(data), 65536):
            requests += parser.parse(data[start : start + 65536])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert requests == [[b"SET", b"k", value]]
    assert peak < 3 * len(value)


def test_announced_counts_allocate_nothing() -> None:
    tracemalloc.start()
    try:
        for announced in (b"*2147483647\r\n", b"*1\r\n$536870912\r\n"):
            parser = RequestParser()
            assert parser.parse(announced) == []
            assert not parser.broken
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_the_query_buffer_limit_closes_without_a_word() -> None:
    limits = RequestLimits(query_buffer_bytes_max=1024 * 1024)
    for value in (b"", b"x" * 100, b"x" * 10_000):
        parser = RequestParser(limits)
        parser.parse(b"*1000000\r\n")
        for _ in range(1024 * 1024 // (len(value) + 48)):
            parser.parse(b"$%d\r\n%b\r\n" % (len(value), value))
        assert not parser.broken
        assert 1024 * 1024 - 10_048 < parser.held_bytes <= 1024 * 1024
        parser.parse(b"$%d\r\n%b\r\n" % (len(value), value))
        assert parser.broken
        assert parser.error is None
    parser = RequestParser(limits)
    parser.parse(b"*1\r\n$2000000\r\n" + b"x" * 1_100_000)
    assert parser.broken
    parser = RequestParser(limits)
    assert len(parser.parse(encode_command(SET) * 100_000)) == 100_000
    assert not parser.broken


def test_the_longest_argument_is_configurable_while_connections_are_open() -> None:
    limits = RequestLimits()
    parser = RequestParser(limits)
    limits.bulk_bytes_max = 2_000_000
    assert parser.parse(b"*2\r\n$3\r\nGET\r\n$2000000\r\n") == []
    assert not parser.broken
    other = RequestParser(limits)
    other.parse(b"*2\r\n$3\r\nGET\r\n$2000001\r\n")
    assert other.error is not None and other.error.text == b"ERR Protocol error: invalid bulk length"


def test_before_authentication_requests_come_one_at_a_time_and_are_limited() -> None:
    eleven = encode_command([b"MGET"] + [b"k"] * 10)
    parser = RequestParser(authenticated=False)
    assert parser.parse(encode_command([b"AUTH", b"secret"]) + eleven + encode_command(SET)) == [[b"AUTH", b"secret"]]
    parser.authenticated = True
    assert parser.parse() == [[b"MGET"] + [b"k"] * 10, SET]
    assert parser.parse() == []

    parser = RequestParser(authenticated=False)
    assert parser.parse(encode_command([b"AUTH", b"wrong"]) + eleven) == [[b"AUTH", b"wrong"]]
    assert parser.parse() == []
    assert parser.error is not None and parser.error.text == b"ERR Protocol error: unauthenticated multibulk length"

    parser = RequestParser(authenticated=False)
    assert parser.parse(b"*10\r\n$16384\r\n") == []
    assert not parser.broken
    parser.parse(b"x" * 16384 + b"\r\n$16385\r\n")
    assert parser.error is not None and parser.error.text == b"ERR Protocol error: unauthenticated bulk length"


def test_before_authentication_a_request_may_take_a_megabyte() -> None:
    parser = RequestParser(authenticated=False)
    parser.parse(b"*1\r\n$3\r\nab")
    assert not parser.broken
    parser.parse(b"c\r\n" + b"PING\r\n" * 200_000)
    assert parser.broken
    assert parser.error is None


def test_authentication_can_be_taken_back() -> None:
    parser = RequestParser()
    parser.authenticated = False
    parser.parse(b"*11\r\n")
    assert parser.error is not None


def test_a_chunk_is_split_at_most_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a chunk of odd requests would cost the square of its length."""
    calls = []

    def count_calls(data: bytes, requests: list[Request]) -> int:
        calls.append(data)
        return split_requests(data, requests)

    monkeypatch.setattr(parser_module, "split_requests", count_calls)
    assert len(parse_all([b"PING\n" * 100])[0]) == 100
    assert len(calls) == 2


def test_arguments_are_plain_bytes_of_their_own() -> None:
    large = b"y" * 5000
    data = encode_command([b"SET", b"k", large])
    for chunks in ([data], [data[:100], data[100:]]):
        requests = parse_all(chunks)[0]
        assert requests == [[b"SET", b"k", large]]
        assert [type(argument) for argument in requests[0]] == [bytes] * 3


def test_the_split_parser_takes_the_usual_requests() -> None:
    """Otherwise it would be correct and useless: everything would go to the strict one."""
    for arguments in (1, 2, 3, 4, 20):
        data = encode_command([b"x" * 30] * arguments) * 5
        requests: list[Request] = []
        assert split_requests(data, requests) == len(data)
        assert len(requests) == 5
    assert split_requests(b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI", []) == 14
    assert split_requests(encode_command(SET) * 1000, []) == 1000 * len(encode_command(SET))
    assert split_requests(encode_command([b"SET", b"k", b"x" * 1000]) * 10, []) == 0


fragments = st.sampled_from(
    [
        *(b"*1\r\n", b"*2\r\n", b"*3\r\n", b"*4\r\n", b"*0\r\n", b"*-1\r\n"),
        *(b"$0\r\n\r\n", b"$1\r\n", b"$2\r\n", b"$1\r\na\r\n", b"$4\r\nPING\r\n", b":1\r\n", b"+OK\r\n", b"PING\r\n"),
        *(b"\r", b"\n", b"\r\n", b"a", b"bc", b"$", b"*", b'"', b"'", b"\\", b" "),
    ]
)
streams = st.one_of(
    st.lists(fragments, max_size=30).map(b"".join),
    st.lists(st.lists(st.binary(max_size=8), min_size=1, max_size=5).map(encode_command), max_size=8).map(b"".join),
    st.binary(max_size=60),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@settings(max_examples=400, deadline=None)
@given(streams, st.lists(st.integers(0, 1000), max_size=6))
def test_both_parsers_agree_however_the_bytes_arrive(data: bytes, places: list[int]) -> None:
    fast = parse_all(cut(data, places))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parser_module, "split_requests", lambda data, requests: 0)
        strict = parse_all([data])
    assert fast == strict
