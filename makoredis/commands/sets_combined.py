"""Intersections, unions and differences of sets.

Results keep the order of one of the sets: nothing here depends on how Python happens to hash bytes.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import INT64_MAX, SYNTAX_ERROR, ranged
from makoredis.commands.registry import command
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import Delete, PutValue
from makoredis.data.encoding import encode_members
from makoredis.data.values import Set
from resp.replies import Reply, SetReply

_NUMKEYS_TOO_SMALL = ClientError("ERR numkeys should be greater than 0")
_NUMKEYS_TOO_LARGE = ClientError("ERR Number of keys can't be greater than number of args")
_LIMIT_NEGATIVE = ClientError("ERR LIMIT can't be negative")

_Combine = Callable[[Sequence[Set | None]], Iterable[bytes]]


def _intersection(sets: Sequence[Set | None]) -> Iterable[bytes]:
    """The members of the smallest set that are in all others; a missing set is an empty one."""
    present = [value for value in dict.fromkeys(sets) if value is not None]
    if None in sets:
        return ()
    present.sort(key=len)
    smallest, others = present[0].members, [value.positions for value in present[1:]]
    if len(others) == 1:
        other = others[0]
        return (member for member in smallest if member in other)
    return (member for member in smallest if all(member in other for other in others))


def _union(sets: Sequence[Set | None]) -> Iterable[bytes]:
    return dict.fromkeys(chain.from_iterable(value.members for value in sets if value is not None))


def _difference(sets: Sequence[Set | None]) -> Iterable[bytes]:
    """The members of the first set that are in no other."""
    first = sets[0]
    if first is None:
        return ()
    others = [value.positions for value in sets[1:] if value is not None]
    return (member for member in first.members if not any(member in other for other in others))


@command("SINTER", "Returns the intersect of multiple sets.")
def sinter(access: Access, *keys: bytes) -> Reply:
    return SetReply(list(_intersection([access.set(key) for key in keys])))


@command("SUNION", "Returns the union of multiple sets.")
def sunion(access: Access, *keys: bytes) -> Reply:
    return SetReply(list(_union([access.set(key) for key in keys])))


@command("SDIFF", "Returns the difference of multiple sets.")
def sdiff(access: Access, *keys: bytes) -> Reply:
    return SetReply(list(_difference([access.set(key) for key in keys])))


@command("SINTERCARD", "Returns the number of members of the intersect of multiple sets.")
def sintercard(access: Access, *arguments: bytes) -> Reply:
    key_count = ranged(arguments[0], 1, INT64_MAX, _NUMKEYS_TOO_SMALL)
    if key_count > len(arguments) - 1:
        raise _NUMKEYS_TOO_LARGE
    keys, options = arguments[1 : key_count + 1], arguments[key_count + 1 :]
    limit = 0
    for at in range(0, len(options), 2):
        if options[at].upper() != b"LIMIT" or at + 1 == len(options):
            raise SYNTAX_ERROR
        limit = ranged(options[at + 1], 0, INT64_MAX, _LIMIT_NEGATIVE)
    common = _intersection([access.set(key) for key in keys])
    return sum(1 for _ in (islice(common, limit) if limit else common))


@command("SINTERSTORE", "Stores the intersect of multiple sets in a key.")
def sinterstore(access: Access, destination: bytes, *keys: bytes) -> Reply:
    return _store(access, destination, keys, _intersection, b"sinterstore")


@command("SUNIONSTORE", "Stores the union of multiple sets in a key.")
def sunionstore(access: Access, destination: bytes, *keys: bytes) -> Reply:
    return _store(access, destination, keys, _union, b"sunionstore")


@command("SDIFFSTORE", "Stores the difference of multiple sets in a key.")
def sdiffstore(access: Access, destination: bytes, *keys: bytes) -> Reply:
    return _store(access, destination, keys, _difference, b"sdiffstore")


def _store(access: Access, destination: bytes, keys: Sequence[bytes], combine: _Combine, event: bytes) -> int:
    """Replaces what `destination` held by the result, whatever it was; an empty result only deletes it."""
    members = list(combine([access.set(key) for key in keys]))
    is_new = access.get(destination) is None
    if members:
        access.apply(PutValue(access.database.id, destination, encode_members(members)))
        access.notify(events.SET, event, destination)
    elif not is_new:
        access.apply(Delete(access.database.id, destination))
        access.notify(events.GENERIC, b"del", destination)
    return len(members)
