"""Handing the leadership over, on request and to the preferred node."""

import pytest

from makoredis.base.errors import Busy, ClientError, NotLeader
from makoredis.base.ids import NodeId, Term
from makoredis.consensus.messages import TimeoutNow
from makoredis.consensus.types import Role
from tests.unit.consensus.bench import Bench, configuration

THREE = configuration(1, 2, 3)


def transfer(bench: Bench, node: int, to: int) -> None:
    bench[node].transfer_leadership(NodeId(to))
    bench.perform(node)


def test_the_target_leads_at_once_and_has_everything() -> None:
    bench = Bench(THREE)
    bench.lead(1)
    bench.propose(1, b"x")
    transfer(bench, 1, 2)
    bench.settle()
    assert bench.role(2) is Role.LEADER and bench.role(1) is Role.FOLLOWER
    bench.tick_all(1)
    assert bench.seats[2].applied_payloads == [b"x"]


def test_the_target_is_brought_up_to_date_first() -> None:
    bench = Bench(THREE)
    bench.lead(1)
    bench.cuts |= {(1, 2)}
    bench.propose(1, b"x")
    bench.settle()
    transfer(bench, 1, 2)
    bench.settle()
    assert not bench.sent_by(1, TimeoutNow)
    bench.heal()
    bench.tick_all(3)
    assert bench.role(2) is Role.LEADER


def test_proposals_are_refused_meanwhile_not_lost() -> None:
    bench = Bench(THREE)
    bench.lead(1)
    bench.isolate(2)
    transfer(bench, 1, 2)
    with pytest.raises(Busy, match="handed over to node 2"):
        bench.propose(1, b"x")


def test_given_up_after_an_election_timeout() -> None:
    bench = Bench(THREE)
    bench.lead(1)
    bench.crash(2)
    transfer(bench, 1, 2)
    bench.tick_all(9)
    assert bench[1].status().transferring_to == 2
    bench.tick_all(1)
    assert bench[1].status().transferring_to is None and bench.role(1) is Role.LEADER
    bench.propose(1, b"goes on")
    bench.tick_all(1)
    assert bench.seats[3].applied_payloads == [b"goes on"]


def test_after_telling_somebody_to_campaign_there_is_no_lease_in_this_term() -> None:
    """The message may be late, and voters will not protect this leader from the campaign."""
    bench = Bench(THREE)
    bench.lead(1)
    bench.tick_all(2)
    assert bench[1].lease_valid()
    bench.cuts |= {(1, 2)}
    transfer(bench, 1, 2)
    assert not bench[1].lease_valid()
    bench.tick_all(30)
    assert bench.role(1) is Role.LEADER and not bench[1].lease_valid()
    bench[1].read_index(7)
    bench.perform(1)
    bench.settle()
    assert [state.context for state in bench.seats[1].reads] == [7]


def test_a_late_invitation_still_works() -> None:
    bench = Bench(THREE)
    bench.lead(1)
    transfer(bench, 1, 2)
    invitation = bench.wire.pop(0)
    assert isinstance(invitation[2], TimeoutNow)
    bench.tick_all(15)
    assert bench.role(1) is Role.LEADER
    bench.step(2, 1, invitation[2])
    bench.settle()
    assert bench.role(2) is Role.LEADER


def test_an_invitation_by_somebody_else_is_ignored() -> None:
    bench = Bench(THREE)
    bench.lead(1)
    bench.step(2, 3, TimeoutNow(Term(1)))
    assert bench.role(2) is Role.FOLLOWER


def test_to_itself_is_done_already() -> None:
    bench = Bench(THREE)
    bench.lead(1)
    transfer(bench, 1, 1)
    assert bench[1].status().transferring_to is None


@pytest.mark.parametrize("node", [3, 4, 9])
def test_witnesses_learners_and_strangers_cannot_lead(node: int) -> None:
    bench = Bench(configuration(1, 2, 3, witnesses=(3,), learners=(4,)))
    bench.lead(1)
    with pytest.raises(ClientError, match="may not lead"):
        transfer(bench, 1, node)


def test_one_at_a_time_and_only_by_the_leader() -> None:
    bench = Bench(THREE)
    bench.lead(1)
    bench.isolate(2)
    transfer(bench, 1, 2)
    with pytest.raises(Busy):
        transfer(bench, 1, 3)
    with pytest.raises(NotLeader):
        transfer(bench, 3, 2)


# ----- preferred leader -----


def test_the_preferred_node_gets_the_leadership_when_stable() -> None:
    bench = Bench(THREE, preferred=NodeId(3))
    bench.lead(1)
    bench.tick_all(8)
    assert bench.role(1) is Role.LEADER
    bench.tick_all(10)
    assert bench.role(3) is Role.LEADER and bench.term(3) == 2
    bench.tick_all(100)
    assert bench.term(3) == 2


def test_not_before_it_has_caught_up() -> None:
    bench = Bench(THREE, preferred=NodeId(3))
    bench.lead(1)
    bench.isolate(3)
    bench.propose(1, b"x")
    bench.tick_all(60)
    assert bench.role(1) is Role.LEADER and bench[1].status().transferring_to is None
    bench.heal()
    bench.tick_all(8)
    assert bench.role(1) is Role.LEADER
    bench.tick_all(15)
    assert bench.role(3) is Role.LEADER


def test_a_failed_hand_over_is_not_repeated_at_once() -> None:
    bench = Bench(THREE, preferred=NodeId(3))
    bench.lead(1)
    bench.tick_all(5)
    attempts = 0
    for _ in range(100):
        bench.tick_all(1)
        attempts += sum(isinstance(message, TimeoutNow) for _, _, message in bench.wire)
        bench.wire = [post for post in bench.wire if not isinstance(post[2], TimeoutNow)]
        bench.cuts = set()
    assert len(bench.sent_by(1, TimeoutNow)) <= 3


def test_a_preferred_node_that_does_not_take_over_is_asked_ever_more_rarely() -> None:
    """Its disk is full, perhaps: it follows, but does not want to lead. Each attempt stops the group for a while."""
    bench = Bench(THREE, preferred=NodeId(3))
    bench.lead(1)
    bench.lost = (TimeoutNow,)
    bench.tick_all(2000)
    assert bench.role(1) is Role.LEADER
    assert 3 <= len(bench.sent_by(1, TimeoutNow)) <= 7


def test_a_preferred_witness_is_never_tried() -> None:
    bench = Bench(configuration(1, 2, 3, witnesses=(3,)), preferred=NodeId(3))
    bench.lead(1)
    bench.tick_all(60)
    assert bench.role(1) is Role.LEADER and not bench.sent_by(1, TimeoutNow)
