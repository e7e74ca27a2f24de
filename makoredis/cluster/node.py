"""One node: its shards, its disk, and the start from what is on it."""

import time
from collections.abc import Callable
from pathlib import Path
from random import Random, SystemRandom

from makoredis.base.ids import NodeId, ShardId
from makoredis.base.record import wire_decoder
from makoredis.cluster.host import ShardHost, Token
from makoredis.consensus.core import CoreConfig, Outgoing
from makoredis.consensus.raft import Raft
from makoredis.consensus.types import Configuration, Entry, EntryKind, HardState
from makoredis.data.config import DataConfig
from makoredis.data.keyspace import Keyspace
from makoredis.storage.disk import DiskThread, Durability
from makoredis.storage.log import load_hard_states, load_log
from makoredis.storage.store import Store, open_store
from makoredis.txn.executor import Announcement, Executor

_decode_hard_state = wire_decoder(HardState)

SOLE_SHARD = ShardId(0)
Progress = Callable[[str], None]


class Node:
    """The shards that this process hosts. `host` is the only one while there is one node and one shard."""

    def __init__(self, store: Store, durability: Durability, databases: int, config: DataConfig) -> None:
        self.store = store
        self.durability = durability
        self.disk: DiskThread[Token] = DiskThread(store, durability)
        self.disk_fd: int | None = self.disk.wakeup_fd
        self.write_refusal: str | None = None
        """The error for every write while the disk cannot take one."""
        self.host = self._load_host(databases, config)

    def _load_host(self, databases: int, config: DataConfig) -> ShardHost:
        space = Keyspace(databases, config)
        executor = Executor(space, is_durable=self.durability is not Durability.MEMORY)
        reader = self.store.engine
        loaded = load_log(reader, SOLE_SHARD, _make_entry)
        raw = load_hard_states(reader).get(SOLE_SHARD)
        node = NodeId(self.store.identity.node_id)
        core = Raft(
            CoreConfig(node, Configuration(voters=(node,))),
            Random(SystemRandom().getrandbits(64)),
            HardState() if raw is None else _decode_hard_state(raw),
            loaded.entries,
        )
        return ShardHost(
            SOLE_SHARD, core, executor, loaded.log, self.disk, _send_nowhere, Random(SystemRandom().getrandbits(64))
        )

    def recover(self, progress: Progress) -> None:
        """Leads the shard and applies its log, before clients are let in."""
        self.host.core.campaign()
        started = time.monotonic()
        while True:
            self.host.perform()
            if self.host.is_leader and not self.disk.queued_bytes and not self.host.core.has_ready():
                return
            self.disk_written()
            if time.monotonic() - started > 1.0:
                started = time.monotonic()
                progress(f"applied the log up to {self.host.applied_index}")
            time.sleep(0.0005)

    def end_turn(self) -> list[Announcement]:
        """Proposes what was executed in this turn, and performs what follows from it."""
        host = self.host
        host.propose()
        announcements = host.perform()
        return announcements or host.executor.take_announcements()

    def disk_written(self) -> None:
        """Tells the cores what the disk thread has written."""
        for token in self.disk.take_completed():
            token.written()
        if self.disk.failure is not None:
            raise self.disk.failure

    def tick(self, wall_us: int) -> None:
        """A tenth of a second has passed."""
        self.host.core.tick()

    def close(self) -> None:
        """Writes what is queued, and releases the directory."""
        self.disk.close()
        self.store.close()


def open_node(directory: Path, durability: str, databases: int, config: DataConfig) -> Node:
    """Opens the data directory and loads what is in it.

    Raises: StorageError (DirectoryRefused, Damaged) with one line that says what to do.
    """
    store = open_store(directory, cluster="makoredis", node_id=NodeId(1), now_ms=time.time_ns() // 1_000_000)
    return Node(store, Durability(durability), databases, config)


def _make_entry(term: int, index: int, kind: int, payload: bytes) -> Entry:
    return Entry(term, index, EntryKind(kind), payload)  # type: ignore[arg-type]


def _send_nowhere(shard: ShardId, messages: list[Outgoing]) -> None:
    assert not messages, "a shard with one replica has nobody to write to"
