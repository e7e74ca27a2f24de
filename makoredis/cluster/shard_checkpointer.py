"""Checkpoints where there are several shards. What they are made of, and why it is right: `makoredis.txn.replica`.

Keys are captured, a bounded time per tick, while transactions go on; each row says up to which timestamp it goes. Until
everything up to the highest of them is chosen, and the global watermark there, something in a row could turn out to be
void. If a leader takes something back, or a leadership begins or ends, or databases exchange their content meanwhile,
all begins anew.

* A *full* checkpoint writes all keys as a new state beside the one before. The last batch, which makes it valid, waits
  for the watermark. It is the first one after a start or a snapshot, the one after a shard was emptied, after one that
  was given up, and when more keys have changed than are remembered.
* An *incremental* one writes the keys that have changed since the last one began, over their rows. So every batch
  waits for the watermark, and the first one takes the record of the checkpoint before along, which says from then on
  how new a row may be, and why it is not void (`finish`). After a crash in the middle that checkpoint still counts:
  replay goes on where it says and skips what the newer rows have.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator

from makoredis.base.ids import Index, Slot
from makoredis.base.record import wire_decoder, wire_encode
from makoredis.cluster.checkpointer import (
    CAPTURE_KEYS_BETWEEN_LOOKS,
    CAPTURE_SECONDS_PER_TICK,
    CAPTURED_BATCHES_MAX,
    QUEUE_BYTES_MAX,
    Cleaner,
    Written,
    nothing,
)
from makoredis.cluster.pace import Pace
from makoredis.cluster.replica import ShardReplica
from makoredis.consensus.types import SnapshotMetadata
from makoredis.data.effects import Effect
from makoredis.data.encoding import encode_value
from makoredis.data.slot_table import SLOT_TABLE_DB, SLOT_TABLE_KEY
from makoredis.data.slots import slot_of
from makoredis.storage.engine import Ops
from makoredis.storage.state import CheckpointWriter, StateTable
from makoredis.storage.store import Store
from makoredis.txn.participant import Participant
from makoredis.txn.replica import Replica, ShardCheckpoint, finish, is_settled

SLOT_TABLE_TAG = 1
"""The type in the row of the table of slots; which one it is, its database says."""

_decode_checkpoint = wire_decoder(ShardCheckpoint)


class _Capture:
    """One checkpoint under way."""

    def __init__(
        self,
        local: Replica | Participant,
        metadata: SnapshotMetadata,
        writer: CheckpointWriter,
        names: Iterator[tuple[int, bytes]],
        before: ShardCheckpoint | None,
    ) -> None:
        """
        Args:
            names: databases and keys to be written.
            before: the checkpoint whose rows these are written over; None: they are all.
        """
        self.local = local
        self.voided_count = _voided_count(local)
        self.exchanged_count = local.space.exchanged_count
        self.saved: ShardCheckpoint = local.checkpoint()
        self.rows_ts = self.saved.rows_ts if before is None else max(self.saved.rows_ts, before.rows_ts)
        self.metadata = metadata
        self.writer = writer
        self.before = before
        self.said_ts = 0 if before is None else before.rows_ts
        """How new rows may be, as the checkpoint on the disk says."""
        self.batches: deque[Ops] = deque()
        """Not handed to the disk yet."""
        self.is_done = False
        """Whether all keys are captured."""
        self._names = names
        self._has_table = False

    def is_void(self, local: object) -> bool:
        """Whether what was written may not be so any more."""
        if local is not self.local or _voided_count(self.local) != self.voided_count:
            return True
        return self.local.space.exchanged_count != self.exchanged_count

    def capture(self, pace: Pace) -> None:
        """Captures keys until the time is over or all are done."""
        if not self._has_table:
            self._write_table()
        for db, key in self._names:
            self._write(db, key)
            if pace.is_over():
                break
        else:
            self.is_done = True
        self.batches += self.writer.take_batches()

    def _write_table(self) -> None:
        """Whose slots are whose, as a row like any other."""
        self._has_table = True
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
        self.last_success_at = 0.0
        """Wall clock; 0: none since start."""
        self.last_duration_seconds = 0.0
        self._started = 0.0
        self._versions = (0, 0)
        """How many transactions the last checkpoint goes up to, and the one under way."""
        self._capture: _Capture | None = None
        self.cleaner = Cleaner(replica.disk, store, table)
        self.pace = Pace(CAPTURE_SECONDS_PER_TICK, CAPTURE_KEYS_BETWEEN_LOOKS)
        self.cleaning_pace = Pace(CAPTURE_SECONDS_PER_TICK)

    def request(self) -> None:
        """Asks for a checkpoint as soon as possible."""
        self.is_requested = True

    def changes(self) -> int:
        """Transactions that no checkpoint holds yet."""
        return self.replica.snapshot.local[self.replica.shard].version - self._versions[0]

    def tick(self, log_bytes_max: int) -> None:
        """Goes on with the checkpoint under way, or begins one if it is due."""
        local = self.replica.snapshot.local[self.replica.shard]
        if self._capture is not None and self._capture.is_void(local):
            self._stop(self._capture)
            self.is_requested = True
        if not self.is_running and (self.is_requested or self.replica.log_size.bytes > log_bytes_max):
            assert isinstance(local, Replica | Participant)
            self._begin(local)
        if self._capture is not None:
            self._proceed(self._capture)
        elif not self.is_running:
            self.cleaner.clean_up(self.cleaning_pace.start())

    def _begin(self, local: Replica | Participant) -> None:
        """Starts one, unless nothing new is chosen or what there is can't be begun with: then the next tick tries."""
        replica = self.replica
        index = local.checkpoint_index()
        has_flush = any(effect.key is None for effect in _executed_ahead(local))
        if index <= self.table.checkpoint.index:
            self.is_requested = False  # all that is chosen is in the last one
            return
        if has_flush or not (local.is_whole or replica.is_witness()):
            return
        self.is_requested, self.is_running = False, True
        self._started, self._versions = time.monotonic(), (self._versions[0], local.version)
        # The core may not know the entry any more. Then it gives later members, who are chosen as well.
        term = replica.log.terms.term_at(index)
        metadata = SnapshotMetadata(Index(index), term, replica.core.configuration_at(Index(index)))
        self._capture = self._new_capture(local, metadata)

    def _new_capture(self, local: Replica | Participant, metadata: SnapshotMetadata) -> _Capture:
        changed, blob = local.written.take_changed(), self.table.checkpoint.blob
        if changed is None or not blob:
            return _Capture(local, metadata, self.table.replacement_writer(), _all_keys(local), None)
        before = _decode_checkpoint(blob)
        names = ((db, key) for db, key in changed if db != SLOT_TABLE_DB)
        return _Capture(local, metadata, self.table.writer(before.ts), names, before)

    def _proceed(self, capture: _Capture) -> None:
        if not capture.is_done and len(capture.batches) < CAPTURED_BATCHES_MAX:
            capture.capture(self.pace.start())
        is_final = self._is_final(capture)
        if capture.before is None or is_final:
            self._hand_over(capture)
        if not (capture.is_done and is_final) or capture.batches:
            return
        saved = finish(capture.saved, capture.rows_ts, self.replica.snapshot.knowledge)
        ops = capture.writer.finish(capture.metadata, wire_encode(saved))
        self._capture = None
        index, is_full = capture.metadata.index, capture.before is None
        self.replica.disk.submit(ops, Written(lambda: self._done(index, is_full=is_full)))

    def _is_final(self, capture: _Capture) -> bool:
        """Whether nothing in its rows can turn out to be void."""
        return is_settled(capture.rows_ts, capture.local.complete_to, self.replica.snapshot.knowledge)

    def _hand_over(self, capture: _Capture) -> None:
        """Hands batches to the disk, as much as it can take now. Rows of an incremental one can't be void any more."""
        disk, before = self.replica.disk, capture.before
        while capture.batches and disk.queued_bytes <= QUEUE_BYTES_MAX:
            ops = capture.batches.popleft()
            if before is not None and capture.said_ts < capture.rows_ts:
                said = finish(before, capture.rows_ts, self.replica.snapshot.knowledge)
                ops = self.table.restate(wire_encode(said)) + ops
                capture.said_ts = capture.rows_ts
            disk.submit(ops, Written(nothing))

    def _stop(self, capture: _Capture) -> None:
        """What was captured is of no use, so the next one has to write everything."""
        capture.local.written.lose_changed()
        self._capture = None
        self.is_running = False
        self.cleaner.restart()

    def _done(self, index: Index, *, is_full: bool) -> None:
        """The checkpoint counts: the log before it may go."""
        self.is_running = False
        self.count += 1
        self.last_success_at, self.last_duration_seconds = time.time(), time.monotonic() - self._started
        self._versions = (self._versions[1], self._versions[1])
        self.replica.log_size.cut(index)
        self.cleaner.cut(self.replica.log.truncate_prefix_ops(index))
        if is_full:
            self.cleaner.restart()

    # -- when a snapshot of the leader takes the state's place

    def stop_for_snapshot(self) -> None:
        """What was written of the old state is of no use."""
        if self._capture is not None:
            self._stop(self._capture)
        self.is_requested = False
        for ops in self.table.garbage_ops(self.store.engine):
            self.replica.disk.submit(ops, Written(nothing))

    def restart_after_snapshot(self) -> None:
        """The state is another one now; or what was received was no good."""
        self.cleaner.restart()
        version = self.replica.snapshot.local[self.replica.shard].version
        self._versions = (version, version)


def _voided_count(local: object) -> int:
    return local.voided_count if isinstance(local, Participant) else 0


def _executed_ahead(local: Replica | Participant) -> Iterable[Effect]:
    """What is in the keyspace and above the timestamp that a checkpoint would begin from."""
    if isinstance(local, Participant):
        for item in local.pending.items:
            yield from item.record.effects


def _all_keys(local: Replica | Participant) -> Iterator[tuple[int, bytes]]:
    """Those that are there now, and those that were deleted ahead of the timestamp that a checkpoint begins from: or
    replay would apply to nothing what was meant for the value of before."""
    keys = [dict.fromkeys(database.keys()) for database in local.space.by_id]
    for effect in _executed_ahead(local):
        assert effect.key is not None
        if effect.db != SLOT_TABLE_DB:
            keys[effect.db][effect.key] = None
    return ((db, key) for db, names in enumerate(keys) for key in names)
