"""Requests taken apart by column are those that the parser finds, chunk by chunk, or there are no columns."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resp.columns import WORDS_MAX, split_columns
from resp.encode import encode_command
from resp.parser import Request, RequestParser

ALIKE = [[b"SET", b"key:%03d" % number, b"x" * 5] for number in range(6)]
OF_MANY_LENGTHS = [[b"SET", b"key:%d" % 10**number, b"x" * number] for number in range(6)]


def by_parser(chunk: bytes) -> list[Request] | None:
    """The requests of a chunk; None if it is not whole requests."""
    parser = RequestParser()
    requests = parser.parse(chunk)
    return requests if parser.at_boundary else None


def check(chunks: list[bytes]) -> bool:
    """Compares with the parser. Returns whether there were columns."""
    split = split_columns(chunks)
    if split is None:
        return False
    found = [by_parser(chunk) for chunk in chunks]
    assert [len(requests or ()) for requests in found] == split.counts
    assert [[split.name, *words] for words in zip(*split.columns)] == [each for part in found for each in part or ()]
    return True


@pytest.mark.parametrize("requests", [ALIKE, OF_MANY_LENGTHS])
def test_equal_requests_of_one_chunk_and_of_several(requests: list[Request]) -> None:
    encoded = list(map(encode_command, requests))
    for chunks in ([b"".join(encoded)], encoded, [b"".join(encoded[:4]), *encoded[4:]]):
        assert check(chunks)


@pytest.mark.parametrize("requests", [ALIKE, OF_MANY_LENGTHS])
def test_no_request_is_made_of_what_two_connections_have_sent(requests: list[Request]) -> None:
    encoded = list(map(encode_command, requests))
    data = b"".join(encoded)
    ends = {len(b"".join(encoded[:count])) for count in range(1, len(encoded))}
    for cut in range(1, len(data)):
        assert check([data[:cut], data[cut:]]) == (cut in ends)


def test_a_value_that_looks_like_a_request_is_a_value() -> None:
    inner = encode_command([b"SET", b"key:777", b"owned"])
    plain, odd = ([b"SET", b"key:000", value] for value in (b"!" * len(inner), inner))
    assert check([encode_command(plain) + encode_command(odd), encode_command(odd)])
    assert not check([encode_command(odd) * 3])
    assert not check([encode_command([b"SET", b"a", b"x"]), encode_command(odd)])


@pytest.mark.parametrize("requests", [ALIKE[:3], OF_MANY_LENGTHS[1:4]])
def test_every_wrong_byte_is_left_to_the_parser_or_is_in_an_argument(requests: list[Request]) -> None:
    data = b"".join(map(encode_command, requests))
    for at in range(len(data)):
        for byte in b"*$0123\r\nx":
            check([data[:at] + bytes((byte,)) + data[at + 1 :]])
            check([data, data[:at] + bytes((byte,)) + data[at + 1 :]])


@pytest.mark.parametrize(
    "chunks",
    [
        [encode_command([b"PING"]) * 4],
        [encode_command([b"GET", b"a"]) * 3, encode_command([b"SET", b"a", b"b"])],
        [encode_command([b"GET", b"a"]) * 3, encode_command([b"TTL", b"a"])],
        [encode_command([b"GET", b"a"]) * 3 + b"*2\r\n$3\r\nGET\r\n"],
        [b"GET a\r\n" * 3],
        [b"*0\r\n" * 3],
        [b"\r\n" * 5],
        [b"*2\r\n$3\r\nGET\r\n$01\r\na\r\n" * 3],
        [encode_command([b"SET", b"a", b"x" * 1024]) * 20],
        [encode_command([b"SET", b"a", b"x"]) * 20 + encode_command([b"SET", b"a", b"x" * 1024])],
        [encode_command([b"DEL", *[b"a"] * WORDS_MAX]) * 3],
    ],
)
def test_what_is_left_to_the_parser(chunks: list[bytes]) -> None:
    assert split_columns(chunks) is None


WORDS = st.sampled_from((b"", b"a", b"b", b"\r", b"\n", b"\r\n", b"*2\r\n", b"$1\r\n", b"x" * 1023, b"x" * 1024))
REQUESTS = st.lists(
    st.tuples(st.just(b"SET"), st.one_of(st.just(b"a"), WORDS), st.one_of(st.just(b"a"), WORDS)), min_size=1, max_size=5
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(REQUESTS, min_size=1, max_size=4), st.integers(0, 30))
def test_as_the_parser(pipelines: list[list[tuple[bytes, ...]]], missing: int) -> None:
    chunks = [b"".join(map(encode_command, requests)) for requests in pipelines]
    check(chunks)
    check([chunks[0][missing:] or b"*", *chunks])
    check([*chunks, chunks[0][: len(chunks[0]) - missing] or b"*"])
