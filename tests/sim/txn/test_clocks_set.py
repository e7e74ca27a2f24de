"""Machines' clocks are set while transactions are under way: who waits for a while does not wait longer for that."""

from typing import Any

import pytest

from makoredis.base.ids import ShardId
from tests.sim.txn.cluster import ClusterWorld, Process
from tests.sim.txn.workload import parts_of
from tests.sim.txn.world import Machines, Options

MINUTES_US = 600_000_000
SOON_US = 2_000_000


@pytest.fixture
def world() -> ClusterWorld:
    """Two shards with leaders, on a network that loses nothing."""
    world = ClusterWorld(1, Options(shards=2), Machines())
    world.run_until(1_500_000)
    return world


def set_clocks(world: ClusterWorld, by_us: int) -> None:
    for node in world.nodes:
        node.skew_us += by_us


def begin(world: ClusterWorld, node: Process, *shards: int) -> list[Any]:
    """A transaction that appends to a list of each of these shards. Returns: where its answer will be."""
    answers: list[Any] = []
    world.tickets[1] = answers.append
    node.begin(1, parts_of([["append", f"{shard}:k", 7] for shard in shards], {}), is_read_only=False)
    return answers


def leader_and_other(world: ClusterWorld, shard: int) -> tuple[Process, Process]:
    """The leader of a shard, and another node."""
    leader = next(node for node in world.nodes if node.shards.replicas[ShardId(shard)].is_serving())
    return leader, next(node for node in world.nodes if node is not leader)


@pytest.mark.parametrize("by_us", [-MINUTES_US, MINUTES_US])
@pytest.mark.parametrize("what", ["questions", "answers"])
def test_what_is_lost_on_the_network_is_sent_again(world: ClusterWorld, by_us: int, what: str) -> None:
    leader, node = leader_and_other(world, 1)
    way = (node.id, leader.id) if what == "questions" else (leader.id, node.id)
    world.deaf.add(way)
    answers = begin(world, node, 1, 2)
    world.run_until(world.now_us + 20_000)
    set_clocks(world, by_us)
    world.deaf.discard(way)
    world.run_until(world.now_us + SOON_US)
    assert [answer.verdict.name for answer in answers] == ["DONE"]


def test_no_lock_stays_of_a_coordinator_that_is_gone(world: ClusterWorld) -> None:
    leader, node = leader_and_other(world, 1)
    world.deaf.add((leader.id, node.id))
    begin(world, node, 1, 2)
    world.run_until(world.now_us + 20_000)
    assert leader.participants[1].two_phase.prepared
    node.crash()
    set_clocks(world, -MINUTES_US)
    world.run_until(world.now_us + SOON_US)
    assert not leader.participants[1].two_phase.prepared
    assert not leader.participants[1].locks


def test_idle_shards_follow_the_others(world: ClusterWorld) -> None:
    """What is written to one shard is in everybody's snapshot soon, though nobody writes to the other one."""
    begin(world, world.nodes[0], 1, 2)
    world.run_until(world.now_us + SOON_US)
    set_clocks(world, -MINUTES_US)
    answers = begin(world, world.nodes[0], 1)
    world.run_until(world.now_us + SOON_US)
    assert all(node.snapshot.ts >= answers[0].ts for node in world.nodes)
