"""Commands on one set. Those that combine sets are in `sets_combined`."""

from collections.abc import Sequence

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import INT64_MAX, SYNTAX_ERROR, pick_count, ranged
from makoredis.commands.registry import command, series, sole_key
from makoredis.commands.scan_options import parse_cursor, parse_scan_options
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import SetAdd, SetRemove
from makoredis.data.values import Set
from resp.replies import Reply, SetReply

_NOT_POSITIVE = ClientError("ERR value is out of range, must be positive")


@command("SADD", "Adds one or more members to a set. Creates the key if it doesn't exist.")
def sadd(access: Access, key: bytes, *members: bytes) -> Reply:
    value = access.set(key)
    if value is None:
        new = list(dict.fromkeys(members))
        access.apply(SetAdd(access.database.id, key, new))
    else:
        positions = value.positions
        new = [member for member in members if member not in positions]
        if not new:
            return 0
        if len(new) > 1:
            new = list(dict.fromkeys(new))
        access.apply(SetAdd(access.database.id, key, new))
    access.notify(events.SET, b"sadd", key)
    return len(new)


@series("SADD")
def _sadd_series(access: Access, keys: Sequence[bytes], *columns: Sequence[bytes]) -> list[int] | None:
    key = sole_key(keys)
    if key is None or len(columns) != 1:
        return None
    value = access.set(key)
    present = {} if value is None else value.positions
    new: dict[bytes, None] = {}
    replies = []
    for member in columns[0]:
        is_new = member not in present and member not in new
        if is_new:
            new[member] = None
        replies.append(1 if is_new else 0)
    if new:
        access.apply(SetAdd(access.database.id, key, list(new)))
        access.notify(events.SET, b"sadd", key)
    return replies


@command("SREM", "Removes one or more members from a set. Deletes the set if the last member was removed.")
def srem(access: Access, key: bytes, *members: bytes) -> Reply:
    value = access.set(key)
    if value is None:
        return 0
    present = [member for member in dict.fromkeys(members) if member in value.positions]
    if present:
        remove(access, key, value, present, b"srem")
    return len(present)


def remove(access: Access, key: bytes, value: Set, members: list[bytes], event: bytes) -> None:
    """Removes members, all of which are in the set at `key`."""
    is_last = len(members) == len(value.members)
    access.apply(SetRemove(access.database.id, key, members))
    access.notify(events.SET, event, key)
    if is_last:
        access.notify(events.GENERIC, b"del", key)


@command("SISMEMBER", "Determines whether a member belongs to a set.")
def sismember(access: Access, key: bytes, member: bytes) -> Reply:
    value = access.set(key)
    return 1 if value is not None and member in value.positions else 0


@command("SMISMEMBER", "Determines whether multiple members belong to a set.")
def smismember(access: Access, key: bytes, *members: bytes) -> Reply:
    value = access.set(key)
    if value is None:
        return [0] * len(members)
    return [1 if member in value.positions else 0 for member in members]


@command("SCARD", "Returns the number of members in a set.")
def scard(access: Access, key: bytes) -> Reply:
    value = access.set(key)
    return 0 if value is None else len(value.members)


@command("SMEMBERS", "Returns all members of a set.")
def smembers(access: Access, key: bytes) -> Reply:
    value = access.set(key)
    return SetReply([] if value is None else value.members.copy())


@command("SMOVE", "Moves a member from one set to another.")
def smove(access: Access, source: bytes, destination: bytes, member: bytes) -> Reply:
    value = access.set(source)
    if value is None:
        return 0
    target = access.set(destination)
    if member not in value.positions:
        return 0
    if value is target:
        return 1
    remove(access, source, value, [member], b"srem")
    if target is None or member not in target.positions:
        access.apply(SetAdd(access.database.id, destination, [member]))
        access.notify(events.SET, b"sadd", destination)
    return 1


@command("SPOP", "Returns one or more random members from a set after removing them. Deletes the set if it empties.")
def spop(access: Access, key: bytes, *counts: bytes) -> Reply:
    if counts:
        return _pop_many(access, key, counts)
    value = access.set(key)
    if value is None:
        return None
    members = value.members
    member = members[int(access.rng.random() * len(members))]
    remove(access, key, value, [member], b"spop")
    return member


def _pop_many(access: Access, key: bytes, counts: tuple[bytes, ...]) -> Reply:
    if len(counts) > 1:
        raise SYNTAX_ERROR
    count = ranged(counts[0], 0, INT64_MAX, _NOT_POSITIVE)
    value = access.set(key)
    if value is None or count == 0:
        return SetReply([])
    members = value.members
    chosen = members.copy() if count >= len(members) else access.rng.sample(members, count)
    remove(access, key, value, chosen, b"spop")
    return SetReply(chosen)


@command("SRANDMEMBER", "Get one or multiple random members from a set.")
def srandmember(access: Access, key: bytes, *counts: bytes) -> Reply:
    if not counts:
        value = access.set(key)
        return None if value is None else value.members[int(access.rng.random() * len(value.members))]
    if len(counts) > 1:
        raise SYNTAX_ERROR
    count = pick_count(counts[0])
    value = access.set(key)
    if value is None or count == 0:
        return []
    if count < 0:
        return access.rng.choices(value.members, k=-count)
    return value.members.copy() if count >= len(value.members) else access.rng.sample(value.members, count)


@command("SSCAN", "Iterates over members of a set.")
def sscan(access: Access, key: bytes, cursor: bytes, *options: bytes) -> Reply:
    position = parse_cursor(cursor)
    value = access.set(key)
    if value is None:
        return [b"0", []]
    chosen = parse_scan_options(options)
    if value.encoding(access.space.config) == b"hashtable":
        position, members = value.scan(position, chosen.count)
    else:
        position, members = 0, value.members.copy()
    if chosen.matches is not None:
        members = [member for member in members if chosen.matches(member)]
    return [b"%d" % position, members]
