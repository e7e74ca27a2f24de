"""Clients of a cluster with several shards: appends to lists, and transfers between accounts, that go across shards.

What the first kind did and saw is a history for `tests.sim.txn.checkers`; the second kind looks at sums that must never
change, at the leaders and in READONLY sessions.
"""

import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any

import redis

from tests.cluster.cluster_process import ClusterProcess
from tests.sim.txn.workload import Event, History

LISTS = 9
APPENDS_PER_GENERATION = 500
"""Then the next lists are used: all of a list is read again and again, and checked each time."""
ACCOUNTS = [f"account:{number}" for number in range(8)]
START_AMOUNT = 100
TOTAL = START_AMOUNT * len(ACCOUNTS)
TRANSFER = """
local have = tonumber(redis.call('GET', KEYS[1]))
local amount = tonumber(ARGV[1])
if have < amount then return 0 end
redis.call('DECRBY', KEYS[1], amount)
redis.call('INCRBY', KEYS[2], amount)
return 1
"""


def now_us() -> int:
    return time.monotonic_ns() // 1000


def keys_of(generation: int) -> list[str]:
    return [f"list:{generation}:{number}" for number in range(LISTS)]


class Workload:
    """Threads that run until they are stopped; whatever is wrong is in `wrong`."""

    def __init__(self, cluster: ClusterProcess, seed: int) -> None:
        self.cluster = cluster
        self.seed = seed
        self.history = History()
        self.wrong: list[str] = []
        self.done: dict[str, int] = {}
        self.errors: dict[str, int] = {}
        self.longest_seconds = 0.0
        self.rests_until = 0.0
        """All clients do nothing until then, monotonic seconds."""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._processes = 0
        self._next_value = 0

    def start(
        self, step: Callable[["Workload", Any, Random, int], None], name: str, *, is_readonly: bool = False
    ) -> None:
        """One more client, of this node."""
        rng = Random(self.seed * 1000 + len(self._threads))
        thread = threading.Thread(target=self._run, args=(step, name, rng, is_readonly), daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a client waits for ever"

    def count(self, what: str, *, is_error: bool = False) -> None:
        with self._lock:
            counts = self.errors if is_error else self.done
            counts[what] = counts.get(what, 0) + 1

    def value(self) -> int:
        with self._lock:
            self._next_value += 1
            return self._next_value

    def keys(self) -> list[str]:
        """The lists in use now."""
        return keys_of(self._next_value // APPENDS_PER_GENERATION)

    def keys_used(self) -> list[str]:
        """All that ever were."""
        last = self._next_value // APPENDS_PER_GENERATION
        return [key for generation in range(last + 1) for key in keys_of(generation)]

    def invoke(self, process: int, operations: list[Any]) -> Event:
        with self._lock:
            return self.history.invoke(process, operations, now_us())

    def _rests(self) -> bool:
        """Whether it is to be asked again whether there is anything to do."""
        seconds = self.rests_until - time.monotonic()
        if seconds > 0:
            self._stop.wait(seconds)
        return seconds > 0

    def _process(self) -> int:
        with self._lock:
            self._processes += 1
            return self._processes

    def _run(self, step: Callable[..., None], name: str, rng: Random, is_readonly: bool) -> None:
        while not self._stop.is_set():
            process = self._process()
            client: Any = None
            try:
                client = self.cluster.client(name, single_connection_client=True, socket_timeout=40, retry=None)
                if is_readonly:
                    client.execute_command("READONLY")
                while not self._stop.is_set():
                    if self._rests():
                        continue
                    started = time.monotonic()
                    step(self, client, rng, process)
                    self.longest_seconds = max(self.longest_seconds, time.monotonic() - started)
            except (redis.ConnectionError, redis.TimeoutError):
                self.count("connection", is_error=True)
                time.sleep(0.05)
            except redis.ResponseError as error:
                self.count(str(error)[:60], is_error=True)
                if not str(error).startswith(("CLUSTERDOWN", "STALE", "no leader", "the shards", "this replica")):
                    with self._lock:
                        self.wrong.append(f"{name}: {error}")
                    return
            finally:
                if client is not None:
                    client.close()


def append(work: Workload, client: Any, rng: Random, process: int) -> None:
    """One transaction of appends and reads, over any shards."""
    operations: list[Any] = []
    for key in rng.sample(work.keys(), rng.choice([1, 1, 2, 3])):
        operations.append(("append", key, work.value()) if rng.random() < 0.5 else ("r", key, None))
    _transact(work, client, process, operations)


def _transact(work: Workload, client: Any, process: int, operations: list[Any], *, is_stale: bool = False) -> None:
    event = work.invoke(process, operations)
    event.is_stale = is_stale
    if len(operations) == 1:
        kind, key, value = operations[0]
        answers = [client.rpush(key, value) if kind == "append" else client.lrange(key, 0, -1)]
    else:
        pipe = client.pipeline(transaction=True)
        for kind, key, value in operations:
            if kind == "append":
                pipe.rpush(key, value)
            else:
                pipe.lrange(key, 0, -1)
        answers = pipe.execute()
    event.operations = [
        (kind, key, value if kind == "append" else [int(item) for item in answer])
        for (kind, key, value), answer in zip(operations, answers)
    ]
    event.completed_us = now_us()
    work.count("snapshot" if is_stale else "append")


def read_snapshot(work: Workload, client: Any, rng: Random, process: int) -> None:
    """All lists in one READONLY transaction."""
    _transact(work, client, process, [("r", key, None) for key in rng.sample(work.keys(), 4)], is_stale=True)
    time.sleep(0.002)


def transfer(work: Workload, client: Any, rng: Random, process: int) -> None:
    """From one account to another, by a script or by WATCH and EXEC."""
    source, target = rng.sample(ACCOUNTS, 2)
    amount = rng.randint(1, 20)
    if rng.random() < 0.5:
        client.eval(TRANSFER, 2, source, target, amount)
        work.count("transfer")
        return
    pipe = client.pipeline(transaction=True)
    try:
        pipe.watch(source, target)
        have = int(pipe.get(source))
        if have < amount:
            pipe.unwatch()
            return
        pipe.multi()
        pipe.decrby(source, amount)
        pipe.incrby(target, amount)
        pipe.execute()
        work.count("transfer")
    except redis.WatchError:
        work.count("watch failed")
    finally:
        pipe.reset()


def look_at_sum(work: Workload, client: Any, rng: Random, process: int) -> None:
    """The sum over all accounts, in one command."""
    accounts = rng.sample(ACCOUNTS, len(ACCOUNTS))
    amounts = client.mget(accounts)
    total = sum(int(amount or 0) for amount in amounts)
    if total not in (TOTAL, 0):
        work.wrong.append(f"the accounts sum up to {total}: {dict(zip(accounts, amounts))}")
    work.count("sum")
    time.sleep(0.002)


def open_accounts(cluster: ClusterProcess) -> None:
    client = cluster.client(cluster.names[0])
    client.mset(dict.fromkeys(ACCOUNTS, START_AMOUNT))
