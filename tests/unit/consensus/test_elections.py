"""Pre-vote, check-quorum, promises to a live leader, witnesses and learners in elections."""

import pytest

from makoredis.base.ids import Index, NodeId, Term
from makoredis.consensus.messages import (
    AppendRequest,
    AppendResponse,
    Heartbeat,
    PreVoteRequest,
    PreVoteResponse,
    VoteRequest,
    VoteResponse,
)
from makoredis.consensus.types import Role
from tests.unit.consensus.bench import Bench, configuration, entry, with_log

THREE = configuration(1, 2, 3)


def test_an_isolated_node_does_not_raise_the_term_and_returns_quietly() -> None:
    """Thesis §9.6: its term stays, so its return disturbs nobody."""
    bench = Bench(THREE)
    bench.lead(1)
    bench.isolate(3)
    bench.tick_all(600)
    assert bench.role(3) in (Role.PRE_CANDIDATE, Role.FOLLOWER) and bench.term(3) == 1
    bench.heal()
    bench.tick_all(30)
    assert [bench.term(node) for node in (1, 2, 3)] == [1, 1, 1]
    assert bench.role(1) is Role.LEADER and bench[3].status().leader == 1


def test_a_pre_vote_changes_nothing_in_the_voter() -> None:
    bench = Bench(THREE)
    before = bench[1].status()
    bench.step(1, 2, PreVoteRequest(Term(5), Index(0), Term(0)))
    assert bench.sent_by(1, PreVoteResponse)[-1] == PreVoteResponse(Term(5), True)
    assert bench[1].status() == before


def test_a_pre_candidate_that_lags_behind_learns_the_term() -> None:
    bench = Bench(THREE)
    with_log(bench, 2, [1, 4], term=4)
    with_log(bench, 3, [1, 4], term=4)
    bench[1].state.heard_at = -1_000_000
    bench.tick(1, 20)
    bench.settle()
    assert bench.term(1) == 4 and bench.role(1) is Role.FOLLOWER


def test_a_pre_candidate_whose_log_lags_behind_does_not_campaign() -> None:
    bench = Bench(THREE)
    with_log(bench, 2, [1, 1])
    with_log(bench, 3, [1, 1])
    with_log(bench, 1, [1])
    bench[1].campaign()
    bench.perform(1)
    bench.settle()
    assert not bench.sent_by(1, VoteRequest) and bench.role(1) is Role.FOLLOWER


def test_late_consent_to_an_earlier_pre_campaign_is_void() -> None:
    bench = Bench(THREE)
    with_log(bench, 1, [], term=3)
    bench[1].campaign()
    bench.perform(1)
    bench.step(1, 2, PreVoteResponse(Term(2), True))
    assert bench.role(1) is Role.PRE_CANDIDATE


def test_who_hears_a_leader_does_not_look_at_requests_for_votes() -> None:
    """Thesis §4.2.3: servers disregard RequestVote when they believe a current leader exists."""
    bench = Bench(THREE)
    bench.lead(1)
    sent = len(bench.sent)
    bench.step(2, 3, PreVoteRequest(Term(9), Index(9), Term(8)))
    bench.step(2, 3, VoteRequest(Term(9), Index(9), Term(8), False))
    bench.step(1, 3, VoteRequest(Term(9), Index(9), Term(8), False))
    assert len(bench.sent) == sent and bench.term(1) == bench.term(2) == 1


def test_the_promise_ends_an_election_timeout_after_the_last_heartbeat() -> None:
    bench = Bench(THREE)
    bench.lead(1)
    bench.cuts |= {(1, 2), (2, 1)}
    bench[2].state.election_timeout = 1_000
    bench.tick(2, 9)
    bench.step(2, 3, VoteRequest(Term(9), Index(9), Term(8), False))
    assert bench.term(2) == 1
    bench.tick(2)
    bench.step(2, 3, VoteRequest(Term(9), Index(9), Term(8), False))
    assert bench.sent_by(2, VoteResponse)[-1].granted


def test_the_promise_outlives_a_higher_term() -> None:
    """A voter that is told of a higher term still promised not to vote: the old leader's lease may stand on it."""
    bench = Bench(THREE)
    bench.lead(1)
    bench.step(2, 3, AppendResponse(Term(5), False, Index(0)))
    assert bench.term(2) == 5
    bench.step(2, 3, VoteRequest(Term(5), Index(9), Term(4), False))
    assert bench.sent_by(2, VoteResponse)[1:] == []


def test_the_promise_binds_the_own_candidacy() -> None:
    bench = Bench(THREE)
    bench.lead(1)
    bench[2].campaign()
    bench.perform(2)
    assert bench.role(2) is Role.FOLLOWER


def test_the_promise_survives_a_restart() -> None:
    """A restarted voter doesn't know whom it heard, so it assumes that it just heard a leader."""
    bench = Bench(THREE)
    bench.lead(1)
    bench.restart(2)
    bench.step(2, 3, VoteRequest(Term(9), Index(9), Term(8), False))
    assert bench.term(2) == 1


def test_check_quorum_a_leader_without_followers_resigns_within_an_election_timeout() -> None:
    """Thesis §6.2: a leader steps down if an election timeout elapses without a successful round of heartbeats."""
    bench = Bench(THREE)
    bench.lead(1)
    bench.isolate(1)
    bench.tick(1, 9)
    assert bench.role(1) is Role.LEADER
    bench.tick(1)
    assert bench.role(1) is Role.FOLLOWER and bench.term(1) == 1


def test_check_quorum_one_follower_of_two_is_enough() -> None:
    bench = Bench(THREE)
    bench.lead(1)
    bench.isolate(3)
    bench.tick_all(100)
    assert bench.role(1) is Role.LEADER and bench.term(1) == 1


def test_check_quorum_hearing_is_not_enough_if_it_is_only_learners() -> None:
    bench = Bench(configuration(1, 2, 3, learners=(4, 5)))
    bench.lead(1)
    bench.isolate(2)
    bench.isolate(3)
    bench.tick_all(12)
    assert bench.role(1) is Role.FOLLOWER


def test_a_leader_that_is_heard_but_hears_nobody_resigns() -> None:
    """One-way partition: followers hear the leader, so only check-quorum can end its reign."""
    bench = Bench(THREE)
    bench.lead(1)
    bench.cuts |= {(2, 1), (3, 1)}
    bench.tick_all(60)
    assert [bench.role(node) for node in (2, 3)].count(Role.LEADER) == 1
    assert bench.role(1) is not Role.LEADER


def test_a_node_of_a_higher_term_can_come_back() -> None:
    """Its refusals tell the leader of the term; the leader then wins a new one instead of being refused for ever."""
    bench = Bench(THREE)
    bench.lead(1)
    bench.isolate(3)
    with_log(bench, 3, [], term=8)
    bench.heal()
    bench.tick_all(60)
    leaders = [node for node in (1, 2, 3) if bench.role(node) is Role.LEADER]
    assert len(leaders) == 1 and {bench.term(node) for node in (1, 2, 3)} == {bench.term(leaders[0])}
    assert bench.term(leaders[0]) > 8


def test_learners_never_campaign() -> None:
    bench = Bench(configuration(1, learners=(2,)))
    bench.tick(2, 100)
    bench[2].campaign()
    bench.perform(2)
    assert bench.role(2) is Role.FOLLOWER and not bench.sent


def test_a_node_that_is_no_member_yet_never_campaigns() -> None:
    bench = Bench(configuration(1), nodes=[2])
    bench.tick(2, 100)
    assert bench.role(2) is Role.FOLLOWER and not bench.sent


def test_a_witness_votes_but_never_campaigns() -> None:
    bench = Bench(configuration(1, 2, 3, witnesses=(3,)))
    bench.tick(3, 100)
    assert not bench.sent
    bench.isolate(2)
    bench.lead(1)
    assert bench.sent_by(3, VoteResponse)[-1].granted


def test_a_candidate_counts_nobody_twice() -> None:
    bench = Bench(configuration(1, 2, 3, 4, 5))
    bench[1].state.become_candidate(is_transfer=False)
    bench[1].state.votes = {NodeId(1): True}
    bench.perform(1)
    bench.step(1, 2, VoteResponse(Term(1), True))
    bench.step(1, 2, VoteResponse(Term(1), True))
    assert bench.role(1) is Role.CANDIDATE


def test_a_majority_of_refusals_ends_a_candidacy() -> None:
    bench = Bench(THREE)
    bench[1].state.become_candidate(is_transfer=False)
    bench[1].state.votes = {NodeId(1): True}
    bench.perform(1)
    bench.step(1, 2, VoteResponse(Term(1), False))
    bench.step(1, 3, VoteResponse(Term(1), False))
    assert bench.role(1) is Role.FOLLOWER


def test_requests_for_votes_leave_behind_the_own_vote() -> None:
    """Whoever answers makes the candidate's own vote count, so that must be on disk first."""
    bench = Bench(THREE)
    bench.seats[1].is_disk_held = True
    bench[1].campaign()
    bench.perform(1)
    bench.settle()
    assert bench.role(1) is Role.CANDIDATE and not bench.sent_by(1, VoteRequest)
    bench.sync(1)
    assert bench.sent_by(1, VoteRequest)


def test_a_leader_elected_by_itself_alone_says_nothing_before_its_term_is_on_disk() -> None:
    """Otherwise a crash could make it lead the same term twice, with different entries."""
    bench = Bench(configuration(1, learners=(2,)))
    bench.seats[1].is_disk_held = True
    bench.tick(1, 3)
    assert bench.role(1) is Role.LEADER and not bench.sent
    bench.sync(1)
    assert bench.sent_by(1, AppendRequest)


def test_two_timeouts_at_the_same_time_still_end_with_one_leader() -> None:
    for seed in range(20):
        bench = Bench(configuration(1, 2, 3, 4, 5), seed=seed)
        bench.tick_all(100)
        leaders = [node for node in bench.seats if bench.role(node) is Role.LEADER]
        assert len(leaders) == 1


@pytest.mark.parametrize("silent", [2, 3])
def test_a_pause_of_the_leader_alone_costs_it_nothing_but_its_lease(silent: int) -> None:
    """It was stopped, so nobody's silence counts; but its lease ran out meanwhile."""
    bench = Bench(THREE)
    bench.lead(1)
    bench.tick_all(2)
    assert bench[1].lease_valid()
    bench[1].tick(50)
    assert bench.role(1) is Role.LEADER and not bench[1].lease_valid()
    bench.perform(1)
    bench.settle()
    assert bench[1].lease_valid()


def test_a_paused_follower_reads_its_messages_before_it_campaigns() -> None:
    bench = Bench(THREE)
    bench.lead(1)
    bench[2].tick(500)
    assert bench.role(2) is Role.FOLLOWER
    bench.step(2, 1, Heartbeat(Term(1), Index(0), 0))
    assert bench[2].status().leader == 1


def test_the_preferred_node_has_the_shortest_timeout() -> None:
    timeouts = {
        node: Bench(THREE, preferred=NodeId(2), seed=seed)[node].state.election_timeout
        for seed in range(20)
        for node in (1, 2, 3)
    }
    assert timeouts[2] == 10 <= min(timeouts.values())


def test_what_was_accepted_from_one_leader_is_not_acknowledged_to_the_next() -> None:
    """Both speak in one turn: the later leader may have something else at that index."""
    bench = Bench(THREE)
    bench[1].step(NodeId(2), AppendRequest(Term(1), Index(0), Term(0), Index(0), [entry(1, 1)]))
    bench[1].step(NodeId(3), Heartbeat(Term(2), Index(0), 0))
    bench.perform(1)
    assert not any(response.accepted for response in bench.sent_by(1, AppendResponse))
