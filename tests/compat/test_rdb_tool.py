"""`makoredis import` and `export` between a real redis-server's files and a makoredis server."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.server_process import ROOT, ServerProcess
from tools.ports import free_ports

LIBRARY = "#!lua name=lib\nredis.register_function('hello', function() return 'hello' end)"


@contextmanager
def real_server(folder: Path) -> Iterator[redis.Redis]:
    """A real redis-server that loads, and saves into, `folder/dump.rdb`."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on the PATH")
    [port] = free_ports(1)
    process = subprocess.Popen(
        [program, "--port", str(port), "--dir", str(folder), "--save", "3600 1"], stdout=subprocess.DEVNULL
    )
    try:
        client = redis.Redis(port=port)
        deadline = time.monotonic() + 20
        while True:
            assert process.poll() is None, "redis-server did not start: it refuses the file"
            try:
                if client.ping():
                    break
            except redis.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield client
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def client(makoredis_server: ServerProcess) -> redis.Redis:
    connection = redis.Redis(port=makoredis_server.port)
    connection.flushall()
    connection.function_flush()
    return connection


def run(*words: object) -> tuple[int, str]:
    """`makoredis …`: the exit status, and what it printed."""
    command = [sys.executable, "-m", "makoredis", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def fill(client: redis.Redis) -> None:
    """Some keys of every type, in two databases, with and without deadlines."""
    pipe = client.pipeline(transaction=False)
    pipe.set("text", b"caf\xc3\xa9\x00\xff").set("number", 42).set("late", "x", px=9_000_000)
    pipe.rpush("list", *range(1000)).sadd("ints", *range(100)).sadd("words", *(f"w{n}" for n in range(500)))
    pipe.hset("hash", mapping={f"f{n}": "v" * n for n in range(200)})
    pipe.zadd("board", {f"m{n}": n / 3 for n in range(300)})
    for number in range(50):
        pipe.xadd("stream", {"n": number}, id=f"{number + 1}-1")
    pipe.xgroup_create("stream", "group", id="0").xreadgroup("group", "me", {"stream": ">"}, count=5)
    pipe.pfadd("visitors", *range(300)).setbit("bits", 7777, 1)
    for number in range(3000):
        pipe.set(f"key:{number}", "x" * (number % 50))
    pipe.select(3).set("elsewhere", 1).select(0)
    pipe.function_load(LIBRARY, replace=True)
    pipe.execute()


def contents(client: redis.Redis) -> dict[tuple[int, bytes], object]:
    """What both servers must agree on. Encodings may differ, so collections are compared by what is in them."""
    found: dict[tuple[int, bytes], object] = {}
    for db in (0, 3):
        client.select(db)
        for key in client.scan_iter(count=1000):
            kind = client.type(key)
            read = {
                b"string": lambda key: client.get(key),
                b"list": lambda key: client.lrange(key, 0, -1),
                b"set": lambda key: sorted(client.smembers(key)),
                b"hash": lambda key: sorted(client.hgetall(key).items()),
                b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
                b"stream": lambda key: (
                    client.xrange(key),
                    [(row["name"], row["pending"], row["last-delivered-id"]) for row in client.xinfo_groups(key)],
                ),
            }[kind]
            found[db, key] = (kind, read(key), client.execute_command("PEXPIRETIME", key))
    client.select(0)
    return found


def test_a_file_of_redis_is_imported(makoredis_server: ServerProcess, client: redis.Redis, tmp_path: Path) -> None:
    with real_server(tmp_path) as real:
        real = real.client()
        fill(real)
        real.set("expired", 1, px=1)
        real.save()
        time.sleep(0.05)
        expected = contents(real)
    status, text = run("import", tmp_path / "dump.rdb", "--port", makoredis_server.port)
    assert (status, text.split(" imported")[0]) == (0, "3,012 keys and 1 function libraries"), text
    ours = client.client()
    assert contents(ours) == expected
    assert client.fcall("hello", 0) == b"hello"

    status, text = run("import", tmp_path / "dump.rdb", "--port", makoredis_server.port)
    assert status == 1 and "3,012 of the keys exist already" in text and "nothing was imported" in text
    client.set("text", "other")
    status, text = run("import", tmp_path / "dump.rdb", "--replace", "--port", makoredis_server.port)
    assert status == 0, text
    assert contents(ours) == expected


def test_a_damaged_file_is_refused_whole(makoredis_server: ServerProcess, client: redis.Redis, tmp_path: Path) -> None:
    with real_server(tmp_path) as real:
        fill(real.client())
        real.save()
    data = tmp_path.joinpath("dump.rdb").read_bytes()
    middle = len(data) // 2
    damaged = {
        "cut": data[:middle],
        "flipped": data[:middle] + bytes((data[middle] ^ 0x40,)) + data[middle + 1 :],
        "empty": b"",
        "other": b"SQLite format 3\0" + data,
    }
    for name, broken in damaged.items():
        path = tmp_path / f"{name}.rdb"
        path.write_bytes(broken)
        status, text = run("import", path, "--port", makoredis_server.port)
        assert status == 1 and "at byte " in text and "nothing was imported" in text, (name, text)
        assert client.dbsize() == 0, name


def test_a_file_of_too_many_databases_is_refused_whole(
    makoredis_server: ServerProcess, client: redis.Redis, tmp_path: Path
) -> None:
    few = ServerProcess(tmp_path / "few", durability="memory", parameters={"databases": 2})
    fill(client.client())
    assert run("export", tmp_path / "dump.rdb", "--port", makoredis_server.port)[0] == 0
    with few:
        status, text = run("import", tmp_path / "dump.rdb", "--replace", "--port", few.port)
        assert status == 1 and "DB index is out of range; nothing was imported" in text
        assert redis.Redis(port=few.port).dbsize() == 0


def test_redis_reads_what_is_exported(makoredis_server: ServerProcess, client: redis.Redis, tmp_path: Path) -> None:
    ours = client.client()
    fill(ours)
    status, text = run("export", tmp_path / "dump.rdb", "--pause", "--port", makoredis_server.port)
    assert status == 0 and text.startswith("3,012 keys exported"), text
    assert [path.name for path in tmp_path.iterdir()] == ["dump.rdb"]
    assert client.set("free", 1, nx=True), "the pause is over"
    client.delete("free")
    with real_server(tmp_path) as real:
        assert contents(real.client()) == contents(ours)
        assert real.fcall("hello", 0) == b"hello"


def test_deadlines_of_fields_come_back(makoredis_server: ServerProcess, client: redis.Redis, tmp_path: Path) -> None:
    """Only files in the format of Redis 7.4 hold them, so nothing else changes the format."""
    client.hset("hash", mapping={"a": 1, "b": 2})
    client.execute_command("HPEXPIRE", "hash", 9_000_000, "FIELDS", 1, "a")
    expected = client.execute_command("HPEXPIRETIME", "hash", "FIELDS", 2, "a", "b")
    assert run("export", tmp_path / "new.rdb", "--port", makoredis_server.port)[0] == 0
    client.flushall()
    status, text = run("import", tmp_path / "new.rdb", "--port", makoredis_server.port)
    assert status == 0, text
    assert client.execute_command("HPEXPIRETIME", "hash", "FIELDS", 2, "a", "b") == expected


def test_what_cannot_be_done_is_one_line(makoredis_server: ServerProcess, tmp_path: Path) -> None:
    missing = tmp_path / "missing.rdb"
    assert run("import", missing, "--port", makoredis_server.port) == (
        1,
        f"makoredis: {missing}: No such file or directory\n",
    )
    [port] = free_ports(1)
    status, text = run("export", tmp_path / "file.rdb", "--port", port)
    assert status == 1 and text.startswith(f"makoredis: no server at 127.0.0.1:{port}") and text.count("\n") == 1
    assert not list(tmp_path.iterdir())
