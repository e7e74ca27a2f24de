"""One node: its shards, its disk, and the start from what is on it."""

import time
from collections.abc import Callable
from pathlib import Path
from random import Random, SystemRandom

from makoredis.base.errors import Fatal
from makoredis.base.ids import NodeId, ShardId
from makoredis.cluster.checkpointer import Checkpointer, decode_blob
from makoredis.cluster.host import ShardHost, Token
from makoredis.consensus.core import CoreConfig, Outgoing
from makoredis.consensus.raft import Raft
from makoredis.consensus.types import Configuration, HardState
from makoredis.data.config import DataConfig
from makoredis.data.encoding import decode_value
from makoredis.data.keyspace import Keyspace
from makoredis.storage.disk import DiskState, DiskThread, Durability
from makoredis.storage.log import load_hard_states, load_log
from makoredis.storage.space import SpaceState
from makoredis.storage.state import TOMBSTONE, StateTable
from makoredis.storage.store import Store, open_store
from makoredis.txn.executor import Announcement, Executor

SOLE_SHARD = ShardId(0)
LOG_BYTES_PER_CHECKPOINT = 64 * 1024 * 1024
"""A checkpoint begins when so much log was written since the last one; it bounds recovery."""
PROGRESS_SECONDS = 1.0
DISK_FULL_TEXT = (
    "MISCONF Errors writing to the log: no space left on the disk. Commands that may modify the data set are refused "
    "until there is space again; reads go on."
)

Progress = Callable[[str], None]


class Node:
    """The shards that this process hosts. `host` is the only one while there is one node and one shard."""

    def __init__(self, store: Store, durability: Durability, databases: int, config: DataConfig) -> None:
        self.store = store
        self.durability = durability
        # With durability `memory` the thread writes nothing but checkpoints, and those are to last.
        writes_log = durability is not Durability.MEMORY
        self.disk: DiskThread[Token] = DiskThread(store, durability if writes_log else Durability.SYNC)
        self.disk_fd: int = self.disk.wakeup_fd
        self.write_refusal: str | None = None
        """The error for every write while the disk cannot take one."""
        self.log_bytes_per_checkpoint = LOG_BYTES_PER_CHECKPOINT
        self._table = StateTable(store.engine, SOLE_SHARD)
        self._space = Keyspace(databases, config)
        self._executor = Executor(self._space, is_durable=writes_log)
        self.host: ShardHost
        self.checkpointer: Checkpointer

    # -- starting

    def load(self, progress: Progress) -> None:
        """Reads the state table and the log, and leads the shard once everything in the log is applied.

        Raises: StorageError when what is on the disk is not what was written.
        """
        self._load_state(progress)
        self._sweep()
        self.host = self._load_host()
        self.checkpointer = Checkpointer(self.host, self.store, self._table)
        self._replay(progress)

    def _load_state(self, progress: Progress) -> None:
        executor, space = self._executor, self._space
        checkpoint = self._table.checkpoint
        if checkpoint.blob:
            blob = decode_blob(checkpoint.blob)
            if len(blob.numbers) > len(space.by_id):
                raise Fatal(f"the data has {len(blob.numbers)} databases, the configuration only {len(space.by_id)}")
            space.databases[: len(blob.numbers)] = [space.by_id[id] for id in blob.numbers]
            space.libraries.update(blob.libraries)
            executor.clock.observe(blob.last_ts)
            executor.state_index = blob.index
        later = checkpoint.index
        row_indexes = executor.row_indexes
        next_report = time.monotonic() + PROGRESS_SECONDS
        for count, (db, _, key, index, deadline, tag, value) in enumerate(self._table.rows(self.store.engine)):
            if index > later:
                row_indexes[db, key] = index
            if tag != TOMBSTONE:
                database = space.by_id[db]
                database.put(key, decode_value(bytes((tag,)) + value))
                if deadline is not None:
                    database.set_deadline(key, deadline)
            if count & 0xFFF == 0 and time.monotonic() > next_report:
                next_report = time.monotonic() + PROGRESS_SECONDS
                progress(f"loading the checkpoint: {count:,} keys")

    def _sweep(self) -> None:
        """Deletes what interrupted checkpoints have left on the disk, before anything else is written."""
        reader = self.store.engine
        for pieces in (self._table.unfinished_ops(reader), self._table.garbage_ops(reader)):
            for ops in pieces:
                self.store.write_ops(ops, sync=False)

    def _load_host(self) -> ShardHost:
        reader = self.store.engine
        loaded = load_log(reader, SOLE_SHARD)
        if loaded.sweep_ops:
            self.store.write_ops(loaded.sweep_ops, sync=False)
        hard_state = load_hard_states(reader).get(SOLE_SHARD, HardState())
        node = NodeId(self.store.identity.node_id)
        core = Raft(
            CoreConfig(node, Configuration(voters=(node,))),
            Random(SystemRandom().getrandbits(64)),
            hard_state,
            loaded.entries,
            self._table.checkpoint.metadata,
        )
        rng = Random(SystemRandom().getrandbits(64))
        return ShardHost(SOLE_SHARD, core, self._executor, loaded.log, self.disk, _send_nowhere, rng)

    def _replay(self, progress: Progress) -> None:
        host = self.host
        host.applied_index = self._table.checkpoint.index
        host.core.campaign()
        next_report = time.monotonic() + PROGRESS_SECONDS
        while True:
            host.perform()
            if host.is_leader and host.applied_index == host.core.status().last_index:
                self._executor.row_indexes.clear()
                return
            self.disk_written()
            if time.monotonic() > next_report:
                next_report = time.monotonic() + PROGRESS_SECONDS
                progress(f"replaying the log: entry {host.applied_index:,} of {host.core.status().last_index:,}")
            if not host.core.has_ready():
                time.sleep(0.0002)

    # -- running

    def end_turn(self) -> list[Announcement]:
        """Proposes what was executed in this turn, and performs what follows from it."""
        host = self.host
        host.propose()
        announcements = host.perform()
        return announcements or host.executor.take_announcements()

    def disk_written(self) -> None:
        """Tells the cores what the disk thread has written.

        Raises: StorageError when the disk has failed for good.
        """
        for token in self.disk.take_completed():
            token.written()
        if self.disk.state is DiskState.FAILED:
            assert self.disk.failure is not None
            raise self.disk.failure
        self._look_at_disk()

    def _look_at_disk(self) -> None:
        """Refuses writes while the disk is full or nearly so, and tries to go on when there is space again."""
        is_low = self.store.space.state() is SpaceState.LOW
        if self.disk.state is DiskState.FULL and not is_low:
            self.disk.recover()
        refused = is_low or self.disk.state is DiskState.FULL
        self.write_refusal = DISK_FULL_TEXT if refused and self.durability is not Durability.MEMORY else None

    def tick(self) -> None:
        """A tenth of a second has passed; nothing may have been executed in this turn yet."""
        self.host.core.tick()
        self._look_at_disk()
        checkpointer = self.checkpointer
        if self.durability is not Durability.MEMORY:
            checkpointer.tick(self.log_bytes_per_checkpoint)
        elif checkpointer.is_running:
            checkpointer.release()
        elif checkpointer.is_requested:
            checkpointer.capture_at_once()

    def checkpoint_and_wait(self) -> None:
        """Writes a checkpoint of what there is now, and returns when it is on the disk (SAVE, shutdown).

        Raises: StorageError when the disk has failed.
        """
        checkpointer = self.checkpointer
        checkpointer.request()
        while checkpointer.is_requested or checkpointer.is_running:
            self.tick()
            self.host.perform()
            self.disk_written()
            time.sleep(0.0002)

    def close(self, *, saves: bool = True) -> None:
        """Writes what is queued, and releases the directory. Durability `memory` saves all, if `saves`."""
        if self.durability is Durability.MEMORY and saves:
            self.checkpoint_and_wait()
        self.disk.close()
        self.store.close()


def open_node(directory: Path, durability: str, databases: int, config: DataConfig, progress: Progress) -> Node:
    """Opens the data directory and loads what is in it.

    Raises: StorageError (DirectoryRefused, Damaged) with one line that says what to do.
    """
    store = open_store(directory, cluster="makoredis", node_id=NodeId(1), now_ms=time.time_ns() // 1_000_000)
    node = Node(store, Durability(durability), databases, config)
    node.load(progress)
    return node


def _send_nowhere(shard: ShardId, messages: list[Outgoing]) -> None:
    assert not messages, "a shard with one replica has nobody to write to"
