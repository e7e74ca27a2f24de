"""One simulated node: a real `Server` on a real `ShardHost`, on a disk and between connections made of memory."""

from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

from makoredis.base.ids import Index, NodeId, ShardId
from makoredis.cluster.host import ShardHost, Token
from makoredis.cluster.messages import Clock, PeerMessage, QuiescedGroup, decode_peer_message, encode_peer_message
from makoredis.cluster.node import Node
from makoredis.cluster.quiescence import Quiescence
from makoredis.cluster.settings import NodeSettings
from makoredis.consensus.core import CoreConfig
from makoredis.consensus.raft import Raft
from makoredis.consensus.types import Configuration, HardState
from makoredis.data.keyspace import Keyspace
from makoredis.server.config import Config
from makoredis.server.server import Server
from makoredis.storage.engine import Ops
from makoredis.storage.log import load_hard_states, load_log
from makoredis.txn.executor import Executor

SHARD = ShardId(0)
EPOCH_US = 1_700_000_000_000_000
"""Wall clock at simulated time 0."""


class Rows:
    """What of a node survives a crash."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.by_key: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.by_key.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        yield from sorted((key, value) for key, value in self.by_key.items() if start <= key < stop)

    def snapshot(self) -> "Rows":
        """As they are now."""
        frozen = Rows(self.place)
        frozen.by_key = dict(self.by_key)
        return frozen

    def close(self) -> None:
        """Of a snapshot: it is not needed any more."""

    def write(self, ops: Ops) -> None:
        for key, value in ops:
            if value is None:
                self.by_key.pop(key, None)
            else:
                self.by_key[key] = value


class SimulatedDisk:
    """Group commit: what is queued while one write is under way goes with the next."""

    def __init__(self, process: "Process") -> None:
        self.process = process
        self.queued: list[tuple[Ops, Token]] = []
        self.writing: list[tuple[Ops, Token]] = []
        self.is_writing = False
        self.queued_bytes = 0
        self.delay_us = (100, 2_000)
        self.average_write_seconds = 0.001
        self.is_quick = process.rng.random() < 0.5
        """Whether the loop waits for writes, where nothing is queued."""

    def write(self, ops: Ops, token: Token) -> bool:
        if not self.is_quick or self.is_writing:
            self.submit(ops, token)
            return False
        self.process.rows.write(ops)
        return True

    def submit(self, ops: Ops, token: Token) -> None:
        self.queued.append((ops, token))
        if not self.is_writing:
            self._write()

    def _write(self) -> None:
        self.writing, self.queued = self.queued, []
        self.is_writing = bool(self.writing)
        if self.writing:
            self.process.world.clock.after(self.process.rng.randint(*self.delay_us), self._written)

    def _written(self) -> None:
        process = self.process
        if process.is_up and process.disk is self:
            batch = self.writing
            for ops, _ in batch:
                process.rows.write(ops)
            process.deliver(lambda: [token.written() for _, token in batch])
            self._write()

    def crash(self) -> None:
        """A write under way has reached the disk or not."""
        if self.process.rng.random() < 0.5:
            for ops, _ in self.writing:
                self.process.rows.write(ops)


class SimulatedTransport:
    """Connections that deliver in order and without gaps until they break."""

    def __init__(self, process: "Process", peers: list[NodeId]) -> None:
        self.process = process
        self.links: dict[NodeId, int] = dict.fromkeys(peers, 0)
        """Generation of the connection that is up; 0: down."""
        self._generations = 0
        self._out: dict[NodeId, list[bytes]] = {peer: [] for peer in peers}
        self._is_held: dict[NodeId, bool] = dict.fromkeys(peers, False)
        self.held_at = self.held_last_at = 0.0
        self._arrival: dict[NodeId, int] = dict.fromkeys(peers, 0)

    def is_up(self, node: NodeId) -> bool:
        return bool(self.links.get(node))

    def send(self, node: NodeId, message: PeerMessage) -> None:
        self.send_encoded(node, encode_peer_message(message))

    def send_encoded(self, node: NodeId, encoded: bytes, *, may_wait: bool = False) -> None:
        if self.links[node]:
            self._is_held[node] = may_wait and (self._is_held[node] or not self._out[node])
            self._out[node].append(encoded)
            if self._is_held[node]:
                self.held_last_at = self.process.world.clock.now / 1e6
                self.held_at = self.held_at or self.held_last_at

    def release(self) -> None:
        self.held_at = 0.0
        self._is_held = dict.fromkeys(self._is_held, False)

    def flush(self) -> None:
        for peer, out in self._out.items():
            if out and not self._is_held[peer]:
                frame, self._out[peer] = out, []
                self._travel(peer, lambda process, frame=frame: self._receive(process, frame))  # type: ignore[misc]

    def _travel(self, peer: NodeId, action: Callable[["Process"], object]) -> None:
        world, generation = self.process.world, self.links[peer]
        at = max(self._arrival[peer], world.clock.now + world.delay_us(self.process.id, peer))
        self._arrival[peer] = at

        def arrive() -> None:
            target = world.processes[peer]
            if self.links[peer] == generation and self.process.is_up and target.is_up:
                target.deliver(lambda: action(target))

        world.clock.after(at - world.clock.now, arrive)

    def _receive(self, target: "Process", frame: list[bytes]) -> None:
        for encoded in frame:
            message = decode_peer_message(encoded)
            if isinstance(message, Clock):
                target.node.peer_stated(self.process.id, message.quiesced)
            else:
                target.node.peer_message(self.process.id, message)

    def state(self, quiesced: list[QuiescedGroup]) -> None:
        for peer in self.links:
            self.send(peer, Clock(0, quiesced))

    def dial(self, peer: NodeId) -> None:
        """Connects, if the peer can be reached."""
        world = self.process.world
        if self.links[peer] or not world.is_reachable(self.process.id, peer):
            return
        self._generations += 1
        self.links[peer] = self._generations
        self._arrival[peer] = 0
        incarnation = self.process.node.incarnation
        self._travel(peer, lambda process: process.node.peer_called(self.process.id, incarnation))
        self.process.deliver(lambda: self.process.node.peer_connected(peer))

    def hang_up(self, peer: NodeId) -> None:
        """The connection breaks: what is under way is lost. Both ends notice sooner or later."""
        if not self.links[peer]:
            return
        self.links[peer] = 0
        self._out[peer].clear()
        world, me = self.process.world, self.process.id
        self.process.deliver(lambda: self.process.node.peer_lost(peer))
        world.clock.after(world.rng.randint(0, 50_000), lambda: self._notice(peer, me))

    def _notice(self, peer: NodeId, me: NodeId) -> None:
        target = self.process.world.processes[peer]
        if target.is_up and not self.links[peer]:
            target.deliver(lambda: target.node.peer_gone(me))


class SimulatedNode(Node):
    """The real node's turn, without a store."""

    def __init__(self, process: "Process", settings: NodeSettings) -> None:
        self.settings = settings
        self.is_replicated = True
        self.incarnation = process.rng.getrandbits(62)
        self.transport: Any = process.transport
        self.quiescence = Quiescence(settings.id, settings.max_staleness_seconds)
        self.forwarding = None
        self.shards = None
        self.now = lambda: process.world.clock.now / 1e6
        self.heard_at = 0.0
        self._ticked_at = self.now()
        self._announcements = []
        self.full_disk: Any = SimpleNamespace(refusal=None)
        self.disk_fd: Any = None
        self.disk: Any = process.disk
        self.keepers: Any = SimpleNamespace(checkpointer=NoCheckpoints())
        space = Keyspace()
        executor = Executor(space, is_replicated=True)
        loaded = load_log(process.rows, SHARD)
        config = CoreConfig(
            settings.id,
            Configuration(voters=settings.members),
            election_ticks=settings.election_ticks,
            quiesce_ticks=process.quiesce_ticks,
        )
        hard_state = load_hard_states(process.rows).get(SHARD, HardState())
        core = Raft(config, Random(process.rng.random()), hard_state, loaded.entries, None)
        rng = Random(process.rng.random())
        self.host = ShardHost(SHARD, core, executor, loaded.log, self.disk, self._send, rng)
        self.host.writes_directly = True
        self.host.flush_peers = self.flush


class NoCheckpoints:
    """The log is never cut here."""

    version = 0
    is_running = is_requested = False

    def abandon(self) -> None:
        """Nothing is under way."""


class SimulatedServer(Server):
    """A server in simulated time."""

    def __init__(self, process: "Process", node: Node) -> None:
        self.process = process
        super().__init__(Config(), node)

    def begin_turn(self) -> None:
        self.wall_us = EPOCH_US + self.process.world.clock.now
        self.now = self.wall_us / 1e6
        self.now_ms = self.wall_us // 1000
        self.node.account_time()

    def log(self, level: str, text: str) -> None:
        assert level != "error", text


class Process:
    """A node's life: crashes, pauses, and turns whenever something has arrived."""

    TICK_US = 50_000

    def __init__(self, world: Any, id: NodeId, members: tuple[NodeId, ...], quiesce_ticks: int = 0) -> None:
        """
        Args:
            quiesce_ticks: after how many ticks without use its group falls silent; 0: never.
        """
        self.world = world
        self.id = id
        self.quiesce_ticks = quiesce_ticks
        self.members = members
        self.rng: Random = Random(world.rng.random())
        self.rows = Rows(f"node {id}")
        self.is_up = False
        self.is_paused = False
        self.turn_us = (10, 300)

    def start(self) -> None:
        self.is_up, self.is_paused = True, False
        self.inbox: list[Callable[[], object]] = []
        self.disk = SimulatedDisk(self)
        self.transport = SimulatedTransport(self, [node for node in self.members if node != self.id])
        settings = NodeSettings(
            self.id,
            members=self.members,
            listen=("sim", 1),
            tick_seconds=self.TICK_US / 1e6,
            election_ticks=10,
            max_staleness_seconds=2.0,
        )
        self.node = SimulatedNode(self, settings)
        self.server = SimulatedServer(self, self.node)
        self._tick(self.server)

    def crash(self) -> None:
        self.is_up = False
        self.inbox.clear()
        for peer in self.members:
            if peer != self.id:
                self.transport.hang_up(peer)
                self.world.processes[peer].transport.hang_up(self.id)
        self.disk.crash()
        self.server.reactor.epoll.close()
        self.world.crashed(self)

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        if self.is_paused:
            self.is_paused = False
            if self.inbox:
                self.turn()

    def _tick(self, server: Server) -> None:
        """Forever, in this life of the node."""
        if self.is_up and self.server is server:
            self.world.clock.after(self.TICK_US, lambda: self._tick(server))
            if not self.is_paused:
                self.deliver(self._on_tick)

    def _on_tick(self) -> None:
        for peer in self.transport.links:
            self.transport.dial(peer)
        self.node._state()
        self.server.forwarding.tick()
        self.server.expiry.run()
        self.server.blocking.expire(self.server.now_ms)

    def deliver(self, action: Callable[[], object]) -> None:
        """Has something done in the node's next turn."""
        if self.is_up:
            self.inbox.append(action)
            if len(self.inbox) == 1 and not self.is_paused:
                server = self.server
                self.world.clock.after(self.rng.randint(*self.turn_us), lambda: self._turn_of(server))

    def _turn_of(self, server: Server) -> None:
        if self.is_up and self.server is server and not self.is_paused:
            self.turn()

    def turn(self) -> None:
        inbox, self.inbox = self.inbox, []
        server = self.server
        server.begin_turn()
        for action in inbox:
            action()
        server.reactor.run_resumed()
        server.end_turn()
        server.reactor.flush()

    def applied(self) -> Index:
        return self.node.host.applied_index
