"""A pipeline of equal commands is one request where there are several nodes: executed once, answered one by one."""

import pytest

from makoredis.base.ids import NodeId
from tests.sim.cluster.chaos import World
from tests.sim.cluster.node import Process
from tests.sim.cluster.test_blocking import Waiter

PUSHES = [[b"RPUSH", b"k0", b"%d" % number] for number in range(5)]
LENGTHS = b":1\r\n:2\r\n:3\r\n:4\r\n:5\r\n"
MS = 1000


@pytest.fixture
def world() -> World:
    world = World(1, clients=0)
    world._run_until(2000 * MS)
    return world


def rest(world: World, milliseconds: int) -> None:
    world._run_until(world.clock.now + milliseconds * MS)


def node(world: World, *, leads: bool) -> Process:
    return next(each for each in world.processes.values() if each.node.host.is_leader == leads)


def answers(waiter: Waiter) -> bytes:
    return b"".join(data for _, data in waiter.answers)


def records(process: Process) -> list[dict[int, bytes]]:
    return [answers for _, _, answers in process.node.host.executor.requests.dump()]


@pytest.mark.parametrize("leads", [True, False])
def test_it_is_one_request(world: World, leads: bool) -> None:
    process = node(world, leads=leads)
    waiter = Waiter(world, process, PUSHES)  # type: ignore[arg-type]
    rest(world, 1000)
    assert answers(waiter) == LENGTHS
    assert world._final()[b"k0"] == [b"0", b"1", b"2", b"3", b"4"]
    assert [records(each) for each in world.processes.values()] == [[{1: LENGTHS}]] * 3
    assert process.server.routes.by_name["RPUSH"].calls == (5 if leads else 0)


def test_what_it_has_read_waits_for_what_it_shows(world: World) -> None:
    """A follower may ask for commands of several kinds at once."""
    reads = [[b"GET", b"k1"], [b"SET", b"k1", b"x"], [b"GET", b"k1"], [b"LPOP", b"k1"], [b"GET", b"k2"]]
    waiter = Waiter(world, node(world, leads=False), reads)  # type: ignore[arg-type]
    rest(world, 1000)
    wrong = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
    assert answers(waiter) == b"$-1\r\n+OK\r\n$1\r\nx\r\n" + wrong + b"$-1\r\n"


@pytest.mark.parametrize("requests", [PUSHES, [[b"LPOP", b"k0"]] * 5])
def test_it_is_asked_again_when_its_leader_is_lost(world: World, requests: list[list[bytes]]) -> None:
    """It was executed, and nobody else has heard of it. Its client hears what became of it on the next leader."""
    leader = node(world, leads=True)
    others = [each for each in world.processes if each != leader.id]
    first = Waiter(world, node(world, leads=False), PUSHES)  # type: ignore[arg-type]
    rest(world, 1000)
    assert answers(first) == LENGTHS
    world.cuts |= {pair for other in others for pair in ((leader.id, other), (other, leader.id))}
    for other in others:
        leader.transport.hang_up(NodeId(other))
    waiter = Waiter(world, leader, requests)  # type: ignore[arg-type]
    reader = Waiter(world, leader, [[b"STRLEN", b"k1"], [b"STRLEN", b"k1"], [b"STRLEN", b"k1"]])  # type: ignore[arg-type]
    rest(world, 5000)
    assert not leader.node.host.is_leader
    assert not waiter.answers
    world._heal()
    rest(world, 5000)
    is_push = requests is PUSHES
    assert answers(waiter) == (
        b":6\r\n:7\r\n:8\r\n:9\r\n:10\r\n" if is_push else b"$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n"
    )
    assert answers(reader) == b":0\r\n" * 3
    assert len(world._final()[b"k0"]) == (10 if is_push else 0)


def test_each_of_them_is_told_of_a_refusal(world: World) -> None:
    node(world, leads=True).node.write_refusal = "MISCONF no room"
    waiter = Waiter(world, node(world, leads=False), PUSHES)  # type: ignore[arg-type]
    rest(world, 1000)
    assert answers(waiter) == b"-MISCONF no room\r\n" * 5
