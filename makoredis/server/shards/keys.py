"""What a request touches: which databases and keys, in which shards, and whether it says so before it runs."""

from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from itertools import pairwise

from makoredis.base.errors import ClientError
from makoredis.cluster.slots import SlotMap
from makoredis.commands.arguments import database_number
from makoredis.server.routes import Route
from makoredis.txn.locks import KeyLock

Name = tuple[int, bytes]
"""Database and key."""


class Reach(Enum):
    """Where a command goes."""

    ELSEWHERE = 0
    """Not to keys."""
    NAMED = 1
    """To the keys that it names."""
    OPEN = 2
    """Perhaps to more than it names: scripts, SORT."""
    EVERYTHING = 3
    """To all keys."""


_EVERYTHING = frozenset(("DBSIZE", "KEYS", "RANDOMKEY", "SCAN", "FLUSHALL", "FLUSHDB", "SWAPDB"))
NAMES_WANTED = frozenset(("KEYS", "RANDOMKEY", "SCAN"))
"""Those that have to know all keys' names, where how many there are would not do."""


def reach_of(route: Route) -> Reach:
    """Where a command goes."""
    if route.name in _EVERYTHING:
        return Reach.EVERYTHING
    if not route.is_data or route.row.group in ("connection", "pubsub") or not route.row.key_specs:
        return Reach.ELSEWHERE
    return Reach.OPEN if route.runs_scripts or not route.row.names_all_keys else Reach.NAMED


def names_of(route: Route, argv: list[bytes], database: int, databases: int) -> list[Name]:
    """The keys that a request names, in all databases that it can mean them in.

    Args:
        databases: how many there are. Where there is none, the command itself will refuse.
    """
    keys = route.row.keys(argv)
    names = [(database, key) for key in keys]
    for word in _other_databases(route.name, argv):
        with suppress(ClientError):
            number = database_number(word, databases)
            names += [(number, key) for key in keys if number != database]
    return names


def _other_databases(name: str, argv: list[bytes]) -> list[bytes]:
    """Where MOVE and COPY … DB go, as far as they say."""
    if name == "MOVE":
        return [argv[2]]
    if name == "COPY":
        return [after for word, after in pairwise(argv[3:]) if word.upper() == b"DB"]
    return []


def divide(slots: SlotMap, names: Iterable[Name]) -> dict[int, list[Name]]:
    """The names of each shard that has any, each once."""
    divided: dict[int, list[Name]] = {}
    for name in dict.fromkeys(names):
        divided.setdefault(slots.shard_of(name[1]), []).append(name)
    return divided


def locks_on(names: Iterable[Name], *, is_exclusive: bool) -> list[KeyLock]:
    return [KeyLock(database, key, is_exclusive) for database, key in names]


def lock_on_all(*, is_exclusive: bool) -> list[KeyLock]:
    """On a shard as a whole."""
    return [KeyLock(0, None, is_exclusive)]
