"""One shard's replica on a node where there are several shards: its consensus core, its log, and, while it leads, the
participant that executes (`makoredis.txn.participant`).

While another node leads, what is chosen goes to the shard's replica in the node's snapshot (`makoredis.txn.follower`).
A leadership takes that replica's place there, runs ahead of the snapshot on the same keyspace, and in the end takes
back what the snapshot does not show.
"""

from collections.abc import Callable, Hashable, Sequence
from random import Random

from makoredis.base import console
from makoredis.base.errors import Retryable
from makoredis.base.ids import Index, NodeId, ShardId, Term
from makoredis.cluster.gathering import Gathering
from makoredis.cluster.host import ENTRY_TRANSACTIONS_WAIT, Disk, LogOwner, SnapshotTransfer
from makoredis.cluster.log_size import LogSize
from makoredis.cluster.shard_loading import ShardLoader
from makoredis.consensus.core import Core, Outgoing, Ready, RoleChange
from makoredis.consensus.messages import Message
from makoredis.consensus.types import EntryKind, Role, SnapshotMetadata
from makoredis.data.effects import Effect, FlushDatabase
from makoredis.data.keyspace import Keyspace
from makoredis.storage.log import ShardLog
from makoredis.txn.entries import TransactionRecord, decode_payload
from makoredis.txn.follower import Snapshot
from makoredis.txn.gate import Gate
from makoredis.txn.handover import with_handovers
from makoredis.txn.participant import Participant, Program
from makoredis.txn.pending import PendingTransaction
from makoredis.txn.recovery import recover
from makoredis.txn.replica import Replica


class ShardReplica(LogOwner):
    """Drives one shard's core."""

    def __init__(
        self,
        shard: ShardId,
        core: Core,
        log: ShardLog,
        disk: Disk,
        send: Callable[[ShardId, list[Outgoing]], None],
        snapshot: Snapshot,
        program: Program,
        rng: Random,
        clock_offset_us: int,
    ) -> None:
        """
        Args:
            clock_offset_us: how far two nodes' clocks may differ. A new leader begins so far ahead of its own, because
                an orderly hand-over takes no time in which its predecessor's promises could pass.
        """
        self.shard = shard
        self.core = core
        self.log = log
        self.disk = disk
        self.send = send
        self.snapshot = snapshot
        self.program = with_handovers(program)
        self.rng = rng
        self.clock_offset_us = clock_offset_us
        self.term = Term(0)
        self.leader: NodeId | None = None
        self.is_leader = False
        self.is_synchronous = False
        self.elections_won = 0
        self.applied_index = Index(0)
        self.log_size = LogSize()
        self.snapshots: SnapshotTransfer | None = None
        self.unwritten = 0
        self.participant: Participant | None = None
        self.in_progress: set[Hashable] = set()
        """Tickets that the participant owes an answer."""
        self.serving: Participant | None = None
        """The participant, while it is known that transactions may run in place: until anything happens."""
        self.final: list[PendingTransaction] = []
        """What became final with the end of the leadership, if anybody wants to hear of it."""
        self.voided: list[Gate] = []
        """Gates that never open, because the leadership is lost."""
        self.turned: list[Hashable] = []
        """Tickets that it will not answer any more: the leadership is lost."""
        self.gathering = Gathering()
        self.wall_us = 0
        self.reads_by_quorum = False
        """Whether a lease is never enough to answer."""
        self._rounds: dict[int, tuple[Participant, int]] = {}
        """By number, whose rounds a quorum was asked for (`makoredis.txn.held`)."""
        self._round_count = 0
        self._serves_from = Index(0)
        self._payload: bytes | None = None
        """An entry that the core would not take yet."""

    def new_loader(self, metadata: SnapshotMetadata, blob: bytes) -> ShardLoader:
        """For a checkpoint that the leader sends."""
        space = self.snapshot.local[self.shard].space
        return ShardLoader(self.shard, Keyspace(len(space.by_id), space.config), blob, metadata.index)

    def take_state(self, loader: ShardLoader, metadata: SnapshotMetadata) -> None:
        """Such a checkpoint takes the place of what is here."""
        old = self._following()
        new = loader.replica(self.snapshot.knowledge)
        new.reports = old.reports
        if new.reports:
            # Whoever keeps copies of keys has to forget them all.
            flushes: list[Effect] = [FlushDatabase(database.id) for database in new.space.by_id]
            new.applied.append(TransactionRecord(new.ts, flushes))
        new.note_keys(old.notes_keys)
        new.space.note_uses_like(old.space)
        new.version += old.version
        # A checkpoint may begin before what this node's other shards show, and hold the rest in undecided transactions.
        new.advance_to(self.snapshot.ts, self.snapshot.knowledge)
        self.snapshot.local[self.shard] = new
        self.applied_index = metadata.index
        self.log_size.clear()
        self._log(f"took a snapshot of its leader, up to entry {metadata.index}")

    def _log(self, text: str) -> None:
        console.log("info", f"shard {self.shard}: {text}")

    def is_witness(self) -> bool:
        """Whether this replica votes and keeps no data."""
        status = self.core.status()
        return status.node in status.configuration.witnesses

    def is_serving(self) -> bool:
        """Whether transactions may begin here now."""
        participant = self.participant
        return participant is not None and participant.is_serving and self._payload is None

    def is_settled(self) -> bool:
        """Whether this replica leads, and a majority has the first entry of its leadership."""
        return self.participant is not None and self.participant.is_serving

    def transfer_leadership(self, node: NodeId) -> None:
        """Hands over. What was executed in this turn goes before.

        Raises: NotLeader, Busy, ClientError.
        """
        self.propose()
        self.core.transfer_leadership(node)

    def has_lease(self) -> bool:
        """Whether nobody else can lead."""
        return self.core.lease_valid() and not self.core.is_transferring()

    def step(self, sender: NodeId, message: Message) -> None:
        """A replica of another node says something."""
        self.serving = None
        self.core.step(sender, message)

    def tick(self, elapsed: int) -> None:
        """So many ticks of the core have passed."""
        self.serving = None
        self.core.tick(elapsed)

    def look(self) -> Participant | None:
        """The participant if transactions may run in place now: nobody else can have been elected."""
        participant = self.participant
        if participant is None or not self.is_serving() or participant.is_synchronous or not self.has_lease():
            return None
        self.serving = participant
        return participant

    def is_gathering(self) -> bool:
        """Whether an entry waits for something that no event may end: turns have to go on."""
        return self.gathering.is_on and self.participant is not None and self.participant.has_entry()

    def gather(self, now: float) -> None:
        """Ends the wait of the next entry if it has been long enough. A follower has none."""
        if self.participant is None:
            self.gathering.end()
        elif self.gathering.is_on:
            self.gathering.look(self.participant.turn_count(), now)

    def perform(self) -> bool:
        """Does everything that the core has ready. Returns whether there was anything."""
        has_done = False
        while self.core.has_ready():
            self._perform(self.core.take_ready())
            has_done = True
        if self.is_leader and self.participant is None and self.applied_index >= self._serves_from:
            self._take_over()
            has_done = True
        return has_done

    def propose(self) -> bool:
        """Has what was executed since the last call written to the log. Returns whether there was anything."""
        participant = self.participant
        if participant is None or self.unwritten:
            return False  # the disk could not take another entry anyway; what waits becomes one
        if self.gathering.is_on and participant.turn_count() < ENTRY_TRANSACTIONS_WAIT:
            return False
        if self._payload is None:
            self._payload = participant.take_entry()
            if self._payload is None:
                return False
        try:
            index = self.core.propose(self._payload)
        except Retryable:
            self.serving = None
            return False  # again in the next turn, unless the leadership is lost until then
        self._payload = None
        self.gathering.end()
        participant.proposed(index)
        return True

    def confirm(self) -> bool:
        """Asks a quorum whether this replica still leads, if somebody waits for that. Returns whether it was asked."""
        participant = self.participant
        if participant is None or not participant.held.is_wanted:
            return False
        try:
            self.core.read_index(self._round_count + 1)
        except Retryable:
            return False  # again in the next turn, unless the leadership is lost until then
        self._round_count += 1
        self._rounds[self._round_count] = (participant, participant.held.ask())
        return True

    def _confirmed(self, ready: Ready) -> None:
        """Hands on what a quorum has said."""
        for context in ready.failed_reads:
            self._rounds.pop(context)[0].held.is_wanted = True
        for state in ready.read_states:
            participant, number = self._rounds.pop(state.context)
            if participant is self.participant:
                participant.confirmed(number)

    def _perform(self, ready: Ready) -> None:
        self.serving = None
        if ready.role_change is not None:
            self._change_role(ready.role_change)
        self._carry_out(ready)
        self._apply(ready)
        if ready.read_states or ready.failed_reads:
            self._confirmed(ready)

    def _change_role(self, change: RoleChange) -> None:
        was_leader, old_term = self.is_leader, self.term
        self.term = change.term
        self.leader = change.leader
        self.is_leader = change.role is Role.LEADER
        if was_leader and (not self.is_leader or self.term != old_term):
            self._stand_down()
        if self.is_leader and (not was_leader or self.term != old_term):
            self._serves_from = self.core.status().last_index
            self.elections_won += 1

    def _stand_down(self) -> None:
        """What was executed and not chosen is forgotten; whether it is chosen after all, the next leader finds out."""
        if self.participant is not None:
            self.snapshot.local[self.shard], _ = self.participant.step_down()
            output = self.participant.take_output()
            self.voided += output.voided
            self.final += output.final
        self.participant = None
        self._payload = None
        self.turned += self.in_progress
        self.in_progress.clear()

    def _recover(self) -> Participant:
        wall_us = self.wall_us + self.clock_offset_us
        knowledge = self.snapshot.knowledge
        return recover(self._following(), self.term, (), knowledge, self.program, self.rng, wall_us)

    def _take_over(self) -> None:
        participant = self._recover()
        participant.is_synchronous = self.is_synchronous
        participant.held.may_ask = True
        participant.reports = participant.replica.reports
        self.participant = self.snapshot.local[self.shard] = participant

    def _following(self) -> Replica:
        replica = self.snapshot.local[self.shard]
        assert isinstance(replica, Replica)
        return replica

    def _apply(self, ready: Ready) -> None:
        if not ready.committed:
            return
        self.applied_index = ready.committed[-1].index
        if self.participant is not None:
            before = len(self.participant.pending)
            self.participant.chosen(self.applied_index)
            self.gathering.answered(before - len(self.participant.pending), self.participant.turn_count())
        else:
            replica = self._following()
            for entry in ready.committed:
                if entry.kind == EntryKind.NORMAL:
                    replica.take(entry.index, decode_payload(entry.payload), self.snapshot.knowledge)
            replica.index = self.applied_index
        self.core.applied(self.applied_index)


Replicas = Sequence[ShardReplica]
