"""What a server has to hold after some requests: a plain Python model of a few commands, independent of makoredis."""

from collections.abc import Iterator
from copy import deepcopy
from random import Random
from typing import Any

import redis

Command = tuple[bytes, ...]
Unit = tuple[Command, ...]
"""Requests that are acknowledged together: one, or those between MULTI and EXEC. `SELECT` comes first if needed."""
State = list[dict[bytes, Any]]
"""By database number, key → value: bytes, list, dict (hash), set, ("zset", scores), ("stream", entries)."""


def empty_state(databases: int) -> State:
    return [{} for _ in range(databases)]


def apply(state: State, database: int, command: Command) -> None:
    """Does to the model what a server does to its data. A command that a server would refuse changes nothing."""
    name, arguments = command[0], command[1:]
    if name == b"FLUSHALL":
        for each in state:
            each.clear()
    elif name == b"FLUSHDB":
        state[database].clear()
    elif name == b"SWAPDB":
        one, two = int(arguments[0]), int(arguments[1])
        state[one], state[two] = state[two], state[one]
    else:
        _APPLY[name](state[database], *arguments)


def _set(keys: dict[bytes, Any], key: bytes, value: bytes) -> None:
    keys[key] = value


def _append(keys: dict[bytes, Any], key: bytes, value: bytes) -> None:
    keys[key] = keys.get(key, b"") + value


def _incr(keys: dict[bytes, Any], key: bytes) -> None:
    keys[key] = b"%d" % (int(keys.get(key, b"0")) + 1)


def _delete(keys: dict[bytes, Any], key: bytes) -> None:
    keys.pop(key, None)


def _rpush(keys: dict[bytes, Any], key: bytes, *elements: bytes) -> None:
    keys.setdefault(key, []).extend(elements)


def _lpop(keys: dict[bytes, Any], key: bytes) -> None:
    if key in keys:
        keys[key].pop(0)
        _drop_if_empty(keys, key)


def _hset(keys: dict[bytes, Any], key: bytes, field: bytes, value: bytes) -> None:
    keys.setdefault(key, {})[field] = value


def _hdel(keys: dict[bytes, Any], key: bytes, field: bytes) -> None:
    if key in keys:
        keys[key].pop(field, None)
        _drop_if_empty(keys, key)


def _sadd(keys: dict[bytes, Any], key: bytes, member: bytes) -> None:
    keys.setdefault(key, set()).add(member)


def _srem(keys: dict[bytes, Any], key: bytes, member: bytes) -> None:
    if key in keys:
        keys[key].discard(member)
        _drop_if_empty(keys, key)


def _zadd(keys: dict[bytes, Any], key: bytes, score: bytes, member: bytes) -> None:
    keys.setdefault(key, ("zset", {}))[1][member] = float(score)


def _zrem(keys: dict[bytes, Any], key: bytes, member: bytes) -> None:
    if key in keys:
        keys[key][1].pop(member, None)
        if not keys[key][1]:
            del keys[key]


def _xadd(keys: dict[bytes, Any], key: bytes, id: bytes, field: bytes, value: bytes) -> None:
    entries = keys.setdefault(key, ("stream", []))[1]
    if not entries or int(id.split(b"-")[0]) > int(entries[-1][0].split(b"-")[0]):
        entries.append((id, {field: value}))


def _drop_if_empty(keys: dict[bytes, Any], key: bytes) -> None:
    if not keys[key]:
        del keys[key]


_APPLY: dict[bytes, Any] = {
    b"SET": _set,
    b"APPEND": _append,
    b"INCR": _incr,
    b"DEL": _delete,
    b"RPUSH": _rpush,
    b"LPOP": _lpop,
    b"HSET": _hset,
    b"HDEL": _hdel,
    b"SADD": _sadd,
    b"SREM": _srem,
    b"ZADD": _zadd,
    b"ZREM": _zrem,
    b"XADD": _xadd,
}


def read_state(client: "redis.Redis[bytes]", databases: int) -> State:
    """All that a server holds in its first databases."""
    state = empty_state(databases)
    for number, keys in enumerate(state):
        client.execute_command("SELECT", number)
        names = client.keys("*")
        types = [client.type(name) for name in names]
        for name, kind in zip(names, types):
            keys[name] = _READ[kind](client, name)
    return state


_READ: dict[bytes, Any] = {
    b"string": lambda client, key: client.get(key),
    b"list": lambda client, key: client.lrange(key, 0, -1),
    b"hash": lambda client, key: client.hgetall(key),
    b"set": lambda client, key: set(client.smembers(key)),
    b"zset": lambda client, key: ("zset", dict(client.zrange(key, 0, -1, withscores=True))),
    b"stream": lambda client, key: ("stream", client.xrange(key)),
}


class Workload:
    """Random requests on some databases, and the model of what they do."""

    def __init__(
        self, rng: Random, ids: Iterator[int], databases: list[int], count: int, *, flushes_all: bool = False
    ) -> None:
        """
        Args:
            ids: numbers that grow, for all workloads on one server.
            databases: the numbers that it writes to; nobody else does.
            count: of all databases in the model.
            flushes_all: whether FLUSHALL is among the requests.
        """
        self.rng = rng
        self.databases = databases
        self.flushes_all = flushes_all
        self.state = empty_state(count)
        """After everything acknowledged."""
        self.under_way: list[tuple[int, Unit]] = []
        """Sent and not acknowledged, in order, each with its database."""
        self._ids = ids

    def next(self) -> tuple[int, Unit]:
        """The next unit, which counts as sent."""
        database = self.rng.choice(self.databases)
        unit = tuple(self._command() for _ in range(self.rng.choice((1, 1, 1, 2, 5))))
        self.under_way.append((database, unit))
        return database, unit

    def acknowledged(self) -> None:
        """The oldest unit was answered."""
        database, unit = self.under_way.pop(0)
        for command in unit:
            apply(self.state, database, command)

    def settle(self, found: State) -> int:
        """After a crash: some prefix of what was under way may have happened as well, in whole units.

        Returns: how many units of it had. Raises: AssertionError when none explains what was found.
        """
        candidate = deepcopy(self.state)
        problems = [_difference(candidate, found)]
        for happened in range(len(self.under_way) + 1):
            if happened:
                database, unit = self.under_way[happened - 1]
                for command in unit:
                    apply(candidate, database, command)
                problems.append(_difference(candidate, found))
            if not problems[-1]:
                self.state = candidate
                self.under_way.clear()
                return happened
        raise AssertionError(f"nothing under way explains this: {problems[0]}")

    def _command(self) -> Command:
        rng = self.rng
        chance = rng.random()
        if chance < 0.004:
            return (b"FLUSHALL",) if self.flushes_all else (b"FLUSHDB",)
        if chance < 0.008:
            return (b"FLUSHDB",)
        if chance < 0.02 and len(self.databases) > 1:
            return (b"SWAPDB", *(b"%d" % number for number in rng.sample(self.databases, 2)))
        number, member = rng.randrange(8), b"m%d" % rng.randrange(12)
        id = next(self._ids)
        value = b"v%d" % id + b"x" * rng.choice((0, 0, 10, 200))
        return rng.choice(
            (
                (b"SET", b"s%d" % number, value),
                (b"APPEND", b"a%d" % number, value),
                (b"INCR", b"i%d" % number),
                (b"DEL", b"%s%d" % (rng.choice((b"s", b"a", b"i", b"l", b"h", b"e", b"z")), number)),
                (b"RPUSH", b"l%d" % number, value, member),
                (b"LPOP", b"l%d" % number),
                (b"HSET", b"h%d" % number, member, value),
                (b"HDEL", b"h%d" % number, member),
                (b"SADD", b"e%d" % number, member),
                (b"SREM", b"e%d" % number, member),
                (b"ZADD", b"z%d" % number, b"%d" % rng.randrange(100), member),
                (b"ZREM", b"z%d" % number, member),
                (b"XADD", b"x%d" % number, b"%d-0" % id, b"f", value),
            )
        )


def _difference(expected: State, found: State) -> str:
    """The first things in which two states differ; empty if there are none."""
    lines = []
    for number, (mine, theirs) in enumerate(zip(expected, found)):
        for key in sorted(mine.keys() | theirs.keys()):
            if mine.get(key) != theirs.get(key):
                lines.append(f"database {number}, {key!r}: expected {mine.get(key)!r}, found {theirs.get(key)!r}")
    return "; ".join(lines[:3])
