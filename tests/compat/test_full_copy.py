"""SYNC, as tools fetch an RDB file with it (`redis-cli --rdb`): one copy, then the connection is closed."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import redis

from makoredis.data.encoding import encode_value
from makoredis.data.rdb.file import Entry, Library, read_file
from makoredis.data.rdb.payload import restore
from tests.compat.conftest import RunningServer

_LIBRARY = "#!lua name=lib\nredis.register_function('f', function() return 1 end)"


@pytest.fixture
def client(makoredis_process: RunningServer) -> Iterator[Any]:
    client = redis.Redis(port=makoredis_process.port)
    client.flushall()
    client.function_flush()
    yield client
    client.flushall()
    client.function_flush()
    client.close()


def _fill(client: Any) -> None:
    client.mset({f"key{number}": number for number in range(2000)})
    client.hset("hash", mapping={"a": "1", "b": "2"})
    client.rpush("list", *range(500))
    client.zadd("zset", {"one": 1, "two": 2.5})
    client.sadd("set", "x", "y", "3")
    client.xadd("stream", {"f": "v"}, id="5-1")
    client.set("large", "x" * 6_000_000, ex=10_000)
    client.execute_command("SELECT", 3)
    client.set("in another database", 1)
    client.execute_command("SELECT", 0)
    client.function_load(_LIBRARY)


def _fetch(server: RunningServer, *before: bytes) -> bytes:
    """The file that SYNC answers with, and that nothing follows it."""
    with server.connect() as sock:
        for line in before:
            sock.sendall(line + b"\r\n")
            assert _line(sock) == b"+OK"
        sock.sendall(b"SYNC\r\n")
        head = _line(sock)
        assert head[:1] == b"$", head
        received = bytearray()
        while data := sock.recv(1 << 16):
            received += data
        assert len(received) == int(head[1:])
        return bytes(received)


def _line(sock: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        data = sock.recv(1)
        assert data, line
        line += data
    return line[:-2]


def test_a_copy_has_everything(makoredis_process: RunningServer, client: Any) -> None:
    _fill(client)
    items = list(read_file(BytesIO(_fetch(makoredis_process, b"REPLCONF capa eof"))))
    assert [item.source.decode() for item in items if isinstance(item, Library)] == [_LIBRARY]
    entries = [item for item in items if isinstance(item, Entry)]
    in_first = {entry.key: entry for entry in entries if entry.db == 0}
    assert in_first.keys() == set(client.keys())
    for key, entry in in_first.items():
        assert encode_value(entry.value) == encode_value(restore(client.dump(key))), key
    assert in_first[b"large"].deadline_ms == client.pexpiretime("large")
    assert [entry.key for entry in entries if entry.db == 3] == [b"in another database"]


def test_deadlines_of_fields_need_a_newer_file(makoredis_process: RunningServer, client: Any) -> None:
    client.hset("hash", mapping={"a": "1", "b": "2"})
    assert _fetch(makoredis_process)[:9] == b"REDIS0010"
    client.execute_command("HEXPIRE", "hash", 1000, "FIELDS", 1, "a")
    file = _fetch(makoredis_process)
    assert file[:9] == b"REDIS0012"
    (entry,) = read_file(BytesIO(file))
    assert isinstance(entry, Entry) and encode_value(entry.value) == encode_value(restore(client.dump("hash")))


def test_only_functions(makoredis_process: RunningServer, client: Any) -> None:
    _fill(client)
    (library,) = read_file(BytesIO(_fetch(makoredis_process, b"REPLCONF rdb-filter-only functions")))
    assert isinstance(library, Library)


def test_replicas_are_refused(makoredis_process: RunningServer) -> None:
    with makoredis_process.connect() as sock:
        sock.sendall(b"REPLCONF listening-port 6379\r\nPSYNC ? -1\r\nSYNC\r\nPING\r\n")
        assert _line(sock).startswith(b"-ERR REPLCONF listening-port is not supported")
        assert _line(sock).startswith(b"-ERR PSYNC is not supported")
        assert _line(sock).startswith(b"-ERR SYNC is not supported for replicas")
        assert _line(sock) == b"+PONG"


def test_a_client_that_goes_away(makoredis_process: RunningServer, client: Any) -> None:
    """Its copy is given up: others get theirs, more often than copies may be under way."""
    client.set("large", "x" * 9_000_000)
    for _ in range(4):
        with makoredis_process.connect() as sock:
            sock.sendall(b"SYNC\r\n")
            while not (line := _line(sock)).startswith(b"$"):
                assert line.startswith(b"-TRYAGAIN"), line
                sock.sendall(b"SYNC\r\n")


def test_redis_cli(makoredis_process: RunningServer, client: Any, tmp_path: Path) -> None:
    program = shutil.which("redis-cli")
    if program is None:
        pytest.skip("no redis-cli on the PATH")
    _fill(client)
    file = tmp_path / "dump.rdb"
    words = [program, "-p", str(makoredis_process.port), "--rdb", str(file)]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    with file.open("rb") as source:
        assert sum(isinstance(item, Entry) for item in read_file(source)) == client.dbsize() + 1
