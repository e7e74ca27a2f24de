"""The one interface of all consensus protocols: a machine without clock, network or disk that a driver performs for.

The driver calls `tick`, `step`, `propose` … and then, as long as `has_ready()`, takes a `Ready` and performs it. No
call blocks, and none has an effect outside the machine. In one turn a driver should

1. `step` the messages that arrived, then `tick` for the time that passed, then propose and read;
2. take every `Ready` and perform it in the order its type states.

Calls raise `NotLeader` or `Busy` (see `base.errors`): a proposal is never dropped silently. A proposal that returned an
index can still be lost with its leadership; that it survived is known when an entry with its index *and term* shows up
in `Ready.committed`.
"""

from collections.abc import Collection, Sequence
from dataclasses import field
from enum import IntEnum
from typing import Protocol

from makoredis.base.errors import Retryable
from makoredis.base.ids import Index, NodeId, Term
from makoredis.base.record import record
from makoredis.consensus.messages import Message
from makoredis.consensus.types import Configuration, Entry, HardState, Role, SnapshotMetadata

Outgoing = tuple[NodeId, Message]
"""A message and whom it is for."""


class ChangeRefused(Retryable):
    """A change of the configuration that cannot start now; the message says what has to happen first."""


@record
class Limits:
    """Every bound of a core, each with what happens at it."""

    entry_bytes_max: int = 640 * 1024 * 1024
    """A larger payload is refused with a ClientError; above Redis's largest value (512 MB)."""
    append_bytes_max: int = 1024 * 1024
    """Payload per AppendRequest; one entry always goes, however large."""
    append_entries_max: int = 1024
    """Entries per AppendRequest."""
    inflight_messages_max: int = 256
    """Unanswered AppendRequests per follower; then it waits for answers."""
    inflight_bytes_max: int = 16 * 1024 * 1024
    """Unanswered bytes per follower; then it waits for answers."""
    log_bytes_keep: int = 64 * 1024 * 1024
    """Above this, entries that are applied, on disk and acknowledged by every live follower leave memory."""
    log_bytes_max: int = 256 * 1024 * 1024
    """Above this, also those that a slow follower misses (it gets a snapshot). If that doesn't help: Busy."""
    committed_bytes_max: int = 16 * 1024 * 1024
    """Entries to apply per Ready; the rest comes with the next one."""
    reads_max: int = 4096
    """Reads waiting for a quorum round; then Busy."""
    snapshot_chunk_bytes: int = 1024 * 1024
    """What the driver is asked for at a time."""


class ElectionRule(IntEnum):
    """How a leader comes to have everything that may be committed. All else is the same, and so is what is on disk:
    a group may be switched from one to the other node by node."""

    RAFT = 0
    """Only one whose log is at least as complete as those of its voters is elected."""
    PAXOS = 1
    """Anybody is elected, and learns from its voters what they accepted (Multi-Paxos)."""


@record
class CoreConfig:
    """How one replica of one group behaves. Times are in ticks; only their ratios matter to the protocol."""

    node: NodeId
    configuration: Configuration
    """In force before the first entry. The same on all first members; empty for one that will be added later."""
    election_rule: ElectionRule = ElectionRule.RAFT
    election_ticks: int = 10
    """A follower campaigns after this to twice this without a leader; a leader without quorum resigns after it."""
    heartbeat_ticks: int = 1
    preferred: NodeId | None = None
    """The leader hands over to this node whenever it is caught up and has been stable for a while."""
    preferred_stable_ticks: int = 10
    quiesce_ticks: int = 0
    """Idle this long, an entirely caught-up group falls silent; 0: never."""
    lease_reads: bool = True
    """Answer reads from the leader lease. Needs clocks that run equally fast within 10 % over an election timeout."""
    limits: Limits = field(default_factory=Limits)


@record
class RoleChange:
    """The replica's new situation. A new term always shows up, also when the replica leads again."""

    role: Role
    term: Term
    leader: NodeId | None
    """None: unknown."""


@record
class ReadState:
    """A linearizable read with this context may be served once everything up to `index` is applied."""

    context: int
    index: Index


@record
class ChunkRequest:
    """The core wants bytes of a snapshot to send; answer with `supply_chunk`, now or later.

    The first request of a transfer (`metadata` is None) lets the driver choose the snapshot: any whose index is at
    least `index_min`. All later chunks must come from that same snapshot, byte for byte.
    """

    transfer: int
    to: NodeId
    index_min: Index
    metadata: SnapshotMetadata | None
    offset: int
    bytes_max: int


@record
class ChunkWrite:
    """Bytes of a snapshot that arrived. Keep them aside, at this offset, then call `chunk_stored`.

    Offset 0 begins a receipt: whatever was kept aside before is void. Nothing kept aside may become visible before
    `Ready.install` says so; what is found after a restart is void too.
    """

    receipt: int
    """Numbers what this replica receives; says which snapshot a `chunk_stored` is about."""
    metadata: SnapshotMetadata
    offset: int
    data: bytes
    is_last: bool


@record
class Ready:
    """What the driver has to do, as an ordering contract.

    * `role_change` comes first: whoever lost the leadership must stop acting on it before anything else.
    * `messages` may leave at once, before anything is written.
    * `hard_state` and `entries` go to disk, in the order in which Readies were taken; several may be in flight.
      `entries` replace everything stored from their first index on, including what lies behind their last.
    * `messages_after_persist` leave only once the hard state and the entries of this Ready, and of all Readies before
      it, are synced; at once if nothing is in flight.
    * When entries are synced, call `persisted(last.index, last.term)`. Only then this replica counts them as stored.
    * `committed` entries are to be applied in this order; then call `applied(index)`. They may still be on their way
      to this replica's own disk, so a checkpoint must be written behind them, not past them.
    * `install`: the snapshot whose chunks were kept aside replaces the whole state and log, atomically and synced;
      then call `snapshot_installed`. Nothing is handed out to be applied in between.
    """

    hard_state: HardState | None
    entries: Sequence[Entry]
    messages: Sequence[Outgoing]
    messages_after_persist: Sequence[Outgoing]
    committed: Sequence[Entry]
    role_change: RoleChange | None
    read_states: Sequence[ReadState]
    failed_reads: Sequence[int]
    """Contexts of reads that got no answer because the leadership changed; ask again."""
    chunk_requests: Sequence[ChunkRequest]
    closed_transfers: Sequence[int]
    """Transfers that need no more bytes: the snapshot may be released."""
    chunk_writes: Sequence[ChunkWrite]
    install: SnapshotMetadata | None

    @property
    def must_sync(self) -> bool:
        """Whether there is something to write before `messages_after_persist` may leave."""
        return self.hard_state is not None or bool(self.entries)


@record
class Quiesced:
    """How a group fell silent. Who says the same of it has everything, and knows of nothing newer."""

    leader: NodeId
    term: Term
    last_index: Index


@record
class PeerStatus:
    """What a leader knows of one other replica."""

    match_index: Index
    """Its log equals the leader's up to here, on its disk."""
    next_index: Index
    state: str
    """probe, replicate or snapshot."""
    is_live: bool
    """Heard of within an election timeout."""
    is_caught_up: bool
    """Has everything that is committed: a learner like this may become a voter, a voter like this the leader."""


@record
class Status:
    """A look inside, for INFO, metrics and tests."""

    node: NodeId
    role: Role
    term: Term
    leader: NodeId | None
    vote: NodeId | None
    first_index: Index
    """Of the log in memory."""
    last_index: Index
    persisted_index: Index
    commit_index: Index
    applied_index: Index
    log_bytes: int
    configuration: Configuration
    configuration_index: Index
    """Where the configuration in force was appended; pending while this is above the commit index."""
    transferring_to: NodeId | None
    is_quiesced: bool
    peers: dict[NodeId, PeerStatus]
    """Empty except on a leader."""


class Core(Protocol):
    """One replica of one group."""

    def tick(self, elapsed: int = 1) -> None:
        """Time has passed: `elapsed` units since the last call.

        A leader counts them all, so that it mistrusts its lease after a pause. Others count one, so that a node which
        was stopped reads its messages before it campaigns.
        """
        ...

    def step(self, sender: NodeId, message: Message) -> None:
        """A message arrived. Late, repeated or reordered ones are harmless.

        Raises: Fatal if the protocol's invariants are broken (this replica lost its disk, or two leaders in a term).
        """
        ...

    def campaign(self) -> None:
        """Stand for election now instead of at the next timeout; no effect on one that leads or may not lead."""
        ...

    def propose(self, payload: bytes) -> Index:
        """Appends an entry to the leader's log.

        Returns: the index it will have if it gets committed in this term.
        Raises: NotLeader, Busy (log in memory full, or leadership being handed over), ClientError (too large).
        """
        ...

    def propose_configuration(self, target: Configuration) -> Index:
        """Starts the change to `target`: in one step if at most one voter differs, else through a joint phase.

        A new voter that keeps data must be a caught-up learner, so that the change cannot stall the group.

        Raises: NotLeader, ChangeRefused, ClientError (a target that can never be).
        """
        ...

    def read_index(self, context: int) -> None:
        """Asks for a linearizable read; `Ready.read_states` or `Ready.failed_reads` answers with the context.

        On a follower the leader is asked, and a lost message is not noticed: the driver has its own time limit.

        Raises: NotLeader (no leader known), Busy.
        """
        ...

    def lease_valid(self, is_use: bool = True) -> bool:
        """Whether this replica leads and nobody else can have been elected: its state may be read as it is.

        Right only if `tick` was called for all time that passed. Asking counts as use, unless somebody only wants to
        know: it keeps the group awake.
        """
        ...

    def transfer_leadership(self, node: NodeId) -> None:
        """Starts a hand-over; given up after an election timeout. Proposals are refused (Busy) in between.

        Raises: NotLeader, Busy (one is under way), ClientError (a node that may not lead).
        """
        ...

    def prefer(self, node: NodeId | None) -> None:
        """Who is to lead from now on whenever it can (`CoreConfig.preferred`)."""
        ...

    def defer_commit(self, is_deferred: bool) -> None:
        """Whether followers need not hear of the commit index by a message of its own, because the driver will propose
        within a moment: the next entries say it too. Heartbeats say it in any case; so does the end of the deferral.
        """
        ...

    def spares(self) -> Collection[NodeId]:
        """Followers whose entries may be late: a majority has answered all that was sent before, so it will be enough.

        What is sent to the others may be kept back for a moment and sent together, in order.
        """
        ...

    def is_transferring(self) -> bool:
        """Whether this leader hands over at the moment, so that a proposal would be refused."""
        ...

    def wake(self) -> None:
        """Somebody wants this group: ends a quiesced state, here and on the peers."""
        ...

    def quiesced(self) -> Quiesced | None:
        """In what state the group is quiesced, as far as this replica knows; None: it is awake."""
        ...

    def unreachable(self, node: NodeId) -> None:
        """The connection to this node broke: what was in flight is probably lost. Wakes the group that needs it."""
        ...

    def has_ready(self) -> bool:
        """Whether `take_ready` would have something."""
        ...

    def take_ready(self) -> Ready:
        """What to do now. May be called again before the writes of earlier ones are done."""
        ...

    def persisted(self, index: Index, term: Term) -> None:
        """The entries of a Ready are synced; `index` and `term` are those of its last entry."""
        ...

    def applied(self, index: Index) -> None:
        """Everything up to `index` is applied."""
        ...

    def snapshot_metadata(self, index: Index) -> SnapshotMetadata:
        """Describes the state after applying up to `index` (an applied one in memory, or the last compacted one)."""
        ...

    def configuration_at(self, index: Index) -> Configuration:
        """The configuration in force at an index; where the log that is left begins later, the one in force there."""
        ...

    def compact(self, index: Index) -> None:
        """Forgets applied entries up to `index`: a checkpoint covers them. Followers that miss them get a snapshot."""
        ...

    def supply_chunk(self, transfer: int, metadata: SnapshotMetadata, offset: int, data: bytes, is_last: bool) -> None:
        """Answers a `ChunkRequest`; ignored if the transfer is over."""
        ...

    def chunks_unavailable(self, transfer: int) -> None:
        """The snapshot of a transfer cannot be read (any more): it starts again with another one."""
        ...

    def chunk_stored(self, receipt: int, received: int) -> None:
        """A `ChunkWrite` is kept; the snapshot's first `received` bytes are there."""
        ...

    def snapshot_installed(self, metadata: SnapshotMetadata) -> None:
        """`Ready.install` is done and synced."""
        ...

    def snapshot_rejected(self, metadata: SnapshotMetadata) -> None:
        """What arrived is damaged: nothing was installed, the leader has to start again."""
        ...

    def status(self) -> Status:
        """A look inside."""
        ...
