"""Processor time per replicated SET, leader and followers apart, without sockets, threads and disk.

    python -m tools.replication_bench [--clients N] [--pipeline N] [--profile leader|follower]

Three real servers run in one thread on the simulator's disk and network, so that the figures repeat on a busy machine:
each is the best of several rounds.
"""

import argparse
import cProfile
import pstats
import time
from collections.abc import Callable
from random import Random
from typing import Any

from makoredis.base.ids import NodeId
from makoredis.server.dispatch import Work
from makoredis.server.session import Session
from tests.sim.cluster.chaos import Socket
from tests.sim.cluster.node import Process
from tests.sim.consensus.network import Clock

ROUNDS = 5
REPLY_BYTES = len(b"+OK\r\n")


class Client:
    """A connection to the leader that sends a pipeline whenever the last one is answered."""

    def __init__(self, process: Process, number: int, depth: int, together: "list[Client]") -> None:
        self.process = process
        self.together = together
        self.missing = 0
        self.depth = depth
        self.answered = 0
        key = b"key:%012d" % number
        self.frame = b"*3\r\n$3\r\nSET\r\n$16\r\n%s\r\n$3\r\nxxx\r\n" % key * depth
        socket: Any = Socket(self._on_data)
        self.session: Session = process.server.new_session(socket, "client:1", "node:1")
        self.session.flush_queue = process.server.reactor.flush_queue

    def send(self) -> None:
        """Its next pipeline is read in the same turn as those of others who send now."""
        self.missing = self.depth * REPLY_BYTES
        if not self.together:
            self.process.deliver(self._read_all)
        self.together.append(self)

    def _read_all(self) -> None:
        clients = self.together[:]
        self.together.clear()
        work: list[Work] = []
        for client in clients:
            client.session.want_flush()
            work.append((client.session, client.session.parser.parse(client.frame)))
        self.process.server.reactor._execute(work)

    def _on_data(self, data: bytes) -> None:
        self.missing -= len(data)
        if not self.missing:
            self.answered += self.depth
            self.send()


class Meter:
    """Adds up the time that one node's turns take."""

    def __init__(self, process: Process) -> None:
        self.seconds = 0.0
        self.turns = 0
        self.profile: cProfile.Profile | None = None
        self._turn = process.turn
        process.turn = self.turn  # type: ignore[method-assign]

    def turn(self) -> None:
        if self.profile is not None:
            self.profile.enable()
        started = time.process_time()
        self._turn()
        self.seconds += time.process_time() - started
        if self.profile is not None:
            self.profile.disable()
        self.turns += 1


class World:
    """Three nodes on a network that loses nothing."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.rng = Random(1)
        members = (NodeId(1), NodeId(2), NodeId(3))
        self.processes = {id: Process(self, id, members) for id in members}
        for process in self.processes.values():
            process.start()

    def delay_us(self, sender: NodeId, to: NodeId) -> int:
        return 100

    def is_reachable(self, sender: NodeId, to: NodeId) -> bool:
        return True

    def run_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.clock.run_next()

    def leader(self) -> Process | None:
        return next((each for each in self.processes.values() if each.node.host.serves()), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--pipeline", type=int, default=1)
    parser.add_argument("--requests", type=int, default=20_000, help="of each round")
    parser.add_argument("--profile", choices=("leader", "follower"), help="shows where the time goes")
    options = parser.parse_args()
    world = World()
    world.run_until(lambda: world.leader() is not None)
    leader = world.leader()
    assert leader is not None
    meters = {process.id: Meter(process) for process in world.processes.values()}
    follower = next(process for process in world.processes.values() if process is not leader)
    together: list[Client] = []
    clients = [Client(leader, number, options.pipeline, together) for number in range(options.clients)]
    for client in clients:
        client.send()
    rounds: list[dict[str, float]] = []
    for number in range(ROUNDS):
        if options.profile and number == ROUNDS - 1:
            profiled = leader if options.profile == "leader" else follower
            meters[profiled.id].profile = cProfile.Profile()
        rounds.append(_round(world, leader, follower, meters, clients, options.requests))
    best = {name: min(each[name] for each in rounds) for name in rounds[0]}
    print(
        f"{options.clients} clients, pipelines of {options.pipeline}: leader {best['leader']:.1f} µs, follower "
        f"{best['follower']:.1f} µs per SET; {best['batch']:.0f} SETs per entry; turns per entry: leader "
        f"{best['leader turns']:.1f}, follower {best['follower turns']:.1f}"
    )
    for meter in meters.values():
        if meter.profile is not None:
            pstats.Stats(meter.profile).sort_stats("tottime").print_stats(45)


def _round(
    world: World,
    leader: Process,
    follower: Process,
    meters: dict[NodeId, Meter],
    clients: list[Client],
    requests: int,
) -> dict[str, float]:
    before = sum(client.answered for client in clients)
    index = leader.applied()
    start = {id: (meter.seconds, meter.turns) for id, meter in meters.items()}
    world.run_until(lambda: sum([client.answered for client in clients]) >= before + requests)
    count, entries = sum(client.answered for client in clients) - before, leader.applied() - index
    figures = {"batch": count / entries}
    for name, process in (("leader", leader), ("follower", follower)):
        seconds, turns = start[process.id]
        figures[name] = (meters[process.id].seconds - seconds) / count * 1e6
        figures[f"{name} turns"] = (meters[process.id].turns - turns) / entries
    return figures


if __name__ == "__main__":
    main()
