"""From a node's disk to the groups that it takes part in: their cores as of their logs, and what drives them."""

from collections.abc import Callable, Sequence
from random import Random, SystemRandom

from makoredis.base.ids import Index, NodeId, ShardId, Term
from makoredis.base.record import record
from makoredis.cluster.host import Disk, ShardHost
from makoredis.cluster.loading import Progress, leftovers
from makoredis.cluster.members import preferred_leader, with_notes
from makoredis.cluster.replica import ShardReplica
from makoredis.cluster.settings import NodeSettings
from makoredis.cluster.shard_checkpointer import ShardCheckpointer
from makoredis.cluster.shard_loading import load_replica
from makoredis.cluster.shards import Shards
from makoredis.cluster.snapshots import SnapshotReceiver, Snapshots, SnapshotSender
from makoredis.consensus.core import CoreConfig, Limits, Outgoing
from makoredis.consensus.raft import Raft
from makoredis.consensus.types import Configuration, Entry, HardState, SnapshotMetadata
from makoredis.data.keyspace import Keyspace
from makoredis.storage.disk import Durability
from makoredis.storage.log import ShardLog, load_hard_states, load_log
from makoredis.storage.state import StateTable
from makoredis.storage.store import Store
from makoredis.txn.executor import Executor
from makoredis.txn.participant import Program

SOLE_SHARD = ShardId(0)
"""The one that holds everything where there is only one; see `slots` for several."""
LOG_BYTES_MAX = 512 * 1024 * 1024
"""Of the log in memory while a live replica is behind or receives a snapshot: half a minute of full load."""
SNAPSHOT_CHUNK_BYTES = 256 * 1024
"""Read and sent within one turn: some milliseconds."""
GATHER_SECONDS = 0.001
"""An entry waits no longer for clients who have just been answered; what a write takes."""


@record
class LoadedShard:
    """One of several shards."""

    replica: ShardReplica
    checkpointer: ShardCheckpointer
    snapshots: Snapshots


class GroupLoader:
    """Loads what one node has of its groups."""

    def __init__(
        self,
        store: Store,
        disk: Disk,
        durability: Durability,
        settings: NodeSettings,
        send: Callable[[ShardId, list[Outgoing]], None],
    ) -> None:
        self.store = store
        self.disk = disk
        self.settings = settings
        self.send = send
        self.gather_seconds = 0.0
        if settings.is_replicated and durability is Durability.SYNC:
            self.gather_seconds = GATHER_SECONDS

    def initialise(self, table: StateTable) -> None:
        """First start: an empty checkpoint says who the first members are, so that a file that is edited later does not
        change them behind the cluster's back."""
        if table.checkpoint.metadata is None:
            ops = table.writer().finish(SnapshotMetadata(Index(0), Term(0), self._first_members()), b"")
            self.store.write_ops(ops, sync=True)

    def _first_members(self) -> Configuration:
        settings = self.settings
        members = Configuration(voters=settings.members, witnesses=settings.witnesses)
        return with_notes(members, {int(node): at for node, at in settings.addresses.items()}, (), ())

    def sweep(self, table: StateTable) -> None:
        """Deletes what interrupted checkpoints have left."""
        for ops in leftovers(self.store.engine, table):
            self.store.write_ops(ops, sync=False)

    def host(self, table: StateTable, executor: Executor) -> ShardHost:
        """The group that there always is."""
        core, log, entries = self._core(SOLE_SHARD, table, self.settings.preferred)
        rng = Random(SystemRandom().getrandbits(64))
        host = ShardHost(SOLE_SHARD, core, executor, log, self.disk, self.send, rng)
        host.note_log(entries, table.checkpoint.index)
        host.writes_directly = self.settings.shards == 1
        host.gathering.seconds = self.gather_seconds
        return host

    def shard(
        self, shards: Shards, shard: ShardId, space: Keyspace, program: Program, progress: Progress
    ) -> LoadedShard:
        """One of several shards, which takes its place in the node's snapshot."""
        settings, table = self.settings, StateTable(self.store.engine, shard)
        self.initialise(table)
        shards.snapshot.local[shard] = load_replica(self.store.engine, table, space, shards.knowledge, progress)
        self.sweep(table)
        metadata = table.checkpoint.metadata
        assert metadata is not None, "the first start has written one"
        preferred = preferred_leader(metadata.configuration, shard, is_spread=settings.spreads_leaders)
        core, log, entries = self._core(shard, table, preferred)
        replica = ShardReplica(
            shard,
            core,
            log,
            self.disk,
            self.send,
            shards.snapshot,
            program,
            shards.rng,
            settings.clock_offset_us_max,
        )
        replica.is_synchronous = settings.is_synchronous
        replica.reads_by_quorum = not settings.lease_reads
        replica.gathering.seconds = self.gather_seconds
        replica.note_log(entries, table.checkpoint.index)
        replica.applied_index = table.checkpoint.index
        checkpointer = ShardCheckpointer(replica, self.store, table)
        replica.snapshots = snapshots = Snapshots(
            SnapshotSender(replica, self.store, checkpointer),
            SnapshotReceiver(replica, self.store, table, checkpointer),
        )
        return LoadedShard(replica, checkpointer, snapshots)

    def _core(
        self, shard: ShardId, table: StateTable, preferred: NodeId | None
    ) -> tuple[Raft, ShardLog, Sequence[Entry]]:
        """A shard's core as of its log, the log, and what it holds."""
        reader = self.store.engine
        loaded = load_log(reader, shard)
        if loaded.sweep_ops:
            self.store.write_ops(loaded.sweep_ops, sync=False)
        hard_state = load_hard_states(reader).get(shard, HardState())
        settings = self.settings
        core = Raft(
            CoreConfig(
                settings.id,
                self._first_members(),
                election_rule=settings.election_rule,
                election_ticks=settings.election_ticks,
                lease_reads=settings.lease_reads,
                preferred=preferred,
                quiesce_ticks=settings.quiesce_ticks,
                limits=Limits(
                    log_bytes_keep=settings.log_bytes_keep,
                    log_bytes_max=max(LOG_BYTES_MAX, 2 * settings.log_bytes_keep),
                    snapshot_chunk_bytes=SNAPSHOT_CHUNK_BYTES,
                ),
            ),
            Random(SystemRandom().getrandbits(64)),
            hard_state,
            loaded.entries,
            table.checkpoint.metadata,
        )
        return core, loaded.log, loaded.entries
