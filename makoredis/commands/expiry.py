"""Deadlines of keys: setting, reading, clearing. Whatever form the client uses, the effect carries absolute time."""

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import INT64_MAX, INT64_MIN, int64
from makoredis.commands.registry import command
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import Delete, SetDeadline


@command("EXPIRE", "Sets the expiration time of a key in seconds.")
def expire(access: Access, key: bytes, seconds: bytes, *conditions: bytes) -> int:
    return _expire(access, key, seconds, 1000, access.now_ms, conditions, "expire")


@command("PEXPIRE", "Sets the expiration time of a key in milliseconds.")
def pexpire(access: Access, key: bytes, milliseconds: bytes, *conditions: bytes) -> int:
    return _expire(access, key, milliseconds, 1, access.now_ms, conditions, "pexpire")


@command("EXPIREAT", "Sets the expiration time of a key to a Unix timestamp.")
def expireat(access: Access, key: bytes, seconds: bytes, *conditions: bytes) -> int:
    return _expire(access, key, seconds, 1000, 0, conditions, "expireat")


@command("PEXPIREAT", "Sets the expiration time of a key to a Unix milliseconds timestamp.")
def pexpireat(access: Access, key: bytes, milliseconds: bytes, *conditions: bytes) -> int:
    return _expire(access, key, milliseconds, 1, 0, conditions, "pexpireat")


def _expire(
    access: Access, key: bytes, raw: bytes, unit_ms: int, base_ms: int, conditions: tuple[bytes, ...], name: str
) -> int:
    """Sets a deadline of `base_ms` plus so many units; one in the past deletes at once. Returns 1 if it was set."""
    chosen = _parse_conditions(conditions) if conditions else frozenset()
    deadline_ms = int64(raw) * unit_ms
    if INT64_MIN <= deadline_ms <= INT64_MAX:
        deadline_ms += base_ms
    if not INT64_MIN <= deadline_ms <= INT64_MAX:
        raise ClientError(f"ERR invalid expire time in '{name}' command")
    if access.get(key) is None or (chosen and not _is_allowed(chosen, access.deadline(key), deadline_ms)):
        return 0
    if deadline_ms <= access.now_ms:
        access.apply(Delete(access.database.id, key))
        access.notify(events.GENERIC, b"del", key)
    else:
        access.apply(SetDeadline(access.database.id, key, deadline_ms))
        access.notify(events.GENERIC, b"expire", key)
    return 1


_CONDITIONS = frozenset((b"NX", b"XX", b"GT", b"LT"))


def _parse_conditions(conditions: tuple[bytes, ...]) -> frozenset[bytes]:
    chosen = frozenset(condition.upper() for condition in conditions)
    if not chosen <= _CONDITIONS:
        unknown = next(condition for condition in conditions if condition.upper() not in _CONDITIONS)
        raise ClientError(f"ERR Unsupported option {unknown.decode(errors='surrogateescape')}")
    if b"NX" in chosen and len(chosen) > 1:
        raise ClientError("ERR NX and XX, GT or LT options at the same time are not compatible")
    if {b"GT", b"LT"} <= chosen:
        raise ClientError("ERR GT and LT options at the same time are not compatible")
    return chosen


def _is_allowed(chosen: frozenset[bytes], current_ms: int, deadline_ms: int) -> bool:
    """Whether the conditions let a deadline replace the current one. None (0) counts as later than any."""
    if b"NX" in chosen and current_ms:
        return False
    if b"XX" in chosen and not current_ms:
        return False
    if b"GT" in chosen and (not current_ms or deadline_ms <= current_ms):
        return False
    return not (b"LT" in chosen and current_ms and deadline_ms >= current_ms)


@command("TTL", "Returns the expiration time in seconds of a key.")
def ttl(access: Access, key: bytes) -> int:
    remaining = pttl(access, key)
    return (remaining + 500) // 1000 if remaining >= 0 else remaining


@command("PTTL", "Returns the expiration time in milliseconds of a key.")
def pttl(access: Access, key: bytes) -> int:
    deadline_ms = pexpiretime(access, key)
    return deadline_ms - access.now_ms if deadline_ms >= 0 else deadline_ms


@command("EXPIRETIME", "Returns the expiration time of a key as a Unix timestamp.")
def expiretime(access: Access, key: bytes) -> int:
    deadline_ms = pexpiretime(access, key)
    return (deadline_ms + 500) // 1000 if deadline_ms >= 0 else deadline_ms


@command("PEXPIRETIME", "Returns the expiration time of a key as a Unix milliseconds timestamp.")
def pexpiretime(access: Access, key: bytes) -> int:
    if access.peek(key) is None:
        return -2
    return access.deadline(key) or -1


@command("PERSIST", "Removes the expiration time of a key.")
def persist(access: Access, key: bytes) -> int:
    if access.get(key) is None or not access.deadline(key):
        return 0
    access.apply(SetDeadline(access.database.id, key, 0))
    access.notify(events.GENERIC, b"persist", key)
    return 1
