"""The second world: what drives the shards in the server, on real consensus cores, simulated disks and a bad network.

Nothing is modelled here but the network, the disks, and time: `cluster.shards.Shards` and
`cluster.replica.ShardReplica` are the server's own. A crash loses what was not synced; of a write under way all or
nothing is on the disk.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from makoredis.base.errors import ClientError, Retryable
from makoredis.base.ids import Index, NodeId, ShardId, Term
from makoredis.cluster.messages import Clock, Consensus, PeerMessage, Submit, decode_peer_message, encode_peer_message
from makoredis.cluster.quiescence import Quiescence
from makoredis.cluster.replica import ShardReplica
from makoredis.cluster.shard_checkpointer import ShardCheckpointer
from makoredis.cluster.shard_loading import load_replica
from makoredis.cluster.shards import Shards, Ticket
from makoredis.cluster.slots import SlotMap
from makoredis.consensus.core import Core, CoreConfig, Limits, Outgoing
from makoredis.consensus.messages import decode_message, encode_message
from makoredis.consensus.raft import Raft
from makoredis.consensus.types import Configuration, HardState, SnapshotMetadata
from makoredis.data.keyspace import Keyspace
from makoredis.storage.log import load_hard_states, load_log
from makoredis.txn.in_hand import Reply
from makoredis.txn.messages import Part
from makoredis.txn.participant import Participant
from makoredis.txn.replica import Replica as TxnReplica
from makoredis.txn.requests import RequestRecord
from tests.sim.cluster.node import Rows, SimulatedDisk
from tests.sim.txn.in_place import Waiter, ask_again, run_in_place, wait_at
from tests.sim.txn.keepers import EarlyCheckpointer, Keeper, open_table, sweep
from tests.sim.txn.workload import contents, program
from tests.sim.txn.world import EPOCH_US, Machines, Options, Violation, World

CORE_TICK_US = 10_000
ELECTION_TICKS = 10
LIMITS = Limits(log_bytes_keep=2_000, log_bytes_max=100_000_000, snapshot_chunk_bytes=500)
"""Where there are checkpoints, little of the log stays in memory, so that those who were away need snapshots, and those
are in many pieces."""
STALENESS_SECONDS = 0.25
"""What statements on quiesced groups have to keep up with: one each 50 ms."""


class _Clock:
    """Simulated time as the disk wants it."""

    def __init__(self, world: World) -> None:
        self.world = world

    def after(self, delay_us: int, action: Callable[[], None]) -> None:
        self.world.at(delay_us, action)


class Replica(ShardReplica):
    """With the machines under test."""

    def __init__(self, machines: Machines, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.machines = machines

    def _recover(self) -> Participant:
        wall_us = self.wall_us + self.clock_offset_us
        machines, knowledge = self.machines, self.snapshot.knowledge
        leader = machines.participant
        return machines.recover(self._following(), self.term, (), knowledge, self.program, self.rng, wall_us, leader)

    def _log(self, text: str) -> None:
        """Nobody reads it."""


class Process:
    """One node's life: its shards, its disk, and turns whenever something has arrived."""

    def __init__(self, world: "ClusterWorld", id: int, skew_us: int) -> None:
        self.world = world
        self.id = id
        self.skew_us = skew_us
        self.slow_us = 0
        self.is_cut = False
        self.rng = Random(world.rng.random())
        self.keeping = Random(f"checkpoints of node {id}, {world.seed}")
        self.rows = Rows(f"node {id}")
        self.incarnation = 0
        self.start()

    # -- life

    def start(self) -> None:
        """The process begins, with what is on its disk."""
        world = self.world
        self.is_up = True
        self.is_stopped = False
        self.arrived: list[Callable[[], object]] = []
        """What has come while it was stopped."""
        self.incarnation += 1
        self.disk = SimulatedDisk(self)  # type: ignore[arg-type]  # it needs what a Process has here too
        self.core_ticked_us = world.now_us
        slots = SlotMap(world.options.shards)
        if not world.options.moves_slots:
            slots.first_table = None  # type: ignore[assignment]  # names of keys say their shard, whatever their slot
        incarnation = self.incarnation * 100 + self.id
        self.quiescence = Quiescence(NodeId(self.id), STALENESS_SECONDS)
        self.skipped_ticks = 0
        """In a row, for want of anything to do."""
        self.shards = Shards(NodeId(self.id), incarnation, slots, Keyspace, self._send, Random(0))
        self._use(world.machines)
        self.shards.resolve_after_us = world.options.resolve_after_us
        self.shards.peers = lambda: [NodeId(node.id) for node in world.nodes if node is not self]
        self.shards.sessions.tell_seconds = 0.05
        self.keepers: list[Keeper] = []
        for shard in slots.shards:
            self.shards.replicas[shard] = self._load(shard)
        self.set_time()

    def _use(self, machines: Machines) -> None:
        """Has the machines under test take the places of the server's own."""
        shards = self.shards
        knowledge = shards.knowledge = machines.knowledge(shards.slots.shards)
        shards.snapshot = machines.snapshot([TxnReplica(shard, Keyspace()) for shard in shards.slots.shards], knowledge)
        patience_us = shards.coordinator.give_up_after_us
        shards.coordinator = machines.coordinator(self.id, shards.incarnation, knowledge, patience_us)

    def _load(self, shard: ShardId) -> ShardReplica:
        members = Configuration(voters=tuple(NodeId(id) for id in self.world.node_ids))
        table = open_table(self.rows, shard, SnapshotMetadata(Index(0), Term(0), members))
        snapshot, knowledge = self.shards.snapshot, self.shards.knowledge
        snapshot.local[shard] = load_replica(self.rows, table, Keyspace(), knowledge, lambda text: None)
        sweep(self.rows, table)
        loaded = load_log(self.rows, shard)
        self.rows.write(loaded.sweep_ops)
        options = self.world.options
        config = CoreConfig(
            NodeId(self.id),
            members,
            election_ticks=ELECTION_TICKS,
            quiesce_ticks=options.quiesce_ticks,
            limits=LIMITS if options.checkpoints else Limits(),
        )
        hard_state = load_hard_states(self.rows).get(shard, HardState())
        core = Raft(config, Random(self.rng.random()), hard_state, loaded.entries, table.checkpoint.metadata)
        offset_us = 2 * self.world.options.skew_us
        replica = Replica(
            self.world.machines,
            shard,
            core,
            loaded.log,
            self.disk,
            self._send_consensus,
            self.shards.snapshot,
            program,
            Random(0),
            offset_us,
        )
        replica.is_synchronous = self.world.options.is_synchronous
        replica.note_log(loaded.entries, table.checkpoint.index)
        replica.applied_index = table.checkpoint.index
        kind = EarlyCheckpointer if self.world.machines.is_checkpoint_early else ShardCheckpointer
        self.keepers.append(Keeper(replica, self.rows, table, self.keeping, kind))
        return replica

    def crash(self) -> None:
        self.is_up = self.is_stopped = False
        self.arrived.clear()
        self.disk.crash()

    # -- what the simulation looks at

    @property
    def coordinator(self) -> Any:
        return self.shards.coordinator

    @property
    def snapshot(self) -> Any:
        return self.shards.snapshot

    @property
    def participants(self) -> dict[int, Participant]:
        return {
            shard: replica.participant
            for shard, replica in self.shards.replicas.items()
            if replica.participant is not None
        }

    def wall_us(self) -> int:
        return EPOCH_US + self.world.now_us + self.skew_us

    # -- turns

    def set_time(self) -> None:
        elapsed = (self.world.now_us - self.core_ticked_us) // CORE_TICK_US
        if elapsed:
            self.core_ticked_us += elapsed * CORE_TICK_US
            self.shards.tick_cores(elapsed)
        self.shards.set_time(self.wall_us(), self.world.now_us / 1e6)

    def tick(self) -> None:
        if self.is_stopped:
            return
        if self.shards.is_idle() and self.skipped_ticks < self.world.options.skipped_ticks:
            self.skipped_ticks += 1
            return
        self.skipped_ticks = 0
        self.set_time()
        self.shards.tick()
        for keeper in self.keepers:
            for event in keeper.tick(self.world.options.checkpoints):
                self.world.count(event)
        self._state()
        self.flush()

    # -- quiesced groups

    @property
    def cores(self) -> dict[ShardId, Core]:
        return {shard: replica.core for shard, replica in self.shards.replicas.items()}

    def _state(self) -> None:
        now = self.world.now_us / 1e6
        if self.quiescence.is_due(now):
            quiesced = self.quiescence.state(self.cores, now)
            self.world.count_many("quiesced", len(quiesced))
            for peer in self.shards.peers() if quiesced else []:
                self._send(peer, Clock(self.wall_us(), quiesced))

    def stated(self, sender: NodeId, message: Clock) -> None:
        """A node says which groups are quiesced there."""
        for shard, at in self.quiescence.hear(sender, message.quiesced, self.cores, self.world.now_us / 1e6).items():
            self.shards.led_at(shard, at)
            self.world.check_stated(self.shards.replicas[shard], at)

    def lost(self, node: "Process") -> None:
        """The connection to a node broke."""
        for core in self.cores.values():
            core.unreachable(NodeId(node.id))
            core.wake()

    def deliver(self, action: Callable[[], object]) -> None:
        """Has something done now, as a turn of its own, or when the process goes on."""
        if self.is_stopped:
            self.arrived.append(action)
        elif self.is_up:
            self.set_time()
            action()
            self.flush()

    def go_on(self) -> None:
        """The process was stopped, and finds what has come meanwhile, in any order."""
        self.is_stopped = False
        arrived, self.arrived = self.arrived, []
        self.rng.shuffle(arrived)
        for action in arrived:
            self.deliver(action)

    def wait_longer(self) -> None:
        """Participants have the patience that the options say."""
        self.shards.resolve_after_us = self.world.options.resolve_after_us

    def begin(self, ticket: Any, parts: dict[int, Part], **options: Any) -> None:
        """A client of this node begins a transaction over several shards."""
        self.deliver(lambda: self.coordinator.begin(ticket, parts, **options))

    def flush(self) -> None:
        """The end of a turn."""
        before = self.snapshot.ts
        self.shards.end_turn()
        for result in self.shards.take_results():
            self.world.result(self, result)
        self.shards.take_turned()
        ask_again(self.shards.take_voided())
        if self.snapshot.ts != before:
            self.world.check_snapshot(self, before)
        self.world.check_knowledge(self, self.shards.knowledge)
        for replica in self.shards.replicas.values():
            self.world.check_replica(self, replica)

    # -- network

    def _send(self, node: NodeId, message: PeerMessage) -> None:
        world = self.world
        receiver = world.node_of(node)
        world.transmit(self, receiver, self._receive, receiver, encode_peer_message(message))  # type: ignore[arg-type]

    def _send_consensus(self, shard: ShardId, messages: list[Outgoing]) -> None:
        for node, message in messages:
            self._send(node, Consensus(shard, encode_message(message)))

    def _receive(self, receiver: "Process", raw: bytes) -> None:
        message = decode_peer_message(raw)
        receiver.set_time()
        if isinstance(message, Consensus):
            replica = receiver.shards.replicas[ShardId(message.shard)]
            replica.step(NodeId(self.id), decode_message(message.encoded))
        elif isinstance(message, Clock):
            receiver.stated(NodeId(self.id), message)
        else:
            receiver.shards.peer_message(NodeId(self.id), message)  # type: ignore[arg-type]


class ClusterWorld(World):
    """Processes instead of nodes; nobody but the cores decides who leads, and what is chosen."""

    nodes: list[Process]  # type: ignore[assignment]

    def __init__(self, seed: int, options: Options, machines: Machines) -> None:
        self.seed = seed
        self.clock = _Clock(self)
        self.node_ids = range(1, options.nodes + 1)
        self.asked: dict[tuple[int, int], int] = {}
        """Tickets by session and sequence."""
        self.terms: dict[tuple[int, int], int] = {}
        """Who led, by shard and term."""
        self.chosen: dict[tuple[int, int], int] = {}
        """The term of what was chosen, by shard and index."""
        self.led_us: dict[int, dict[int, int]] = {}
        """By shard and term, when it was seen to be led first."""
        self.chosen_us: dict[int, dict[int, int]] = {}
        """By shard and index, when it was seen to be chosen first."""
        self.breaks = Random(f"breaks {seed}")
        super().__init__(seed, options, machines)
        self.groups = {}
        if options.reconfigure_every_us:
            self._again(options.reconfigure_every_us, self._reconfigure)
        if options.hand_over_every_us:
            self._again(options.hand_over_every_us, self._hand_over)
        if options.stop_every_us:
            self._again(options.stop_every_us, self._stop)

    def make_node(self, id: int) -> Process:
        return Process(self, id + 1, self.rng.randint(-self.options.skew_us, self.options.skew_us))

    def node_of(self, id: int) -> Process:
        return self.nodes[id - 1]

    def _elect(self, group: Any) -> None:
        """The cores do."""

    def end_session(self, node: Any, session: int) -> None:
        """A client is gone: its node tells all shards, or the node's next process does."""
        self.count("session over")
        self._ended.add(session, session)
        node.deliver(lambda: node.shards.sessions.add(1, session, session))

    def _tell_all_ended(self) -> None:
        for node in self.nodes:
            self._tell_of(node)

    def _tell_of(self, node: Process) -> None:
        for first, last in self._ended:
            node.shards.sessions.add(1, first, last)

    # -- clients

    def submit(self, client: Any, ticket: Any, shard: int, part: Part, request: RequestRecord) -> None:
        process: Process = client
        self.asked[request.session, request.sequence] = ticket
        process.deliver(lambda: self._ask(process, shard, part, request))

    def _ask(self, process: Process, shard: int, part: Part, request: RequestRecord) -> None:
        leader, term = process.shards.leader_of(ShardId(shard))
        is_first = self.is_first(request)
        if leader == process.id:
            own = Ticket(process.id, request.incarnation, request.session, request.sequence)
            if is_first and self._in_place(process, own, shard, part, request):
                self.count("in place")
            else:
                process.shards.submit(ShardId(shard), own, part)
        elif leader:
            process.shards.replicas[ShardId(shard)].core.wake()
            message = Submit(shard, term, request.incarnation, request.session, request.sequence, part)
            process._send(NodeId(leader), message)

    def _in_place(self, node: Any, ticket: Any, shard: int, part: Part, request: RequestRecord) -> bool:
        process: Process = node
        participant = process.shards.serving(ShardId(shard))
        ran = None if participant is None else run_in_place(participant, part, request)
        if participant is None or ran is None:
            return False
        results, gate = ran
        reply = Reply(ticket, results, participant.clock.last)
        number = self.asked[request.session, request.sequence]
        wait_at(
            gate,
            Waiter(lambda: self.result(process, reply), lambda: self.submit(process, number, shard, part, request)),
        )
        return True

    def result(self, process: Process, result: Any) -> None:
        if isinstance(result, Reply):
            assert isinstance(result.ticket, Ticket)
            number = self.asked.get((result.ticket.session, result.ticket.sequence))
            if number is not None:
                result = Reply(number, result.results, result.ts)
        if result.ticket in self.tickets:
            self.at(0, self._answer, result)

    def _answer(self, result: Any) -> None:
        if result.ticket in self.tickets:
            self.tickets[result.ticket](result)

    # -- faults

    def _kill(self, node: Any) -> None:
        if self.is_calm or not node.is_up:
            return
        self.count("crash")
        node.crash()
        for other in self.nodes:
            if other is not node and self.breaks.random() < 0.5:  # else nobody notices but by its silence
                self.at(self.breaks.randint(0, 5_000), other.deliver, lambda other=other: other.lost(node))
        self.at(self.rng.randint(10_000, 400_000), self._restart, node)

    def _stop(self) -> None:
        """A process is stopped for a while, longer than a lease or not."""
        if self.is_calm:
            return
        node = self.rng.choice(self.nodes)
        if node.is_up and not node.is_stopped:
            self.count("stop")
            node.is_stopped = True
            self.at(self.rng.randint(10_000, 400_000), self._go_on, node)
        self._again(self.options.stop_every_us, self._stop)

    def _go_on(self, node: Process) -> None:
        if node.is_stopped:
            node.go_on()

    def _arrive(self, sender: Any, receiver: Any, incarnation: int, call: Any, arguments: tuple[Any, ...]) -> None:
        if receiver.is_stopped and receiver.incarnation == incarnation and self.hears(sender, receiver):
            receiver.deliver(lambda: call(*arguments))
        else:
            super()._arrive(sender, receiver, incarnation, call, arguments)

    def calm(self) -> None:
        for node in self.nodes:
            self._go_on(node)
        super().calm()

    def _restart(self, node: Any) -> None:
        if not node.is_up:
            node.start()
            self._tell_of(node)

    # -- members and leaders

    def _leading(self, shard: int) -> Replica | None:
        """Who believes that it leads a shard, in the latest term."""
        replicas = [node.shards.replicas[ShardId(shard)] for node in self.nodes if node.is_up and not node.is_stopped]
        leaders = [replica for replica in replicas if replica.is_leader]
        return max(leaders, key=lambda replica: replica.term, default=None)  # type: ignore[return-value]

    def _reconfigure(self) -> None:
        """A node loses its vote or its place in a shard, or gets one; the leader may be the one that goes."""
        shard = self.rng.choice(self.shards)
        leader = self._leading(shard)
        if leader is not None:
            configuration = leader.core.status().configuration
            target = self._everybody(configuration) if self.is_calm else self._drawn(configuration)
            if self._change(leader, configuration, target):
                self.count("change of members")
        self._again(50_000 if self.is_calm else self.options.reconfigure_every_us, self._reconfigure)

    def _change(self, leader: Replica, configuration: Configuration, target: Configuration) -> bool:
        """Has the leader change the members. Returns whether it does; somebody may not have caught up yet."""
        if target == configuration:
            return False
        try:
            leader.core.propose_configuration(target)
        except (Retryable, ClientError):
            return False
        return True

    def _drawn(self, configuration: Configuration) -> Configuration:
        """Each node goes up or down a step, or stays; a majority of all keeps its vote."""
        voters, learners = [], []
        for node in map(NodeId, self.rng.sample(self.node_ids, len(self.node_ids))):
            step = self.rng.choice([-2, -1, 0, 0, 0, 1, 1])
            rank = 2 if node in configuration.voters else 1 if node in configuration.learners else 0
            rank = min(2 if rank else 1, max(0, rank + step))
            if rank == 2:
                voters.append(node)
            elif rank == 1:
                learners.append(node)
        missing = self.options.nodes // 2 + 1 - len(voters)
        for node in [node for node in configuration.voters if node not in voters][: max(0, missing)]:
            voters.append(node)
            if node in learners:
                learners.remove(node)
        return Configuration(voters=tuple(sorted(voters)), learners=tuple(sorted(learners)))

    def _everybody(self, configuration: Configuration) -> Configuration:
        """On the way to all nodes having a vote again: learners first."""
        known = {*configuration.voters, *configuration.learners}
        strangers = [NodeId(node) for node in self.node_ids if node not in known]
        if strangers:
            return Configuration(configuration.voters, learners=tuple(sorted({*configuration.learners, *strangers})))
        if not configuration.learners:
            return configuration
        promoted = self.rng.choice(configuration.learners)
        learners = tuple(node for node in configuration.learners if node != promoted)
        return Configuration(tuple(sorted([*configuration.voters, promoted])), learners=learners)

    def _hand_over(self) -> None:
        """A leadership goes to another node in order."""
        leader = self._leading(self.rng.choice(self.shards))
        if leader is not None:
            voters = [node for node in leader.core.status().configuration.voters if node != leader.leader]
            if voters:
                try:
                    leader.core.transfer_leadership(self.rng.choice(voters))
                    self.count("hand-over")
                except (Retryable, ClientError):
                    self.count("refused hand-over")
        if not self.is_calm:
            self._again(self.options.hand_over_every_us, self._hand_over)

    # -- checks

    def check_replica(self, process: Process, replica: ShardReplica) -> None:
        """One leader per term; everybody applies the same."""
        if replica.is_leader:
            self.led_us.setdefault(replica.shard, {}).setdefault(replica.term, self.now_us)
        if replica.is_leader and self.terms.setdefault((replica.shard, replica.term), process.id) != process.id:
            raise Violation(f"shard {replica.shard}: two leaders in term {replica.term}")
        index = replica.applied_index
        if index >= max(1, replica.log.base_index):  # below it while a snapshot is being installed
            self.chosen_us.setdefault(replica.shard, {}).setdefault(index, self.now_us)
            term = replica.log.terms.term_at(index)
            if self.chosen.setdefault((replica.shard, index), term) != term:
                raise Violation(f"shard {replica.shard}: two entries are chosen at {index}")

    def check_stated(self, replica: ShardReplica, at: float) -> None:
        """A quiesced follower has what was chosen when its leader is said to have led, and nobody else led then."""
        state = replica.core.quiesced()
        if state is None:
            return
        self.count("stated")
        later = [at_us for term, at_us in self.led_us.get(replica.shard, {}).items() if term > state.term]
        missed = [at_us for index, at_us in self.chosen_us[replica.shard].items() if index > state.last_index]
        if min([*later, *missed], default=self.now_us) < 1e6 * at - 1:
            raise Violation(f"shard {replica.shard}: node {replica.core.status().node} believes in a former leader")

    def leader_of(self, shard: int) -> Participant:
        leaders = [node for node in self.nodes if shard in node.participants]
        serving = [node.participants[shard] for node in leaders if node.participants[shard].is_serving]
        if len(leaders) != 1 or len(serving) != 1:
            raise Violation(f"shard {shard}: led by {[node.id for node in leaders]}")
        return serving[0]

    def check_rest(self) -> None:
        super().check_rest()
        for shard in self.shards:
            digests = {str(sorted(contents(node.snapshot.local[shard].space).items())) for node in self.nodes}
            assert len(digests) == 1
