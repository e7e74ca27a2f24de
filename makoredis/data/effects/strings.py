"""Effects on strings. A string that is changed in place becomes a `bytearray`, so that SETBIT on a bitmap of 100 MB
touches one byte."""

from binascii import crc_hqx
from collections.abc import Mapping

from makoredis.base.ids import SLOT_COUNT
from makoredis.base.record import Wire, record
from makoredis.data.effects.base import Forget, PutBack, Undo
from makoredis.data.keyspace import Database, Keyspace
from makoredis.data.slots import slot_of

KEEP_DEADLINE = -1
_OPENING_BRACE = ord("{")
_SLOT_MASK = SLOT_COUNT - 1


class SetString(Wire, tag=10):
    """Sets a key to a string. The deadline is set (0 = none) unless it is `KEEP_DEADLINE`."""

    db: int
    key: bytes
    value: bytes
    deadline_ms: int = 0

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        key = self.key
        deadline = database.expires.get(key, 0) if database.expires else 0
        slot = database.slots[slot_of(key) if _OPENING_BRACE in key else crc_hqx(key, 0) & _SLOT_MASK]
        old = slot.get(key)
        if old is None:
            database.put(key, self.value)
        else:
            slot[key] = self.value  # what `put` would do with a string, without the call
        if self.deadline_ms != deadline and self.deadline_ms != KEEP_DEADLINE:
            database.set_deadline(key, self.deadline_ms)
        if old is None:
            return Forget(self.db, key)
        return PutBack(self.db, key, old, deadline)


def put_strings(database: Database, values: Mapping[bytes, bytes]) -> None:
    """What `SetString` does to keys without deadlines, for when neither it nor its inverse is needed."""
    slots = database.slots
    for key, value in values.items():
        slot = slots[slot_of(key) if _OPENING_BRACE in key else crc_hqx(key, 0) & _SLOT_MASK]
        if key in slot:
            slot[key] = value
        else:
            database.put(key, value)
            slots = database.slots


class SetRange(Wire, tag=11):
    """Overwrites bytes from an offset on, padding with zeros; an offset at the end appends. Creates the key."""

    db: int
    key: bytes
    offset: int
    data: bytes

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        old = database.get(self.key)
        if old is None:
            database.put(self.key, bytearray(self.offset) + self.data)
            return Forget(self.db, self.key)
        assert isinstance(old, bytes | bytearray)
        if isinstance(old, bytes):
            changed = bytearray(old)
            database.put(self.key, changed)
            undo: Undo = PutBack(self.db, self.key, old, database.expires.get(self.key, 0))
        else:
            changed = old
            replaced = bytes(old[self.offset : self.offset + len(self.data)])
            undo = _RestoreRange(self.db, self.key, self.offset, replaced, len(old))
        if self.offset > len(changed):
            changed.extend(bytes(self.offset - len(changed)))
        changed[self.offset : self.offset + len(self.data)] = self.data
        return undo


@record
class _RestoreRange:
    """Inverse of SetRange in place: the bytes that were overwritten, and the length before."""

    db: int
    key: bytes
    offset: int
    data: bytes
    length: int

    def apply(self, space: Keyspace) -> None:
        value = space.by_id[self.db].get(self.key)
        assert isinstance(value, bytearray)
        value[self.offset : self.offset + len(self.data)] = self.data
        del value[self.length :]


class SpliceString(Wire, tag=12):
    """Replaces some bytes in the middle of an existing string by others, of any length."""

    db: int
    key: bytes
    offset: int
    removed: int
    data: bytes

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        old = database.get(self.key)
        assert isinstance(old, bytes | bytearray)
        end = self.offset + self.removed
        if isinstance(old, bytes):
            database.put(self.key, bytearray(old[: self.offset] + self.data + old[end:]))
            return PutBack(self.db, self.key, old, database.expires.get(self.key, 0))
        undo = SpliceString(self.db, self.key, self.offset, len(self.data), bytes(old[self.offset : end]))
        old[self.offset : end] = self.data
        return undo
