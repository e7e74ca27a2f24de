"""Requests in any portions, and many of them at once, over real sockets."""

import socket
from collections.abc import Iterator

import pytest

from tests.server_process import ServerProcess


@pytest.fixture
def connection(makoredis_server: ServerProcess) -> Iterator[socket.socket]:
    with makoredis_server.connect() as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.sendall(b"FLUSHALL\r\n")
        assert opened.recv(100) == b"+OK\r\n"
        yield opened


def receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(1 << 20)
        assert chunk, f"the server hung up after {bytes(data[-200:])!r}"
        data += chunk
    return bytes(data)


STREAM = (
    b"PING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n01234\r\n789\r\n"
    b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nECHO 'a b'\r\n"
)
ANSWER = b"+PONG\r\n+OK\r\n$10\r\n01234\r\n789\r\n$3\r\na b\r\n"


def test_one_byte_at_a_time(connection: socket.socket) -> None:
    for position in range(len(STREAM)):
        connection.sendall(STREAM[position : position + 1])
    assert receive(connection, len(ANSWER)) == ANSWER


def test_cut_at_every_byte(connection: socket.socket) -> None:
    for position in range(1, len(STREAM)):
        connection.sendall(STREAM[:position])
        answered = b""
        if position >= len(b"PING\r\n"):
            answered = connection.recv(1000)  # so that the rest comes in another turn
        connection.sendall(STREAM[position:])
        if len(answered) < len(ANSWER):
            answered += receive(connection, len(ANSWER) - len(answered))
        assert answered == ANSWER, f"cut at {position}"


def test_a_hundred_thousand_requests_at_once(connection: socket.socket) -> None:
    count = 100_000
    connection.sendall(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n" * count)
    expected = b"".join(b":%d\r\n" % number for number in range(1, count + 1))
    assert receive(connection, len(expected)) == expected


def test_a_transaction_of_many_requests(connection: socket.socket) -> None:
    count = 20_000
    connection.sendall(b"MULTI\r\n" + b"*2\r\n$4\r\nINCR\r\n$1\r\nm\r\n" * count + b"EXEC\r\n")
    expected = b"+OK\r\n" + b"+QUEUED\r\n" * count + b"*%d\r\n" % count
    expected += b"".join(b":%d\r\n" % number for number in range(1, count + 1))
    assert receive(connection, len(expected)) == expected


def test_a_large_value_in_small_portions(connection: socket.socket) -> None:
    value = bytes(range(256)) * 8192
    request = b"*3\r\n$3\r\nSET\r\n$1\r\nv\r\n$%d\r\n%b\r\n" % (len(value), value)
    for start in range(0, len(request), 7001):
        connection.sendall(request[start : start + 7001])
    assert receive(connection, 5) == b"+OK\r\n"
    connection.sendall(b"GET v\r\n")
    expected = b"$%d\r\n%b\r\n" % (len(value), value)
    assert receive(connection, len(expected)) == expected


def test_requests_behind_quit_are_not_run(makoredis_server: ServerProcess, connection: socket.socket) -> None:
    connection.sendall(b"SET q 1\r\nQUIT\r\nSET q 2\r\n")
    assert receive(connection, 10) == b"+OK\r\n+OK\r\n"
    assert connection.recv(100) == b""
    assert makoredis_server.client().get("q") == b"1"


def test_requests_behind_a_blocked_one_wait_their_turn(
    makoredis_server: ServerProcess, connection: socket.socket
) -> None:
    connection.sendall(b"BLPOP l 0\r\n" + b"INCR n\r\n" * 1000)
    makoredis_server.client().rpush("l", "x")
    expected = b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n" + b"".join(b":%d\r\n" % number for number in range(1, 1001))
    assert receive(connection, len(expected)) == expected


@pytest.mark.parametrize("half", [b"*2\r\n$3\r\nGET\r\n$1", b"SET k", b"*1\r\n$4\r\nPI", b"*100000\r\n"])
def test_half_a_request_and_then_nothing(makoredis_server: ServerProcess, half: bytes) -> None:
    with makoredis_server.connect() as connection:
        connection.sendall(half)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert makoredis_server.client().ping()
