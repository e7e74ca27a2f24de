"""Walking the keys: SCAN, KEYS, RANDOMKEY.

SCAN goes through the slots in order, and within a slot through the CRC32 of its keys. So its cursor is a place, not a
state: it survives any change, a restart, and a slot's move to another node; a key that is there throughout is returned.
Hash order within a slot is looked up anew on each call, which is cheap for the few keys of a normal slot; a slot with
many keys keeps them in that order (`ScanDict`).
"""

from typing import Any
from zlib import crc32

from makoredis.base.ids import SLOT_COUNT
from makoredis.commands.glob import matcher, slot_of_pattern
from makoredis.commands.registry import command
from makoredis.commands.scan_options import ScanOptions, parse_cursor, parse_scan_options
from makoredis.data.access import Access
from makoredis.data.keyspace import Slot
from makoredis.data.values import TYPE_NAMES
from makoredis.data.values.scan_dict import ScanDict

_HASH_BITS = 32
"""A cursor is `slot << 32 | hash of the next key`; 0 begins and ends."""
_HASH_MASK = (1 << _HASH_BITS) - 1
_WHOLE_SLOT_MAX = 16
"""A slot with at most so many keys more than asked for is returned whole: cutting it costs more than it spares."""
_RANDOM_TRIES = 100
SCAN_TAKES = frozenset((b"TYPE",))


@command("SCAN", "Iterates over the key names in the database.")
def scan(access: Access, cursor: bytes, *options: bytes) -> list[Any]:
    start = parse_cursor(cursor)
    chosen = parse_scan_options(options, SCAN_TAKES)
    access.walk(chosen.pattern)
    following, keys = _scan_slots(access, start, chosen)
    if chosen.matches is not None:
        keys = list(filter(chosen.matches, keys))
    if chosen.type_name is not None:
        keys = [key for key in keys if _type_name(access, key) == chosen.type_name]
    if access.database.expires:
        keys = [key for key in keys if access.is_live(key)]
    return [b"%d" % following, keys]


def _type_name(access: Access, key: bytes) -> bytes | None:
    return TYPE_NAMES.get(type(access.database.get(key)))


def _scan_slots(access: Access, cursor: int, options: ScanOptions) -> tuple[int, list[bytes]]:
    """The next cursor, and the keys from a cursor on, expired or not: about `count`, fewer only at the end."""
    database = access.database
    number, hashed = cursor >> _HASH_BITS, cursor & _HASH_MASK
    only = slot_of_pattern(options.pattern) if options.pattern is not None else None
    if only is not None:
        if number > only:
            return 0, []
        if number < only:
            number, hashed = only, 0
    end = SLOT_COUNT if only is None else only + 1
    found: list[bytes] = []
    while number < end:
        number = database.first_slot_used(number) if only is None else number
        if number >= end:
            break
        hashed, keys = _scan_slot(database.slots[number], hashed, options.count - len(found))
        found += keys
        if not hashed:
            number += 1
        if len(found) >= options.count:
            break
    return (number << _HASH_BITS | hashed if number < end else 0), found


def _scan_slot(slot: Slot, start: int, count: int) -> tuple[int, list[bytes]]:
    """The hash to go on with (0 at the slot's end), and about `count` keys with hashes from `start` on."""
    if type(slot) is ScanDict:
        following, pairs = slot.scan(start, count)
        return following, [key for key, _ in pairs]
    if not start and len(slot) <= count + _WHOLE_SLOT_MAX:
        return 0, list(slot)
    hashes = sorted((hashed, key) for key in slot if (hashed := crc32(key)) >= start)
    end = min(count, len(hashes))
    while 0 < end < len(hashes) and hashes[end][0] == hashes[end - 1][0]:
        end += 1
    return (hashes[end][0] if end < len(hashes) else 0), [key for _, key in hashes[:end]]


@command("KEYS", "Returns all key names that match a pattern.")
def keys(access: Access, pattern: bytes) -> list[bytes]:
    access.walk(None if pattern == b"*" else pattern)
    database = access.database
    only = None if pattern == b"*" else slot_of_pattern(pattern)
    found = list(database.keys() if only is None else database.slots[only])
    if pattern != b"*":
        found = list(filter(matcher(pattern), found))
    if database.expires:
        found = [key for key in found if not database.is_expired(key, access.now_ms)]
    return found


@command("RANDOMKEY", "Returns a random key name from the database.")
def randomkey(access: Access) -> bytes | None:
    database = access.database
    # On a replica expired keys stay until the leader's deletion arrives, hence the limit.
    for _ in range(_RANDOM_TRIES if access.is_replica else database.size):
        if not database.size:
            break
        key = database.key_at(access.rng.randrange(database.size))
        if access.is_live(key):
            return key
    return None
