"""A participant's votes."""

from makoredis.txn.knowledge import Knowledge
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
from tests.unit.txn.test_recovery import leader

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
    participant._want(proposal_ts + 100)
    participant.take_entry()
    assert participant.closed_ts < proposal_ts


def test_a_frozen_vote_takes_no_commit_from_the_coordinator() -> None:
    participant = fresh()
    proposal_ts = vote(participant).proposal_ts
    participant.step(Query(ID, 1, 2, 90))
    assert participant.take_output().to_shards == [(1, Answer(ID, 0, Fate.FROZEN, 0, [], []))]
    participant.step(Commit(ID, 0, 2, proposal_ts, [(0, 2, proposal_ts)], []))
    assert ID in participant.prepared and not participant.outcomes


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
