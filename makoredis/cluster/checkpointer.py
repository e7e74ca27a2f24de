"""Checkpoints: the state on disk catches up with the log, so that the log can be cut (design section 6).

A checkpoint is *fuzzy*: the shard goes on while keys are captured, for a bounded time per tick. Each row carries the
index of the last entry whose effects it may include (the last one proposed when it was captured). It goes to the disk
only once that entry is chosen, because until then it could still be undone. Replay skips an effect on a key whose row
has the effect's index or a higher one.

* An *incremental* checkpoint captures the keys changed since the last one began.
* After a whole database was emptied, a *full* one captures all keys into a new generation of rows. Those with changes
  since it began that do not exist when the keys are listed get a row that says so, or replay would apply to nothing
  what was meant for the value of before.
* A database that is emptied while rows are captured needs nothing special: replay empties it except for newer rows.

Invariant: the checkpoint's index is what was chosen when capturing began. Every key with a chosen change up to there is
captured after that moment, and everything later is still in the log.

With durability `memory` there is no log to make rows of different moments fit together: everything is captured at once,
and becomes valid with the last batch. An empty entry is proposed before, so that every checkpoint has an index of its
own.

Left out: large collections are written whole, in pieces, whenever they have changed.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator

from makoredis.base.ids import Index, Slot
from makoredis.base.record import record, wire_encode
from makoredis.cluster.host import Disk, ShardHost
from makoredis.cluster.loading import StateBlob
from makoredis.cluster.pace import Pace
from makoredis.consensus.types import SnapshotMetadata
from makoredis.data.encoding import encode_value
from makoredis.data.slots import slot_of
from makoredis.storage.engine import Ops, Reader
from makoredis.storage.state import CheckpointWriter, StateTable
from makoredis.storage.store import Store

CAPTURE_SECONDS_PER_TICK = 0.02
"""Share of a tick (0.1 s) that capturing may take from serving."""
CAPTURE_KEYS_BETWEEN_LOOKS = 16
CAPTURED_BATCHES_MAX = 64
"""Capturing pauses while so many batches (of 1 MiB) wait for their entries or for the disk."""
QUEUE_BYTES_MAX = 16 * 1024 * 1024
"""No more is handed to the disk while so much waits for it, so that checkpoints don't hold up the turns' entries."""


@record
class Written:
    """Token of a batch; `then` runs once it is on the disk."""

    then: Callable[[], None]

    def written(self) -> None:
        self.then()


class Cleaner:
    """Deletes truncated entries and replaced rows, a little at a time."""

    def __init__(self, disk: Disk, store: Store, table: StateTable) -> None:
        self.disk = disk
        self.store = store
        self.table = table
        self._cuts: deque[Iterator[Ops]] = deque()
        """Deletions of truncated entries that are not handed to the disk yet."""
        self.has_garbage = False
        self._garbage: Iterator[Ops] | None = None
        self._garbage_of: Reader | None = None
        """The engine that they are read from: it is another one after a full disk."""

    def cut(self, deletions: Iterator[Ops]) -> None:
        """Entries are not needed any more."""
        self._cuts.append(deletions)

    def restart(self) -> None:
        """There are other rows to be deleted than before."""
        self._garbage, self.has_garbage = None, True

    def clean_up(self, pace: Pace) -> None:
        """Goes on as long as there is time and the disk can take it."""
        while self.disk.queued_bytes <= QUEUE_BYTES_MAX:
            ops = self.next_deletion()
            if ops is None:
                return
            self.disk.submit(ops, Written(nothing))
            if pace.is_over():
                return

    def next_deletion(self) -> Ops | None:
        """The next batch of deletions; None: all is clean."""
        while self._cuts:
            ops = next(self._cuts[0], None)
            if ops is not None:
                return ops
            self._cuts.popleft()
        if not self.has_garbage:
            return None
        engine = self.store.engine
        if self._garbage is None or self._garbage_of is not engine:
            self._garbage, self._garbage_of = self.table.garbage_ops(engine), engine
        ops = next(self._garbage, None)
        if ops is None:
            self._garbage = self._garbage_of = None
            self.has_garbage = False
        return ops


class Checkpointer:
    """Writes one shard's checkpoints, one at a time."""

    def __init__(self, host: ShardHost, store: Store, table: StateTable) -> None:
        self.host = host
        self.store = store
        self.table = table
        self.is_running = False
        self.last_success_at = 0.0
        """Unix seconds."""
        self.last_duration_seconds = 0.0
        self.is_requested = False
        self.count = 0
        """Checkpoints since start."""
        self.version = 0
        """The executor's version when the last one began."""
        self._next_version = 0
        self._keys: Iterator[tuple[int, bytes]] = iter(())
        self._writer: CheckpointWriter | None = None
        self._captured: deque[tuple[Index, Ops]] = deque()
        self._metadata: SnapshotMetadata | None = None
        self._final: tuple[Index, bytes] | None = None
        self._is_full = False
        self.cleaner = Cleaner(host.disk, store, table)
        self.pace = Pace(CAPTURE_SECONDS_PER_TICK, CAPTURE_KEYS_BETWEEN_LOOKS)
        self.cleaning_pace = Pace(CAPTURE_SECONDS_PER_TICK)
        self._started = 0.0

    # -- deciding

    def changes(self) -> int:
        """Transactions that no checkpoint holds yet."""
        return self.host.executor.version - self.version

    def request(self) -> None:
        """Asks for a checkpoint as soon as possible (SAVE, BGSAVE)."""
        self.is_requested = True

    def tick(self, log_bytes_max: int) -> None:
        """Goes on with the checkpoint under way, or begins one if it is due."""
        host = self.host
        # Where nothing new is chosen, there is nothing that could be cut.
        is_long = host.log_size.bytes > log_bytes_max and host.chosen_index() > self.table.checkpoint.index
        is_due = self.is_requested or is_long
        if not self.is_running and is_due and host.is_consistent():
            self.begin()
        if self.is_running:
            self.proceed(self.pace.start())
        else:
            self.cleaner.clean_up(self.cleaning_pace.start())

    def begin(self) -> None:
        """Starts a checkpoint of what is chosen now."""
        executor = self.host.executor
        self.is_requested = False
        self.is_running = True
        self._started = time.monotonic()
        self._next_version = executor.version
        self._is_full = executor.is_all_dirty
        dirty, executor.dirty = executor.dirty, [set() for _ in executor.dirty]
        executor.is_all_dirty = False
        self._metadata = self.host.checkpoint_metadata(self.host.chosen_index())
        if self._is_full:
            self._writer = self.table.replacement_writer()
            self._keys = self._all_keys()
        else:
            self._writer = self.table.writer()
            self._keys = ((db, key) for db, keys in enumerate(dirty) for key in keys)

    def abandon(self) -> None:
        """What was captured may hold changes that were taken back: begins anew, later."""
        if not self.is_running or (self._final is None and self._writer is None):
            return
        self.is_running = False
        self._captured.clear()
        self._final = None
        self.is_requested = True
        self.host.executor.is_all_dirty = True

    def stop_for_snapshot(self) -> None:
        """A snapshot takes the state's place: what was captured of the old one is of no use."""
        if self._final is not None or self._writer is not None:
            self.is_running = False
            # If the snapshot turns out to be no good, what was captured is lost for the next checkpoint.
            self.host.executor.is_all_dirty = True
        self.is_requested = False
        self._captured.clear()
        self._keys = iter(())
        self._final = self._writer = None
        for ops in self.table.garbage_ops(self.store.engine):
            self._submit(ops)

    def restart_after_snapshot(self) -> None:
        """The state is another one now, and a checkpoint by itself; or what was received was no good."""
        self.version = self.host.executor.version
        self.cleaner.restart()

    def capture_at_once(self) -> None:
        """Durability `memory`: begins a checkpoint and captures all of it; `release` finishes it."""
        self.host.propose(even_if_empty=True)
        self.begin()
        self.proceed(Pace(float("inf")).start())

    # -- capturing

    def proceed(self, pace: Pace) -> None:
        """Captures keys as long as there is time, and writes what may be written."""
        if self._writer is None:
            return  # all is handed to the disk, which will say when it is written
        if self._final is None and len(self._captured) < CAPTURED_BATCHES_MAX and self._capture(pace):
            self._capture_end()
        self.release()

    def _all_keys(self) -> Iterator[tuple[int, bytes]]:
        """For a full checkpoint. Database by database, as of when the database's turn comes."""
        for database in self.host.space.by_id:
            gone = {key for key in self.host.executor.touched_keys(database.id) if database.get(key) is None}
            for key in [*database.keys(), *gone]:
                yield database.id, key

    def _capture(self, pace: Pace) -> bool:
        """Captures keys until the time is over. Returns whether all are done."""
        assert self._writer is not None
        index = self.host.last_index()
        for db, key in self._keys:
            self._capture_key(db, key, index)
            if pace.is_over():
                self._take_batches(index)
                return False
        self._take_batches(index)
        return True

    def _capture_key(self, db: int, key: bytes, index: Index) -> None:
        assert self._writer is not None
        database = self.host.space.by_id[db]
        value = database.get(key)
        slot = Slot(slot_of(key))
        if value is None:
            self._writer.delete(db, slot, key, index)
            return
        encoded = encode_value(value)
        deadline = database.expires.get(key)
        self._writer.put((db, slot, key, index, deadline, encoded[0], encoded[1:]))

    def _take_batches(self, index: Index) -> None:
        assert self._writer is not None
        for ops in self._writer.take_batches():
            self._captured.append((index, ops))

    def _capture_end(self) -> None:
        """Captures what else belongs to the state."""
        index = self.host.last_index()
        space = self.host.space
        blob = StateBlob(
            index,
            [database.id for database in space.databases],
            dict(space.libraries),
            self.host.executor.last_ts(),
            self.host.executor.requests.dump(),
        )
        self._final = (index, wire_encode(blob))

    # -- writing

    def release(self) -> None:
        """Hands to the disk what can no longer be undone, as much as the disk can take now."""
        if self._writer is None:
            return
        chosen = self.host.chosen_index()
        is_durable = self.host.executor.is_durable
        is_complete = self._final is not None and self._final[0] <= chosen
        if not (is_complete or is_durable):
            return
        joined: Ops = []
        while self._captured and self._captured[0][0] <= chosen:
            if is_durable or self._is_full:
                if self.host.disk.queued_bytes > QUEUE_BYTES_MAX:
                    return
                self._submit(self._captured.popleft()[1])
            else:
                joined += self._captured.popleft()[1]
        if is_complete:
            self._finish(joined)

    def _finish(self, joined: Ops) -> None:
        """Hands over the last batch, which makes the checkpoint valid."""
        assert self._writer is not None and self._metadata is not None and self._final is not None
        index, blob = self._final
        if not self.host.executor.is_durable:
            # Nothing in the log between the two: with this one no row is ahead.
            self._metadata = self.host.checkpoint_metadata(index)
        ops = joined + self._writer.finish(self._metadata, blob)
        self._final = None
        self._writer = None
        self.host.disk.submit(ops, Written(self._done))

    def _submit(self, ops: Ops) -> None:
        self.host.disk.submit(ops, Written(nothing))

    def _done(self) -> None:
        """The checkpoint counts: the log before it may go."""
        assert self._metadata is not None
        self.is_running = False
        self.last_success_at = time.time()
        self.count += 1
        self.version = self._next_version
        self.last_duration_seconds = time.monotonic() - self._started
        self.host.log_size.cut(self._metadata.index)
        self.cleaner.cut(self.host.truncate_log(self._metadata.index))
        self.cleaner.has_garbage = self.cleaner.has_garbage or self._is_full


def nothing() -> None:
    """Needs not be heard of."""
