"""What nodes say to each other of groups that are quiesced, and when that wakes one."""

from typing import Any

import pytest

from makoredis.base.ids import Index, NodeId, ShardId, Term
from makoredis.cluster.messages import QuiescedGroup
from makoredis.cluster.quiescence import SILENT_STATEMENTS, STATE_SECONDS, Quiescence
from makoredis.consensus.core import Quiesced
from makoredis.consensus.types import Configuration

SHARD = ShardId(3)
QUIESCED = Quiesced(NodeId(1), Term(4), Index(7))


class Core:
    """As much of one as is looked at."""

    def __init__(self, state: Quiesced | None = QUIESCED) -> None:
        self.state = state
        self.configuration = Configuration(voters=(NodeId(1), NodeId(2), NodeId(3)), learners=(NodeId(4),))

    def quiesced(self) -> Quiesced | None:
        return self.state

    def status(self) -> Any:
        return self

    def wake(self) -> None:
        self.state = None


class Seat:
    """One node that has one group, at a time that the test sets."""

    def __init__(self, node: int, state: Quiesced | None = QUIESCED) -> None:
        self.quiescence = Quiescence(NodeId(node), 10.0)
        self.core = Core(state)
        self.cores: Any = {SHARD: self.core}

    def state(self, now: float) -> list[QuiescedGroup]:
        return self.quiescence.state(self.cores, now)

    def hear(self, sender: int, statements: list[QuiescedGroup], now: float) -> dict[ShardId, float]:
        return self.quiescence.hear(NodeId(sender), statements, self.cores, now)


def statement(**changes: int) -> list[QuiescedGroup]:
    said = {"shard": SHARD, "leader": 1, "term": 4, "last_index": 7, "age_ms": 0, **changes}
    return [QuiescedGroup(**said)]


def test_a_statement_says_what_the_group_fell_silent_with() -> None:
    leader, follower = Seat(1), Seat(2)
    assert leader.state(100.0) == statement(age_ms=1000)
    assert follower.state(100.0) == statement()
    assert Seat(2, None).state(100.0) == []


def test_a_follower_counts_its_leader_as_heard_when_a_quorum_agreed_with_it() -> None:
    follower = Seat(2)
    assert follower.hear(1, statement(age_ms=300), 100.0) == {SHARD: 99.7}
    assert follower.hear(3, statement(), 101.0) == {}, "it says nothing about the leader"


def test_a_leader_says_how_long_ago_a_quorum_agreed() -> None:
    leader = Seat(1)
    leader.state(100.0)
    leader.hear(4, statement(), 101.5)
    assert leader.state(101.5)[0].age_ms == 2500, "a learner is no part of a quorum"
    leader.hear(2, statement(), 102.0)
    assert leader.state(102.5)[0].age_ms == 500


def test_who_is_silent_wakes_the_group() -> None:
    leader, follower = Seat(1), Seat(2)
    for seat in (leader, follower):
        seat.state(100.0)
        assert seat.state(100.0 + SILENT_STATEMENTS * STATE_SECONDS), "it may come yet"
        assert seat.state(100.1 + SILENT_STATEMENTS * STATE_SECONDS) == []
        assert seat.core.state is None and seat.quiescence.woken == 1


def test_a_leader_looks_at_all_members_and_a_follower_at_its_leader() -> None:
    leader, follower = Seat(1), Seat(2)
    for now in range(100, 110):
        leader.state(now)
        follower.state(now)
        for sender in (2, 3):
            leader.hear(sender, statement(), now)
        follower.hear(1, statement(), now)
    assert leader.core.state is None, "the learner has not been heard"
    assert follower.core.state is not None


@pytest.mark.parametrize("said", [[], statement(term=5), statement(last_index=8), statement(leader=3)])
def test_who_says_something_else_wakes_the_group(said: list[QuiescedGroup]) -> None:
    follower = Seat(2)
    follower.state(100.0)
    assert follower.hear(1, said, 101.0) == {}
    assert follower.core.state is not None, "it may have said that before it fell silent"
    follower.hear(1, statement(), 102.0)
    assert follower.hear(1, said, 102.5) == {}
    assert follower.core.state is None


def test_a_group_that_was_awake_in_between_is_looked_at_anew() -> None:
    follower = Seat(2)
    follower.state(100.0)
    follower.core.state = Quiesced(NodeId(3), Term(5), Index(9))
    assert follower.hear(1, [], 110.0) == {}
    assert follower.core.state is not None, "node 1 does not lead it any more"
    assert follower.state(112.0) == statement(leader=3, term=5, last_index=9)


def test_statements_are_more_frequent_where_less_staleness_is_allowed() -> None:
    assert Quiescence(NodeId(1), 10.0).state_seconds == STATE_SECONDS
    assert Quiescence(NodeId(1), 2.0).state_seconds == pytest.approx(0.4)
    quiescence = Quiescence(NodeId(1), 10.0)
    quiescence.state({}, 100.0)
    assert not quiescence.is_due(100.8) and quiescence.is_due(100.95)
