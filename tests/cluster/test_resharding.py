"""Slots move from shard to shard while clients go on."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis

from makoredis.admin import makoctl
from tests.cluster.cluster_process import ClusterProcess, wait_until

SETTINGS: dict[str, Any] = {"shards": 4, "first_shards": 3, "disk_free_bytes_min": 0, "disk_ballast_bytes": 0}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path, 3, **SETTINGS) as cluster:
        wait_until(lambda: cluster.client("n1").mset({"b": 1, "c": 1, "a": 1}), "the shards have leaders")
        yield cluster


def slots(client: Any) -> dict[bytes, Any]:
    found: dict[bytes, Any] = client.execute_command("MAKO SLOTS")
    return found


def wait_for_moves(client: Any) -> dict[bytes, Any]:
    """Until nothing is to be moved any more."""
    wait_until(lambda: not slots(client)[b"moves"], "all slots are where they should be", 100)
    return slots(client)


def test_slots_go_to_an_empty_shard_and_back(cluster: ClusterProcess, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = cluster.client("n1"), cluster.client("n2")
    keys = {f"key:{number}": f"value {number}" for number in range(2000)}
    one.mset(keys)
    one.rpush("list", *range(100))
    one.set("fleeting", 1, px=600_000)
    assert [each[b"slots"] for each in slots(one)[b"shards"]] == [5461, 5461, 5462, 0]
    assert one.execute_command("MAKO MOVE SLOTS", 0, 16383, "TO", 4) == b"OK"
    found = wait_for_moves(two)
    assert found[b"runs"] == [[0, 16383, 4]]
    assert [each[b"keys"] for each in found[b"shards"]] == [0, 0, 0, 2005]
    assert two.mget(keys) == [value.encode() for value in keys.values()]
    assert len(two.lrange("list", 0, -1)) == 100 and 0 < one.pttl("fleeting") <= 600_000
    wait_until(lambda: len(one.execute_command("CLUSTER SLOTS")) == 1, "CLUSTER SLOTS shows it")
    assert sorted(two.scan_iter(count=100, match="key:*")) == sorted(key.encode() for key in keys)
    assert two.execute_command("MAKO MOVE SLOTS", 1000, 9000, "TO", 2) == b"OK"
    assert wait_for_moves(one)[b"runs"] == [[0, 999, 4], [1000, 9000, 2], [9001, 16383, 4]]
    assert one.dbsize() == 2005 and one.mget(keys) == [value.encode() for value in keys.values()]
    assert makoctl.main(["-p", str(cluster.ports["n3"]), "rebalance", "--only", "1,3", "--dry-run"]) == 0
    assert "slots 8192-9000 (809): shard 2 -> shard 1" in capsys.readouterr().out
    assert makoctl.main(["-p", str(cluster.ports["n3"]), "rebalance", "--only", "1,3"]) == 0
    assert "] 16384 of 16384 slots" in capsys.readouterr().err
    assert [each[b"slots"] for each in slots(one)[b"shards"]] == [8192, 0, 8192, 0]
    assert one.mget(keys) == [value.encode() for value in keys.values()]


COUNTERS = [f"counter:{number}" for number in range(40)]
ACCOUNTS = [f"account:{number}" for number in range(12)]
BALANCE = 100


class Load:
    """Clients that count and transfer; what was acknowledged, and what must not be."""

    def __init__(self, cluster: ClusterProcess) -> None:
        self.cluster = cluster
        self.acknowledged = dict.fromkeys(COUNTERS, 0)
        self.unknown = dict.fromkeys(COUNTERS, 0)
        self.sums = 0
        self.transfers = 0
        self.wrong: list[str] = []
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        steps = (self._count, self._count, self._transfer, self._look, self._look_here)
        names = cluster.names
        self._threads = [
            threading.Thread(target=self._run, args=(names[at % len(names)], step, at)) for at, step in enumerate(steps)
        ]
        client = cluster.client("n1")
        client.mset(dict.fromkeys(ACCOUNTS, BALANCE))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(100)
            assert not thread.is_alive(), "a client waits for ever"
        assert not self.wrong, self.wrong[:5]

    def _run(self, name: str, step: Any, number: int) -> None:
        rng = Random(number)
        while not self._is_over.is_set():
            client: Any = None
            try:
                client = self.cluster.client(name, single_connection_client=True, socket_timeout=40, retry=None)
                if step == self._look_here:
                    client.execute_command("READONLY")
                while not self._is_over.is_set():
                    step(client, rng)
            except (redis.ConnectionError, redis.TimeoutError, redis.WatchError):
                time.sleep(0.05)  # its node was killed
            except redis.ResponseError as error:
                if not str(error).startswith(("CLUSTERDOWN", "STALE")):
                    self.wrong.append(str(error))
                    return
            finally:
                if client is not None:
                    client.close()

    def _count(self, client: Any, rng: Random) -> None:
        key = rng.choice(COUNTERS)
        with self._lock:
            self.unknown[key] += 1
        client.incr(key)
        with self._lock:
            self.unknown[key] -= 1
            self.acknowledged[key] += 1

    def _transfer(self, client: Any, rng: Random) -> None:
        source, target = rng.sample(ACCOUNTS, 2)
        with client.pipeline(transaction=True) as pipe:
            pipe.watch(source, target)
            if int(pipe.get(source)) < 10:
                return
            pipe.multi()
            pipe.decrby(source, 10)
            pipe.incrby(target, 10)
            pipe.execute()
            self.transfers += 1

    def _look(self, client: Any, rng: Random) -> None:
        self._check(client.mget(rng.sample(ACCOUNTS, len(ACCOUNTS))))

    def _look_here(self, client: Any, rng: Random) -> None:
        """In a READONLY session, one snapshot after the other."""
        self._look(client, rng)
        time.sleep(0.002)

    def _check(self, balances: list[bytes | None]) -> None:
        if balances == [None] * len(ACCOUNTS):
            return  # a snapshot from before all began
        if sum(int(balance or 0) for balance in balances) != BALANCE * len(ACCOUNTS):
            self.wrong.append(f"the accounts hold {balances}")
        self.sums += 1


def test_nothing_is_lost_or_done_twice_when_nodes_are_killed_while_slots_move(cluster: ClusterProcess) -> None:
    """Everything to the empty shard, back, and to a third one. The second node to die has coordinated batches."""
    client = cluster.client("n1")
    filler = {f"filler:{number}": "x" * 50 for number in range(1500)}
    client.mset(filler)
    load = Load(cluster)
    move_everything(cluster, "n1", 4, "n2")
    move_everything(cluster, "n2", 2, "n1")
    move_everything(cluster, "n1", 3, None)
    wait_until(lambda: load.transfers > 50 and load.sums > 50, "the load goes on")
    load.stop()
    wait_until(lambda: cluster.client("n1").ping(), "n1 is back")
    for key, value in zip(COUNTERS, wait_until(lambda: client.mget(COUNTERS), "the shards have leaders")):
        least, most = load.acknowledged[key], load.acknowledged[key] + load.unknown[key]
        assert least <= int(value or 0) <= most, key
    assert client.mget(filler) == [value.encode() for value in filler.values()]
    assert sum(map(int, client.mget(ACCOUNTS))) == BALANCE * len(ACCOUNTS)
    assert client.dbsize() == len(set(client.scan_iter(count=500)))


def move_everything(cluster: ClusterProcess, asked: str, shard: int, victim: str | None) -> None:
    """Moves all slots to a shard, and kills a node when some of them are there."""
    client = cluster.client(asked)
    wait_until(lambda: client.execute_command("MAKO MOVE SLOTS", 0, 16383, "TO", shard), "the move begins")
    if victim is not None:
        wait_until(lambda: slots(client)[b"shards"][shard - 1][b"slots"], "some slots have moved")
        cluster.kill(victim)
        cluster.start(victim)
    assert wait_for_moves(client)[b"runs"] == [[0, 16383, shard]]
