"""The state of one Raft replica, and the four ways in which its role changes.

The protocol itself is in the modules beside this one, as functions of this state:

    election.py      campaign, votes                          (Raft §5.2, §5.4.1; thesis §9.6)
    paxos.py         the same by the rule of Multi-Paxos
    heartbeat.py     rounds, check-quorum                     (thesis §6.2)
    replication.py   leader's side of AppendEntries, commit   (§5.3, §5.4.2)
    follower.py      follower's side of it
    snapshot.py      both sides of InstallSnapshot            (§7)
    retention.py     what stays in memory                     (§7)
    reads.py         lease and ReadIndex                      (§8; thesis §6.4)
    change.py        membership changes                       (§6; thesis chapter 4)
    transfer.py      hand-over, preferred leader              (thesis §3.10)
    quiesce.py       silence when idle
    dispatch.py      which function handles which message in which role
    raft.py          the `Core` made of these

Rules:

* `role`, `term` and `vote` change only in the `become_*` methods and in `grant_vote`.
* What depends on what is on disk goes through `send_synced`; everything else through `send`.
* Time is `now`, a count of ticks.
"""

from collections.abc import Sequence
from random import Random

from makoredis.base.errors import Fatal
from makoredis.base.ids import Index, NodeId, Term
from makoredis.consensus.core import ChunkRequest, ChunkWrite, CoreConfig, ElectionRule, Outgoing, ReadState
from makoredis.consensus.log import Log
from makoredis.consensus.membership import Membership
from makoredis.consensus.messages import Message
from makoredis.consensus.progress import LONG_AGO, Progress
from makoredis.consensus.types import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Role,
    SnapshotMetadata,
    decode_configuration,
)

BALLOT_NODES = 4096
"""Multi-Paxos: a ballot is its round times this plus the node. Two nodes that share a remainder compete as in Raft."""


class ReadRound:
    """Reads that wait for one heartbeat round to be answered by a quorum."""

    __slots__ = ("index", "reads", "round")

    def __init__(self, round_: int, index: Index, reads: list[tuple[int, NodeId | None]]) -> None:
        self.round = round_
        self.index = index
        self.reads = reads
        """Context, and the follower who asked (None: the own driver)."""


class IncomingTransfer:
    """A snapshot that is arriving."""

    __slots__ = ("is_complete", "metadata", "number", "receipt", "sender", "stored", "term", "written")

    def __init__(self, receipt: int, sender: NodeId, term: Term, number: int, metadata: SnapshotMetadata) -> None:
        self.receipt = receipt
        self.sender = sender
        self.term = term
        self.number = number
        self.metadata = metadata
        self.written = 0
        """Bytes handed to the driver."""
        self.stored = 0
        """Bytes the driver has kept."""
        self.is_complete = False
        """The last chunk was handed to the driver."""

    def is_same(self, sender: NodeId, term: Term, number: int, metadata: SnapshotMetadata) -> bool:
        """Whether a chunk belongs to this snapshot."""
        return (self.number, self.sender, self.term, self.metadata) == (number, sender, term, metadata)


class Promised:
    """What one voter told in phase 1 of Multi-Paxos."""

    __slots__ = ("entries", "last_index", "last_term", "previous_index")

    def __init__(self, previous_index: Index, entries: list[Entry], last_index: Index, last_term: Term) -> None:
        self.previous_index = previous_index
        self.entries = entries
        """What came so far of its log behind `previous_index`."""
        self.last_index = last_index
        self.last_term = last_term

    @property
    def told_to(self) -> Index:
        """The last index it has told about."""
        return Index(self.previous_index + len(self.entries))


class RaftState:
    """Everything one replica knows. Attributes are shared by the modules of this package, and by nobody else."""

    def __init__(
        self,
        config: CoreConfig,
        rng: Random,
        hard_state: HardState,
        entries: Sequence[Entry],
        snapshot: SnapshotMetadata | None,
    ) -> None:
        if not 0 < config.heartbeat_ticks < config.election_ticks:
            raise Fatal(f"heartbeat_ticks ({config.heartbeat_ticks}) must be below election_ticks")
        self.config = config
        self.node = config.node
        self.limits = config.limits
        self.preferred = config.preferred
        """Whom a leader hands over to; may be changed while the group runs."""
        self.rng = rng

        base = snapshot or SnapshotMetadata(Index(0), Term(0), config.configuration)
        self.log = Log(base.index, base.term, entries, hard_state.commit)
        self.membership = Membership(base.index, base.configuration)
        for entry in self.log.entries:
            if entry.kind is EntryKind.CONFIGURATION:
                self.membership.append(entry.index, decode_configuration(entry.payload))
        if self.log.last_term > hard_state.term:
            raise Fatal(f"the stored log reaches into term {self.log.last_term}, the stored term is {hard_state.term}")

        self.term = hard_state.term
        self.vote = hard_state.vote
        self.role = Role.FOLLOWER
        self.leader: NodeId | None = None

        self.now = 0
        self.election_elapsed = 0
        self.election_timeout = 0
        self.heard_at = LONG_AGO
        """When a leader was last heard. A restarted replica assumes one, because it may have supported a lease."""
        if hard_state.term and not self.membership.has_only_voter(self.node):
            self.heard_at = 0
        self.draw_election_timeout()

        self.votes: dict[NodeId, bool] = {}
        """Answers to the campaign under way."""
        self.promises: dict[NodeId, Promised] = {}
        """Multi-Paxos: what those who granted told."""
        self.is_transfer_campaign = False

        self.outbox: list[Outgoing] = []
        self.outbox_synced: list[Outgoing] = []
        self.acknowledge_index: Index | None = None
        """Follower: up to here the log is to be acknowledged to the leader with the next Ready."""
        self.is_hard_state_changed = False
        self.is_role_changed = True
        self.replicate_pending = False
        """Leader: some follower may have something to be sent."""
        self.is_commit_deferred = False
        """The driver is about to propose: followers hear of the commit index with that entry."""

        self.reset_leader_state()
        self.forwarded_reads: set[int] = set()
        """Follower: contexts that the leader was asked about."""
        self.read_states: list[ReadState] = []
        self.failed_reads: list[int] = []

        self.transfer_count = 0
        """Numbers outgoing and incoming snapshots of this incarnation."""
        self.chunk_requests: list[ChunkRequest] = []
        self.closed_transfers: list[int] = []
        self.chunk_writes: list[ChunkWrite] = []
        self.receiving: IncomingTransfer | None = None
        self.installing: SnapshotMetadata | None = None
        """A complete snapshot that the driver is putting in place: the log stands still."""
        self.is_install_handed = False

        self.is_quiesced = False
        self.active_at = 0
        """Tick of the last use; the group may quiesce a while after it."""

    def reset_leader_state(self) -> None:
        """What only a leader has: void in every new term."""
        self.peers: dict[NodeId, Progress] = {}
        self.has_witness = False
        self.own_match = Index(0)
        """What the own disk is known to hold. Counted only from the first entry of the own term on: until then an
        acknowledgement could be about entries that were since overwritten."""
        self.is_held = False
        """Elected without anybody's help: nothing may leave before the term is on disk, or it could be used twice."""
        self.heartbeat_elapsed = 0
        self.round = 0
        self.round_ticks: dict[int, int] = {}
        """When each recent heartbeat round began."""
        self.waiting_reads = 0
        """Reads not answered yet, in a round or not."""
        self.pending_reads: list[tuple[int, NodeId | None]] = []
        """Reads not yet in a round."""
        self.read_rounds: list[ReadRound] = []
        self.transfer_to: NodeId | None = None
        self.transfer_since = 0
        self.is_lease_spoiled = False
        """Somebody was told to campaign regardless of this leader, and may still do so any time later in this term."""
        self.preferred_retry_at = 0
        self.preferred_failures = 0
        """Attempts to hand over to the preferred node that came to nothing, of this leadership."""
        self.change_pending = False
        """A configuration is not committed yet, or a consequence of its commit is still to be drawn."""

    # ----- facts -----

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""
        return self.membership.configuration

    @property
    def may_campaign(self) -> bool:
        """Whether this replica may become a leader."""
        return self.installing is None and self.membership.may_lead(self.node, self.log.commit_index)

    @property
    def is_only_voter(self) -> bool:
        """Whether this replica is a quorum by itself."""
        configuration = self.membership.configuration
        return configuration.voters == (self.node,) and configuration.outgoing in ((), (self.node,))

    @property
    def is_leader_live(self) -> bool:
        """Whether a leader was heard so recently that nobody else may be voted for (thesis §4.2.3, §6.4.1)."""
        return self.role is Role.LEADER or self.now - self.heard_at < self.config.election_ticks

    @property
    def has_committed_in_term(self) -> bool:
        """Whether the commit index is known to include everything any earlier leader acknowledged (§8)."""
        return self.log.term_at(self.log.commit_index) == self.term

    @property
    def next_term(self) -> Term:
        """The term this replica would campaign in. Ballots of Multi-Paxos are each node's own (round, node)."""
        if self.config.election_rule is ElectionRule.RAFT:
            return Term(self.term + 1)
        return Term((self.term // BALLOT_NODES + 1) * BALLOT_NODES + self.node % BALLOT_NODES)

    # ----- sending -----

    def send(self, to: NodeId, message: Message) -> None:
        """To leave at once."""
        self.outbox.append((to, message))

    def send_synced(self, to: NodeId, message: Message) -> None:
        """To leave when everything up to now is on disk."""
        self.outbox_synced.append((to, message))

    def acknowledge(self, index: Index) -> None:
        """Follower: the log equals the leader's up to here; it will hear so when that is on disk."""
        if self.acknowledge_index is None or index > self.acknowledge_index:
            self.acknowledge_index = index

    def clear_handed(self) -> None:
        """The driver took a Ready: what was collected for it begins anew."""
        if self.outbox:
            self.outbox = []
        if self.outbox_synced:
            self.outbox_synced = []
        if self.read_states:
            self.read_states = []
        if self.failed_reads:
            self.failed_reads = []
        if self.chunk_requests:
            self.chunk_requests = []
        if self.closed_transfers:
            self.closed_transfers = []
        if self.chunk_writes:
            self.chunk_writes = []
        self.is_hard_state_changed = False
        self.is_role_changed = False
        self.replicate_pending = False

    # ----- the only role changes -----

    def become_follower(self, term: Term, leader: NodeId | None) -> None:
        """Follow `leader` in `term`; None: whoever it may be."""
        if self.role is Role.LEADER:
            self._give_up_leadership()
        if leader != self.leader or term != self.term:
            self.fail_forwarded_reads()
        self._enter_term(term)
        self._change(Role.FOLLOWER, leader)

    def become_pre_candidate(self) -> None:
        """Ask who would vote, without touching term or vote."""
        self._must_not_lead()
        self.votes = {}
        self.is_transfer_campaign = False
        self.fail_forwarded_reads()
        self._change(Role.PRE_CANDIDATE, None)

    def become_candidate(self, is_transfer: bool) -> None:
        """Stand for election in a new term, voting for itself."""
        self._must_not_lead()
        self.votes = {}
        self.promises = {}
        self.is_transfer_campaign = is_transfer
        self.fail_forwarded_reads()
        self._enter_term(self.next_term)
        self.grant_vote(self.node)
        self._change(Role.CANDIDATE, None)

    def become_leader(self) -> None:
        """Lead the current term, beginning with an empty entry of it."""
        if self.role is not Role.CANDIDATE:
            raise Fatal(f"{self.role.name} cannot become leader of term {self.term} without an election")
        self.reset_leader_state()
        self.is_held = all(voter == self.node for voter, granted in self.votes.items() if granted)
        self._change(Role.LEADER, self.node)
        self.track_members()
        self.change_pending = True
        self.active_at = self.now
        self.append(EntryKind.EMPTY, b"")

    def grant_vote(self, candidate: NodeId) -> None:
        """Votes in the current term."""
        self.vote = candidate
        self.is_hard_state_changed = True

    # ----- shared steps -----

    def append(self, kind: EntryKind, payload: bytes) -> Index:
        """Leader: adds an entry of the current term."""
        log = self.log
        index = Index(log.last_index + 1)
        log.append(Entry(self.term, index, kind, payload))
        self.replicate_pending = True
        return index

    def append_configuration(self, configuration: Configuration, payload: bytes) -> Index:
        """Leader: adds a configuration, in force at once."""
        index = self.append(EntryKind.CONFIGURATION, payload)
        self.membership.append(index, configuration)
        self.change_pending = True
        self.track_members()
        return index

    def track_members(self) -> None:
        """Leader: makes `peers` match the configuration; removed ones are kept until they know."""
        configuration = self.membership.configuration
        members = configuration.members()
        for node in members - self.peers.keys() - {self.node}:
            self.peers[node] = Progress(Index(self.log.last_index + 1), self.now, node in configuration.witnesses)
        for node, progress in self.peers.items():
            progress.is_leaving = node not in members
        self.has_witness = any(progress.is_witness for progress in self.peers.values())

    def close_transfer(self, progress: Progress) -> None:
        """Leader: the snapshot to this replica needs no more bytes, also none that were asked for in this turn."""
        if progress.transfer is not None:
            number = progress.transfer.number
            progress.transfer = None
            self.chunk_requests = [request for request in self.chunk_requests if request.transfer != number]
            self.closed_transfers.append(number)

    def draw_election_timeout(self) -> None:
        """Restarts the election timer with a new random timeout (§5.2); the preferred leader's is the shortest."""
        ticks = self.config.election_ticks
        self.election_elapsed = 0
        self.election_timeout = ticks
        if self.preferred != self.node:
            self.election_timeout += self.rng.randrange(ticks)

    def fail_forwarded_reads(self) -> None:
        """Follower: the leader that was asked is gone."""
        if self.forwarded_reads:
            self.failed_reads.extend(sorted(self.forwarded_reads))
            self.forwarded_reads.clear()

    # ----- inside -----

    def _change(self, role: Role, leader: NodeId | None) -> None:
        self.role = role
        self.leader = leader
        self.is_role_changed = True
        self.is_quiesced = False
        self.draw_election_timeout()

    def _enter_term(self, term: Term) -> None:
        if term < self.term:
            raise Fatal(f"the term would go back from {self.term} to {term}")
        if term > self.term:
            self.term = term
            self.vote = None
            self.is_hard_state_changed = True
            self.acknowledge_index = None

    def _give_up_leadership(self) -> None:
        self.failed_reads.extend(context for context, asker in self._all_reads() if asker is None)
        for progress in self.peers.values():
            self.close_transfer(progress)
        self.reset_leader_state()

    def _all_reads(self) -> list[tuple[int, NodeId | None]]:
        return [read for waiting in self.read_rounds for read in waiting.reads] + self.pending_reads

    def _must_not_lead(self) -> None:
        if self.role is Role.LEADER:
            raise Fatal(f"the leader of term {self.term} campaigned against itself")
