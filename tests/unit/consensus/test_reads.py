"""Linearizable reads: lease, ReadIndex, forwarding, and what must not be answered."""

import pytest

from makoredis.base.errors import Busy, NotLeader
from makoredis.base.ids import Index, Term
from makoredis.consensus.core import Limits, ReadState
from makoredis.consensus.messages import Heartbeat, HeartbeatResponse, ReadRequest, ReadResponse
from makoredis.consensus.reads import lease_ticks
from makoredis.consensus.types import Role
from tests.unit.consensus.bench import Bench, configuration, with_log

THREE = configuration(1, 2, 3)


def leading(**options: object) -> Bench:
    bench = Bench(THREE, **options)
    bench.lead(1)
    bench.propose(1, b"x")
    bench.settle()
    bench.tick_all(2)
    return bench


def read(bench: Bench, node: int, context: int) -> None:
    bench[node].read_index(context)
    bench.perform(node)


def test_under_a_lease_a_read_is_answered_at_once() -> None:
    bench = leading()
    read(bench, 1, 7)
    assert bench.seats[1].reads == [ReadState(7, Index(2))]


def test_without_lease_a_quorum_has_to_answer_first() -> None:
    """Thesis §6.4: the leader exchanges a round of heartbeats with a majority before it answers."""
    bench = leading(lease_reads=False)
    read(bench, 1, 7)
    assert not bench.seats[1].reads
    bench.deliver_one()
    bench.deliver_one()
    bench.settle()
    assert bench.seats[1].reads == [ReadState(7, Index(2))]


def test_an_isolated_leader_answers_no_read() -> None:
    bench = leading(lease_reads=False)
    bench.isolate(1)
    read(bench, 1, 7)
    bench.settle()
    assert not bench.seats[1].reads
    bench.tick(1, 12)
    assert bench.role(1) is Role.FOLLOWER and bench.seats[1].failed_reads == [7]


def test_answers_to_an_earlier_round_prove_nothing_for_a_later_read() -> None:
    bench = leading(lease_reads=False)
    bench.tick(1)
    early = next(message for _, _, message in bench.wire if isinstance(message, Heartbeat))
    bench.isolate(1)
    bench.wire.clear()
    read(bench, 1, 7)
    bench.step(1, 2, HeartbeatResponse(Term(1), early.round))
    bench.step(1, 3, HeartbeatResponse(Term(1), early.round))
    assert not bench.seats[1].reads


def test_all_reads_of_a_turn_share_a_round() -> None:
    bench = leading(lease_reads=False)
    before = len(bench.sent_by(1, Heartbeat))
    for context in range(100):
        bench[1].read_index(context)
    bench.perform(1)
    bench.settle()
    assert len(bench.seats[1].reads) == 100 and len(bench.sent_by(1, Heartbeat)) == before + 2


def test_a_new_leader_answers_only_after_it_committed_an_entry_of_its_term() -> None:
    """§8: until then its commit index may lag behind what an earlier leader acknowledged."""
    bench = Bench(THREE)
    for node in (1, 2, 3):
        with_log(bench, node, [1, 1])
    bench.seats[2].is_disk_held = bench.seats[3].is_disk_held = True
    bench[1].campaign()
    bench.perform(1)
    bench.settle()
    bench.sync(2)
    bench.settle()
    assert bench.role(1) is Role.LEADER
    bench.tick_all(2)
    read(bench, 1, 7)
    bench.settle()
    assert not bench.seats[1].reads and not bench[1].lease_valid()
    bench.sync(2)
    bench.settle()
    assert bench.seats[1].reads == [ReadState(7, Index(3))]


def test_the_lease_ends_before_anybody_can_be_elected() -> None:
    """It stands on heartbeats that were answered, and ends a margin before the voters' promise does."""
    bench = leading()
    bench.tick_all(1)
    assert bench[1].lease_valid()
    bench.isolate(1)
    held = 0
    while bench[1].lease_valid():
        bench.tick(1)
        held += 1
    assert held <= lease_ticks(10) < 9


def test_a_lease_needs_a_quorum_of_recent_answers() -> None:
    bench = Bench(configuration(1, 2, 3, 4, 5))
    bench.lead(1)
    bench.tick_all(2)
    bench.isolate(4)
    bench.isolate(5)
    bench.tick_all(30)
    assert bench[1].lease_valid()
    bench.isolate(3)
    bench.tick_all(8)
    assert not bench[1].lease_valid()


def test_a_stopped_leader_does_not_trust_its_lease_afterwards() -> None:
    """SIGSTOP for longer than the lease, then SIGCONT: others may have been elected meanwhile."""
    bench = leading()
    bench.isolate(1)
    bench.lead(2)
    bench.propose(2, b"newer")
    bench.settle()
    bench[1].tick(15)
    assert bench.role(1) is Role.LEADER and not bench[1].lease_valid()
    read(bench, 1, 7)
    assert not bench.seats[1].reads


def test_no_lease_if_it_is_switched_off() -> None:
    assert not leading(lease_reads=False)[1].lease_valid()


def test_a_follower_asks_the_leader() -> None:
    bench = leading()
    read(bench, 2, 7)
    bench.settle()
    assert bench.seats[2].reads == [ReadState(7, Index(2))]


def test_a_learner_may_read_too() -> None:
    bench = Bench(configuration(1, 2, 3, learners=(4,)))
    bench.lead(1)
    bench.tick_all(2)
    read(bench, 4, 7)
    bench.settle()
    assert bench.seats[4].reads == [ReadState(7, Index(1))]


def test_without_a_leader_a_read_is_refused() -> None:
    bench = Bench(THREE)
    with pytest.raises(NotLeader):
        bench[2].read_index(7)


def test_a_followers_reads_fail_when_its_leader_changes() -> None:
    bench = leading()
    bench.cuts |= {(2, 1)}
    read(bench, 2, 7)
    bench.step(2, 3, Heartbeat(Term(5), Index(0), 0))
    assert bench.seats[2].failed_reads == [7]
    bench.step(2, 1, ReadResponse(Term(5), 7, Index(9)))
    assert not bench.seats[2].reads


def test_too_many_waiting_reads_are_refused() -> None:
    bench = leading(lease_reads=False, limits=Limits(reads_max=3))
    bench.isolate(1)
    for context in range(3):
        read(bench, 1, context)
    with pytest.raises(Busy):
        bench[1].read_index(3)
    bench.heal()
    bench.step(1, 2, ReadRequest(Term(1), 9))
    assert bench.sent_by(1, ReadResponse)[-1] == ReadResponse(Term(1), 9, Index(0))
    bench.tick_all(2)
    assert len(bench.seats[1].reads) == 3
    read(bench, 1, 4)


def test_a_refused_forwarded_read_fails() -> None:
    bench = leading()
    bench.cuts |= {(2, 1)}
    read(bench, 2, 7)
    bench.step(2, 1, ReadResponse(Term(1), 7, Index(0)))
    assert bench.seats[2].failed_reads == [7]
