"""A client that waits for a key keeps what is left of its time when the leader moves."""

from random import Random
from typing import Any

import pytest

from makoredis.base.ids import NodeId
from tests.sim.cluster.chaos import MS, Socket
from tests.sim.cluster.node import Process
from tests.sim.consensus.network import Clock


class World:
    """Three nodes on a network that loses nothing."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.rng = Random(1)
        members = (NodeId(1), NodeId(2), NodeId(3))
        self.processes = {id: Process(self, id, members) for id in members}
        for process in self.processes.values():
            process.start()
        self.run(3000)

    def delay_us(self, sender: NodeId, to: NodeId) -> int:
        return 100

    def is_reachable(self, sender: NodeId, to: NodeId) -> bool:
        return True

    def crashed(self, process: Process) -> None:
        """No client is on it."""

    def run(self, milliseconds: int) -> None:
        end = self.clock.now + milliseconds * MS
        while self.clock.next_at <= end:
            self.clock.run_next()
        self.clock.now = end

    def leader(self) -> Process:
        return next(each for each in self.processes.values() if each.is_up and each.node.host.is_leader)

    def follower(self) -> Process:
        return next(each for each in self.processes.values() if each is not self.leader())


class Waiter:
    """A client, and when it got which answers."""

    def __init__(self, world: World, process: Process, requests: list[list[bytes]]) -> None:
        self.world = world
        self.answers: list[tuple[int, bytes]] = []
        socket: Any = Socket(lambda data: self.answers.append((world.clock.now // MS, data)))
        server = process.server
        session = server.new_session(socket, "client:1", "node:1")
        session.flush_queue = server.reactor.flush_queue
        self.began = world.clock.now // MS
        process.deliver(lambda: server.reactor._run_parsed(session, requests))

    def waited_ms(self) -> int:
        """Until the last answer."""
        return self.answers[-1][0] - self.began


def transfer(world: World, to: Process) -> None:
    leader = world.leader()
    leader.deliver(lambda: leader.node.host.transfer_leadership(to.id))


@pytest.mark.parametrize("client_is_local", [True, False])
def test_the_time_goes_on_when_the_leader_moves(client_is_local: bool) -> None:
    world = World()
    process, other = (world.leader(), world.follower()) if client_is_local else (world.follower(), world.leader())
    waiter = Waiter(world, process, [[b"BLPOP", b"k", b"5"]])
    world.run(2000)
    transfer(world, world.follower())
    world.run(1000)
    transfer(world, world.follower())
    world.run(1500)
    assert waiter.answers == []
    world.run(3000)
    assert waiter.answers[-1][1] == b"*-1\r\n"
    assert 5000 <= waiter.waited_ms() < 5500
    assert other.is_up


def test_the_time_goes_on_when_the_leader_dies() -> None:
    world = World()
    waiter = Waiter(world, world.follower(), [[b"BLPOP", b"k", b"5"]])
    world.run(2000)
    world.leader().crash()
    world.run(2500)
    assert waiter.answers == []
    world.run(4000)
    assert 5000 <= waiter.waited_ms() < 5500


def test_a_request_behind_one_that_waits_has_all_of_its_time() -> None:
    world = World()
    waiter = Waiter(world, world.follower(), [[b"BLPOP", b"a", b"2"], [b"BLPOP", b"b", b"3"]])
    world.run(1000)
    transfer(world, world.follower())
    world.run(2000)
    transfer(world, world.follower())
    world.run(5000)
    assert b"".join(data for _, data in waiter.answers) == b"*-1\r\n*-1\r\n"
    assert 5000 <= waiter.waited_ms() < 5500
