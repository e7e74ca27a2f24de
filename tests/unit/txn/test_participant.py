"""A participant's votes."""

from random import Random

import pytest

from makoredis.txn.knowledge import Knowledge, Watermark
from makoredis.txn.locks import KeyLock
from makoredis.txn.messages import (
    Abort,
    Aborted,
    Answer,
    Commit,
    Committed,
    Fate,
    Part,
    Prepare,
    Prepared,
    Query,
    Refusal,
    Refused,
)
from makoredis.txn.participant import Participant
from makoredis.txn.recovery import recover
from tests.unit.txn.test_recovery import leader, program

ID = (1, 7)
PART = Part(b"x", [KeyLock(0, b"k", True)])


def prepare(epoch: int = 2) -> Prepare:
    return Prepare(ID, 0, [(0, epoch), (1, 3)], 90, PART, False, False)


def fresh() -> Participant:
    participant = leader([], Knowledge([0, 1]))
    participant.take_output()
    return participant


def vote(participant: Participant) -> Prepared:
    participant.step(prepare())
    (_, answer), *_ = participant.take_output().to_nodes
    assert isinstance(answer, Prepared)
    return answer


def test_an_undecided_transaction_holds_the_closed_timestamp_back() -> None:
    participant = fresh()
    proposal_ts = vote(participant).proposal_ts
    participant.clock.observe(proposal_ts + 100)
    participant.submit("other", Part(b"", [KeyLock(0, b"j", False)]))
    participant.want(proposal_ts + 100)
    participant.take_entry()
    assert participant.closed_ts < proposal_ts


def test_a_frozen_vote_takes_no_commit_from_the_coordinator() -> None:
    participant = fresh()
    proposal_ts = vote(participant).proposal_ts
    participant.step(Query(ID, 1, 2, 90))
    assert participant.take_output().to_shards == [(1, Answer(ID, 0, Fate.FROZEN, 0, [], []))]
    participant.step(Commit(ID, 0, 2, proposal_ts, [(0, 2, proposal_ts)], []))
    assert ID in participant.two_phase.prepared and not participant.two_phase.outcomes


def test_nobody_is_asked_while_the_coordinator_says_that_it_is_alive() -> None:
    participant = fresh()
    vote(participant)
    for _ in range(5):
        participant.now_us += participant.resolve_after_us * 2 // 3
        participant.step(prepare())
        participant.tick(participant.now_us)
    assert not participant.take_output().to_shards
    participant.tick(participant.now_us + participant.resolve_after_us)
    assert participant.take_output().to_shards == [(1, Query(ID, 0, 3, 90))]


def test_who_is_told_to_be_patient_waits_longer_for_the_coordinator() -> None:
    """It has many values to work on."""
    participant = fresh()
    patience_us = 2 * participant.resolve_after_us
    participant.step(Prepare(ID, 0, [(0, 2), (1, 3)], 90, PART, False, False, patience_us))
    participant.take_output()
    participant.tick(participant.now_us + patience_us)
    assert not participant.take_output().to_shards
    participant.tick(participant.now_us + participant.resolve_after_us)
    assert participant.take_output().to_shards == [(1, Query(ID, 0, 3, 90))]


def test_who_takes_part_alone_gives_up_on_a_silent_coordinator() -> None:
    """There is nobody to ask, so nobody's answer to wait for. The coordinator's late commit is refused."""
    participant = fresh()
    participant.step(Prepare(ID, 0, [(0, 2)], 90, PART, False, False))
    (_, answer), *_ = participant.take_output().to_nodes
    assert isinstance(answer, Prepared)
    participant.tick(participant.now_us + participant.resolve_after_us)
    assert not participant.two_phase.prepared and not len(participant.locks)
    participant.step(Commit(ID, 0, 2, answer.proposal_ts, [(0, 2, answer.proposal_ts)], []))
    assert not participant.two_phase.outcomes
    assert (0, Aborted(ID, 0)) in participant.take_output().to_nodes


def test_what_was_denied_is_refused_for_ever() -> None:
    participant = fresh()
    participant.step(Query(ID, 1, 2, 90))
    participant.take_output()
    participant.step(prepare())
    assert participant.take_output().to_nodes == [(0, Refused(ID, 0, 2, Refusal.OVER))]


def test_an_abort_that_overtakes_its_prepare_counts() -> None:
    participant = fresh()
    participant.step(Abort(ID, 90))
    participant.step(prepare())
    assert participant.take_output().to_nodes == [(0, Refused(ID, 0, 2, Refusal.OVER))]


def test_a_prepare_for_another_epoch_is_refused() -> None:
    participant = fresh()
    participant.step(prepare(epoch=1))
    assert participant.take_output().to_nodes == [(0, Refused(ID, 0, 2, Refusal.EPOCH))]


def test_a_commit_unlocks_and_is_acknowledged_as_often_as_it_comes() -> None:
    participant = fresh()
    proposal_ts = vote(participant).proposal_ts
    commit = Commit(ID, 0, 2, proposal_ts, [(0, 2, proposal_ts), (1, 3, proposal_ts)], [])
    participant.step(commit)
    participant.step(commit)
    assert participant.take_output().to_nodes == [(0, Committed(ID, 0))] * 2
    assert len(participant.locks) == 0 and len(participant.pending.items) == 1


def test_a_commit_that_was_never_prepared_is_denied() -> None:
    participant = fresh()
    participant.step(Commit(ID, 0, 1, 95, [(0, 1, 95)], []))
    assert participant.take_output().to_nodes == [(0, Aborted(ID, 0))]


def test_the_watermark_reaches_the_last_transaction_when_what_held_it_back_is_gone() -> None:
    participant = fresh()
    vote(participant)
    participant.submit("last", Part(b"y", [KeyLock(0, b"j", True)]))
    assert participant.take_entry() is not None
    participant.proposed(2)
    participant.chosen(2)
    last_ts = participant.pending.items[-1].record.ts if participant.pending.items else participant.clock.last
    assert participant.closed_ts < last_ts and participant.take_entry() is None
    participant.step(Abort(ID, 90))
    assert participant.take_entry() is not None and participant.closed_ts >= last_ts


def synchronous() -> Participant:
    participant = fresh()
    participant.is_synchronous = True
    return participant


def test_a_synchronous_vote_waits_for_its_entry() -> None:
    participant = synchronous()
    participant.step(prepare())
    assert participant.take_output().to_nodes == []
    assert participant.take_entry() is not None
    participant.proposed(2)
    participant.step(prepare())
    assert participant.take_output().to_nodes == []
    participant.chosen(2)
    (_, answer), *_ = participant.take_output().to_nodes
    assert isinstance(answer, Prepared)


def test_a_synchronous_transaction_holds_its_locks_until_its_entry_is_chosen() -> None:
    participant = synchronous()
    for ticket in ("first", "second"):
        participant.submit(ticket, PART)
    assert len(participant.pending) == 1 and participant.locks.is_blocked(PART.locks)
    assert participant.take_entry() is not None
    participant.proposed(2)
    participant.chosen(2)
    assert len(participant.pending) == 1 and len(participant.locks) == 1
    assert participant.take_entry() is not None
    participant.proposed(3)
    participant.chosen(3)
    assert len(participant.locks) == 0


def test_a_repeated_commit_is_answered_when_its_outcome_is_forgotten() -> None:
    participant = fresh()
    proposal_ts = vote(participant).proposal_ts
    commit = Commit(ID, 0, 2, proposal_ts, [(0, 2, proposal_ts)], [])
    participant.step(commit)
    participant.two_phase.outcomes.clear()
    participant.knowledge.raise_global(proposal_ts)
    participant.take_output()
    participant.step(commit)
    assert participant.take_output().to_nodes == [(0, Committed(ID, 0))]


def test_a_late_copy_of_a_prepare_is_nothing_new_when_the_outcome_is_forgotten() -> None:
    """The decision has come from another participant, and is in every snapshot by now, when the coordinator's messages
    arrive: its prepare, repeated to say that it is alive, and its commit. Found by the simulation."""
    participant = fresh()
    proposal_ts = vote(participant).proposal_ts
    participant.tick(participant.now_us + participant.resolve_after_us)
    vector = [(0, 2, proposal_ts), (1, 3, proposal_ts)]
    participant.step(Answer(ID, 1, Fate.COMMITTED, proposal_ts, vector, []))
    assert participant.take_entry() is not None
    participant.proposed(2)
    participant.chosen(2)
    participant.knowledge.hear(Watermark(1, 3, proposal_ts, []))
    participant.settle()
    assert not participant.two_phase.outcomes
    participant.take_output()

    participant.step(prepare())
    assert not participant.two_phase.prepared and len(participant.locks) == 0
    participant.step(Commit(ID, 0, 2, proposal_ts, vector, []))
    assert participant.take_output().to_nodes == [(0, Committed(ID, 0))]
    assert not participant.has_entry(), "it is not logged again"


@pytest.mark.parametrize("is_answer", [False, True])
def test_a_copy_that_comes_after_all_is_forgotten_is_not_executed_again(is_answer: bool) -> None:
    """A link that was cut for a minute delivers a prepare and its decision once more."""
    participant = fresh()
    proposal_ts = vote(participant).proposal_ts
    vector = [(0, 2, proposal_ts)]
    commit = Commit(ID, 0, 2, proposal_ts, vector, [])
    participant.step(commit)
    assert participant.take_entry() is not None
    participant.proposed(2)
    participant.chosen(2)
    participant.two_phase.outcomes.clear()
    participant.replica.committed.clear()
    participant.tick(participant.now_us + 60_000_000)
    participant.take_output()

    participant.step(prepare())
    assert participant.two_phase.prepared
    if is_answer:
        participant.tick(participant.now_us + participant.resolve_after_us)
        participant.step(Answer(ID, 1, Fate.COMMITTED, proposal_ts, vector, []))
    else:
        participant.step(commit)
        assert participant.take_output().to_nodes[-1] == (0, Committed(ID, 0))
    assert not participant.two_phase.prepared and len(participant.locks) == 0
    assert not participant.has_entry(), "it is not logged again"


def test_a_later_leader_knows_what_was_committed() -> None:
    participant = fresh()
    proposal_ts = vote(participant).proposal_ts
    commit = Commit(ID, 0, 2, proposal_ts, [(0, 2, proposal_ts)], [])
    participant.step(commit)
    assert participant.take_entry() is not None
    participant.proposed(2)
    participant.chosen(2)
    replica, _ = participant.step_down()
    later = recover(replica, 5, (), participant.knowledge, program, Random(0), 200)
    assert later.take_entry() is not None
    later.proposed(3)
    later.chosen(3)
    later.take_output()
    later.step(commit)
    assert later.take_output().to_nodes == [(0, Committed(ID, 0))]
    later.step(Commit((1, 8), 0, 2, proposal_ts, [(0, 2, proposal_ts)], []))
    assert later.take_output().to_nodes == [(0, Aborted((1, 8), 0))]


def read(participant: Participant, ticket: str) -> None:
    participant.submit(ticket, Part(b"", [KeyLock(0, b"j", False)]))


def shown(participant: Participant) -> list[object]:
    return [(type(reply).__name__, reply.ticket) for reply in participant.take_output().replies]


def test_without_a_lease_a_read_waits_until_a_quorum_has_confirmed_the_leadership_since() -> None:
    participant = fresh()
    participant.has_lease, participant.held.may_ask = False, True
    read(participant, "first")
    assert participant.held.is_wanted and participant.held.ask() == 1
    read(participant, "second")  # behind the question
    assert participant.held.is_wanted and shown(participant) == []
    participant.confirmed(1)
    assert shown(participant) == [("Reply", "first")]
    assert participant.held.ask() == 2
    participant.confirmed(2)
    assert shown(participant) == [("Reply", "second")] and not participant.held.is_wanted


def test_without_a_lease_and_nobody_to_ask_a_read_is_turned_away() -> None:
    participant = fresh()
    participant.has_lease = False
    read(participant, "only")
    assert shown(participant) == [("Turned", "only")]


def test_without_a_lease_the_locks_of_what_only_reads_are_held_until_a_quorum_has_confirmed() -> None:
    participant = fresh()
    participant.has_lease, participant.held.may_ask = False, True
    part = Part(b"", [KeyLock(0, b"k", False)])
    participant.step(Prepare(ID, 0, [(0, 2), (1, 3)], 90, part, True, False))
    participant.take_output()
    commit = Commit(ID, 0, 2, 100, [], [])
    participant.step(commit)
    participant.step(commit)  # the coordinator says it again
    assert ID in participant.two_phase.prepared and not participant.take_output().to_nodes
    participant.confirmed(participant.held.ask())
    assert participant.take_output().to_nodes == [(0, Committed(ID, 0))] and ID not in participant.two_phase.prepared
