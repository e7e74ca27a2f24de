"""A new leader's log decides what is void, and the leader writes down what it has learnt."""

from random import Random

from makoredis.data.access import Access
from makoredis.data.effects import ListPush
from makoredis.data.keyspace import Keyspace
from makoredis.txn.entries import ClosedEpochs, CrossShard, EntryPayload, TransactionRecord, decode_payload
from makoredis.txn.in_hand import Reply
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.locks import KeyLock
from makoredis.txn.messages import Part
from makoredis.txn.participant import Participant
from makoredis.txn.recovery import LogEntry, recover
from makoredis.txn.replica import Replica

DEPENDENT = CrossShard((1, 1), [(1, 1, 50)])
LOST = ClosedEpochs(1, 0, 1, 40)
"""Shard 1's epoch 1 ended before what DEPENDENT needs."""


def program(access: Access, operation: bytes) -> bytes:
    value = access.list(b"k")
    seen = b",".join(value or ())
    if operation:
        access.apply(ListPush(0, b"k", False, [operation]))
    return seen


def pushed(ts: int, element: bytes, cross: CrossShard | None = None) -> TransactionRecord:
    return TransactionRecord(ts, [ListPush(0, b"k", False, [element])], cross=cross)


def leader(log: list[EntryPayload], knowledge: Knowledge) -> Participant:
    entries = [LogEntry(index, payload) for index, payload in enumerate(log, 1)]
    participant = recover(Replica(0, Keyspace()), 2, entries, knowledge, program, Random(0), 100)
    assert participant.take_entry() is not None
    participant.proposed(len(log) + 1)
    participant.chosen(len(log) + 1)
    return participant


def read(participant: Participant) -> list[bytes]:
    participant.take_output()
    participant.submit("read", Part(b"", [KeyLock(0, b"k", False)]))
    return [reply.results for reply in participant.take_output().replies if isinstance(reply, Reply)]


def test_a_fact_in_the_log_voids_what_is_before_it() -> None:
    log = [
        EntryPayload(1, 60, [pushed(55, b"void", DEPENDENT)]),
        EntryPayload(1, 80, [pushed(70, b"good")], [], [LOST]),
    ]
    assert read(leader(log, Knowledge([0, 1]))) == [b"good"]


def test_what_is_undecided_holds_back_reads_until_the_fact_arrives() -> None:
    knowledge = Knowledge([0, 1])
    participant = leader([EntryPayload(1, 60, [pushed(55, b"void", DEPENDENT)])], knowledge)
    assert read(participant) == []
    knowledge.learn([LOST])
    participant.settle()
    assert [reply.results for reply in participant.take_output().replies if isinstance(reply, Reply)] == [b""]


def test_the_fact_that_voids_is_in_the_next_entry() -> None:
    knowledge = Knowledge([0, 1])
    participant = leader([EntryPayload(1, 60, [pushed(55, b"void", DEPENDENT)])], knowledge)
    knowledge.learn([LOST])
    participant.settle()
    payload = participant.take_entry()
    assert payload is not None and decode_payload(payload).facts == [LOST]


def test_the_first_entry_closes_the_earlier_epochs_where_their_log_ends() -> None:
    log = [LogEntry(1, EntryPayload(3, 60, [pushed(55, b"a")]))]
    participant = recover(Replica(0, Keyspace()), 5, log, Knowledge([0]), program, Random(0), 1)
    participant.submit("early", Part(b"", [KeyLock(0, b"k", False)]))
    assert not any(isinstance(reply, Reply) for reply in participant.take_output().replies)
    payload = participant.take_entry()
    assert payload is not None
    entry = decode_payload(payload)
    assert entry.facts == [ClosedEpochs(0, 0, 4, 60)] and entry.epoch == 5 and entry.closed_ts >= 60
    assert participant.take_output().watermark is None


def test_what_a_checkpoint_says_is_decided_is_final_though_nobody_says_how() -> None:
    """The node was started again: it knows `W` and no watermark. And below `W` nothing keeps its order by itself."""
    knowledge = Knowledge([0, 1])
    knowledge.raise_global(60)
    log = [EntryPayload(1, 57, [pushed(55, b"1", DEPENDENT)]), EntryPayload(1, 60, [pushed(58, b"2")])]
    participant = leader(log, knowledge)
    assert read(participant) == [b"1,2"]
    participant.advance_to(60, knowledge)
    replica, _ = participant.step_down()
    assert (replica.ts, list(replica.undecided)) == (60, [])
    assert list(replica.space.by_id[0].get(b"k")) == [b"1", b"2"]  # type: ignore[call-overload]
