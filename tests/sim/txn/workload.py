"""What the simulated clients do: list appends and reads over shards, and transfers between accounts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from makoredis.data.access import Access
from makoredis.data.effects import Effect, ListPush, SetString
from makoredis.data.keyspace import Keyspace
from makoredis.txn.follower import Snapshot
from makoredis.txn.locks import KeyLock
from makoredis.txn.messages import Part, WatchedKey

START_BALANCE = 100
ACCOUNTS = 2
LISTS = 3

Operation = list[Any]
"""["append", key, value], ["r", key, None] or ["get", account, None]."""


def shard_of(key: str) -> int:
    """Keys are called `1:a1`: the shard, a colon, the rest. Shards are numbered from 1."""
    return int(key.split(":")[0])


def accounts(shards: int) -> list[str]:
    return [f"{shard}:account{number}" for shard in range(1, shards + 1) for number in range(ACCOUNTS)]


def lists(shards: int, generation: int) -> list[str]:
    return [f"{shard}:list{number}.{generation}" for shard in range(1, shards + 1) for number in range(LISTS)]


def read_list(access: Access, key: str) -> list[int]:
    value = access.list(key.encode())
    return [] if value is None else [int(element) for element in value]


def balance(access: Access, key: str) -> int:
    value = access.string(key.encode())
    return START_BALANCE if value is None else int(value)


def program(access: Access, operation: bytes) -> bytes:
    """Runs the operations of one shard."""
    results: list[Operation] = []
    for kind, key, value in json.loads(operation):
        if kind == "append":
            access.apply(ListPush(0, key.encode(), False, [b"%d" % value]))
            results.append([kind, key, value])
        elif kind == "r":
            results.append([kind, key, read_list(access, key)])
        else:
            results.append([kind, key, balance(access, key)])
    return json.dumps(results).encode()


def parts_of(operations: list[Operation], watches: Mapping[str, int], *, exclusive: bool = False) -> dict[int, Part]:
    """Splits a transaction by shard."""
    parts: dict[int, Part] = {}
    for shard in sorted({shard_of(key) for _, key, _ in operations} | {shard_of(key) for key in watches}):
        mine = [operation for operation in operations if shard_of(operation[1]) == shard]
        locks = [KeyLock(0, key.encode(), exclusive or kind == "append") for kind, key, _ in mine]
        watched = [WatchedKey(0, key.encode(), ts) for key, ts in watches.items() if shard_of(key) == shard]
        locks += [KeyLock(0, watch.key, False) for watch in watched]
        parts[shard] = Part(json.dumps(mine).encode(), locks, watched)
    return parts


def transfer(results: Mapping[int, bytes], source: str, target: str, amount: int) -> dict[int, list[Effect]]:
    """Moves money if there is enough: worked out by the coordinator from both balances."""
    balances = {key: value for raw in results.values() for _, key, value in json.loads(raw)}
    effects: dict[int, list[Effect]] = {shard: [] for shard in results}
    if balances[source] >= amount:
        for key, change in ((source, -amount), (target, amount)):
            effects[shard_of(key)].append(SetString(0, key.encode(), b"%d" % (balances[key] + change)))
    return effects


def total(snapshot: Snapshot) -> int | None:
    """The sum of all accounts in a node's snapshot; None if some of it has to be asked for elsewhere."""
    result = 0
    for key in accounts(len(snapshot.local)):
        shard = shard_of(key)
        if not snapshot.may_read_key(shard, 0, key.encode()):
            return None
        value = snapshot.local[shard].space.by_id[0].get(key.encode())
        result += START_BALANCE if value is None else int(value)  # type: ignore[arg-type]
    return result


def contents(space: Keyspace) -> dict[bytes, list[bytes] | bytes]:
    """All keys and values, to compare replicas."""
    database = space.by_id[0]
    result: dict[bytes, list[bytes] | bytes] = {}
    for key in list(database.keys()):
        value = database.get(key)
        result[key] = bytes(value) if isinstance(value, bytes | bytearray) else list(value)  # type: ignore[arg-type]
    return result


@dataclass(slots=True)
class Event:
    """One transaction of the history."""

    process: int
    operations: list[Operation]
    invoked_us: int
    completed_us: int = 0
    """0: no answer; may have happened."""
    is_failed: bool = False
    is_stale: bool = False


@dataclass(slots=True)
class History:
    events: list[Event] = field(default_factory=list)

    def invoke(self, process: int, operations: list[Operation], now_us: int) -> Event:
        event = Event(process, operations, now_us)
        self.events.append(event)
        return event

    def jsonl(self) -> str:
        """One line per invocation and completion, in order of time."""
        rows: list[tuple[int, int, dict[str, Any]]] = []
        for number, event in enumerate(self.events):
            blank = [[kind, key, None if kind == "r" else value] for kind, key, value in event.operations]
            invoke = {"process": event.process, "type": "invoke", "f": "txn", "value": blank}
            if event.is_stale:
                invoke["stale"] = True
            rows.append((event.invoked_us, 2 * number, invoke | {"time_ns": event.invoked_us * 1000}))
            if event.completed_us:
                kind = "fail" if event.is_failed else "ok"
                done = {"process": event.process, "type": kind, "f": "txn", "value": event.operations}
                rows.append((event.completed_us, 2 * number + 1, done | {"time_ns": event.completed_us * 1000}))
        rows.sort(key=lambda row: row[:2])
        return "".join(json.dumps(row[2]) + "\n" for row in rows)
