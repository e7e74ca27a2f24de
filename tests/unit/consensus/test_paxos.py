"""Multi-Paxos: anybody may be elected, and learns what must be kept from those who let it."""

from typing import Any

from makoredis.base.ids import Index, NodeId, Term
from makoredis.consensus.core import ElectionRule, Limits
from makoredis.consensus.messages import Prepare, PreVoteResponse, Promise, VoteRequest, VoteResponse
from makoredis.consensus.state import BALLOT_NODES
from makoredis.consensus.types import Entry, EntryKind, Role, encode_configuration
from tests.unit.consensus.bench import Bench, configuration, entry, with_log

THREE = configuration(1, 2, 3)


def group(initial: Any = THREE, **options: Any) -> Bench:
    return Bench(initial, election_rule=ElectionRule.PAXOS, **options)


def elect(bench: Bench, node: int) -> None:
    for seat in bench.seats.values():
        seat.core.state.heard_at = -1_000_000
    bench[node].campaign()
    bench.perform(node)
    bench.settle()


def test_ballots_belong_to_one_node_each() -> None:
    bench = group()
    ballots = [bench[node].state.next_term for node in (1, 2, 3)]
    assert len(set(ballots)) == 3
    assert [ballot % BALLOT_NODES for ballot in ballots] == [1, 2, 3]
    bench[1].state.become_follower(Term(ballots[2]), None)
    assert bench[1].state.next_term > ballots[2] and bench[1].state.next_term % BALLOT_NODES == 1


def test_election_and_agreement() -> None:
    bench = group()
    elect(bench, 2)
    bench.propose(2, b"x")
    bench.settle()
    assert all(bench.seats[node].applied_payloads == [b"x"] for node in (1, 2, 3))
    assert not bench.sent_by(2, VoteRequest)


def test_a_promise_is_on_disk_before_it_is_given() -> None:
    bench = group()
    bench.seats[3].is_disk_held = True
    bench.step(3, 1, Prepare(Term(BALLOT_NODES + 1), Index(0), Index(0), Term(0), False))
    assert not bench.sent_by(3, Promise)
    bench.sync(3)
    assert bench.sent_by(3, Promise) and bench.seats[3].hard_state.term == BALLOT_NODES + 1


def test_nothing_below_a_promise_is_accepted() -> None:
    bench = group()
    elect(bench, 1)
    low = bench.term(1)
    bench[3].state.become_follower(Term(low + BALLOT_NODES), None)
    bench.perform(3)
    bench.isolate(2)
    index = bench.propose(1, b"x")
    bench.settle()
    assert bench[3].status().last_index < index and bench.role(1) is Role.FOLLOWER


def test_a_node_that_lags_behind_is_elected_and_learns_what_was_chosen() -> None:
    """The node with the shortest log wins, and nothing that may have been chosen is lost."""
    bench = group()
    elect(bench, 1)
    bench.isolate(3)
    for number in range(20):
        bench.propose(1, b"%d" % number)
    bench.settle()
    bench.heal()
    bench.crash(1)
    elect(bench, 3)
    assert bench.role(3) is Role.LEADER
    assert bench.seats[3].applied_payloads == [b"%d" % number for number in range(20)]


def test_the_value_of_the_highest_ballot_is_taken_not_the_longest_log() -> None:
    bench = group(configuration(1, 2, 3, 4, 5))
    low, high = BALLOT_NODES + 1, 2 * BALLOT_NODES + 2
    with_log(bench, 1, [low] * 9, term=high)
    with_log(bench, 2, [low, high], term=high)
    with_log(bench, 3, [low], term=high)
    bench.crash(4)
    bench.crash(5)
    elect(bench, 3)
    assert bench.log_of(3)[:2] == [(1, low), (2, high)]
    bench.tick_all(3)
    assert bench.log_of(1) == bench.log_of(3) == bench.log_of(2)


def test_what_is_learned_in_several_messages() -> None:
    bench = group(limits=Limits(append_bytes_max=30))
    elect(bench, 1)
    bench.isolate(3)
    for number in range(20):
        bench.propose(1, b"%010d" % number)
    bench.settle()
    bench.heal()
    bench.crash(1)
    elect(bench, 3)
    assert bench.role(3) is Role.LEADER and len(bench.seats[3].applied_payloads) == 20
    assert len(bench.sent_by(2, Promise)) > 5


def test_repeated_promises_are_harmless() -> None:
    bench = group(limits=Limits(append_bytes_max=30))
    elect(bench, 1)
    bench.isolate(3)
    for number in range(9):
        bench.propose(1, b"%010d" % number)
    bench.settle()
    bench.heal()
    bench.crash(1)
    for seat in bench.seats.values():
        seat.core.state.heard_at = -1_000_000
    bench[3].campaign()
    bench.perform(3)
    while bench.wire:
        if isinstance(bench.wire[0][2], Promise):
            bench.wire.insert(0, bench.wire[0])
            bench.deliver_one()
        bench.deliver_one()
    assert bench.role(3) is Role.LEADER and len(bench.seats[3].applied_payloads) == 9


def test_only_what_the_proposer_lacks_is_told() -> None:
    bench = group()
    elect(bench, 1)
    for number in range(5):
        bench.propose(1, b"%d" % number)
    bench.settle()
    bench.sent.clear()
    bench.crash(1)
    elect(bench, 2)
    assert [message.entries for message in bench.sent_by(3, Promise)] == [[]]


def test_a_node_whose_lack_is_compacted_elsewhere_does_not_stand() -> None:
    bench = group()
    elect(bench, 1)
    bench.isolate(3)
    for number in range(5):
        bench.propose(1, b"%d" % number)
    bench.settle()
    bench[2].compact(Index(4))
    bench.heal()
    bench.crash(1)
    elect(bench, 3)
    assert bench.role(3) is not Role.LEADER
    assert not bench.sent_by(2, PreVoteResponse)[-1].granted
    bench[3].state.become_candidate(is_transfer=False)
    bench[3].state.votes = {NodeId(3): True}
    bench.perform(3)
    ballot = Term(bench.term(3))
    told = Promise(ballot, Index(4), [entry(5, 1), entry(6, 1)], Index(6), Term(BALLOT_NODES + 1))
    bench.step(3, 2, told)
    assert bench.role(3) is Role.FOLLOWER


def test_the_quorum_is_counted_by_the_configuration_that_was_learned() -> None:
    """Two nodes that missed a change must not be a majority of the past."""
    bench = group(configuration(1, 2, 3), nodes=(4, 5))
    state = bench[1].state
    state.become_candidate(is_transfer=False)
    state.votes = {NodeId(1): True}
    bench.perform(1)
    payload = encode_configuration(configuration(1, 2, 3, 4, 5))
    change = Entry(Term(1), Index(1), EntryKind.CONFIGURATION, payload)
    bench.step(1, 2, Promise(Term(bench.term(1)), Index(0), [change], Index(1), Term(1)))
    assert bench.role(1) is Role.CANDIDATE and bench[1].status().configuration == configuration(1, 2, 3, 4, 5)
    asked = [to for sender, to, message in bench.sent if sender == 1 and isinstance(message, Prepare)]
    assert {4, 5} <= set(asked)
    bench.step(1, 4, Promise(Term(bench.term(1)), Index(0), [], Index(0), Term(0)))
    assert bench.role(1) is Role.LEADER


def test_a_witness_that_accepted_more_than_anybody_told_does_not_count() -> None:
    bench = group(configuration(1, 2, 3, witnesses=(3,)))
    with_log(bench, 3, [1, 1, 1])
    with_log(bench, 2, [1])
    with_log(bench, 1, [1])
    bench.crash(2)
    elect(bench, 1)
    assert bench.role(1) is Role.CANDIDATE
    bench.restart(2)
    bench[2].state.heard_at = -1_000_000
    bench.tick_all(60)
    assert Role.LEADER in (bench.role(1), bench.role(2))


def test_votes_are_refused_under_a_live_leader_here_too() -> None:
    bench = group()
    elect(bench, 1)
    sent = len(bench.sent)
    bench.step(2, 3, Prepare(Term(9 * BALLOT_NODES), Index(0), Index(9), Term(1), False))
    assert len(bench.sent) == sent


def test_a_second_proposer_of_the_same_ballot_is_refused() -> None:
    bench = group()
    ballot = Term(BALLOT_NODES + 1)
    bench.step(3, 1, Prepare(ballot, Index(0), Index(0), Term(0), False))
    bench.step(3, 2, Prepare(ballot, Index(0), Index(0), Term(0), False))
    assert [promise.term for promise in bench.sent_by(3, Promise)] == [ballot]
    assert bench.sent_by(3, VoteResponse) == [VoteResponse(ballot, False)]


def test_a_group_is_switched_from_one_rule_to_the_other_node_by_node() -> None:
    """Both rules keep the same things on disk and each other's promises."""
    bench = Bench(THREE)
    bench.lead(1)
    bench.propose(1, b"raft")
    bench.settle()
    for node in (2, 3):
        bench.seats[node].config.election_rule = ElectionRule.PAXOS  # type: ignore[misc]
        bench.restart(node)
    bench.crash(1)
    elect(bench, 3)
    assert bench.role(3) is Role.LEADER
    bench.propose(3, b"paxos")
    bench.restart(1)
    bench.tick_all(3)
    assert bench.seats[1].applied_payloads == [b"raft", b"paxos"]
