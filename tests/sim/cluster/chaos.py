"""Clients and faults against a simulated cluster, all from one seed; then peace, in which all must be answered."""

from collections.abc import Callable
from random import Random
from typing import Any

import hiredis

from makoredis.base.ids import NodeId
from makoredis.server.session import Session
from tests.sim.cluster.checker import Operation, check
from tests.sim.cluster.node import Process
from tests.sim.consensus.network import Clock

MS = 1000
"""Microseconds."""
KEYS = [b"k0", b"k1", b"k2"]


class Socket:
    """What a session writes to."""

    _next_fd = 1_000_000

    def __init__(self, on_data: Callable[[bytes], None]) -> None:
        Socket._next_fd += 1
        self.fd = Socket._next_fd
        self.family = 0
        self.on_data = on_data

    def fileno(self) -> int:
        return self.fd

    def send(self, data: bytes) -> int:
        self.on_data(bytes(data))
        return len(data)

    def close(self) -> None:
        """Nobody listens."""


class Client:
    """Sends a few transactions at a time to one node, and connects to another one when that dies."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.number = number
        self.rng = Random(world.rng.random())
        self.connections = 0
        self.waiting: list[tuple[Operation, str]] = []
        self.connect()

    # -- connection

    def connect(self) -> None:
        up = [process for process in self.world.processes.values() if process.is_up]
        if not up:
            self.world.clock.after(100 * MS, self.connect)
            return
        self.process = self.rng.choice(up)
        self.connections += 1
        self.waiting = []
        self.reader = hiredis.Reader()
        connection = self.connections
        socket: Any = Socket(lambda data: self._on_data(connection, data))
        self.session: Session = self.process.server.new_session(socket, "client:1", "node:1")
        self.session.flush_queue = self.process.server.reactor.flush_queue
        self._think()

    def crashed(self, process: Process) -> None:
        """What is unanswered will never be."""
        if process is self.process:
            self.world.clock.after(self.rng.randint(1, 50) * MS, self.connect)

    def disconnect(self) -> None:
        process, session = self.process, self.session
        session.sock = None
        process.deliver(lambda: process.server.reactor.close(session, "gone"))
        self.connect()

    # -- requests

    def _think(self) -> None:
        connection = self.connections
        self.world.clock.after(self.rng.randint(0, 80 * MS), lambda: self._speak(connection))

    def _speak(self, connection: int) -> None:
        if connection != self.connections or not self.process.is_up or self.world.is_over:
            return
        if self.world.clock.now < self.world.lull_until:
            self.world.clock.after(self.world.lull_until - self.world.clock.now, lambda: self._speak(connection))
            return
        if self.rng.random() < 0.01:
            self.disconnect()
            return
        requests: list[list[bytes]] = []
        if self.rng.random() < 0.3:
            requests += self._series()
        else:
            for _ in range(self.rng.choice((1, 1, 2, 5))):
                requests += self._transaction()
        process, session, server = self.process, self.session, self.process.server

        def run() -> None:
            if session.closed_reason is None:
                server.reactor._run_parsed(session, requests)

        process.deliver(run)

    def _series(self) -> list[list[bytes]]:
        """Equal commands, which are run together, each a transaction of its own to the client."""
        requests = []
        for _ in range(self.rng.randint(3, 6)):
            operation = self._operation()
            requests.append(self._append(operation))
            operation.parts = requests[-1:]  # type: ignore[attr-defined]
            self.waiting.append((operation, "single"))
        return requests

    def _operation(self) -> Operation:
        world = self.world
        operation = Operation(
            f"{self.number}.{len(world.operations)}", self.number * 1_000_000 + self.connections, world.clock.now
        )
        world.operations.append(operation)
        return operation

    def _transaction(self) -> list[list[bytes]]:
        operation = self._operation()
        if self.rng.random() < 0.5:
            return self._single(operation)
        requests = [[b"MULTI"], *(self._part(operation) for _ in range(self.rng.randint(2, 4))), [b"EXEC"]]
        self.waiting += [(operation, "ignore")] * (len(requests) - 1) + [(operation, "exec")]
        operation.parts = requests[1:-1]  # type: ignore[attr-defined]
        return requests

    def _single(self, operation: Operation) -> list[list[bytes]]:
        request = self._part(operation)
        operation.parts = [request]  # type: ignore[attr-defined]
        self.waiting.append((operation, "single"))
        return [request]

    def _part(self, operation: Operation) -> list[bytes]:
        key = self.rng.choice(KEYS)
        if self.rng.random() < 0.5:
            return [b"LRANGE", key, b"0", b"-1"]
        return self._append(operation, key)

    def _append(self, operation: Operation, key: bytes | None = None) -> list[bytes]:
        key, value = key or self.rng.choice(KEYS), b"%d" % self.world.next_value()
        operation.appends.append((key, value))
        return [b"RPUSH", key, value]

    # -- answers

    def _on_data(self, connection: int, data: bytes) -> None:
        if connection != self.connections:
            return  # of one that was given up, as when its node crashed twice before any other was up
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            if connection == self.connections:
                self._answered(reply)

    def _answered(self, reply: Any) -> None:
        operation, kind = self.waiting.pop(0)
        assert not isinstance(reply, hiredis.ReplyError), f"{operation.name} failed: {reply}"
        if kind != "ignore":
            operation.end = self.world.clock.now
            replies = [reply] if kind == "single" else reply
            for request, each in zip(operation.parts, replies, strict=True):  # type: ignore[attr-defined]
                if request[0] == b"RPUSH":
                    operation.lengths.append(((request[1], request[2]), each))
                else:
                    operation.reads.append((request[1], each))
        if not self.waiting:
            self._think()


class World:
    """One run."""

    def __init__(self, seed: int, size: int = 3, clients: int = 5) -> None:
        self.seed = seed
        self.rng = Random(f"cluster {seed}")
        self.clock = Clock()
        self.cuts: set[tuple[NodeId, NodeId]] = set()
        self.slow: dict[tuple[NodeId, NodeId], int] = {}
        self.operations: list[Operation] = []
        self.is_over = False
        self.lulls = Random(f"lulls {seed}")
        quiesce_ticks = self.lulls.choice((0, 6, 12))
        self.has_lulls = quiesce_ticks > 0
        """Whether clients rest now and then, so that the group falls silent."""
        self.lull_until = 0
        self._values = 0
        members = tuple(NodeId(number) for number in range(1, size + 1))
        self.processes = {node: Process(self, node, members, quiesce_ticks) for node in members}
        self.clients: list[Client] = []
        for process in self.processes.values():
            process.start()
            process.disk.delay_us = self.rng.choice(((100, 2_000), (1_000, 20_000)))
        self.clients = [Client(self, number) for number in range(clients)]

    def next_value(self) -> int:
        self._values += 1
        return self._values

    # -- the network, as connections see it

    def is_reachable(self, sender: NodeId, to: NodeId) -> bool:
        return (sender, to) not in self.cuts and self.processes[to].is_up

    def delay_us(self, sender: NodeId, to: NodeId) -> int:
        return self.rng.randint(50, 1_500) + self.slow.get((sender, to), 0)

    def crashed(self, process: Process) -> None:
        for client in self.clients:
            client.crashed(process)

    # -- a run

    def run(self, milliseconds: int) -> None:
        """Raises: AssertionError that names the seed."""
        try:
            self._run_until(1500 * MS)
            end = self.clock.now + milliseconds * MS
            while self.clock.now < end:
                self._run_until(self.clock.now + self.rng.randint(5, 400) * MS)
                if self.has_lulls and self.lulls.random() < 0.1:
                    self.lull_until = self.clock.now + self.lulls.randint(300, 3_000) * MS
                self.rng.choice(self._faults())()
            self._make_peace()
            check(self.operations, self._final())
        except AssertionError as error:
            raise AssertionError(f"seed {self.seed}: {error}") from error

    def _run_until(self, time: int) -> None:
        while self.clock.next_at <= time:
            self.clock.run_next()
        self.clock.now = time

    def _faults(self) -> list[Callable[[], None]]:
        return [
            self._crash_one,
            self._crash_one,
            self._crash_all,
            self._restart,
            self._restart,
            self._isolate,
            self._break_connection,
            self._break_connection,
            self._pause,
            self._resume,
            self._heal,
            self._heal,
            self._slow_down,
            self._transfer,
            self._rest,
            self._rest,
        ]

    def _pick(self, *, is_up: bool) -> Process | None:
        found = [process for process in self.processes.values() if process.is_up == is_up]
        return self.rng.choice(found) if found else None

    def _crash_one(self) -> None:
        leaders = [each for each in self.processes.values() if each.is_up and each.node.host.is_leader]
        process = self.rng.choice(leaders) if leaders and self.rng.random() < 0.5 else self._pick(is_up=True)
        if process is not None:
            process.crash()

    def _crash_all(self) -> None:
        if self.rng.random() < 0.2:
            for process in self.processes.values():
                if process.is_up:
                    process.crash()

    def _restart(self) -> None:
        process = self._pick(is_up=False)
        if process is not None:
            process.start()

    def _isolate(self) -> None:
        one = self.rng.choice(list(self.processes))
        for other in self.processes:
            if other != one and self.rng.random() < 0.8:
                self.cuts |= self.rng.choice(({(one, other)}, {(other, one)}, {(one, other), (other, one)}))
        for sender, to in self.cuts:
            if self.processes[sender].is_up:
                self.processes[sender].transport.hang_up(to)

    def _break_connection(self) -> None:
        process = self._pick(is_up=True)
        if process is not None:
            process.transport.hang_up(self.rng.choice(list(process.transport.links)))

    def _heal(self) -> None:
        self.cuts.clear()
        self.slow.clear()

    def _slow_down(self) -> None:
        sender, to = self.rng.sample(list(self.processes), 2)
        self.slow[sender, to] = self.rng.choice((20, 100, 700)) * MS

    def _pause(self) -> None:
        process = self._pick(is_up=True)
        if process is not None:
            process.pause()

    def _resume(self) -> None:
        for process in self.processes.values():
            process.resume()

    def _transfer(self) -> None:
        for process in self.processes.values():
            host = process.node.host
            if process.is_up and host.is_leader and host.core.status().transferring_to is None:
                target = self.rng.choice(list(process.transport.links))
                process.deliver(lambda host=host, target=target: host.is_leader and _try_transfer(host, target))  # type: ignore[misc]

    def _rest(self) -> None:
        """Nothing happens for a while."""

    def _make_peace(self) -> None:
        self._heal()
        self._resume()
        for process in self.processes.values():
            if not process.is_up:
                process.start()
        self._run_until(self.clock.now + 4000 * MS)
        self.is_over = True
        self._run_until(self.clock.now + 4000 * MS)
        for client in self.clients:
            unanswered = [operation.name for operation, _ in client.waiting]
            assert not unanswered, f"in peace nobody answers {unanswered} of node {client.process.id}"

    def _final(self) -> dict[bytes, list[bytes]]:
        states = []
        for process in self.processes.values():
            database = process.node.host.space.databases[0]
            values: list[Any] = [database.get(key) for key in KEYS]
            states.append({key: list(value) if value else [] for key, value in zip(KEYS, values)})
        assert all(state == states[0] for state in states), "the replicas differ"
        assert len({process.applied() for process in self.processes.values()}) == 1, "a replica is behind"
        tables = [process.node.host.executor.requests.dump() for process in self.processes.values()]
        assert all(table == tables[0] for table in tables), "the replicas know different answers"
        return states[0]


def _try_transfer(host: Any, target: NodeId) -> None:
    status = host.core.status()
    if status.role.name == "LEADER" and status.transferring_to is None:  # a node that was paused hears of it twice
        host.core.transfer_leadership(target)
