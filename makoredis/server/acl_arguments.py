"""What a request touches, for permissions: keys with how they are used, and channels."""

from collections.abc import Iterator, Sequence

from makoredis.commands.table import CommandRow
from makoredis.server.acl_selector import READ, WRITE

_ACCESS = {"ACCESS": READ, "INSERT": WRITE, "UPDATE": WRITE, "DELETE": WRITE}


def keys_of(row: CommandRow, argv: Sequence[bytes]) -> list[tuple[int, int]]:
    """Positions of the keys among the arguments, each with what is done to it: READ, WRITE, both or neither."""
    special = _SPECIAL.get(row.name)
    if special is not None:
        return list(special(argv))
    found = []
    for at, spec in row.key_positions(argv):
        if "NOT_KEY" not in spec.flags:
            access = 0
            for flag in spec.flags:
                access |= _ACCESS.get(flag, 0)
            found.append((at, access))
    return found


def _set_keys(argv: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    reads = any(word.upper() == b"GET" for word in argv[3:])
    yield 1, READ | WRITE if reads else WRITE


def _bitfield_keys(argv: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    at = 2
    writes = False
    while at < len(argv):
        word = argv[at].upper()
        writes = writes or word in (b"SET", b"INCRBY")
        at += {b"GET": 3, b"OVERFLOW": 2}.get(word, 4)
    yield 1, READ | WRITE if writes else READ


def _sort_keys(argv: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    yield 1, READ
    at, destination = 2, 0
    while at < len(argv) - 1:
        word = argv[at].upper()
        if word == b"STORE":
            destination = at + 1
        at += {b"LIMIT": 3, b"GET": 2, b"BY": 2, b"STORE": 2}.get(word, 1)
    if destination:
        yield destination, WRITE


def _migrate_keys(argv: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """The one key, or, if it is empty, those behind KEYS."""
    first, count = 3, 1
    at = 6
    while at < len(argv):
        word = argv[at].upper()
        if word == b"KEYS" and argv[3] == b"":
            first, count = at + 1, len(argv) - at - 1
            break
        at += {b"AUTH": 2, b"AUTH2": 3}.get(word, 1)
    for number in range(first, first + count):
        yield number, READ | WRITE


_SPECIAL = {
    "SET": _set_keys,
    "BITFIELD": _bitfield_keys,
    "SORT": _sort_keys,
    "SORT_RO": lambda argv: iter([(1, READ)]),
    "MIGRATE": _migrate_keys,
}

_CHANNELS = {
    "PUBLISH": (slice(1, 2), False),
    "SPUBLISH": (slice(1, 2), False),
    "SUBSCRIBE": (slice(1, None), False),
    "SSUBSCRIBE": (slice(1, None), False),
    "PSUBSCRIBE": (slice(1, None), True),
}


def channels_of(row: CommandRow, argv: Sequence[bytes]) -> tuple[range, bool]:
    """Positions of the channels that need a permission, and whether they are patterns. Leaving needs none."""
    found = _CHANNELS.get(row.name)
    if found is None:
        return range(0), False
    part, is_pattern = found
    return range(len(argv))[part], is_pattern


def sort_options_by_other_keys(argv: Sequence[bytes]) -> Iterator[str]:
    """The options of SORT that read keys which the request doesn't name: BY with a pattern, GET."""
    at = 2
    while at < len(argv) - 1:
        word = argv[at].upper()
        if word == b"GET" or (word == b"BY" and b"*" in argv[at + 1]):
            yield word.decode()
        at += {b"LIMIT": 3, b"GET": 2, b"BY": 2, b"STORE": 2}.get(word, 1)
