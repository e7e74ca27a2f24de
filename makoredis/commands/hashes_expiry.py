"""Deadlines of single fields of a hash: HEXPIRE and its relatives, of Redis 7.4.

Each answers an array with one integer per field, in which -2 stands for "no such field (or no such hash)".
"""

from collections.abc import Callable, Sequence

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import INT64_MAX, int64, ranged
from makoredis.commands.hashes import remove_fields
from makoredis.commands.registry import command
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import HashExpire
from makoredis.data.values import Hash
from resp.replies import Reply

_DEADLINE_MAX = 0x0000FFFFFFFFFFFE >> 2
"""The latest that Redis can store for a field, in milliseconds: the year 4199."""

_NO_FIELD, _NO_DEADLINE = -2, -1
_NOT_MET, _SET, _DELETED = 0, 1, 2

_NEGATIVE = ClientError("ERR invalid expire time, must be >= 0")
_NO_FIELDS_KEYWORD = ClientError("ERR Mandatory argument FIELDS is missing or not at the right position")
_FIELD_COUNT_TOO_SMALL = ClientError("ERR Parameter `numFields` should be greater than 0")
_FIELD_COUNT_NOT_POSITIVE = ClientError("ERR Number of fields must be a positive integer")
_FIELD_COUNT_WRONG = ClientError("ERR The `numfields` parameter must match the number of arguments")

_CONDITIONS: dict[bytes, Callable[[int, int], bool]] = {
    b"NX": lambda old, new: old == 0,
    b"XX": lambda old, new: old != 0,
    b"GT": lambda old, new: 0 < old < new,
    b"LT": lambda old, new: old == 0 or new < old,
}
"""Whether a deadline may replace the old one (0 = none)."""


@command("HEXPIRE", "Sets expiry for hash fields using relative time in seconds.")
def hexpire(access: Access, key: bytes, time: bytes, *rest: bytes) -> Reply:
    return _expire(access, "hexpire", key, time, 1000, access.now_ms, rest)


@command("HPEXPIRE", "Sets expiry for hash fields using relative time in milliseconds.")
def hpexpire(access: Access, key: bytes, time: bytes, *rest: bytes) -> Reply:
    return _expire(access, "hpexpire", key, time, 1, access.now_ms, rest)


@command("HEXPIREAT", "Sets expiry for hash fields using an absolute Unix time in seconds.")
def hexpireat(access: Access, key: bytes, time: bytes, *rest: bytes) -> Reply:
    return _expire(access, "hexpireat", key, time, 1000, 0, rest)


@command("HPEXPIREAT", "Sets expiry for hash fields using an absolute Unix time in milliseconds.")
def hpexpireat(access: Access, key: bytes, time: bytes, *rest: bytes) -> Reply:
    return _expire(access, "hpexpireat", key, time, 1, 0, rest)


def _expire(access: Access, name: str, key: bytes, time: bytes, unit: int, base: int, rest: Sequence[bytes]) -> Reply:
    """`time` counts in `unit` milliseconds from `base` on; `rest` is `[NX|XX|GT|LT] FIELDS numfields field …`."""
    value = access.hash(key)
    deadline = _deadline(name, time, unit, base)
    condition = _CONDITIONS.get(rest[0].upper())
    fields = _fields(rest if condition is None else rest[1:], _FIELD_COUNT_TOO_SMALL)
    if value is None:
        return [_NO_FIELD] * len(fields)
    old = value.deadlines.by_name if value.deadlines is not None else {}
    is_past = deadline <= access.now_ms
    chosen: dict[bytes, None] = {}
    results: list[int] = []
    for field in fields:
        if field not in value.fields or (is_past and field in chosen):
            results.append(_NO_FIELD)
        elif condition is not None and not condition(deadline if field in chosen else old.get(field, 0), deadline):
            results.append(_NOT_MET)
        else:
            chosen[field] = None
            results.append(_DELETED if is_past else _SET)
    if chosen and is_past:
        remove_fields(access, key, value, list(chosen))
    elif chosen:
        access.apply(HashExpire(access.database.id, key, list(chosen), deadline))
        access.notify(events.HASH, b"hexpire", key)
    return results


def _deadline(name: str, time: bytes, unit: int, base: int) -> int:
    amount = int64(time)
    if amount < 0:
        raise _NEGATIVE
    deadline = amount * unit + base
    if deadline > _DEADLINE_MAX:
        raise ClientError(f"ERR invalid expire time in '{name}' command")
    return deadline


def _fields(arguments: Sequence[bytes], count_error: ClientError) -> Sequence[bytes]:
    """`FIELDS numfields field …` → the fields."""
    if not arguments or arguments[0].upper() != b"FIELDS":
        raise _NO_FIELDS_KEYWORD
    count = ranged(arguments[1], 1, INT64_MAX, count_error) if len(arguments) > 1 else 0
    if count != len(arguments) - 2:
        raise _FIELD_COUNT_WRONG
    return arguments[2:]


@command("HTTL", "Returns the TTL in seconds of a hash field.")
def httl(access: Access, key: bytes, *rest: bytes) -> Reply:
    return _deadlines(access, key, rest, lambda deadline: (deadline + 999 - access.now_ms) // 1000)


@command("HPTTL", "Returns the TTL in milliseconds of a hash field.")
def hpttl(access: Access, key: bytes, *rest: bytes) -> Reply:
    return _deadlines(access, key, rest, lambda deadline: deadline - access.now_ms)


@command("HEXPIRETIME", "Returns the expiration time of a hash field as a Unix timestamp, in seconds.")
def hexpiretime(access: Access, key: bytes, *rest: bytes) -> Reply:
    return _deadlines(access, key, rest, lambda deadline: (deadline + 999) // 1000)


@command("HPEXPIRETIME", "Returns the expiration time of a hash field as a Unix timestamp, in msec.")
def hpexpiretime(access: Access, key: bytes, *rest: bytes) -> Reply:
    return _deadlines(access, key, rest, lambda deadline: deadline)


def _deadlines(access: Access, key: bytes, rest: Sequence[bytes], show: Callable[[int], int]) -> Reply:
    value = access.hash(key)
    results: list[int] = []
    for field in _fields(rest, _FIELD_COUNT_NOT_POSITIVE):
        deadline = _deadline_of(value, field)
        results.append(show(deadline) if deadline > 0 else deadline)
    return results


def _deadline_of(value: Hash | None, field: bytes) -> int:
    if value is None or field not in value.fields:
        return _NO_FIELD
    return _NO_DEADLINE if value.deadlines is None else value.deadlines.by_name.get(field, _NO_DEADLINE)


@command("HPERSIST", "Removes the expiration time for each specified field.")
def hpersist(access: Access, key: bytes, *rest: bytes) -> Reply:
    value = access.hash(key)
    kept: dict[bytes, None] = {}
    results: list[int] = []
    for field in _fields(rest, _FIELD_COUNT_NOT_POSITIVE):
        deadline = _NO_DEADLINE if field in kept else _deadline_of(value, field)
        if deadline > 0:
            kept[field] = None
        results.append(_SET if deadline > 0 else deadline)
    if kept:
        access.apply(HashExpire(access.database.id, key, list(kept), 0))
        access.notify(events.HASH, b"hpersist", key)
    return results
