"""From rows and record of a shard's checkpoint to a replica, where there are several shards (`txn.replica`)."""

from makoredis.base.record import wire_decoder
from makoredis.cluster.loading import Progress, load_rows
from makoredis.data.encoding import decode_value
from makoredis.data.keyspace import Keyspace
from makoredis.data.slot_table import SLOT_TABLE_DB, SlotTable
from makoredis.storage.engine import Reader
from makoredis.storage.state import TOMBSTONE, Row, StateTable
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.replica import Replica, ShardCheckpoint, tell_known

_decode = wire_decoder(ShardCheckpoint)


class ShardLoader:
    """Fills an empty keyspace with one shard's checkpoint. A row's index is the timestamp that it goes up to."""

    def __init__(self, shard: int, space: Keyspace, blob: bytes, index: int = 0) -> None:
        """
        Args:
            blob: empty where there are no data, on a log witness.
            index: what the checkpoint goes up to then.
        """
        self.shard = shard
        self.space = space
        self.saved: ShardCheckpoint = _decode(blob) if blob else _without_data(index)
        self._newer: dict[tuple[int, bytes], int] = {}

    def put(self, row: Row) -> None:
        """Takes one row over."""
        db, _, key, ts, deadline, tag, value = row
        if ts > self.saved.ts:
            self._newer[db, key] = ts
        if db == SLOT_TABLE_DB:
            self.space.slot_table = SlotTable.decode(value)
        elif tag != TOMBSTONE:
            database = self.space.by_id[db]
            database.put(key, decode_value(bytes((tag,)) + value))
            if deadline is not None:
                database.set_deadline(key, deadline)

    def replica(self, knowledge: Knowledge) -> Replica:
        """What was loaded."""
        tell_known(self.saved, knowledge)
        return Replica.load(self.shard, self.space, self.saved, self._newer)


def _without_data(index: int) -> ShardCheckpoint:
    return ShardCheckpoint(index, 0, 0, 0, 0, [], [], [], [], [])


def load_replica(
    reader: Reader, table: StateTable, space: Keyspace, knowledge: Knowledge, progress: Progress
) -> Replica:
    """The replica of the checkpoint on the disk; an empty one if there is none yet.

    Raises: StorageError for damage.
    """
    checkpoint = table.checkpoint
    loader = ShardLoader(table.shard, space, checkpoint.blob, checkpoint.index)
    load_rows(reader, table, loader, progress)
    return loader.replica(knowledge)
