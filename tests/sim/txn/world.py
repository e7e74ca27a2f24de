"""Nodes, shards' logs, network and faults in one thread. Time is microseconds and jumps from event to event.

Replication is modelled, not run: a shard has one log; an entry is chosen some time after it was proposed, unless its
leader is cut off. When a leadership ends, an arbitrary part of what is not chosen survives. A leader that is cut off
goes on believing in itself without lease until it hears of its successor.
"""

import heapq
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from makoredis.base.record import wire_decoder, wire_encode
from makoredis.txn.coordinator import Coordinator, Finished
from makoredis.txn.entries import decode_payload
from makoredis.txn.follower import Snapshot
from makoredis.txn.in_hand import Reply
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.messages import Aborted, Committed, Message, Part, Prepared, Refused
from makoredis.txn.participant import RESOLVE_AFTER_US, Participant
from makoredis.txn.recovery import LogEntry, recover
from makoredis.txn.replica import Replica
from makoredis.txn.requests import RequestRecord
from makoredis.txn.sessions import Interval, Intervals, close_sessions
from tests.sim.txn.checkpoints import Capture, Saved
from tests.sim.txn.in_place import Waiter, ask_again, run_in_place, wait_at
from tests.sim.txn.workload import contents, program, total

LEASE_US = 60_000
TICK_US = 5_000
ANNOUNCE_EVERY = 10
EPOCH_US = 1_000_000_000
"""Time begins here, so that clocks can be behind."""

_decode_message = wire_decoder(Message)


class Violation(Exception):
    """The protocol broke a promise."""


@dataclass(slots=True)
class Options:
    """The swarm options of a run, drawn from its seed."""

    shards: int
    nodes: int = 3
    loss: float = 0.0
    duplication: float = 0.0
    delay_us: int = 1000
    skew_us: int = 0
    crash_every_us: int = 0
    cut_every_us: int = 0
    deafen_every_us: int = 0
    """How often one node stops hearing another."""
    jump_every_us: int = 0
    """How often a clock jumps, within `skew_us`."""
    slow_us: int = 0
    resolve_after_us: int = 300_000
    """When participants ask each other for want of a decision; if soon, while the coordinator is still at it."""
    moves_slots: bool = False
    """Whether keys belong to shards by their slots, which may move."""
    is_synchronous: bool = False
    """Whether locks are held until what they are for is durable."""
    reconfigure_every_us: int = 0
    """How often a shard's members change (only real cores have members)."""
    stop_every_us: int = 0
    """How often a process is stopped for a while, and then finds everything that has arrived meanwhile (the same)."""
    hand_over_every_us: int = 0
    """How often a leadership is handed over in order (the same)."""
    quiesce_ticks: int = 0
    """After how many ticks without use a group falls silent; 0: never (the same)."""
    lull_every_us: int = 0
    """How often all clients rest for a while."""
    skipped_ticks: int = 0
    """How many ticks a node leaves out that has nothing to do (the same)."""
    chosen_us: int = 4000
    checkpoints: float = 0.0
    """How likely a node begins one of a shard at a tick."""
    hang_up: float = 0.0
    """How likely a client that was answered goes on as another one, in a new session."""
    run_us: int = 1_500_000
    calm_us: int = 3_000_000
    """How long everything may take to be resolved after the faults."""


@dataclass(slots=True)
class Group:
    """One shard's log as its majority has it."""

    shard: int
    term: int = 0
    leader: int | None = None
    log: list[bytes] = field(default_factory=list)
    chosen: int = 0
    cut_since_us: int | None = None
    last_chosen_us: int = 0


@dataclass(slots=True)
class Machines:
    """The classes under test; a mutation replaces one by a broken subclass."""

    knowledge: type[Knowledge] = Knowledge
    participant: type[Participant] = Participant
    coordinator: type[Coordinator] = Coordinator
    snapshot: type[Snapshot] = Snapshot
    recover: Callable[..., Participant] = recover
    is_checkpoint_early: bool = False
    """Whether rows are written that may still be void."""


class Node:
    """What one process has in memory."""

    def __init__(self, world: "World", id: int, skew_us: int) -> None:
        self.world = world
        self.id = id
        self.skew_us = skew_us
        self.is_up = False
        self.is_cut = False
        self.slow_us = 0
        """How much later than others it handles what arrives."""
        self.incarnation = 0
        self.disk = {shard: Saved() for shard in world.shards}
        self.captures: dict[int, Capture] = {}
        self.start()

    def start(self) -> None:
        world = self.world
        self.is_up = True
        self.incarnation += 1
        self.ticks = 0
        self.knowledge = world.machines.knowledge(world.shards)
        replicas = [saved.load(shard, self.knowledge) for shard, saved in self.disk.items()]
        self.snapshot = world.machines.snapshot(replicas, self.knowledge)
        self.captures.clear()
        self.participants: dict[int, Participant] = {}
        self.watermarks: dict[int, Any] = {}
        self.coordinator = world.machines.coordinator(self.id, self.incarnation * 100 + self.id, self.knowledge)
        self.coordinator.tick(self.wall_us())

    def wall_us(self) -> int:
        return EPOCH_US + self.world.now_us + self.skew_us

    def tick(self) -> None:
        self.ticks += 1
        for shard, participant in self.participants.items():
            participant.has_lease = self.world.has_lease(shard, self)
            participant.tick(self.wall_us())
            if self.ticks % ANNOUNCE_EVERY == 0 and shard in self.watermarks:
                self.world.announce(self, self.watermarks[shard])
        self.coordinator.tick(self.wall_us())
        self.checkpoint()
        self.flush()

    def begin(self, ticket: Hashable, parts: dict[int, Part], **options: Any) -> None:
        """A client of this node begins a transaction over several shards."""
        self.coordinator.now_us = self.wall_us()
        self.coordinator.begin(ticket, parts, **options)
        self.flush()

    def wait_longer(self) -> None:
        """Participants have the patience that the options say."""
        for participant in self.participants.values():
            participant.resolve_after_us = self.world.options.resolve_after_us

    def lead(self, shard: int, epoch: int, log: list[bytes]) -> None:
        """This node is elected, with this log."""
        self.step_down(shard)
        world = self.world
        replica = self.snapshot.local[shard]
        rest = [LogEntry(index, decode_payload(raw)) for index, raw in enumerate(log, 1) if index > replica.index]
        participant = world.machines.recover(
            replica, epoch, rest, self.knowledge, program, Random(0), self.wall_us(), world.machines.participant
        )
        participant.is_synchronous = world.options.is_synchronous
        participant.resolve_after_us = world.options.resolve_after_us
        self.participants[shard] = self.snapshot.local[shard] = participant
        self.flush()

    def step_down(self, shard: int) -> None:
        """This node hears that it does not lead any more."""
        participant = self.participants.pop(shard, None)
        if participant is not None:
            self.snapshot.local[shard], _ = participant.step_down()
            ask_again(participant.take_output().voided)
            self.watermarks.pop(shard, None)

    def feed(self, shard: int, log: list[bytes], chosen: int) -> None:
        """A follower hears what is chosen."""
        replica = self.snapshot.local[shard]
        assert isinstance(replica, Replica)
        for index in range(replica.index + 1, chosen + 1):
            replica.take(index, decode_payload(log[index - 1]), self.knowledge)
        self.flush()

    def checkpoint(self) -> None:
        """Goes on with checkpoints under way, and now and then begins one."""
        rng = self.world.rng
        for shard, local in self.snapshot.local.items():
            capture = self.captures.get(shard)
            if capture is None:
                if rng.random() < self.world.options.checkpoints and self.snapshot.is_whole:
                    self.captures[shard] = Capture(shard, local, self.disk[shard])
            elif capture.is_over(local):
                del self.captures[shard]
            elif self._proceed(capture):
                self.world.count("checkpoint" if capture.before is None else "increment")
                del self.captures[shard]

    def _proceed(self, capture: Capture) -> bool:
        is_done = capture.proceed(self.world.rng)
        if not is_done and self.world.rng.random() < 0.3:
            capture.write_some(self.disk[capture.shard], self._known(capture))
        return is_done and capture.write(self.disk[capture.shard], self._known(capture))

    def _known(self, capture: Capture) -> Knowledge:
        """What a checkpoint may count as known."""
        knowledge = self.knowledge
        if self.world.machines.is_checkpoint_early:
            knowledge = Knowledge(self.world.shards)
            knowledge.closed = self.knowledge.closed
            knowledge.raise_global(capture.rows_ts)
            capture.is_early = True
        return knowledge

    def flush(self) -> None:
        """Performs what the machines want until none wants anything."""
        for participant in self.participants.values():
            participant.settle()
        self.coordinator.settle()
        for shard, participant in self.participants.items():
            participant.now_us = self.wall_us()
            payload = participant.take_entry()
            if payload is not None:
                participant.proposed(self.world.propose(self, shard, participant.epoch, payload))
            output = participant.take_output()
            for node, answer in output.to_nodes:
                self.world.send(self, node, answer)
            for target, query in output.to_shards:
                self.world.send_to_leader(self, target, query)
            for reply in output.replies:
                self.world.answered(self, reply)
            ask_again(output.voided)
            if output.watermark is not None:
                self.watermarks[shard] = output.watermark
                self.world.announce(self, output.watermark)
        messages, finished = self.coordinator.take_output()
        for shard, message in messages:
            self.world.send_to_leader(self, shard, message)
        for result in finished:
            self.world.finished(result)
        before = self.snapshot.ts
        if self.snapshot.advance():
            self.world.check_snapshot(self, before)
        self.world.check_knowledge(self, self.knowledge)


class World:
    """Everything, and the queue of what happens next."""

    def __init__(self, seed: int, options: Options, machines: Machines) -> None:
        self.rng = Random(seed)
        self.options = options
        self.machines = machines
        self.now_us = 0
        self.is_calm = False
        self.statistics: dict[str, int] = {}
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self.tickets: dict[Hashable, Callable[[Any], None]] = {}
        self._known: dict[tuple[tuple[int, int], int], tuple[int, int]] = {}
        self._asked: dict[int, int] = {}
        """The last request of a session."""
        self._session = 0
        self._ended = Intervals()
        """Sessions that are over."""
        self._told: set[tuple[int, int]] = set()
        """By shard, those of which it keeps nothing."""
        self.deaf: set[tuple[int, int]] = set()
        """(from, to): nothing arrives."""
        self.shards = range(1, options.shards + 1)
        self.groups = {shard: Group(shard) for shard in self.shards}
        self.nodes = [self.make_node(id) for id in range(options.nodes)]
        for node in self.nodes:
            self.at(self.rng.randint(0, TICK_US), self._tick, node)
        for group in self.groups.values():
            self.at(0, self._elect, group)
        if options.crash_every_us:
            self._again(options.crash_every_us, self._crash)
        if options.cut_every_us:
            self._again(options.cut_every_us, self._cut)
        if options.deafen_every_us:
            self._again(options.deafen_every_us, self._deafen)
        if options.jump_every_us and options.skew_us:
            self._again(options.jump_every_us, self._jump)
        self.rng.choice(self.nodes).slow_us = options.slow_us

    def make_node(self, id: int) -> Any:
        """A node whose clock is wrong by as much as is allowed."""
        return Node(self, id, self.rng.randint(-self.options.skew_us, self.options.skew_us))

    # -- time

    def at(self, delay_us: int, call: Callable[..., None], *arguments: Any) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (self.now_us + delay_us, self._sequence, call, arguments))

    def run_until(self, until_us: int) -> None:
        while self._queue and self._queue[0][0] <= until_us:
            self.now_us, _, call, arguments = heapq.heappop(self._queue)
            call(*arguments)
        self.now_us = until_us

    def count(self, name: str) -> None:
        self.statistics[name] = self.statistics.get(name, 0) + 1

    def count_many(self, name: str, many: int) -> None:
        self.statistics[name] = self.statistics.get(name, 0) + many

    def _tick(self, node: Node) -> None:
        if node.is_up:
            node.tick()
        self.at(TICK_US, self._tick, node)

    # -- network

    def _delay(self) -> int:
        return 100 + int(self.rng.expovariate(1 / self.options.delay_us))

    def transmit(self, sender: Node, receiver: Node, call: Callable[..., None], *arguments: Any) -> None:
        """Calls at the receiver: later, twice, or never."""
        copies = 1
        if sender is not receiver and not self.is_calm:
            if self.rng.random() < self.options.loss:
                return
            copies += self.rng.random() < self.options.duplication
        for _ in range(copies):
            late_us = self.rng.randint(0, receiver.slow_us) if receiver.slow_us and not self.is_calm else 0
            self.at(self._delay() + late_us, self._arrive, sender, receiver, receiver.incarnation, call, arguments)

    def _arrive(
        self, sender: Node, receiver: Node, incarnation: int, call: Callable[..., None], arguments: tuple[Any, ...]
    ) -> None:
        is_cut = sender is not receiver and not self.hears(sender, receiver)
        if receiver.is_up and receiver.incarnation == incarnation and not is_cut:
            call(*arguments)
            receiver.flush()

    def hears(self, sender: Node, receiver: Node) -> bool:
        """Whether what one sends arrives at the other."""
        return not (sender.is_cut or receiver.is_cut or (sender.id, receiver.id) in self.deaf)

    def send(self, sender: Node, node: int, message: Any) -> None:
        self.transmit(sender, self.nodes[node], self._deliver, self.nodes[node], None, wire_encode(message))

    def send_to_leader(self, sender: Node, shard: int, message: Any) -> None:
        group = self.groups[shard]
        believed = [node.id for node in self.nodes if shard in node.participants]
        target = group.leader
        if believed and (target is None or self.rng.random() < 0.2):
            target = self.rng.choice(believed)
        if target is not None:
            receiver = self.nodes[target]
            self.transmit(sender, receiver, self._deliver, receiver, shard, wire_encode(message))

    def _deliver(self, node: Node, shard: int | None, raw: bytes) -> None:
        message = _decode_message(raw)
        if shard is None:
            if message.id[0] % 100 == node.id:
                assert isinstance(message, Prepared | Refused | Committed | Aborted)
                node.coordinator.step(message)
        elif shard in node.participants:
            participant = node.participants[shard]
            participant.now_us = node.wall_us()
            participant.has_lease = self.has_lease(shard, node)
            participant.step(message)

    def announce(self, sender: Node, watermark: Any) -> None:
        for node in self.nodes:
            if node is not sender:
                self.transmit(sender, node, node.knowledge.hear, watermark)

    # -- clients

    def submit(self, client: Node, ticket: Hashable, shard: int, part: Part, request: RequestRecord) -> None:
        group = self.groups[shard]
        may_run_here = self.is_first(request) and group.leader == client.id
        if may_run_here and self._in_place(client, ticket, shard, part, request):
            self.count("in place")
        elif group.leader is not None:
            leader = self.nodes[group.leader]
            self.transmit(client, leader, self._submit, leader, ticket, shard, part, request)

    def next_session(self) -> int:
        """The number of another connection."""
        self._session += 1
        return self._session

    def end_session(self, node: Any, session: int) -> None:
        """A client is gone: its node tells all shards."""
        self.count("session over")
        self._ended.add(session, session)
        for shard in self.shards:
            self._tell_ended(node, shard, session)

    def _tell_ended(self, node: Node, shard: int, session: int) -> None:
        """Says so again and again, until there is nothing left of it. Anything said before may arrive later."""
        leader = self.groups[shard].leader
        if (shard, session) not in self._told:
            if leader is not None:
                receiver = self.nodes[leader]
                around = self._ended.around(session)
                self.transmit(node, receiver, self._close_session, receiver, shard, session, around)
            self.at(50_000, self._tell_ended, node, shard, session)

    def _tell_all_ended(self) -> None:
        """Once more, when nothing is late any more."""
        self._told.clear()
        for first, last in self._ended:
            for session in range(first, last + 1):
                for shard in self.shards:
                    self._tell_ended(self.nodes[0], shard, session)

    def _close_session(self, node: Node, shard: int, session: int, around: Interval) -> None:
        participant = node.participants.get(shard)
        is_serving = participant is not None and participant.is_serving
        if is_serving and close_sessions(participant, 1, [(session, session)], [around]):
            self._told.add((shard, session))

    def is_first(self, request: RequestRecord) -> bool:
        """Whether a request was never asked before, and is to be run in place if it can."""
        is_new = request.sequence > self._asked.get(request.session, 0)
        self._asked[request.session] = max(request.sequence, self._asked.get(request.session, 0))
        return is_new and self.rng.random() < 0.7

    def _in_place(self, node: Node, ticket: Hashable, shard: int, part: Part, request: RequestRecord) -> bool:
        participant = node.participants.get(shard)
        if participant is None or not participant.is_serving or participant.is_synchronous:
            return False
        if not self.has_lease(shard, node):
            return False
        participant.now_us = node.wall_us()
        ran = run_in_place(participant, part, request)
        if ran is None:
            return False
        results, gate = ran
        reply = Reply(ticket, results, participant.clock.last)
        wait_at(
            gate, Waiter(lambda: self.answered(node, reply), lambda: self.submit(node, ticket, shard, part, request))
        )
        node.flush()
        return True

    def _submit(self, node: Node, ticket: Hashable, shard: int, part: Part, request: RequestRecord) -> None:
        if shard in node.participants:
            participant = node.participants[shard]
            participant.now_us = node.wall_us()
            participant.has_lease = self.has_lease(shard, node)
            participant.submit(ticket, part, request)

    def answered(self, node: Node, reply: Any) -> None:
        if isinstance(reply, Reply) and reply.ticket in self.tickets:
            self.at(self._delay(), self.tickets[reply.ticket], reply)

    def finished(self, result: Finished) -> None:
        if result.ticket in self.tickets:
            self.tickets[result.ticket](result)

    # -- replication

    def has_lease(self, shard: int, node: Node) -> bool:
        group = self.groups[shard]
        if group.leader != node.id or group.term != node.participants[shard].epoch:
            return False
        return group.cut_since_us is None or self.now_us < group.cut_since_us + LEASE_US

    def propose(self, node: Node, shard: int, term: int, payload: bytes) -> int:
        group = self.groups[shard]
        if group.term != term or group.leader != node.id:
            return len(group.log) + 1_000_000  # a deposed leader's: never chosen
        group.log.append(payload)
        delay = int(self.rng.expovariate(1 / self.options.chosen_us)) + 200
        group.last_chosen_us = max(group.last_chosen_us, self.now_us + delay)
        self.at(group.last_chosen_us - self.now_us, self._choose, group, term, len(group.log))
        return len(group.log)

    def _choose(self, group: Group, term: int, index: int) -> None:
        if group.term != term or group.leader is None:
            return
        node = self.nodes[group.leader]
        if node.is_cut:
            self.at(10_000, self._choose, group, term, index)
            return
        group.chosen = max(group.chosen, index)
        participant = node.participants[group.shard]
        participant.has_lease = self.has_lease(group.shard, node)
        participant.chosen(index)
        node.flush()
        for follower in self.nodes:
            self.at(self._delay(), self._feed, follower, group)

    def _feed(self, node: Node, group: Group) -> None:
        if not node.is_up or group.leader == node.id:
            return
        if node.is_cut:
            self.at(20_000, self._feed, node, group)
            return
        node.step_down(group.shard)
        node.feed(group.shard, group.log, group.chosen)

    def _elect(self, group: Group) -> None:
        candidates = [node for node in self.nodes if node.is_up and not node.is_cut]
        if not candidates:
            self.at(50_000, self._elect, group)
            return
        group.term += self.rng.choice([1, 1, 2])
        node = self.rng.choice(candidates)
        group.leader, group.cut_since_us, group.last_chosen_us = node.id, None, self.now_us
        node.lead(group.shard, group.term, group.log)
        self.count("election")
        if self.options.crash_every_us and self.rng.random() < 0.3:  # a second failure, during the recovery
            self.at(int(self.rng.expovariate(1 / self.options.chosen_us)), self._kill, node)

    def _depose(self, group: Group, delay_us: int) -> None:
        """Ends a leadership: an arbitrary part of what is not chosen survives."""
        keep = self.rng.randint(group.chosen, len(group.log))
        del group.log[keep:]
        group.term += 1
        group.leader = None
        self.at(delay_us, self._elect, group)

    # -- faults

    def _again(self, mean_us: int, call: Callable[[], None]) -> None:
        self.at(int(self.rng.expovariate(1 / mean_us)), call)

    def _crash(self) -> None:
        if self.is_calm:
            return
        self._kill(self.rng.choice([node for node in self.nodes if not node.is_cut] or self.nodes))
        self._again(self.options.crash_every_us, self._crash)

    def _kill(self, node: Node) -> None:
        if self.is_calm or not node.is_up:
            return
        self.count("crash")
        node.is_up = False
        node.participants = {}
        for group in self.groups.values():
            if group.leader == node.id:
                self._depose(group, LEASE_US + 2 * self.options.skew_us + self.rng.randint(0, 50_000))
        self.at(self.rng.randint(10_000, 300_000), self._restart, node)

    def _restart(self, node: Node) -> None:
        if node.is_up:
            return
        node.start()
        for group in self.groups.values():
            self._feed(node, group)

    def _cut(self) -> None:
        if self.is_calm:
            return
        node = self.rng.choice(self.nodes)
        if not any(other.is_cut for other in self.nodes):
            self.count("cut")
            node.is_cut = True
            for group in self.groups.values():
                if group.leader == node.id:
                    group.cut_since_us = self.now_us
                    patience = LEASE_US + 2 * self.options.skew_us + self.rng.randint(0, 50_000)
                    self.at(patience, self._replace, group, group.term)
            self.at(self.rng.randint(10_000, 400_000), self._heal, node)
        self._again(self.options.cut_every_us, self._cut)

    def _deafen(self) -> None:
        """One node does not hear another for a while, though the other hears it."""
        if self.is_calm:
            return
        sender, receiver = self.rng.sample(self.nodes, 2)
        self.count("one-way cut")
        self.deaf.add((sender.id, receiver.id))
        self.at(self.rng.randint(10_000, 300_000), self.deaf.discard, (sender.id, receiver.id))
        self._again(self.options.deafen_every_us, self._deafen)

    def _jump(self) -> None:
        """A clock is set. No two are ever further apart than is allowed."""
        if self.is_calm:
            return
        self.count("clock jump")
        self.rng.choice(self.nodes).skew_us = self.rng.randint(-self.options.skew_us, self.options.skew_us)
        self._again(self.options.jump_every_us, self._jump)

    def _replace(self, group: Group, term: int) -> None:
        if group.term == term and group.cut_since_us is not None:
            self._depose(group, 0)

    def _heal(self, node: Node) -> None:
        node.is_cut = False
        for group in self.groups.values():
            if group.leader == node.id:
                group.cut_since_us = None
            elif group.shard in node.participants:
                self.at(self.rng.randint(0, 100_000), self._notice, node, group, node.incarnation)

    def _notice(self, node: Node, group: Group, incarnation: int) -> None:
        """A deposed leader hears of its successor, and becomes a follower."""
        if node.incarnation == incarnation and group.leader != node.id:
            node.step_down(group.shard)
            self._feed(node, group)

    def calm(self) -> None:
        """The end of all faults, and of impatience: some messages take longer than some draws let participants wait."""
        self.is_calm = True
        self.deaf.clear()
        self.options.resolve_after_us = RESOLVE_AFTER_US
        for node in self.nodes:
            if node.is_cut:
                self._heal(node)
            if not node.is_up:
                self._restart(node)
            node.wait_longer()
        self.at(1_000_000, self._tell_all_ended)

    # -- checks

    def check_knowledge(self, node: Any, knowledge: Knowledge) -> None:
        """Nothing that a node knows of watermarks ever goes back, as long as it is up."""
        life = (node.id, node.incarnation)
        for shard, known in [*knowledge.watermarks.items(), (0, (0, knowledge.global_ts))]:
            if known < self._known.get((life, shard), (0, 0)):
                raise Violation(f"node {node.id}: the watermark of shard {shard} (0: global) went back to {known}")
            self._known[life, shard] = known

    def check_snapshot(self, node: Node, before: int) -> None:
        if node.snapshot.ts < before:
            raise Violation(f"node {node.id}: snapshot went back from {before} to {node.snapshot.ts}")
        expected = self.options.shards * 2 * 100
        sum_here = total(node.snapshot) if node.snapshot.is_whole else None
        if sum_here is not None and sum_here != expected:
            raise Violation(f"node {node.id}: the accounts sum up to {sum_here} at {node.snapshot.ts}")

    def leader_of(self, shard: int) -> Participant:
        """The one that leads. Raises: Violation if there is not exactly one."""
        leaders = [node for node in self.nodes if shard in node.participants]
        if [node.id for node in leaders] != [self.groups[shard].leader]:
            raise Violation(f"shard {shard}: leaders {[node.id for node in leaders]}")
        return leaders[0].participants[shard]

    def check_rest(self) -> None:
        """After the calm: nothing unfinished, all replicas alike, the watermark has moved."""
        for shard in self.shards:
            participant = self.leader_of(shard)
            status = participant.status()
            left = {name: status[name] for name in ("pending", "prepared", "locks", "waiting", "outcomes")}
            if any(left.values()):
                raise Violation(f"shard {shard}: left over {left}")
            expected = contents(participant.space)
            self._check_sessions(shard)
            for node in self.nodes:
                if contents(node.snapshot.local[shard].space) != expected:
                    raise Violation(f"shard {shard}: node {node.id} differs from the leader")
        self._check_coordinators()

    def _check_sessions(self, shard: int) -> None:
        """Nothing is kept of the sessions that are over."""
        for node in self.nodes:
            left = [origin for origin in node.snapshot.local[shard].requests.sessions if origin[1] in self._ended]
            if left:
                raise Violation(f"shard {shard}: node {node.id} keeps answers of sessions {left} that are over")

    def _check_coordinators(self) -> None:
        for node in self.nodes:
            waiting = [shard for shard, local in node.snapshot.local.items() if getattr(local, "undecided", None)]
            if len(node.coordinator) or waiting:
                raise Violation(f"node {node.id}: unfinished coordinator, or snapshot of shards {waiting}")
