"""Effects on a shard's table of slots (`makoredis.data.slot_table`). They name the table as a key of a database of its
own, so that locks, rows of checkpoints and dependencies know it like any other key."""

from makoredis.base.record import Wire, record
from makoredis.data.effects.base import NOTHING, Undo
from makoredis.data.keyspace import Keyspace
from makoredis.data.slot_table import SLOT_TABLE_DB, SLOT_TABLE_KEY, SlotTable


class PutSlotTable(Wire, tag=80):
    """Replaces the table: the first one, or one with other goals."""

    encoded: bytes
    db: int = SLOT_TABLE_DB
    key: bytes = SLOT_TABLE_KEY

    def apply(self, space: Keyspace) -> Undo:
        undo = _RestoreTable(space.slot_table)
        space.slot_table = SlotTable.decode(self.encoded)
        return undo


class AssignSlots(Wire, tag=81):
    """A run of positions belongs to a shard from now on: to this one, or to another."""

    first: int
    last: int
    shard: int
    db: int = SLOT_TABLE_DB
    key: bytes = SLOT_TABLE_KEY

    def apply(self, space: Keyspace) -> Undo:
        table = space.slot_table
        if table is None:
            return NOTHING
        space.slot_table = table.assign(self.first, self.last, self.shard)
        return _RestoreTable(table)


@record
class _RestoreTable:
    """Inverse of both: the table that was there."""

    table: SlotTable | None

    def apply(self, space: Keyspace) -> None:
        space.slot_table = self.table
