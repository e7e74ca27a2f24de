"""SWAPDB where there are several shards: at one moment on all of them, and none of it is lost."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.cluster.cluster_process import ClusterProcess, wait_until
from tests.cluster.test_shards import SETTINGS, A, B, C
from tests.cluster.test_shards import cluster as cluster


@pytest.fixture
def clients(cluster: ClusterProcess) -> Iterator[list[Any]]:
    """On each node one for the first database and one for the second."""
    clients = [cluster.client(name, decode_responses=True, db=db) for name in cluster.names for db in (0, 1)]
    clients[0].flushall()
    yield clients
    for client in clients:
        client.close()


def test_what_it_answers_and_does(clients: list[Any]) -> None:
    first, second, _, other_second, third, _ = clients
    first.mset({A: 1, B: 2, C: 3})
    second.set(A, "x", ex=1000)
    assert third.swapdb(0, 1) and first.get(A) == "x" and other_second.mget(A, B, C) == ["1", "2", "3"]
    assert 0 < third.ttl(A) <= 1000 and second.ttl(A) == -1
    assert first.dbsize() == 1 and second.dbsize() == 3 and first.keys("*") == [A]
    second.incr(A)
    assert first.swapdb(1, 0) and first.mget(A, B, C) == ["2", "2", "3"] and second.mget(A, B, C) == ["x", None, None]
    assert first.swapdb(0, 0) and first.swapdb(2, 3)
    for words, text in (
        ((0, 99), "DB index is out of range"),
        (("a", 0), "invalid first DB index"),
        ((0, "b"), "invalid second DB index"),
    ):
        with pytest.raises(redis.ResponseError, match=text):
            first.execute_command("SWAPDB", *words)
    assert first.get(A) == "2"


def test_in_transactions_and_scripts(clients: list[Any]) -> None:
    first, second, other, *_ = clients
    first.mset({A: 1, B: 2, C: 3})
    second.set(A, "x")
    pipe = other.pipeline(transaction=True)
    pipe.incr(A).swapdb(0, 1).get(A).mget(B, C).set(B, "new").dbsize().keys("*").flushdb().swapdb(1, 0).get(A)
    answers = pipe.execute()
    assert answers[:6] == [2, True, "x", [None, None], True, 2] and sorted(answers[6]) == sorted([A, B])
    assert answers[7:] == [True, True, "2"]
    assert first.mget(A, B, C) == ["2", "2", "3"] and second.dbsize() == 0
    script = "redis.call('SWAPDB', 0, 1) return {redis.call('EXISTS', KEYS[1]), redis.call('DBSIZE')}"
    assert other.eval(script, 1, A) == [0, 0] and second.mget(A, B, C) == ["2", "2", "3"]
    with other.pipeline(transaction=True) as watching:
        watching.watch(B)
        first.swapdb(0, 1)
        watching.multi()
        with pytest.raises(redis.WatchError):
            watching.get(B).execute()


def test_who_waits_for_keys_is_served(clients: list[Any]) -> None:
    first, second, other, *_ = clients
    got: list[Any] = []
    waiter = threading.Thread(target=lambda: got.append(other.blpop([A, B, C], 60)))
    waiter.start()
    wait_until(lambda: first.info("clients")["blocked_clients"] + other.info("clients")["blocked_clients"], "it waits")
    second.rpush(C, "element")
    first.swapdb(0, 1)
    waiter.join(60)
    assert got == [(C, "element")] and first.dbsize() == second.dbsize() == 0


def test_keys_expire_in_the_database_that_they_have_come_to(clients: list[Any]) -> None:
    first, second, *_ = clients
    first.mset({f"stays:{number}": 1 for number in range(20)})
    for number in range(20):
        first.set(f"goes:{number}", 1, px=20 * number + 1)
        first.swapdb(0, 1)
    wait_until(lambda: first.dbsize() + second.dbsize() == 20, "all others are deleted")


def test_nobody_sees_half_of_it(tmp_path: Path) -> None:
    """While checkpoints are written all the time, and after all nodes were killed."""
    names = [f"key:{number}" for number in range(30)]
    with ClusterProcess(tmp_path, 3, **SETTINGS, checkpoint_log_bytes=8192, log_keep_bytes=8192) as cluster:
        first, second = (cluster.client("n1", db=db) for db in (0, 1))
        wait_until(lambda: first.mset({A: 0, B: 0, C: 0}), "the shards have leaders")
        first.flushall()
        first.mset(dict.fromkeys(names, "first"))
        second.mset(dict.fromkeys(names, "second"))
        is_over, torn = threading.Event(), []

        def look(name: str, *, is_replica: bool) -> None:
            client = cluster.client(name, single_connection_client=True)
            if is_replica:
                client.execute_command("READONLY")
            while not is_over.is_set():
                values = client.mget(names)
                if len(set(values)) != 1:
                    torn.append(values)

        readers = [
            threading.Thread(target=look, args=(name,), kwargs={"is_replica": name != "n1"}) for name in cluster.names
        ]
        for reader in readers:
            reader.start()
        try:
            for number in range(24):
                cluster.client(cluster.names[number % 3]).swapdb(0, 1)
                first.set("big", b"%d" % number * 1000)
        finally:
            is_over.set()
            for reader in readers:
                reader.join(60)
        assert not torn
        first.delete("big")
        second.delete("big")
        first.swapdb(0, 1)
        for name in cluster.names:
            cluster.kill(name)
        for name in cluster.names:
            cluster.start(name, wait=False)
        for name in cluster.names:
            cluster.wait_until_up(name)
        wait_until(lambda: cluster.client("n2").mget(names) == [b"second"] * 30, "all is there after a restart")
        assert cluster.client("n3", db=1).mget(names) == [b"first"] * 30
        cluster.wait_until_equal(lambda client: client.mget(names), [b"second"] * 30)
        cluster.wait_until_equal(lambda client: client.dbsize(), 30)
