"""MIGRATE: the same requests to makoredis and to a redis-server, each with a redis-server of its own as the target."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.cluster.processes import Cluster, free_ports, wait_for

KEYS = ("a", "b", "{t}c", "list", "hash", "zset")


@contextmanager
def redis_servers(folder: Path, count: int, password: str = "") -> Iterator[list[int]]:
    """Ports of real servers."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on the PATH")
    ports = free_ports(count)
    words = [program, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), "--requirepass", password]
    processes = [subprocess.Popen([*words, "--port", str(port)], stdout=subprocess.DEVNULL) for port in ports]
    try:
        for port in ports:
            wait_for(redis.Redis(port=port, password=password or None).ping, "redis-server answers")
        yield ports
    finally:
        for process in processes:
            process.kill()
            process.wait()


def fill(client: Any) -> None:
    client.set("a", "1")
    client.set("b", "2", ex=1000)
    client.set("{t}c", "x" * 100_000)
    client.rpush("list", *range(1000))
    client.hset("hash", mapping={"field": "value"})
    client.zadd("zset", {"one": 1, "two": 2})


def ask(client: Any, *words: object) -> Any:
    try:
        return client.execute_command(*words)
    except redis.RedisError as error:
        return f"{type(error).__name__}: {error}"


def story(client: Any, target: int, guarded: int, silent: int) -> list[Any]:
    """What a server answers; the ports are a target's, one's with a password, and one's that never answers."""
    fill(client)
    there = redis.Redis(port=target)
    there.flushall()

    def migrate(key: object, *options: object, port: object = target, db: object = 0, timeout: object = 30_000) -> Any:
        return ask(client, "MIGRATE", "127.0.0.1", port, key, db, timeout, *options)

    answers = [
        migrate("no such key"),
        migrate("a"),
        client.exists("a"),
        client.set("a", "again"),
        migrate("a"),
        migrate("a", "COPY", "REPLACE"),
        there.get("a"),
        client.get("a"),
        migrate("", "KEYS", *KEYS, "none"),
        [client.exists(key) for key in KEYS],
        [there.exists(key) for key in KEYS],
        there.lrange("list", 0, -1),
        0 < there.ttl("b") <= 1000,
        migrate("a", db=99),
        migrate("a", db=3),
        redis.Redis(port=target, db=3).get("a"),
        client.set("a", 1),
        migrate("a", port=guarded),
        migrate("a", "AUTH", "wrong", port=guarded),
        migrate("a", "COPY", "AUTH2", "default", "secret", port=guarded),
        migrate("a", "REPLACE", "AUTH", "secret", port=guarded),
        client.set("a", 1),
        migrate("a", port=1),
        migrate("a", port="x"),
        ask(client, "MIGRATE", "no.such.host.invalid", 1, "a", 0, 1000),
        migrate("a", port=silent, timeout=200),
        migrate("x", "KEYS", "a"),
        migrate(""),
        migrate("", "KEYS"),
        migrate("a", "AUTH"),
        migrate("a", "AUTH2", "x"),
        migrate("a", "NONSENSE"),
        migrate("a", db="x"),
        migrate("a", timeout="x"),
        migrate("a", "REPLACE", db=-1, timeout=-1),
        client.dbsize(),
    ]
    return answers


def test_replies_are_those_of_redis(tmp_path: Path) -> None:
    with (
        redis_servers(tmp_path, 2) as (source, target),
        redis_servers(tmp_path, 1, "secret") as (guarded,),
        Cluster(tmp_path / "one", 1).start() as one,
        Cluster(tmp_path / "three", settings={"shards": 3}).start() as three,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        sources = [redis.Redis(port=source, socket_timeout=60), one[1].client(), three[2].client()]
        stories = []
        for client in sources:
            redis.Redis(port=guarded, password="secret").flushall()
            stories.append(story(client, target, guarded, silent.getsockname()[1]))
        for number, expected in enumerate(stories[0]):
            assert [expected, expected] == [each[number] for each in stories[1:]], f"answer {number}"


def test_no_write_is_lost_meanwhile_and_nobody_waits(tmp_path: Path) -> None:
    """A counter is counted up, where it is, all the time while it is sent to and fro between two makoredis clusters."""
    with Cluster(tmp_path / "a", settings={"shards": 2}).start() as first, Cluster(tmp_path / "b", 1).start() as second:
        nodes = [first[3], second[1]]
        stop = threading.Event()
        counted, moves = [0], [0]

        def count() -> None:
            clients = [node.client() for node in nodes]
            script = "if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end return redis.call('INCR', KEYS[1])"
            while not stop.wait(0.05):  # one that is written without a pause cannot be moved
                counted[0] += bool(clients[moves[0] % 2].eval(script, 1, "counter"))

        nodes[0].client().set("counter", 0)
        thread = threading.Thread(target=count)
        thread.start()
        try:
            while moves[0] < 4:
                here, there = nodes[moves[0] % 2], nodes[1 - moves[0] % 2]
                answer = ask(here.client(), "MIGRATE", "127.0.0.1", there.port, "counter", 0, 30_000, "REPLACE")
                assert answer == b"OK" or answer.startswith("TryAgainError"), answer
                if answer == b"OK":
                    before = counted[0]
                    moves[0] += 1
                    wait_for(lambda before=before: counted[0] > before, "it is counted up where it is now")
        finally:
            stop.set()
            thread.join()
        left = [int(node.client().get("counter") or 0) for node in nodes]
        assert left == [counted[0], 0] and counted[0] > 0
