"""Requests at a shard that does not have their keys."""

from makoredis.data.effects import AssignSlots
from makoredis.data.keyspace import Keyspace
from makoredis.data.slot_table import POSITION_MAX, SlotTable, position_of
from makoredis.txn.handover import decode_moved, is_moved, keys_in
from makoredis.txn.in_hand import Reply
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.locks import KeyLock
from makoredis.txn.messages import Part, Prepare, Refusal, Refused
from makoredis.txn.participant import Participant
from makoredis.txn.requests import RequestRecord
from makoredis.txn.write_times import WriteTimes
from tests.unit.txn.test_recovery import leader

HERE, ELSEWHERE = SlotTable([0], [0]), SlotTable([0], [1])
WRITE = Part(b"element", [KeyLock(0, b"k", True)])


def asked(participant: Participant, sequence: int) -> list[bytes]:
    """What the leader answers a request once everything is chosen."""
    participant.submit(sequence, WRITE, RequestRecord(7, 1, sequence, sequence - 1, b""))
    if participant.take_entry() is not None:
        participant.proposed(100 + sequence)
        participant.chosen(100 + sequence)
    return [reply.results for reply in participant.take_output().replies if isinstance(reply, Reply)]


def test_a_request_that_was_sent_on_is_not_executed_when_the_keys_are_back() -> None:
    participant = leader([], Knowledge([0, 1]))
    participant.space.slot_table = ELSEWHERE
    (answer,) = asked(participant, 1)
    assert is_moved(answer) and decode_moved(answer) == [(0, POSITION_MAX, 1)]
    participant.space.slot_table = HERE
    assert asked(participant, 1) == [answer]
    assert participant.space.by_id[0].get(b"k") is None
    assert asked(participant, 2) == [b""]
    assert participant.space.by_id[0].get(b"k") is not None


def test_a_transaction_over_shards_is_refused_with_where_the_keys_are() -> None:
    participant = leader([], Knowledge([0, 1]))
    participant.take_output()
    participant.space.slot_table = ELSEWHERE
    participant.step(Prepare((1, 7), 3, [(0, 2), (1, 3)], 90, WRITE, False, False))
    ((node, answer),) = participant.take_output().to_nodes
    assert node == 3 and isinstance(answer, Refused) and answer.reason == Refusal.MOVED
    assert decode_moved(answer.moved) == [(0, POSITION_MAX, 1)] and not len(participant.locks)


def test_what_has_arrived_counts_as_written_then() -> None:
    """Also a key that does not exist: it may have been written and deleted where it was before."""
    written = WriteTimes()
    place = position_of(b"k")
    written.note([AssignSlots(place, place, 1)], 50)
    assert written.of(0, b"k") == 50 and written.of(3, b"k") == 50
    assert written.of(0, b"another") == 0


def test_the_keys_of_a_run_are_found_in_order_however_many_a_slot_has() -> None:
    space = Keyspace()
    names = [b"{tag}%d" % number for number in range(3000)] + [b"key:%d" % number for number in range(300)]
    for number, name in enumerate(names):
        space.by_id[number % 2].put(name, b"value")
    order = sorted((position_of(name), number % 2, name) for number, name in enumerate(names))
    assert list(keys_in(space, 0, POSITION_MAX)) == order
    first, last = order[700][0], order[2100][0]
    assert list(keys_in(space, first, last)) == [each for each in order if first <= each[0] <= last]
