r"""Requests that are wrong in some way: every byte of every answer is that of a real redis-server.

Each case is told to both servers on a connection of its own, in RESP2 and in RESP3, beginning with no keys. Those that
are made of requests are in `tests/data/bad_requests.txt`: a line is a request whose words are split at blanks, `\x..`
are bytes in it, `""` is an empty word. Behind each step comes an ECHO, so a server that says too much, too little or
hangs up is noticed.

What 7.2 answers otherwise than 7.0 is not among them, nor is `error({})` in a script, which ends a 7.0.15.
"""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.conftest import RunningServer, connect
from tests.compat.harness import parse_reply

_MARK = b"*2\r\n$4\r\nECHO\r\n$8\r\n=-mark-=\r\n"
_END = b"$8\r\n=-mark-=\r\n"
_CLOSED = b"<closed>"
_SECONDS = 60

RAW: dict[str, list[bytes]] = {
    "protocol: counts": [b"*0\r\n*-5\r\n\r\n \r\n", b"*2147483648\r\n"],
    "protocol: a count that is no number": [b"*x\r\n"],
    "protocol: a count with blanks": [b"* 1\r\n"],
    "protocol: a count with a sign": [b"*+1\r\n$4\r\nPING\r\n"],
    "protocol: no count": [b"*\r\n"],
    "protocol: too many arguments": [b"*1048577\r\n"],
    "protocol: a length that is no number": [b"*1\r\n$x\r\n"],
    "protocol: a negative length": [b"*1\r\n$-1\r\n"],
    "protocol: a length over 512 MB": [b"*2\r\n$3\r\nGET\r\n$536870913\r\n"],
    "protocol: a length beyond 64 bits": [b"*2\r\n$3\r\nGET\r\n$99999999999999999999\r\n"],
    "protocol: no dollar": [b"*1\r\n+PING\r\n"],
    "protocol: an integer for an argument": [b"*2\r\n$3\r\nGET\r\n:5\r\n"],
    "protocol: a nested array": [b"*1\r\n*1\r\n$4\r\nPING\r\n"],
    "protocol: no dollar, a letter": [b"*1\r\nPING\r\n"],
    "protocol: quotes that do not end": [b'GET "abc\r\n'],
    "protocol: single quotes that do not end": [b"GET 'abc\r\n"],
    "protocol: something behind a quote": [b'GET "a"b\r\n'],
    "protocol: something behind a single quote": [b"GET 'a'b\r\n"],
    "protocol: http": [b"POST / HTTP/1.1\r\n"],
    "protocol: http headers": [b"Host: localhost\r\n"],
    "protocol: inline": [
        b'SET k "a\\x41\\n\\t\\"\\\\z"\r\n', b"GET k\r\n", b"SET k 'a\\x41\\n\\'z'\r\n", b"GET k\r\n", b'""\r\n',
        b'SET k ""\r\n', b"GET k\r\n", b"get k\n", b"  get   k  \r\n", b'ECHO "\\xzz\\x4"\r\n', b"\xff\xfe\r\n",
        b"PING \r PONG\r\n", b"\tPING\r\n",
    ],
    "protocol: pipelined after an error": [b"FOO\r\nPING\r\nGET\r\nPING\r\n"],
    "protocol: empty words": [b"*1\r\n$0\r\n\r\n", b"*2\r\n$0\r\n\r\n$0\r\n\r\n", b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n"],
}  # fmt: skip
"""By what is wrong with the bytes."""
REQUESTS = (Path(__file__).parents[1] / "data" / "bad_requests.txt").read_text(encoding="utf-8")
CASES: dict[str, str | list[bytes]] = {
    **RAW,
    **{name: lines for name, _, lines in (part.partition("\n") for part in REQUESTS.removeprefix("# ").split("\n# "))},
}


def _steps(case: str | list[bytes]) -> Iterator[bytes]:
    if isinstance(case, list):
        yield from case
        return
    for line in case.split("\n"):
        words = [_word(text) for text in line.split()]
        if words:
            yield _request(words)


def _word(text: str) -> bytes:
    if text == '""':
        return b""
    return text.strip('"').encode("latin-1").decode("unicode_escape").encode("latin-1")


def _request(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _ask(sock: socket.socket, step: bytes, *, is_whole: bool = True) -> bytes:
    """What a server says to a step and to the ECHO behind it (which may be queued), or up to its end.

    Args:
        is_whole: the step is one request, and has one reply.
    """
    heard = b""
    try:
        sock.sendall(step + _MARK)
        while not (_are_two_replies(heard) if is_whole else heard.endswith(_END)):
            data = sock.recv(1 << 16)
            if not data:
                return heard + _CLOSED
            heard += data
    except ConnectionError:
        return heard + _CLOSED
    return heard.removesuffix(_END)


def _are_two_replies(heard: bytes) -> bool:
    first = parse_reply(heard)
    return first is not None and parse_reply(heard, first[1]) is not None


def _story(sock: socket.socket, protocol: int, case: str | list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Steps, and what was heard after each; up to the one after which the server hung up."""
    sock.settimeout(_SECONDS)
    for line in ("FLUSHALL", "FUNCTION FLUSH", "ACL DELUSER u bad", f"HELLO {protocol}"):
        _ask(sock, _request([_word(text) for text in line.split()]))
    for step in _steps(case):
        heard = _ask(sock, step, is_whole=isinstance(case, str))
        yield step, heard
        if heard.endswith(_CLOSED):
            return


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", CASES)
def test_answers(makoredis_process: RunningServer, redis_server: Path, name: str, protocol: int) -> None:
    with makoredis_process.connect() as here, connect(redis_server) as there:
        ours, theirs = (list(_story(sock, protocol, CASES[name])) for sock in (here, there))
    differences = [
        f"{step!r}\n  answers {heard!r}\n  not     {expected!r}"
        for (step, heard), (_, expected) in zip(ours, theirs)
        if heard != expected
    ]
    assert len(ours) == len(theirs) and not differences, "\n".join(differences)
