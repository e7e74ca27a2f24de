"""A backup is of one moment, whoever writes meanwhile; and what is restored equals it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from makoredis.admin.makoctl import main
from tests.cluster.processes import Cluster, Node

LIBRARY = "#!lua name=tools\nredis.register_function('twice', function(keys, args) return args[1] * 2 end)"

Makoctl = Callable[..., str]


def fill(client: "redis.Redis[bytes]", strings: int = 500) -> None:
    """All types, deadlines, other databases, a library."""
    soon, late = int(time.time() * 1000) + 1, int(time.time() * 1000) + 10_000_000
    client.mset({f"string:{number}": "x" * number for number in range(strings)})
    client.set("number", 12345)
    client.set("gone", "soon", pxat=soon)
    client.set("later", "kept", pxat=late)
    client.rpush("list", *range(3000))
    client.hset("hash", mapping={f"field{number}": number for number in range(700)})
    client.execute_command("HPEXPIREAT", "hash", late, "FIELDS", 1, "field7")
    client.sadd("set", *range(600))
    client.sadd("intset", 1, 2, 3)
    client.zadd("zset", {f"member{number}": number / 7 for number in range(300)})
    for number in range(50):
        client.xadd("stream", {"number": number}, id=f"{number + 1}-1")
    client.xgroup_create("stream", "group", "0")
    client.xreadgroup("group", "me", {"stream": ">"}, count=7)
    client.xdel("stream", "3-1")
    client.pfadd("hll", *range(1000))
    client.setbit("bits", 100_000, 1)
    client.set("large", b"\0large" * 100_000)
    client.function_load(LIBRARY)
    for database in (3, 9):
        client.execute_command("SELECT", database)
        client.set("where", database)
    client.execute_command("SELECT", 0)


def contents(node: Node) -> dict[tuple[int, bytes], list[Any]]:
    """DUMP and deadline of every key."""
    found: dict[tuple[int, bytes], list[Any]] = {}
    with node.client(single_connection_client=True) as client:
        for database in range(16):
            client.execute_command("SELECT", database)
            keys = list(client.scan_iter(count=500))
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.dump(key).pexpiretime(key)
            replies = pipeline.execute()
            found.update({(database, key): each for key, *each in zip(keys, replies[::2], replies[1::2])})
    return found


@contextmanager
def writing(node: Node) -> Iterator[None]:
    """Meanwhile a client keeps four keys in step, each time in one transaction."""
    stop, has_begun = threading.Event(), threading.Event()

    def run() -> None:
        with node.client() as client:
            while not stop.is_set():
                pipeline = client.pipeline(transaction=True)
                pipeline.incr("left").rpush("log", "entry").lpush("more", "x" * 100).incr("right").execute()
                has_begun.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert has_begun.wait(30)
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def makoctl(capsys: pytest.CaptureFixture[str]) -> Makoctl:
    """The command, run on one node; what it prints, or its error if its status is to be another one."""

    def run(node: Node, *words: str, status: int = 0) -> str:
        assert main(["--port", str(node.port), *words]) == status, capsys.readouterr()
        captured = capsys.readouterr()
        return captured.out if status == 0 else captured.err

    return run


def test_a_restored_cluster_equals_the_one_that_was_backed_up(tmp_path: Path, makoctl: Makoctl) -> None:
    file = tmp_path / "all.backup"

    with Cluster(tmp_path / "a", settings={"cluster": "first"}).start() as first:
        leader = first.leader()
        follower = first.followers(leader)[0]
        with leader.client(single_connection_client=True) as client:
            fill(client)
            client.swapdb(3, 5)
        makoctl(follower, "snapshot")
        with leader.client() as client:  # behind the checkpoint, so that some of it is only in the log
            client.rpush("list", "behind")
            client.delete("string:3")
            client.hset("hash", "field1", "behind")
        said: dict[str, Any] = json.loads(makoctl(follower, "--json", "backup", str(file)))
        assert said["cluster"] == "first" and said["bytes"] == file.stat().st_size
        expected = contents(leader)
        makoctl(leader, "backup", str(tmp_path / "other.backup"))
        assert "there are" in makoctl(leader, "restore", str(file), status=1)
    assert len(expected) > 500 and (0, b"string:3") not in expected

    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    broken = tmp_path / "broken.backup"
    broken.write_bytes(damaged)
    cut = tmp_path / "cut.backup"
    cut.write_bytes(file.read_bytes()[:-3])
    with Cluster(tmp_path / "b", settings={"cluster": "second"}).start() as second:
        for bad in (broken, cut):
            assert "the backup is damaged" in makoctl(second[1], "restore", str(bad), status=1)
            assert "the backup is damaged" in makoctl(second[1], "check", str(bad), status=1)
        assert f"{len(expected):,} keys" in makoctl(second[1], "check", str(file))
        makoctl(second[1], "restore", str(file))
        assert contents(second.leader()) == expected
        with second[2].client() as client:
            assert client.fcall("twice", 0, 21) == 42
            client.set("extra", "goes")
        assert "there are" in makoctl(second[1], "restore", str(file), status=1)
        makoctl(second[1], "restore", str(tmp_path / "other.backup"), "--replace")
        assert contents(second.leader()) == expected


def test_a_backup_is_of_one_moment_and_has_what_was_acknowledged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"checkpoint_log_bytes": 200_000}  # checkpoints all the time
    with Cluster(tmp_path / "a", settings=settings).start() as cluster, Cluster(tmp_path / "b", 1).start() as other:
        leader = cluster.leader()
        nodes = [leader, *cluster.followers(leader)]
        with writing(nodes[1]):
            for number, node in enumerate(nodes * 2):
                with nodes[0].client() as client:
                    client.set("marker", number)
                    before = int(client.get("left"))
                file = tmp_path / f"{number}.backup"
                assert main(["--port", str(node.port), "backup", str(file)]) == 0, capsys.readouterr()
                assert main(["--port", str(other[1].port), "restore", "--replace", str(file)]) == 0
                with other[1].client() as client:
                    left, right = int(client.get("left")), int(client.get("right"))
                    assert left == right == client.llen("log") == client.llen("more") >= before
                    assert client.get("marker") == b"%d" % number
