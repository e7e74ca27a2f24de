"""Pipelining, batching and their limits; how a leader finds and fills gaps."""

from typing import Any

import pytest

from makoredis.base.errors import Fatal
from makoredis.base.ids import Index, NodeId, Term
from makoredis.consensus.core import Limits
from makoredis.consensus.messages import AppendRequest, AppendResponse, Heartbeat, HeartbeatResponse
from tests.unit.consensus.bench import Bench, configuration

THREE = configuration(1, 2, 3)


def leading(**limits: int) -> Bench:
    bench = Bench(THREE, limits=Limits(**limits))
    bench.lead(1)
    bench.tick_all(2)
    bench.sent.clear()
    return bench


def to(bench: Bench, node: int, kind: type = AppendRequest) -> list[Any]:
    return [message for _, receiver, message in bench.sent if receiver == node and isinstance(message, kind)]


def state_of(bench: Bench, node: int) -> str:
    return str(bench[1].status().peers[NodeId(node)].state)


def test_what_is_proposed_in_a_turn_goes_out_in_one_request() -> None:
    bench = leading()
    for number in range(50):
        bench[1].propose(b"%d" % number)
    bench.perform(1)
    assert [len(message.entries) for message in to(bench, 2)] == [50]


def test_requests_do_not_wait_for_answers() -> None:
    bench = leading()
    for number in range(5):
        bench.propose(1, b"%d" % number)
    assert [message.previous_index for message in to(bench, 2)] == [1, 2, 3, 4, 5]
    bench.settle()
    assert bench[1].status().commit_index == 6


def test_followers_at_the_same_place_share_a_message() -> None:
    bench = leading()
    bench.propose(1, b"x")
    assert to(bench, 2)[0] is to(bench, 3)[0]


def test_a_request_is_bounded_in_bytes_and_entries() -> None:
    bench = leading(append_bytes_max=100, append_entries_max=3)
    for _ in range(6):
        bench[1].propose(b"x" * 40)
    for _ in range(5):
        bench[1].propose(b"")
    bench.perform(1)
    assert [len(message.entries) for message in to(bench, 2)] == [2, 2, 3, 3, 1]


def test_one_entry_goes_however_large() -> None:
    bench = leading(append_bytes_max=100)
    bench[1].propose(b"x" * 1_000)
    bench[1].propose(b"y")
    bench.perform(1)
    assert [len(message.entries) for message in to(bench, 2)] == [1, 1]


def test_unanswered_requests_are_bounded_in_number() -> None:
    bench = leading(inflight_messages_max=4)
    for _ in range(10):
        bench.propose(1, b"x")
    assert len(to(bench, 2)) == 4
    bench.settle()
    assert bench[2].status().last_index == 11


def test_unanswered_requests_are_bounded_in_bytes() -> None:
    bench = leading(inflight_bytes_max=100)
    for _ in range(10):
        bench.propose(1, b"x" * 40)
    assert len(to(bench, 2)) == 3
    bench.settle()
    assert bench[2].status().last_index == 11


def test_a_slow_follower_does_not_hold_up_the_others() -> None:
    bench = leading(inflight_messages_max=2)
    bench.seats[3].is_disk_held = True
    for number in range(20):
        bench.propose(1, b"%d" % number)
        bench.settle()
    assert bench[1].status().commit_index == 21 and len(to(bench, 3)) == 2
    bench.sync(3)
    bench.seats[3].is_disk_held = False
    bench.settle()
    assert bench[3].status().last_index == 21


def test_a_lost_request_is_noticed_by_the_next_one() -> None:
    bench = leading()
    bench.propose(1, b"a")
    bench.wire = [post for post in bench.wire if post[1] != 3]
    bench.propose(1, b"b")
    bench.settle()
    assert bench[3].status().last_index == 3


def test_a_lost_last_request_is_noticed_by_the_heartbeat() -> None:
    bench = leading()
    bench.propose(1, b"a")
    bench.wire = [post for post in bench.wire if post[1] != 3]
    bench.settle()
    bench.tick_all(1)
    assert bench[3].status().last_index == 2


def test_a_lost_answer_is_noticed_by_the_heartbeat() -> None:
    bench = leading()
    bench.cuts |= {(3, 1)}
    bench.propose(1, b"a")
    bench.settle()
    bench.heal()
    assert bench[1].status().peers[NodeId(3)].match_index == 1
    bench.tick_all(1)
    assert bench[1].status().peers[NodeId(3)].match_index == 2


def test_a_refusal_makes_the_leader_probe_one_request_at_a_time() -> None:
    bench = leading()
    bench.isolate(3)
    for _ in range(5):
        bench.propose(1, b"x")
    bench.settle()
    bench.heal()
    bench.step(1, 3, AppendResponse(Term(1), False, Index(5), Index(1), Term(1)))
    assert state_of(bench, 3) == "probe"
    bench.sent.clear()
    bench.propose(1, b"y")
    assert not to(bench, 3)
    bench.settle()
    assert state_of(bench, 3) == "replicate" and bench[3].status().last_index == 7


def test_an_unreachable_follower_is_probed_again_when_it_answers() -> None:
    bench = leading()
    bench.isolate(3)
    bench.propose(1, b"x")
    bench[1].unreachable(NodeId(3))
    bench.perform(1)
    bench.sent.clear()
    bench.propose(1, b"y")
    assert state_of(bench, 3) == "probe" and not to(bench, 3)
    bench.settle()
    bench.heal()
    bench.tick_all(2)
    assert state_of(bench, 3) == "replicate" and bench[3].status().last_index == 3


def test_late_refusals_change_nothing() -> None:
    bench = leading()
    bench.propose(1, b"x")
    bench.settle()
    before = bench[1].status()
    bench.step(1, 3, AppendResponse(Term(1), False, Index(1), Index(0), Term(0)))
    assert bench[1].status() == before


def test_an_acknowledgement_of_what_was_never_sent_is_a_broken_invariant() -> None:
    bench = leading()
    with pytest.raises(Fatal, match="the leader of term 1"):
        bench.step(1, 3, AppendResponse(Term(1), True, Index(99)))


def test_answers_of_strangers_are_ignored() -> None:
    bench = leading()
    before = bench[1].status()
    for answer in (AppendResponse(Term(1), True, Index(1)), HeartbeatResponse(Term(1), 1)):
        bench.step(1, 9, answer)
    assert bench[1].status() == before


def test_all_that_a_turn_accepts_is_acknowledged_by_one_message() -> None:
    bench = leading()
    for number in range(5):
        bench.propose(1, b"%d" % number)
    for sender, receiver, message in bench.wire:
        if receiver == 2:
            bench[2].step(sender, message)
    bench.sent.clear()
    bench.perform(2)
    assert [message.index for message in bench.sent_by(2, AppendResponse)] == [6]


def test_a_commit_is_told_without_asking_for_an_answer() -> None:
    bench = leading()
    bench.propose(1, b"x")
    bench.settle()
    notices = [message for message in to(bench, 2, Heartbeat) if message.commit == 2]
    assert [notice.round for notice in notices] == [0]
    assert not bench.sent_by(2, HeartbeatResponse)


def test_a_steady_write_costs_eight_messages_among_three() -> None:
    """Per follower: request, answer, notice of the commit; one follower gets two notices at most."""
    bench = leading()
    bench.propose(1, b"x")
    bench.settle()
    assert len(bench.sent) <= 8


def test_times_that_make_no_sense_are_refused() -> None:
    with pytest.raises(Fatal, match="must be below"):
        Bench(THREE, election_ticks=5, heartbeat_ticks=5)


def test_a_commit_index_that_is_deferred_goes_with_the_next_entry() -> None:
    bench = leading()
    bench[1].defer_commit(True)
    bench.propose(1, b"x")
    bench.settle()
    assert bench[1].status().commit_index == 2
    assert not to(bench, 2, Heartbeat), "no message of its own"
    assert bench[2].status().commit_index == 1
    bench.propose(1, b"y")
    assert to(bench, 2)[-1].commit == 2
    bench.settle()
    assert bench[2].status().commit_index == 2


def test_a_commit_index_that_is_deferred_goes_when_nothing_follows() -> None:
    bench = leading()
    bench[1].defer_commit(True)
    bench.propose(1, b"x")
    bench.settle()
    bench[1].defer_commit(False)
    bench.perform(1)
    assert [message.commit for message in to(bench, 2, Heartbeat)] == [2]
    bench.settle()
    assert bench[2].status().commit_index == 2


def test_a_heartbeat_tells_a_commit_index_that_is_deferred() -> None:
    bench = leading()
    bench[1].defer_commit(True)
    bench.propose(1, b"x")
    bench.settle()
    bench.tick_all(1)
    bench.settle()
    assert bench[2].status().commit_index == 2


def test_followers_beside_a_prompt_majority_are_spares() -> None:
    bench = leading()
    bench.settle()
    assert list(bench[1].spares()) == [2], "all are equal: the last one is enough"
    bench.isolate(3)
    bench.propose(1, b"x")
    bench.settle()
    assert list(bench[1].spares()) == [3], "the one whose log is furthest is enough"


def test_nobody_is_spared_while_the_one_who_would_be_enough_does_not_answer() -> None:
    bench = leading()
    bench.settle()
    bench.isolate(1)
    for number in range(3):
        bench.propose(1, b"%d" % number)
    assert not bench[1].spares()


def test_only_a_leader_spares_and_not_during_a_hand_over() -> None:
    bench = leading()
    bench.settle()
    assert not bench[2].spares()
    bench.isolate(2)
    bench.propose(1, b"x")
    bench[1].transfer_leadership(NodeId(2))
    assert not bench[1].spares()


def test_four_of_five_hold_no_spares_but_two() -> None:
    bench = Bench(configuration(1, 2, 3, 4, 5))
    bench.lead(1)
    bench.settle()
    assert list(bench[1].spares()) == [2, 3]
