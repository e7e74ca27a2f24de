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


WRONG = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"


@pytest.mark.parametrize(
    ("requests", "expected", "asked"),
    [
        ("SET k1 x|LPOP k1|GETSET k1 y", b"+OK\r\n" + WRONG + b"$1\r\nx\r\n", 1),
        ("GET k1|STRLEN k1|LLEN k2", b"$-1\r\n:0\r\n:0\r\n", 1),
        ("GET k1|SET k1 x|GET k1|LPOP k1", b"$-1\r\n+OK\r\n$1\r\nx\r\n" + WRONG, 4),
    ],
)
def test_a_follower_asks_for_commands_of_several_kinds(
    world: World, requests: str, expected: bytes, asked: int
) -> None:
    """At once, but reads apart from writes: what is answered to writes is in the log."""
    follower = node(world, leads=False)
    before = follower.server.forwarding.forwarded_count
    waiter = Waiter(world, follower, [request.encode().split() for request in requests.split("|")])  # type: ignore[arg-type]
    rest(world, 1000)
    assert answers(waiter) == expected
    assert follower.server.forwarding.forwarded_count - before == asked


@pytest.mark.parametrize("leads", [True, False])
def test_reads_of_what_has_expired_leave_no_answers_in_the_log(world: World, leads: bool) -> None:
    process = node(world, leads=leads)
    requests = [[b"SET", b"k1", b"x", b"PX", b"100"], [b"SET", b"k2", b"y"]]
    for each in world.processes.values():
        each.server.expiry.run = lambda: None  # type: ignore[method-assign]
    Waiter(world, process, requests)  # type: ignore[arg-type]
    rest(world, 1000)
    waiter = Waiter(world, process, [[b"GET", b"k1"], [b"GET", b"k2"], [b"GET", b"k2"]])  # type: ignore[arg-type]
    rest(world, 1000)
    assert answers(waiter) == b"$-1\r\n$1\r\ny\r\n$1\r\ny\r\n"
    kept = b"".join(answer for record in records(process) for answer in record.values())
    assert b"y" not in kept


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
    node(world, leads=True).node.full_disk.refusal = "MISCONF no room"
    waiter = Waiter(world, node(world, leads=False), PUSHES)  # type: ignore[arg-type]
    rest(world, 1000)
    assert answers(waiter) == b"-MISCONF no room\r\n" * 5
