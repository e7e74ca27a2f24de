"""All shards of a node that has several: drives their participants, the coordinator of its clients' transactions, and
what the node knows of everybody's logs (design sections 4, 7–11).

The pure machines in `makoredis.txn` say what to do; here it is done. Invariants:
* After `end_turn` no machine wants anything: what one of them says to another on this node has been heard.
* A request of a client is at most once in progress at a leader. That a later leader does not execute it again is the
  matter of the table of requests (`makoredis.txn.requests`).
* A watermark is announced as soon as it has moved, if others may wait for it or no other will follow soon; else not
  more often than every `ANNOUNCE_PAUSE_SECONDS`, since hearing of it costs a node as much as some ten requests. It is
  announced again every `ANNOUNCE_SECONDS`, because frames may be lost.
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from makoredis.base.ids import NodeId, ShardId
from makoredis.base.record import record, wire_decoder, wire_encode
from makoredis.cluster.messages import (
    Advance,
    Announced,
    AskReplicas,
    CloseSessions,
    PeerMessage,
    ReplicaCount,
    SessionsClosed,
    ShardPeerMessage,
    Submit,
    Submitted,
    ToCoordinator,
    ToShard,
    TurnedAway,
)
from makoredis.cluster.moving import Mover, MoveTicket
from makoredis.cluster.replica import ShardReplica
from makoredis.cluster.replicated import Replicated
from makoredis.cluster.sessions import ClosedSessions
from makoredis.cluster.slots import SlotMap
from makoredis.data.keyspace import Keyspace
from makoredis.txn.coordinator import Coordinator, Finished
from makoredis.txn.entries import TransactionRecord
from makoredis.txn.follower import Snapshot
from makoredis.txn.gate import Gate
from makoredis.txn.in_hand import Output, Reply
from makoredis.txn.knowledge import Knowledge, Watermark
from makoredis.txn.messages import (
    Abort,
    Aborted,
    Answer,
    Commit,
    Committed,
    Part,
    Prepare,
    Prepared,
    Query,
    Refusal,
    Refused,
)
from makoredis.txn.participant import RESOLVE_AFTER_US, Participant
from makoredis.txn.pending import PendingTransaction
from makoredis.txn.replica import Replica
from makoredis.txn.requests import RequestRecord

ANNOUNCE_SECONDS = 0.1
"""How often a watermark is announced that has not moved."""
QUIESCED_ANNOUNCE_SECONDS = 0.9
"""The same while all shards are quiesced: with each statement of `quiescence`."""
ANNOUNCER_SECONDS = 2.5
"""Who has announced a watermark since then leads the shard, for all that a node knows that hears of no leader."""
ANNOUNCE_PAUSE_SECONDS = 0.01
"""How often one is announced that moves all the time, and that nobody waits for but readers of snapshots."""
SILENT_SECONDS_MIN = 0.3
"""A leader that has not announced its watermark since then does not answer either, perhaps."""
GIVE_UP_AFTER_US = 30_000_000
"""A transaction over several shards that has no outcome by then is answered with an error: about as long as a command
for one shard is tried."""

_decode_for_shard = wire_decoder(Prepare | Commit | Abort | Query | Answer)
_decode_for_coordinator = wire_decoder(Prepared | Refused | Committed | Aborted)


@record
class Ticket:
    """Whose request it is: a client of a node. `node` is this one for its own clients."""

    node: int
    incarnation: int
    session: int
    sequence: int

    def __hash__(self) -> int:
        return hash((self.node, self.incarnation, self.session, self.sequence))


@record
class Final:
    """A transaction that nothing can undo any more."""

    record: TransactionRecord
    origin: int
    """The client of this node that had it run in place; 0: another's."""


class Shards:
    """The shards of one node."""

    def __init__(
        self,
        node: NodeId,
        incarnation: int,
        slots: SlotMap,
        make_space: Callable[[], Keyspace],
        send: Callable[[NodeId, PeerMessage], None],
        rng: Random,
    ) -> None:
        """
        Args:
            send: has a message sent to another node, or drops it.
        """
        self.node = node
        self.incarnation = incarnation
        self.slots = slots
        self.send = send
        self.rng = rng
        self.knowledge = Knowledge(slots.shards)
        self.snapshot = Snapshot([Replica(shard, make_space()) for shard in slots.shards], self.knowledge)
        self.coordinator = Coordinator(node, incarnation, self.knowledge, GIVE_UP_AFTER_US)
        self.replicas: dict[ShardId, ShardReplica] = {}
        self.mover = Mover(self.replicas, self.submit_own)
        self.replicated = Replicated(self)
        self.sessions = ClosedSessions(self)
        self.peers: Callable[[], list[NodeId]] = list
        """Who else is connected."""
        self.is_connected: Callable[[NodeId], bool] = lambda node: True
        """Whether a message to another node would leave."""
        self.time_us = 0
        """The wall clock as it would be had nobody set it since the start."""
        self.wall_us = 0
        self.heard_at: dict[int, float] = {}
        """When the leader of a shard was last heard of, monotonic seconds."""
        self.resolve_after_us = RESOLVE_AFTER_US
        """For the participants of this node."""
        self.silent_seconds = SILENT_SECONDS_MIN
        self.fresh_at = 0.0
        """Everything that was known to be final then is in the snapshot; monotonic seconds."""
        self._final = (0, 0.0)
        """What was known to be final when `fresh_at` was looked at last, and when."""
        self._announcers: dict[int, tuple[int, int]] = {}
        """By shard, who has announced the watermark of its latest leadership, as (leader, term)."""
        self._now = 0.0
        self._started_us = 0
        """What the wall clock showed when the monotonic one showed 0."""
        self._announced_at = 0.0
        self._quiesced: set[ShardId] = set()
        """Shards that were quiesced when they were looked at last."""
        self._quiesced_at: dict[ShardId, float] = {}
        """When they were seen so last, monotonic seconds."""
        self._watermarks: dict[int, Watermark] = {}
        """The last one of each shard that is led here."""
        self._told: dict[int, tuple[int, float]] = {}
        """By shard, the timestamp that was announced last, and when."""
        self._results: list[Reply | Finished] = []
        self._turned: list[Ticket] = []
        self._voided: list[Gate] = []
        self._reported: list[Final] = []
        self.tick_due = 0.0
        """When the cores have to be told of the time again, monotonic seconds."""

    # -- time

    def set_patience(self, heartbeat_us: int, election_us: int) -> None:
        """Whoever waits for another node waits as long as befits the network that these times were chosen for."""
        self.coordinator.resend_after_us = heartbeat_us
        self.coordinator.prepare_timeout_us = election_us // 2
        self.resolve_after_us = election_us * 3 // 5
        self.silent_seconds = max(SILENT_SECONDS_MIN, 4e-6 * heartbeat_us)

    def set_time(self, wall_us: int, now: float) -> None:
        """A turn begins."""
        if not self.time_us:
            self._started_us = wall_us - int(now * 1e6)
        self.wall_us = wall_us
        self._now = now
        if self._quiesced:
            self._look_at_quiesced()
        self.time_us = self.coordinator.now_us = time_us = self._started_us + int(now * 1e6)
        ahead_us = wall_us - time_us
        for replica in self.replicas.values():
            replica.wall_us = wall_us
            replica.serving = None
            participant = replica.participant
            if participant is not None:
                participant.now_us, participant.wall_ahead_us = time_us, ahead_us
                # Whoever waits there for something may run at any time; whoever asks anew has this looked at.
                participant.has_lease = participant.owes_answers() and replica.has_lease()

    def _look_at_quiesced(self) -> None:
        for shard in tuple(self._quiesced):
            self._quiesced_at[shard] = self._now
            if self.replicas[shard].core.quiesced() is None:
                self._quiesced.discard(shard)

    def _refresh(self, replica: ShardReplica) -> None:
        replica.serving = None
        participant = replica.participant
        if participant is not None:
            participant.now_us, participant.wall_ahead_us = self.time_us, self.wall_us - self.time_us
            participant.has_lease = replica.has_lease()
            participant.resolve_after_us = self.resolve_after_us
            participant.first_table = self.slots.first_table

    def tick_cores(self, elapsed: int) -> None:
        for replica in self.replicas.values():
            replica.tick(elapsed)

    def tick(self) -> None:
        """One heartbeat has passed."""
        for replica in self.replicas.values():
            participant = replica.participant
            if participant is not None:
                # Its lease is not looked at for this: that would count as use, and no group would ever fall silent.
                participant.resolve_after_us = self.resolve_after_us
                participant.first_table = self.slots.first_table
                participant.tick(self.time_us)
            if replica.core.quiesced() is not None:
                self._quiesced.add(replica.shard)
            elif replica.is_leader:
                # Nobody announces to itself, and an idle shard has nothing new to say.
                self.heard_at[replica.shard] = self._now
        self.coordinator.suspect(frozenset(shard for shard in self.replicas if not self._hears(shard)))
        self.coordinator.tick(self.time_us)
        self.mover.tick()
        self.replicated.tick()
        self.sessions.tick(self._now)
        self.knowledge.forget()
        if self.snapshot.ts >= self._final[0]:
            self.fresh_at = self._final[1]
            self._final = (self.knowledge.global_ts, self._now)
        are_quiesced = len(self._quiesced) == len(self.replicas)
        if self._now - self._announced_at >= (QUIESCED_ANNOUNCE_SECONDS if are_quiesced else ANNOUNCE_SECONDS):
            self._announced_at = self._now
            for shard, watermark in list(self._watermarks.items()):
                if self.replicas[ShardId(shard)].is_leader:
                    self._announce(watermark)
                else:
                    del self._watermarks[shard]

    def _hears(self, shard: ShardId) -> bool:
        """Whether a shard's leader is likely to answer."""
        leader, _ = self.leader_of(shard)
        if leader in (0, self.node):
            return leader != 0
        # Who was quiesced until now had no reason to be heard.
        heard_at = max(self.heard_at.get(shard, 0.0), self._quiesced_at.get(shard, 0.0))
        return self.is_connected(NodeId(leader)) and self._now - heard_at < self.silent_seconds

    # -- requests of clients

    def leader_of(self, shard: ShardId) -> tuple[int, int]:
        """Who leads a shard (0: unknown), and its term.

        A node that is no member, or lags, knows it from the leader's announcements.
        """
        replica = self.replicas[shard]
        announced = self._announcers.get(shard, (0, 0))
        if announced[1] > replica.term:
            return announced
        if replica.leader is None and self._now - self.heard_at.get(shard, 0.0) < ANNOUNCER_SECONDS:
            return announced  # a node that was removed may have stood for election once more, in a term of its own
        return replica.leader or 0, replica.term

    def submit(self, shard: ShardId, ticket: Ticket, part: Part) -> bool:
        """A transaction of one shard that is led here. False: it is not, or not yet; nothing was done.

        The answer follows in `take_results`, or the ticket in `take_turned`.
        """
        replica = self.replicas[shard]
        participant = replica.participant
        if participant is None or not replica.is_serving():
            return False
        if ticket in replica.in_progress:
            return True
        origin, latest = (ticket.incarnation, ticket.session), self.sessions.latest[shard]
        if ticket.sequence < latest.get(origin, 0):
            return True  # the client has its answer, and has gone on since
        latest[origin] = ticket.sequence
        self._refresh(replica)
        replica.in_progress.add(ticket)
        request = RequestRecord(ticket.incarnation, ticket.session, ticket.sequence, ticket.sequence - 1, b"")
        participant.submit(ticket, part, request)
        return True

    def serving(self, shard: ShardId) -> Participant | None:
        """Who runs transactions of a shard in place; None: it is not led here, or must not now.

        A gate that it hands out may be among `take_voided`; whoever waits there has to ask by `submit` then. Call it
        when the request is there and the time that has passed is accounted for, never before.
        """
        replica = self.replicas[shard]
        return replica.serving or replica.look()

    def take_voided(self) -> list[Gate]:
        """Gates that never open: what was run in place and waits there was taken back, or saw what was."""
        voided, self._voided = self._voided, []
        return voided

    def set_reports(self, is_wanted: bool) -> None:
        """Whether `take_final` is of interest."""
        for local in self.snapshot.local.values():
            local.reports = is_wanted
            if isinstance(local, Participant):
                local.replica.reports = is_wanted  # as it will be again

    def take_final(self) -> list[Final]:
        """What has become final since the last call, of each shard in its order: at once where this node leads it, and
        where another does, when the snapshot here shows it."""
        final, self._reported = self._reported, []
        for local in self.snapshot.local.values():
            replica = local.replica if isinstance(local, Participant) else local
            assert isinstance(replica, Replica)
            if replica.applied:
                final += [Final(each, 0) for each in replica.applied]
                replica.applied = []
        return final

    def author_of(self, record: TransactionRecord) -> int:
        """The client of this node whose transaction over several shards this is part of; 0: none that is known."""
        cross = record.cross
        ticket = None if cross is None or cross.id is None else self.coordinator.authors.get(cross.id)
        return ticket.session if isinstance(ticket, Ticket) else 0

    def submit_own(self, shard: ShardId, part: Part) -> None:
        """A transaction of the node itself, which nobody waits for."""
        replica = self.replicas[shard]
        if replica.participant is not None and replica.is_serving():
            replica.participant.submit(None, part)

    def want(self, ts: int) -> None:
        """Has the watermarks of all shards get to a timestamp, however idle they are."""
        for shard in self.replicas:
            leader, _ = self.leader_of(shard)
            if leader == self.node:
                self._on_advance(Advance(shard, ts))
            elif leader:
                self.replicas[shard].core.wake()
                self.send(NodeId(leader), Advance(shard, ts))

    def _on_advance(self, message: Advance) -> None:
        participant = self.replicas[ShardId(message.shard)].participant
        if participant is not None and participant.is_serving:
            participant.want(message.ts)

    def take_results(self) -> list[Reply | Finished]:
        """Answers for clients of this node."""
        results, self._results = self._results, []
        return results

    def take_touched(self) -> list[tuple[int, bytes]]:
        """Databases and keys whose changes have become final, if the snapshot takes note of them."""
        return self.snapshot.take_touched()

    def take_turned(self) -> list[Ticket]:
        """Requests of clients of this node that have to be asked again."""
        turned, self._turned = self._turned, []
        return turned

    # -- peers

    def peer_message(self, sender: NodeId, message: ShardPeerMessage) -> None:
        """Another node says something about shards."""
        if type(message) is Announced:
            self._hear(sender, message.watermark)
        elif type(message) is ToShard:
            self._for_shard(ShardId(message.shard), _decode_for_shard(message.encoded))
        elif type(message) is ToCoordinator:
            self.coordinator.step(_decode_for_coordinator(message.encoded))
        elif type(message) is Advance:
            self._on_advance(message)
        elif type(message) is AskReplicas:
            self.replicated.asked(sender, message)
        elif type(message) is ReplicaCount:
            self.replicated.answered(message)
        elif type(message) is CloseSessions:
            self.sessions.asked(sender, message)
        elif type(message) is SessionsClosed:
            self.sessions.answered(message)
        elif type(message) is Submit:
            self._on_submit(sender, message)
        elif type(message) is Submitted:
            ticket = Ticket(self.node, message.incarnation, message.session, message.sequence)
            self._results.append(Reply(ticket, message.results, message.ts))
        elif type(message) is TurnedAway:
            self._turned.append(Ticket(self.node, message.incarnation, message.session, message.sequence))

    def _hear(self, sender: NodeId, watermark: Watermark) -> None:
        if watermark.shard not in self.replicas:
            return  # of a shard that the configuration of this node does not have yet
        if self.knowledge.hear(watermark) and self._quiesced:
            self._wake_behind(watermark.ts)
        if watermark.epoch > self._announcers.get(watermark.shard, (0, 0))[1]:
            self._announcers[watermark.shard] = (int(sender), watermark.epoch)
        if self.replicas[ShardId(watermark.shard)].core.quiesced() is None:
            self.heard_at[watermark.shard] = self._now  # else statements say it (`quiescence`)

    def led_at(self, shard: ShardId, at: float) -> None:
        """A quiesced shard was known to be led at a time, monotonic seconds."""
        self.heard_at[shard] = max(at, self.heard_at.get(shard, 0.0))

    def _wake_behind(self, ts: int) -> None:
        """The leaders of shards whose watermark is below another's have to follow it, and show that they are there."""
        for shard in self._quiesced:
            if self.knowledge.watermarks.get(shard, (0, 0))[1] < ts:
                self.replicas[shard].core.wake()

    def _on_submit(self, sender: NodeId, message: Submit) -> None:
        ticket = Ticket(sender, message.incarnation, message.session, message.sequence)
        shard = ShardId(message.shard)
        if message.term != self.replicas[shard].term or not self.submit(shard, ticket, message.part):
            self._turn_away(ticket)

    def _turn_away(self, ticket: Ticket) -> None:
        if ticket.node == self.node:
            self._turned.append(ticket)
        else:
            message = TurnedAway(ticket.incarnation, ticket.session, ticket.sequence)
            self.send(NodeId(ticket.node), message)

    # -- the turn

    def end_turn(self) -> None:
        """Performs what the machines want until none of them wants anything."""
        while self._perform():
            continue
        self._announce_moved()

    def _perform(self) -> bool:
        has_done = False
        for shard, replica in self.replicas.items():
            had = replica.participant
            has_done |= replica.perform()
            if replica.participant is not had:
                self.sessions.latest[shard].clear()
                self._refresh(replica)
            if replica.voided:
                self._voided += replica.voided
                replica.voided = []
            if replica.final:
                self._note_final(replica.final)
                replica.final = []
            turned, replica.turned = replica.turned, []
            for ticket in turned:
                self._turn_away(ticket)  # type: ignore[arg-type]  # every ticket in progress is one of ours
        for replica in self.replicas.values():
            if replica.participant is not None:
                replica.participant.settle()
        self.coordinator.settle()
        for shard, replica in self.replicas.items():
            if replica.participant is not None:
                has_done |= replica.propose()
                has_done |= replica.confirm()
                has_done |= self._route(shard, replica, replica.participant.take_output())
        messages, finished = self.coordinator.take_output()
        for number, message in messages:
            self._to_leader(ShardId(number), message)
        for result in finished:
            if isinstance(result.ticket, MoveTicket):
                self.mover.finished(result)
            else:
                self._results.append(result)
        self.snapshot.advance()
        for shard in self.slots.shards:
            self.slots.follow(shard, self.snapshot.local[shard].space)
        has_done |= self.mover.proceed(self.coordinator)
        return has_done or bool(messages)

    def _note_final(self, items: Iterable[PendingTransaction]) -> None:
        self._reported += [Final(item.record, item.origin) for item in items]

    def _route(self, shard: ShardId, replica: ShardReplica, output: Output) -> bool:
        self._voided += output.voided
        self._note_final(output.final)
        for node, answer in output.to_nodes:
            if node == self.node:
                self.coordinator.step(answer)
            else:
                self.send(NodeId(node), ToCoordinator(wire_encode(answer)))
        for target, query in output.to_shards:
            self._to_leader(ShardId(target), query)
        for reply in output.replies:
            if isinstance(reply.ticket, Ticket):
                self._reply(replica, reply.ticket, reply)
        if output.watermark is not None:
            self._watermarks[shard] = output.watermark
            self.heard_at[shard] = self._now
        return bool(output.to_nodes or output.to_shards)

    def _reply(self, replica: ShardReplica, ticket: Ticket, reply: Any) -> None:
        replica.in_progress.discard(ticket)
        if not isinstance(reply, Reply):
            self._turn_away(ticket)
        elif ticket.node == self.node:
            self._results.append(reply)
        else:
            message = Submitted(ticket.incarnation, ticket.session, ticket.sequence, reply.results, reply.ts)
            self.send(NodeId(ticket.node), message)

    def _announce_moved(self) -> None:
        """Announces what has moved and may be waited for, or was not told for long enough."""
        for shard, watermark in self._watermarks.items():
            told_ts, told_at = self._told.get(shard, (0, 0.0))
            participant = self.replicas[ShardId(shard)].participant
            if watermark.ts == told_ts or participant is None or participant.epoch != watermark.epoch:
                continue
            is_awaited = told_ts < participant.shared_ts or not participant.is_busy()
            if is_awaited or self._now - told_at >= ANNOUNCE_PAUSE_SECONDS:
                self._announce(watermark)

    def _announce(self, watermark: Watermark) -> None:
        self._told[watermark.shard] = (watermark.ts, self._now)
        for peer in self.peers():
            self.send(peer, Announced(watermark))

    def _to_leader(self, shard: ShardId, message: Any) -> None:
        leader, _ = self.leader_of(shard)
        if leader == self.node:
            self._for_shard(shard, message)
        elif leader:
            self.replicas[shard].core.wake()  # it may be gone, and nobody have noticed
            self.send(NodeId(leader), ToShard(shard, wire_encode(message)))

    def _for_shard(self, shard: ShardId, message: Any) -> None:
        replica = self.replicas[shard]
        participant = replica.participant
        if participant is not None:
            self._refresh(replica)
            participant.step(message)
        elif isinstance(message, Prepare):
            refusal = Refused(message.id, shard, 0, Refusal.NOT_SERVING)
            if message.coordinator == self.node:
                self.coordinator.step(refusal)
            else:
                self.send(NodeId(message.coordinator), ToCoordinator(wire_encode(refusal)))

    # -- what is to be known of it

    def version(self) -> int:
        """Counts transactions that changed something here, in all shards."""
        return sum(local.version for local in self.snapshot.local.values())

    def is_idle(self) -> bool:
        """Whether all shards are quiesced, and nothing here waits for time to pass."""
        if len(self._quiesced) < len(self.replicas) or len(self.coordinator) or self.sessions.untold_count():
            return False
        for replica in self.replicas.values():
            participant = replica.participant
            if replica.core.quiesced() is None:
                return False
            if participant is not None and (
                participant.owes_answers()
                or participant.is_busy()
                or participant.two_phase.prepared
                or participant.has_entry()
                or participant.waiting_count()
            ):
                return False
        return self.snapshot.ts >= self.knowledge.global_ts

    def is_settled(self) -> bool:
        """Whether every shard is known to have a leader."""
        return all(self.leader_of(shard)[0] for shard in self.replicas)
