"""Floating-point numbers against a real server: what is refused, and every digit of what is computed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resp.decode import ReplyParser
from resp.encode import encode, encode_command
from resp.numbers import LongDouble, parse_double
from resp.replies import NOT_A_FLOAT, Double, Error, Reply

pytestmark = pytest.mark.redis

NOT_FINITE = Error("ERR increment would produce NaN or Infinity")

decimals = st.builds(
    lambda sign, whole, fraction, exponent: f"{sign}{whole}{fraction}{exponent}".encode(),
    st.sampled_from(["", "-", "+"]),
    st.one_of(st.integers(0, 1000), st.integers(0, 10**30)),
    st.one_of(st.just(""), st.integers(0, 10**20).map(lambda digits: f".{digits}")),
    st.one_of(
        st.just(""), st.integers(-40, 40).map(lambda power: f"e{power}"), st.integers(-5000, 5000).map("E{}".format)
    ),
)
odd = st.text(alphabet="0123456789.+-eExXpP infINFnan_()", max_size=8).map(str.encode)
numbers = st.one_of(decimals, decimals, st.floats(allow_nan=False).map(lambda value: repr(value).encode()), odd)


class Server:
    """A connection on which requests are sent one at a time."""

    def __init__(self, path: Path) -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(10)
        self.connection.connect(str(path))
        self.parser = ReplyParser()

    def ask(self, *arguments: bytes) -> Reply:
        self.connection.sendall(encode_command(arguments))
        while not (replies := self.parser.parse(self.connection.recv(65536))):
            assert not self.parser.is_idle, "the server hung up"
        return replies[0]


@pytest.fixture
def server(redis_server: Path) -> Iterator[Server]:
    server = Server(redis_server)
    yield server
    server.connection.close()


fuzzed = settings(max_examples=300)


@fuzzed
@given(numbers, numbers)
@example(b"1" * 4500, b"0." + b"0" * 4500 + b"1")
@example(b"0x1p16383", b"0x1p16383")
@example(b"0x1p-16445", b"1e-4951")
@example(b"1" * 5119, b"1" * 5120)
def test_long_doubles(server: Server, current: bytes, increment: bytes) -> None:
    server.ask(b"SET", b"number", current)
    left, right = LongDouble.parse(current), LongDouble.parse(increment)
    expected: Reply = NOT_A_FLOAT
    if left is not None and right is not None:
        total = left + right
        expected = total.format() if total.is_finite else NOT_FINITE
    assert server.ask(b"INCRBYFLOAT", b"number", increment) == expected


@fuzzed
@given(numbers)
def test_doubles(server: Server, text: bytes) -> None:
    server.ask(b"DEL", b"scores")
    # Behind a first pair no word is taken for an option.
    answer = server.ask(b"ZADD", b"scores", b"1", b"other", text, b"member")
    value = parse_double(text)
    if value is None:
        assert answer == NOT_A_FLOAT
    else:
        # A sorted set keeps zero without its sign.
        assert encode(server.ask(b"ZSCORE", b"scores", b"member"), 2) == encode(Double(value or 0.0), 2)
