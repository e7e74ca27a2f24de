"""Several shards, and sessions whose node lives while leaders and coordinators around it are killed: every request is
executed once and answered, with no error. What a dying node coordinated happens as a whole or not at all."""

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis

from tests.cluster.cluster_process import ClusterProcess, wait_until

SETTINGS = {"shards": 3, "disk_free_bytes_min": 0, "disk_ballast_bytes": 0}
SHARD_KEYS = ("b", "c", "a")
"""Keys of the first, the second and the third shard."""
SURVIVOR = "n1"
VICTIMS = ("n2", "n3")


def keys_of(name: str) -> list[str]:
    """A key in each shard, for this client alone."""
    return [f"{{{key}}}{name}" for key in SHARD_KEYS]


class Clients:
    """Threads, one client each, until they are stopped; `wrong` says what should not have been answered."""

    def __init__(self, cluster: ClusterProcess) -> None:
        self.cluster = cluster
        self.wrong: list[str] = []
        self.acknowledged: dict[str, int] = {}
        self.unknown: dict[str, int] = {}
        self.longest_seconds = 0.0
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, node: str, step: Callable[[Any, str, int], None]) -> None:
        """`step(client, name, count)` is called with how often it has succeeded."""
        self.acknowledged[name] = self.unknown[name] = 0
        run = self._survive if node == SURVIVOR else self._die
        thread = threading.Thread(target=run, args=(name, node, step), daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a client waits for ever"

    def _survive(self, name: str, node: str, step: Callable[[Any, str, int], None]) -> None:
        """A session of the node that lives: one connection, and no error of any kind."""
        client = self.cluster.client(node, single_connection_client=True, socket_timeout=100, retry=None)
        try:
            while not self._stop.is_set():
                started = time.monotonic()
                step(client, name, self.acknowledged[name])
                self.acknowledged[name] += 1
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - started)
        except (redis.RedisError, AssertionError) as error:
            self.wrong.append(f"{name}, request {self.acknowledged[name] + 1}: {error!r}")
        finally:
            client.close()

    def _die(self, name: str, node: str, step: Callable[[Any, str, int], None]) -> None:
        """Sessions of a node that is killed: what was under way then is unknown."""
        while not self._stop.is_set():
            client: Any = None
            try:
                client = self.cluster.client(node, single_connection_client=True, retry=None)
                while not self._stop.is_set():
                    self.unknown[name] += 1
                    step(client, name, -1)
                    self.unknown[name] -= 1
                    self.acknowledged[name] += 1
            except redis.RedisError:
                time.sleep(0.05)
            finally:
                if client is not None:
                    client.close()


def count_one(client: Any, name: str, count: int) -> None:
    """INCR of a single key: the answers have no gap and no repetition."""
    answer = client.incr(name)
    assert count < 0 or answer == count + 1, f"answered {answer}"


def count_in_a_pipeline(client: Any, name: str, count: int) -> None:
    """The same in a pipeline that goes to and fro between shards, three times to each, and is no transaction."""
    pipe = client.pipeline(transaction=False)
    for key in keys_of(name) * 2:
        pipe.incr(key)
        pipe.get(key)
    for key in keys_of(name):
        pipe.incr(key)
        pipe.incrby(key, 0)
    answers = [int(answer) for answer in pipe.execute()]
    expected = [3 * count + 1] * 6 + [3 * count + 2] * 6 + [3 * count + 3] * 6
    assert answers == expected, f"answered {answers} instead of {expected}"


def count_in_one_shard(client: Any, name: str, count: int) -> None:
    """A pipeline for a single shard, every other time all of one command."""
    pipe = client.pipeline(transaction=False)
    times = 1 + count % 2
    for _ in range(3):
        pipe.incr(name)
        if times == 2:
            pipe.get(name)
    answers = [int(answer) for answer in pipe.execute()]
    expected = [3 * count + 1] * times + [3 * count + 2] * times + [3 * count + 3] * times
    assert answers == expected, f"answered {answers} instead of {expected}"


def count_all(client: Any, name: str, count: int) -> None:
    """The same on three shards in one transaction."""
    pipe = client.pipeline(transaction=True)
    for key in keys_of(name):
        pipe.incr(key)
    answers = pipe.execute()
    assert count < 0 or answers == [count + 1] * 3, f"answered {answers}"


def transfer(client: Any, name: str, count: int) -> None:
    """Money from one shard to another, and a count of it on the third."""
    source, target, counter = keys_of(name)
    pipe = client.pipeline(transaction=True)
    pipe.decrby(source, 1)
    pipe.incrby(target, 1)
    pipe.incr(counter)
    answers = pipe.execute()
    assert answers == [-1 - count, count + 1, count + 1], f"answered {answers}"


def take(client: Any, name: str, count: int) -> None:
    """A script over two shards, and a list that is moved from one to the other."""
    source, target, _ = keys_of(name)
    client.rpush(source, count)
    moved = client.eval("return redis.call('LMOVE', KEYS[1], KEYS[2], 'LEFT', 'RIGHT')", 2, source, target)
    assert int(moved) == count, f"answered {moved}"
    popped, value = client.blpop([target], 60)
    assert int(value) == count and popped == target.encode(), f"answered {popped}: {value}"


def _kill(cluster: ClusterProcess, name: str, seconds: float) -> None:
    cluster.kill(name)
    time.sleep(seconds)
    cluster.start(name)


def _kill_both(cluster: ClusterProcess, name: str, seconds: float) -> None:
    """Then nothing can be decided until one is back: everybody waits."""
    for victim in VICTIMS:
        cluster.kill(victim)
    time.sleep(seconds)
    for victim in VICTIMS:
        cluster.start(victim, wait=False)
    for victim in VICTIMS:
        cluster.wait_until_up(victim)


def _pause(cluster: ClusterProcess, name: str, seconds: float) -> None:
    """Its connections live; it wakes up as the leader that it is not any more."""
    cluster.pause(name)
    time.sleep(2 * seconds)
    cluster.resume(name)


def _cut(cluster: ClusterProcess, name: str, seconds: float) -> None:
    cluster.cut(name)
    time.sleep(2 * seconds)
    cluster.heal()


FAULTS: dict[str, Callable[[ClusterProcess, str, float], None]] = {
    "kill": _kill,
    "kill both": _kill_both,
    "pause": _pause,
    "cut": _cut,
}


def _harm(cluster: ClusterProcess, clients: Clients, fault: str, count: int, rng: Random) -> None:
    """Again and again, each time when everybody has gone on since."""
    for _ in range(count):
        before = dict(clients.acknowledged)
        FAULTS[fault](cluster, rng.choice(VICTIMS), rng.uniform(0, 1.0))
        if clients.wrong:
            return
        wait_until(
            lambda before=before: clients.wrong or all(clients.acknowledged[name] > before[name] for name in before),
            "all clients go on",
        )


def _check(cluster: ClusterProcess, clients: Clients) -> None:
    assert not clients.wrong, clients.wrong[:5]
    client = cluster.client(SURVIVOR)
    for name, acknowledged in clients.acknowledged.items():
        unknown = clients.unknown[name]
        keys = [name] if name.startswith(("one", "narrow")) else keys_of(name)
        values = [int(value or 0) for value in client.mget(keys)] if not name.startswith("take") else []
        if name.startswith(("pipe", "narrow")):
            assert set(values) == {3 * acknowledged}, (name, values, acknowledged)
        elif name.startswith("transfer"):
            assert values == [-acknowledged, acknowledged, acknowledged], (name, values)
        elif values:
            assert len(set(values)) == 1, f"{name} was executed in part: {values}"
            assert acknowledged <= values[0] <= acknowledged + unknown, (name, values, acknowledged, unknown)
        else:
            assert not client.exists(*keys)


def run(folder: Path, fault: str, count: int, seed: int, **settings: object) -> Clients:
    """Does harm, and checks what was answered and what is stored."""
    with ClusterProcess(folder, 3, proxied=fault == "cut", **SETTINGS, **settings) as cluster:
        wait_until(lambda: cluster.client(SURVIVOR).mset(dict.fromkeys(SHARD_KEYS, 1)), "the shards have leaders")
        clients = Clients(cluster)
        for number in range(4):
            clients.start(f"one{number}", SURVIVOR, count_one)
            clients.start(f"all{number}", SURVIVOR, count_all)
        for number in range(2):
            clients.start(f"transfer{number}", SURVIVOR, transfer)
            clients.start(f"take{number}", SURVIVOR, take)
            clients.start(f"pipe{number}", SURVIVOR, count_in_a_pipeline)
            clients.start(f"narrow{number}", SURVIVOR, count_in_one_shard)
        for number, node in enumerate(itertools.chain(VICTIMS, VICTIMS)):
            clients.start(f"all.of.{node}.{number}", node, count_all)
        _harm(cluster, clients, fault, count, Random(seed))
        clients.stop()
        _check(cluster, clients)
        print(clients.acknowledged, f"longest {clients.longest_seconds:.1f} s")
        return clients


def test_sessions_of_a_living_node_see_no_error(tmp_path: Path) -> None:
    run(tmp_path, "kill", 3, 1)


def test_synchronous_execution_makes_the_same_promise(tmp_path: Path) -> None:
    run(tmp_path, "kill", 1, 1, execution="synchronous")


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", range(2, 4))
def test_sessions_of_a_living_node_see_no_error_for_longer(tmp_path: Path, fault: str, seed: int) -> None:
    run(tmp_path, fault, 15, seed)
