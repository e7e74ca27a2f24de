"""The request parser against redis-server's: the same bytes, the same number of requests, the same error."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resp.decode import ReplyParser
from resp.parser import RequestParser
from resp.replies import Error, Reply

pytestmark = pytest.mark.redis

PROTOCOL_ERROR = b"ERR Protocol error: "

# No NUL: in a line it makes Redis wait for ever. No text that is a command without a reply, or one that hangs up.
fragments = st.sampled_from(
    [
        *(b"*1\r\n", b"*2\r\n", b"*3\r\n", b"*0\r\n", b"*-1\r\n", b"*01\r\n", b"*+1\r\n", b"*1\r_", b"*2147483648\r\n"),
        *(b"$0\r\n\r\n", b"$1\r\n", b"$2\r\n", b"$1\r\na\r\n", b"$4\r\nPING\r\n", b"$4\r\nPINGxx", b"$04\r\n"),
        *(
            b"$-1\r\n",
            b":1\r\n",
            b"+OK\r\n",
            b"PING\r\n",
            b'ECHO "a b"\n',
            b"ECHO 'a b'\r\n",
            b'"\\x41',
            b'"\\',
            b"'\\'",
        ),
        *(b"\r", b"\n", b"\r\n", b"a", b"bc", b"$", b"*", b'"', b"'", b"\\", b" ", b"\t", b"\x80", b"\xff"),
    ]
)


def ask_redis(path: Path, data: bytes) -> list[Reply]:
    """All replies of a real server to these bytes, as if the client then hung up."""
    parser = ReplyParser()
    replies: list[Reply] = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while received := connection.recv(65536):
            replies += parser.parse(received)
    assert parser.is_idle
    return replies


@settings(max_examples=300)
@given(st.lists(fragments, max_size=12).map(b"".join))
@example(b"*1\r\n" + b"x" * 65537)
@example(b"*" + b"1" * 65536)
@example(b"x" * 65536)
@example(b"x" * 65537)
@example(b"*1\r\n$536870913\r\n")
@example(b"*-9223372036854775809\r\n")
@example(b"PING\r\n*1\r\n$4\r\nPING\r\n*1\r\n\r\r\n")
def test_same_requests_and_same_error(redis_server: Path, data: bytes) -> None:
    parser = RequestParser()
    requests = parser.parse(data)
    replies = ask_redis(redis_server, data)
    last = replies[-1] if replies else None
    if isinstance(last, Error) and last.text.startswith(PROTOCOL_ERROR):
        assert parser.error == replies.pop()
    else:
        assert not parser.broken
    assert len(requests) == len(replies)
    for request, reply in zip(requests, replies):
        if len(request) == 2 and request[0] == b"ECHO":
            assert reply == request[1]
