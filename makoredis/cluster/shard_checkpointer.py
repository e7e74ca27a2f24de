"""Checkpoints where there are several shards. What they are made of, and why it is right: `makoredis.txn.replica`.

All keys are written, a bounded time per tick, while transactions go on; each row says up to which timestamp it goes.
The last batch, which makes the checkpoint valid, waits until the global watermark has reached the highest of them,
because until then something in a row could turn out to be void. If a leader takes something back, or a leadership
begins or ends, meanwhile, all begins anew.

Left out: writing only what has changed. Each checkpoint is a whole new state beside the one before.
"""

import time
from collections.abc import Iterable

from makoredis.base.ids import Index, Slot
from makoredis.base.record import wire_encode
from makoredis.cluster.checkpointer import (
    CAPTURE_KEYS_BETWEEN_LOOKS,
    CAPTURE_SECONDS_PER_TICK,
    QUEUE_BYTES_MAX,
    Cleaner,
    Written,
    nothing,
)
from makoredis.cluster.replica import ShardReplica
from makoredis.consensus.types import SnapshotMetadata
from makoredis.data.effects import Effect
from makoredis.data.encoding import encode_value
from makoredis.data.slot_table import SLOT_TABLE_DB, SLOT_TABLE_KEY
from makoredis.data.slots import slot_of
from makoredis.storage.state import CheckpointWriter, StateTable
from makoredis.storage.store import Store
from makoredis.txn.participant import Participant
from makoredis.txn.replica import Replica, ShardCheckpoint, finish

SLOT_TABLE_TAG = 1
"""The type in the row of the table of slots; which one it is, its database says."""


class _Capture:
    """One checkpoint under way."""

    def __init__(self, local: Replica | Participant, metadata: SnapshotMetadata, writer: CheckpointWriter) -> None:
        self.local = local
        self.voided_count = _voided_count(local)
        self.saved: ShardCheckpoint = local.checkpoint()
        self.rows_ts = self.saved.rows_ts
        self.metadata = metadata
        self.writer = writer
        space = local.space
        self.left = [dict.fromkeys(database.keys()) for database in space.by_id]
        for effect in _executed_ahead(local):
            assert effect.key is not None
            if effect.db != SLOT_TABLE_DB:
                self.left[effect.db][effect.key] = None
        self.has_table = False

    def is_void(self, local: object) -> bool:
        """Whether what was written may not be so any more."""
        return local is not self.local or _voided_count(self.local) != self.voided_count

    def write_some(self, until: float) -> bool:
        """Writes keys until the time is over. Returns whether all are done."""
        if not self.has_table:
            self._write_table()
        count = 0
        for db, left in enumerate(self.left):
            while left:
                self._write(db, left.popitem()[0])
                count += 1
                if count % CAPTURE_KEYS_BETWEEN_LOOKS == 0 and time.monotonic() > until:
                    return False
        return True

    def _write_table(self) -> None:
        """Whose slots are whose, as a row like any other."""
        self.has_table = True
        ts = self.local.row_ts(SLOT_TABLE_DB, SLOT_TABLE_KEY)
        table = self.local.space.slot_table
        if table is not None:
            self.rows_ts = max(self.rows_ts, ts)
            self.writer.put((SLOT_TABLE_DB, Slot(0), SLOT_TABLE_KEY, Index(ts), None, SLOT_TABLE_TAG, table.encode()))

    def _write(self, db: int, key: bytes) -> None:
        database = self.local.space.by_id[db]
        value = database.get(key)
        ts = self.local.row_ts(db, key)
        self.rows_ts = max(self.rows_ts, ts)
        slot = Slot(slot_of(key))
        if value is None:
            self.writer.delete(db, slot, key, Index(ts))
            return
        encoded = encode_value(value)
        deadline = database.expires.get(key)
        self.writer.put((db, slot, key, Index(ts), deadline, encoded[0], encoded[1:]))


class ShardCheckpointer:
    """Writes one shard's checkpoints, one at a time."""

    def __init__(self, replica: ShardReplica, store: Store, table: StateTable) -> None:
        self.replica = replica
        self.store = store
        self.table = table
        self.is_requested = False
        self.is_running = False
        self.count = 0
        """Checkpoints since start."""
        self._capture: _Capture | None = None
        self.cleaner = Cleaner(replica.disk, store, table)

    def request(self) -> None:
        """Asks for a checkpoint as soon as possible."""
        self.is_requested = True

    def tick(self, log_bytes_max: int) -> None:
        """Goes on with the checkpoint under way, or begins one if it is due."""
        until = time.monotonic() + CAPTURE_SECONDS_PER_TICK
        local = self.replica.snapshot.local[self.replica.shard]
        if self._capture is not None and self._capture.is_void(local):
            self._stop()
            self.is_requested = True
        if not self.is_running and (self.is_requested or self.replica.log_bytes > log_bytes_max):
            assert isinstance(local, Replica | Participant)
            self._begin(local)
        if self._capture is not None:
            self._proceed(self._capture, until)
        elif not self.is_running:
            self.cleaner.clean_up(until)

    def _begin(self, local: Replica | Participant) -> None:
        """Starts one, unless nothing new is chosen or what there is can't be begun with: then the next tick tries."""
        replica = self.replica
        index = local.checkpoint_index()
        has_flush = any(effect.key is None for effect in _executed_ahead(local))
        if index <= self.table.checkpoint.index:
            self.is_requested = False  # all that is chosen is in the last one
            return
        if has_flush or not (replica.snapshot.is_whole or replica.is_witness()):
            return
        self.is_requested, self.is_running = False, True
        replica.log_bytes = 0
        # The core may not know the entry any more. Then it gives later members, who are chosen as well.
        term = replica.log.terms.term_at(index)
        metadata = SnapshotMetadata(Index(index), term, replica.core.configuration_at(Index(index)))
        self._capture = _Capture(local, metadata, self.table.replacement_writer())

    def _proceed(self, capture: _Capture, until: float) -> None:
        if self.replica.disk.queued_bytes > QUEUE_BYTES_MAX:
            return
        is_done = capture.write_some(until)
        for ops in capture.writer.take_batches():
            self.replica.disk.submit(ops, Written(nothing))
        knowledge = self.replica.snapshot.knowledge
        if not is_done or knowledge.global_ts < capture.rows_ts:
            return
        saved = finish(capture.saved, capture.rows_ts, knowledge)
        ops = capture.writer.finish(capture.metadata, wire_encode(saved))
        self._capture = None
        index = capture.metadata.index
        self.replica.disk.submit(ops, Written(lambda: self._done(index)))

    def _stop(self) -> None:
        self._capture = None
        self.is_running = False
        self.cleaner.restart()

    def _done(self, index: Index) -> None:
        """The checkpoint counts: the log before it may go."""
        self.is_running = False
        self.count += 1
        self.cleaner.cut(self.replica.log.truncate_prefix_ops(index))
        self.cleaner.restart()

    # -- when a snapshot of the leader takes the state's place

    def stop_for_snapshot(self) -> None:
        """What was written of the old state is of no use."""
        if self._capture is not None:
            self._stop()
        self.is_requested = False
        for ops in self.table.garbage_ops(self.store.engine):
            self.replica.disk.submit(ops, Written(nothing))

    def restart_after_snapshot(self) -> None:
        """The state is another one now; or what was received was no good."""
        self.cleaner.restart()


def _voided_count(local: object) -> int:
    return local.voided_count if isinstance(local, Participant) else 0


def _executed_ahead(local: Replica | Participant) -> Iterable[Effect]:
    """What is in the keyspace and above the timestamp that a checkpoint would begin from."""
    if isinstance(local, Participant):
        for item in local.pending.items:
            yield from item.record.effects
