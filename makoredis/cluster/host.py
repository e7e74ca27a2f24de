"""One shard's replica on this node: performs what its consensus core and its executor ask for.

This is the only place where a `Ready` meets the disk. Order, as the type of `Ready` states it: the role first, messages
that may leave at once, then the write, and what depends on the write when the disk thread reports it.
"""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Protocol

from makoredis.base.errors import Retryable
from makoredis.base.ids import Index, NodeId, ShardId, Term
from makoredis.base.record import record
from makoredis.cluster.gathering import Gathering
from makoredis.cluster.loading import Loader
from makoredis.cluster.log_size import LogSize
from makoredis.consensus.core import Core, Outgoing, ReadState, Ready, RoleChange
from makoredis.consensus.types import Entry, EntryKind, Role, SnapshotMetadata
from makoredis.data.access import Access
from makoredis.data.effects import FlushDatabase
from makoredis.data.keyspace import Keyspace
from makoredis.storage.engine import Ops
from makoredis.storage.log import ShardLog, hard_state_op
from makoredis.txn.executor import Announcement, Executor
from makoredis.txn.gate import Gate

ENTRY_TRANSACTIONS_WAIT = 128
"""So many transactions don't wait for anything: what an entry costs beside them is small then, and execution should go
on while the entry before is written. An entry costs about as much as 50 SETs, over all nodes."""


def _nothing() -> None:
    """There are no peers."""


BARE_ENTRY_BYTES = 64
"""What an entry without a payload counts for when the next checkpoint is due: a log witness has no others."""


class Token(Protocol):
    """What the disk thread hands back when a write is on the disk."""

    def written(self) -> None: ...


@record
class EntriesWritten:
    """Token of entries and hard state: whose they were, and what was waiting for them."""

    host: "LogOwner"
    last: Entry | None
    messages: list[Outgoing]

    def written(self) -> None:
        if self.last is not None:
            self.host.unwritten -= 1
            self.host.core.persisted(self.last.index, self.last.term)
        if self.messages:
            self.host.send(self.host.shard, self.messages)


class Disk(Protocol):
    """Where writes go (`makoredis.storage.disk.DiskThread`)."""

    @property
    def queued_bytes(self) -> int: ...

    def submit(self, ops: Ops, token: Token) -> None: ...

    def write(self, ops: Ops, token: Token) -> bool:
        """Writes at once if that is quick. Returns whether it is on the disk; otherwise the token will come back."""
        ...


class SnapshotTransfer(Protocol):
    """Who sends and receives snapshots (`makoredis.cluster.snapshots`)."""

    def perform(self, ready: Ready) -> None: ...


class LogOwner:
    """One replica of one shard, as far as it concerns its log: carries out what the core asks of disk and peers."""

    shard: ShardId
    core: Core
    log: ShardLog
    disk: Disk
    send: Callable[[ShardId, list[Outgoing]], None]
    snapshots: SnapshotTransfer | None
    unwritten: int
    """Batches with entries that are not on the disk yet."""
    log_size: LogSize
    """Of what the last checkpoint does not hold."""
    writes_directly = False
    """Whether this is the only log on the disk; those of several shards share one write per turn of the disk thread."""

    flush_peers: Callable[[], None]
    """Has messages leave before the turn's end."""

    def note_log(self, entries: Sequence[Entry], checkpoint_index: Index) -> None:
        """What a start has found in the log, and where the checkpoint before it ends."""
        self._count(entries)
        self.log_size.cut(checkpoint_index)

    def _count(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.log_size.add(entry.index, len(entry.payload) or BARE_ENTRY_BYTES)

    def _carry_out(self, ready: Ready) -> None:
        """Messages that may leave at once, then the write with what depends on it, then snapshots."""
        if ready.messages:
            self.send(self.shard, list(ready.messages))
        if ready.must_sync:
            self._write(ready)
        elif ready.messages_after_persist:
            self._hand_over([], EntriesWritten(self, None, list(ready.messages_after_persist)))
        if ready.chunk_requests or ready.closed_transfers or ready.chunk_writes or ready.install is not None:
            assert self.snapshots is not None
            self.snapshots.perform(ready)

    def _write(self, ready: Ready) -> None:
        ops: Ops = []
        if ready.hard_state is not None:
            ops.append(hard_state_op(self.shard, ready.hard_state))
        if ready.entries:
            ops += self.log.append_ops(ready.entries)
            self._count(ready.entries)
        last = ready.entries[-1] if ready.entries else None
        if last is not None:
            self.unwritten += 1
        self._hand_over(ops, EntriesWritten(self, last, list(ready.messages_after_persist)))

    def _hand_over(self, ops: Ops, token: EntriesWritten) -> None:
        if not self.writes_directly:
            self.disk.submit(ops, token)
            return
        self.flush_peers()  # they write while this node does
        if self.disk.write(ops, token):
            token.written()
            if token.messages:
                self.flush_peers()  # the leader waits for this answer; what is committed can be applied later


class ShardHost(LogOwner):
    """Drives one shard. `executor` runs transactions while this replica leads; `space` is its state in memory."""

    def __init__(
        self,
        shard: ShardId,
        core: Core,
        executor: Executor,
        log: ShardLog,
        disk: Disk,
        send: Callable[[ShardId, list[Outgoing]], None],
        rng: Random,
    ) -> None:
        self.shard = shard
        self.core = core
        self.executor = executor
        self.log = log
        self.space: Keyspace = executor.space
        self.access = Access(executor.space, rng)
        self.term = Term(0)
        self.is_leader = False
        self.leader: NodeId | None = None
        self.leaders_seen = 0
        """Leaderships that this replica has heard of since start, its own included."""
        self.elections_won = 0
        self.applied_index = Index(0)
        self.undone_gates: list[Gate] = []
        """Gates that will never open, because this replica lost the leadership; whoever waits there has to ask anew."""
        self.is_held = False
        """Whether the log takes no entries for a moment (a hand-over, no room); until the next tick."""
        self.serves_until = 0.0
        """Monotonic seconds up to which `serves` is known to be true. Whatever could make it untrue sets it to 0."""
        self.confirmed = 0
        """The last of this leader's quorum rounds (`confirm`) that was answered."""
        self._rounds = 0
        self._confirmations: list[ReadState] = []
        self._serves_from = Index(0)
        self.gathering = Gathering()
        self.is_commit_deferred = False
        """Whether followers are not told yet what is chosen (`Core.defer_commit`)."""
        self.unwritten = 0
        """Writes with entries that the disk has not finished."""
        self.log_size = LogSize()
        self.disk = disk
        self.send = send
        self.flush_peers = _nothing
        self.snapshots: SnapshotTransfer | None = None
        self.announcements: list[Announcement] = []
        """What else is to be announced, beside what entries say."""

    def serves(self, is_use: bool = True) -> bool:
        """Whether transactions may run here now: this replica leads, nobody else can, and all before it is applied.

        Args:
            is_use: whether any are to run, so that the shard must not fall silent (`Core.lease_valid`).
        """
        return self.is_complete() and self.core.lease_valid(is_use)

    def is_complete(self) -> bool:
        """Whether transactions may run here whose effects are replicated before anybody sees them."""
        return self.is_settled() and not self.is_held and not self.core.is_transferring()

    def is_settled(self) -> bool:
        """Whether this replica leads, and everything from before its leadership is applied."""
        return self.is_leader and self.applied_index >= self._serves_from

    def transfer_leadership(self, node: NodeId) -> None:
        """Hands over. What was executed in this turn goes before; what comes now waits for the next leader.

        Raises: NotLeader, Busy, ClientError.
        """
        self.propose()
        self.serves_until = 0.0
        self.core.transfer_leadership(node)

    def confirm(self) -> int:
        """Asks a quorum whether this replica still leads, for want of a lease.

        Returns: the number that `confirmed` will reach; 0 if it cannot be asked now.
        """
        if not self.is_complete():
            return 0
        try:
            self.core.read_index(self._rounds + 1)
        except Retryable:
            return 0
        self._rounds += 1
        return self._rounds

    def may_propose(self) -> bool:
        """Whether there is something to be proposed, and no reason to let more come together first.

        While the disk writes this leader's last entry, it could not take the next one anyway. What waits becomes one
        entry: one write, one message, and one answer less on each of the others.
        """
        executor = self.executor
        if not executor.has_entry():
            return False
        waits = self.unwritten or self.gathering.is_on
        return not waits or executor.turn_count() >= ENTRY_TRANSACTIONS_WAIT

    def propose(self, *, even_if_empty: bool = False) -> None:
        """Turns what was executed since the last entry into one. What cannot be proposed is taken back."""
        if self.executor.has_entry() or even_if_empty:
            self.gathering.end()
            try:
                index = self.core.propose(self.executor.encode_entry(self.term))
            except Retryable:
                self.is_held = True
                self.serves_until = 0.0
                self.undone_gates.append(self.executor.undo_turn())
            else:
                self.executor.proposed(index)

    def perform(self) -> list[Announcement]:
        """Does everything that the core has ready. Returns what has become final and is to be announced."""
        announcements, self.announcements = self.announcements, []
        core = self.core
        # Among several clients the next entry is near: followers hear with it what is chosen now.
        self.is_commit_deferred = self.is_commit_deferred or self.executor.pending_count > 1
        core.defer_commit(self.is_commit_deferred)
        while core.has_ready():
            announcements += self._perform(core.take_ready())
        if self.is_commit_deferred and not self.gathering.is_on and not self.executor.has_entry():
            self.is_commit_deferred = False
            core.defer_commit(False)
            while core.has_ready():
                announcements += self._perform(core.take_ready())
        return announcements

    def is_gathering(self) -> bool:
        """Whether something waits for the next entry that no event may bring: turns have to go on."""
        return self.gathering.is_on and (self.is_commit_deferred or self.executor.has_entry())

    def _perform(self, ready: Ready) -> list[Announcement]:
        self.serves_until = 0.0
        if ready.role_change is not None:
            self._change_role(ready.role_change)
        self._carry_out(ready)
        if ready.read_states:
            self._confirmations += ready.read_states
        announcements = self._apply(ready)
        while self._confirmations and self._confirmations[0].index <= self.applied_index:
            self.confirmed = max(self.confirmed, self._confirmations.pop(0).context)
        return announcements

    def _change_role(self, change: RoleChange) -> None:
        was_leader, old_term = self.is_leader, self.term
        if change.leader is not None and (self.leader is None or change.term != old_term):
            self.leaders_seen += 1
        self.term = change.term
        self.leader = change.leader
        self.is_held = False
        self.serves_until = 0.0
        self.is_leader = change.role is Role.LEADER
        if was_leader and (not self.is_leader or self.term != old_term):
            self.undone_gates += self.executor.undo_all()
        if self.is_leader and (not was_leader or self.term != old_term):
            # What is in its log already, the first entry of its own term included, comes before anything it executes.
            self._serves_from = self.core.status().last_index
            self.elections_won += 1

    def _apply(self, ready: Ready) -> list[Announcement]:
        if not ready.committed:
            return []
        executor = self.executor
        announcements: list[Announcement] = []
        for entry in ready.committed:
            if entry.kind == EntryKind.NORMAL and not executor.executed(entry.index):
                announcements += executor.apply_payload(entry.payload, entry.index)
        self.applied_index = ready.committed[-1].index
        self.core.applied(self.applied_index)
        before = executor.pending_count
        announcements += executor.chosen(self.applied_index)
        answered = before - executor.pending_count
        if answered < ENTRY_TRANSACTIONS_WAIT:
            self.gathering.answered(answered, executor.turn_count())
        return announcements

    def is_consistent(self) -> bool:
        """Whether the state is that of one moment: everything is applied that rows of the checkpoint include."""
        executor = self.executor
        return self.applied_index >= executor.rows_until and self.applied_index >= executor.state_index

    # -- for checkpoints and snapshots

    def new_loader(self, metadata: SnapshotMetadata, blob: bytes) -> Loader:
        """For a snapshot that is received."""
        loader = Loader(Keyspace(len(self.space.by_id), self.space.config), metadata.index)
        loader.load_blob(blob)
        return loader

    def take_state(self, loader: Loader, metadata: SnapshotMetadata) -> None:
        """A snapshot of the leader takes the place of the state in memory; everybody holds the keyspace."""
        executor, space = self.executor, self.space
        assert not executor.pending_count, "only a follower gets a snapshot, and it has nothing pending"
        space.take(loader.space)
        loader.hand_over(executor)
        executor.dirty = [set() for _ in executor.dirty]
        executor.is_all_dirty = False
        executor.version += 1
        self.applied_index = metadata.index
        self.log_size.clear()
        # Whoever keeps copies of keys has to forget them all.
        flushes = [FlushDatabase(database.id) for database in space.by_id]
        self.announcements.append(Announcement(flushes, [], [], 0, executor.version, None))

    def last_index(self) -> Index:
        """The entry of the last transaction whose effects are in memory; nothing of this turn may have run yet."""
        assert not self.executor.has_entry()
        return Index(max(self.applied_index, self.executor.last_proposed))

    def chosen_index(self) -> Index:
        """Up to here nothing can be undone."""
        return self.applied_index

    def checkpoint_metadata(self, index: Index) -> SnapshotMetadata:
        """What a checkpoint up to a chosen index stands for."""
        return self.core.snapshot_metadata(index)

    def truncate_log(self, index: Index) -> Iterator[Ops]:
        """Forgets the log up to an index on the disk, by the operations returned.

        Memory keeps as much of it as the core's limits say, so that a replica which was away for a moment gets what it
        missed and not a snapshot. Where there are no others, nobody will ask.
        """
        if not self.executor.is_replicated:
            self.core.compact(index)
        return self.log.truncate_prefix_ops(index)
