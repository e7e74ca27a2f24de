"""Clients of real clusters that remember what they did and saw, for `tests.sim.cluster.checker`."""

import itertools
import json
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import redis

from tests.cluster.cluster_process import ClusterProcess
from tests.sim.cluster.checker import Operation, check

LISTS = 4
APPENDS_PER_LIST = 250
"""Then the next lists are used: all of a list is read again and again, and checked each time."""
ACCOUNTS = [f"account:{number}" for number in range(5)]
ACCOUNT_TOTAL = 500
ANSWER_SECONDS = 45.0
_values = itertools.count(1)
_sessions = itertools.count(1)


class Client:
    """A thread that talks to one node, and to it again when the connection broke."""

    def __init__(self, cluster: ClusterProcess, name: str, seed: int) -> None:
        self.cluster, self.name = cluster, name
        self.rng = Random(seed)
        self.done = 0
        """Commands that were answered."""
        self.longest_seconds = 0.0
        self.rests_until = 0.0
        """It does nothing until then, monotonic seconds."""
        self.wrong: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> "Client":
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(2 * ANSWER_SECONDS)
        assert not self._thread.is_alive(), f"a client of {self.name} waits for ever"
        assert not self.wrong, self.wrong[:3]

    def _run(self) -> None:
        while not self._stop.is_set():
            session = next(_sessions)
            try:
                client = self.cluster.client(
                    self.name, single_connection_client=True, socket_timeout=ANSWER_SECONDS, retry=None
                )
                while not self._stop.is_set():
                    rest_seconds = self.rests_until - time.monotonic()
                    if rest_seconds > 0:
                        self._stop.wait(rest_seconds)
                        continue
                    started = time.monotonic()
                    self._step(client, session)
                    self.done += 1
                    self.longest_seconds = max(self.longest_seconds, time.monotonic() - started)
            except (redis.ConnectionError, redis.TimeoutError):
                time.sleep(0.02)
            except redis.RedisError as error:
                self.wrong.append(f"{self.name}: {error!r}")
                return

    def _step(self, client: Any, session: int) -> None:
        raise NotImplementedError


class Appender(Client):
    """Appends unique elements to shared lists, and reads them, alone and in transactions."""

    def __init__(self, cluster: ClusterProcess, name: str, seed: int) -> None:
        super().__init__(cluster, name, seed)
        self.operations: list[Operation] = []
        self.parts: dict[str, list[tuple[bytes, bytes | None]]] = {}

    def _step(self, client: Any, session: int) -> None:
        operation = Operation(f"{self.name}:{session}:{self.done}", session, time.monotonic_ns())
        parts: list[tuple[bytes, bytes | None]] = []
        for _ in range(self.rng.choice((1, 2, 3))):
            number = next(_values)
            key = b"append:%d:%d" % (number // (2 * LISTS * APPENDS_PER_LIST), self.rng.randrange(LISTS))
            value = b"%d" % number if self.rng.random() < 0.5 else None
            parts.append((key, value))
            if value is not None:
                operation.appends.append((key, value))
        self.operations.append(operation)
        self.parts[operation.name] = parts
        with client.pipeline(transaction=len(parts) > 1) as pipeline:
            for key, value in parts:
                if value is None:
                    pipeline.lrange(key, 0, -1)
                else:
                    pipeline.rpush(key, value)
            replies = pipeline.execute()
        operation.end = time.monotonic_ns()
        for (key, value), reply in zip(parts, replies):
            if value is None:
                operation.reads.append((key, reply))
            else:
                operation.lengths.append(((key, value), reply))


class Banker(Client):
    """Moves money between accounts, some of it under WATCH; the sum never changes."""

    def _step(self, client: Any, session: int) -> None:
        source, target = self.rng.sample(ACCOUNTS, 2)
        if self.rng.random() < 0.3:
            total = sum(int(value) for value in client.mget(ACCOUNTS))
            if total != ACCOUNT_TOTAL:
                self.wrong.append(f"the accounts add up to {total}")
            return
        try:
            with client.pipeline() as pipeline:
                pipeline.watch(source, target)
                left, right = int(pipeline.get(source)), int(pipeline.get(target))
                pipeline.multi()
                pipeline.set(source, left - 1)
                pipeline.set(target, right + 1)
                pipeline.execute()
        except redis.WatchError:
            return


def open_accounts(cluster: ClusterProcess) -> None:
    share = ACCOUNT_TOTAL // len(ACCOUNTS)
    cluster.client(cluster.names[0]).mset(dict.fromkeys(ACCOUNTS, share))


def check_appends(cluster: ClusterProcess, appenders: list[Appender]) -> int:
    """Holds what every replica has, once drained, against what clients were told. Returns the number of operations."""
    operations = [operation for appender in appenders for operation in appender.operations]
    keys = sorted({key for appender in appenders for parts in appender.parts.values() for key, _ in parts})
    leader = cluster.client(cluster.wait_for_leader())
    final = {key: leader.lrange(key, 0, -1) for key in keys}
    cluster.wait_until_equal(lambda client: {key: client.lrange(key, 0, -1) for key in keys}, final)
    check(operations, final)
    return len(operations)


def write_history(path: Path, appenders: list[Appender]) -> None:
    """The history as JSON lines, one event each, in the form that Jepsen's and Elle's tools understand."""
    events: list[tuple[int, int, dict[str, Any]]] = []
    for number, (appender, operation) in enumerate((each, op) for each in appenders for op in each.operations):
        reads = iter(operation.reads)
        asked: list[list[Any]] = []
        told: list[list[Any]] = []
        for key, value in appender.parts[operation.name]:
            name = key.decode()
            asked.append(["r", name, None] if value is None else ["append", name, int(value)])
            if value is None and operation.end is not None:
                told.append(["r", name, [int(each) for each in next(reads)[1]]])
            else:
                told.append(asked[-1])
        event = {"process": number, "f": "txn"}
        events.append((operation.begin, 1, {**event, "type": "invoke", "value": asked, "time_ns": operation.begin}))
        if operation.end is not None:
            events.append((operation.end, 0, {**event, "type": "ok", "value": told, "time_ns": operation.end}))
    events.sort(key=lambda each: each[:2])
    path.write_text("".join(json.dumps(event) + "\n" for _, _, event in events), encoding="utf-8")
