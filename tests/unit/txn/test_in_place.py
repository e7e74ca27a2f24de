"""Transactions that the driver runs on a leader's keyspace: when they may, and what their replies wait for."""

from makoredis.data.effects import SetString
from makoredis.txn.entries import ClosedEpochs
from makoredis.txn.gate import Gate
from makoredis.txn.knowledge import Watermark
from makoredis.txn.messages import Commit
from makoredis.txn.participant import Participant
from makoredis.txn.requests import RequestRecord
from tests.unit.txn.test_participant import ID, fresh, vote

K, J = (0, b"k"), (0, b"j")


def put(participant: Participant, name: tuple[int, bytes], sequence: int = 0) -> Gate:
    participant.in_place.access.apply(SetString(*name, b"value"))
    request = RequestRecord(1, 1, sequence, sequence - 1, b"reply") if sequence else None
    return participant.in_place.commit([name], request)


def end_turn(participant: Participant, index: int) -> None:
    """The present turn's entry is proposed and chosen."""
    assert participant.take_entry() is not None
    participant.proposed(index)
    participant.chosen(index)


def commit_across_shards(participant: Participant) -> int:
    """A write of `k` that depends on shard 1, epoch 3. Returns its timestamp."""
    ts = vote(participant).proposal_ts
    participant.step(Commit(ID, 0, 2, ts, [(0, 2, ts), (1, 3, ts)], [(0, [SetString(*K, b"other")]), (1, [])]))
    return ts


def test_what_is_locked_is_not_free() -> None:
    participant = fresh()
    vote(participant)
    assert not participant.in_place.is_free([K], is_exclusive=False)
    assert participant.in_place.is_free([J], is_exclusive=True)


def test_writes_of_an_entry_share_a_gate_that_opens_when_it_is_chosen() -> None:
    participant = fresh()
    first = put(participant, K)
    assert put(participant, J) is first and participant.in_place.gate_of([K]) is first
    assert participant.in_place.gate_of([(0, b"untouched")]) is None
    assert participant.take_entry() is not None
    participant.proposed(2)
    second = put(participant, K)
    assert second is not first
    participant.chosen(2)
    assert first.is_open and not second.is_open
    assert participant.in_place.gate_of([J]) is None and participant.in_place.gate_of([K]) is second


def test_who_saw_what_depends_on_another_shard_waits_for_that_too() -> None:
    participant = fresh()
    plain = put(participant, J)
    ts = commit_across_shards(participant)
    bound, read = put(participant, K), participant.in_place.gate_of([K, J])
    assert bound is not plain and read is not None
    end_turn(participant, 2)
    assert plain.is_open and not bound.is_open and not read.is_open
    participant.knowledge.hear(Watermark(1, 3, ts, []))
    participant.settle()
    assert bound.is_open and read.is_open


def test_what_is_void_takes_its_gates_along_and_no_others() -> None:
    participant = fresh()
    plain = put(participant, J)
    commit_across_shards(participant)
    bound, read = put(participant, K, 1), participant.in_place.gate_of([K, J])
    end_turn(participant, 2)
    participant.knowledge.hear(Watermark(1, 4, 1 << 60, [ClosedEpochs(1, 0, 3, 1)]))
    participant.settle()
    voided = participant.take_output().voided
    assert bound in voided and read in voided and plain not in voided
    assert bound.is_void and not bound.is_open and participant.requests.find(1, 1, 1) is None


def test_the_end_of_a_leadership_voids_what_is_not_chosen() -> None:
    participant = fresh()
    chosen = put(participant, K, 1)
    end_turn(participant, 2)
    lost = put(participant, J, 2)
    put(participant, J, 3)
    participant.step_down()
    assert chosen.is_open and participant.take_output().voided == [lost]
    assert participant.requests.find(1, 1, 2) is None
