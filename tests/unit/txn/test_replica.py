"""A shard's replica: what it shows, what a leader makes of it and gives back, and its checkpoint."""

from random import Random

import pytest

from makoredis.base.record import wire_decoder, wire_encode
from makoredis.data.effects import ExchangeDatabases, FlushDatabase, ListPush
from makoredis.data.keyspace import Keyspace
from makoredis.txn import write_times
from makoredis.txn.entries import ClosedEpochs, CrossShard, EntryPayload, TransactionRecord
from makoredis.txn.follower import Snapshot
from makoredis.txn.knowledge import FACTS_KEEP_US, FACTS_MAX, Knowledge, Watermark
from makoredis.txn.locks import KeyLock
from makoredis.txn.messages import Part
from makoredis.txn.participant import Participant
from makoredis.txn.recovery import recover
from makoredis.txn.replica import EVERYTHING_TOUCHED, Replica, ShardCheckpoint, finish, tell_known
from makoredis.txn.requests import RequestRecord
from makoredis.txn.write_times import WriteTimes
from tests.unit.txn.test_recovery import DEPENDENT, LOST, program, pushed

decode = wire_decoder(ShardCheckpoint)
WRITE = Part(b"new", [KeyLock(0, b"k", True)])


def elements(space: Keyspace) -> list[bytes]:
    value = space.by_id[0].get(b"k")
    return [] if value is None else list(value)  # type: ignore[arg-type]


def follower(*entries: EntryPayload, shards: int = 1) -> tuple[Replica, Knowledge]:
    knowledge, replica = Knowledge(range(shards)), Replica(0, Keyspace())
    for index, entry in enumerate(entries, 1):
        replica.take(index, entry, knowledge)
    return replica, knowledge


def leader(replica: Replica, knowledge: Knowledge) -> Participant:
    participant = recover(replica, 2, (), knowledge, program, Random(0), 100)
    assert participant.take_entry() is not None
    participant.proposed(replica.index + 1)
    participant.chosen(replica.index + 1)
    return participant


def test_what_is_above_the_snapshot_waits() -> None:
    replica, knowledge = follower(EntryPayload(1, 60, [pushed(50, b"a"), pushed(70, b"b")]))
    replica.advance_to(60, knowledge)
    assert elements(replica.space) == [b"a"] and len(replica.undecided) == 1
    replica.advance_to(70, knowledge)
    assert elements(replica.space) == [b"a", b"b"] and not replica.undecided


def test_what_is_void_never_shows() -> None:
    replica, knowledge = follower(EntryPayload(1, 60, [pushed(55, b"void", DEPENDENT)]), shards=2)
    knowledge.learn([LOST])
    replica.advance_to(60, knowledge)
    assert elements(replica.space) == [] and not replica.undecided


def test_a_leader_that_steps_down_takes_back_what_the_snapshot_does_not_show() -> None:
    replica, knowledge = follower(EntryPayload(1, 60, [pushed(50, b"a"), pushed(70, b"b")]))
    replica.advance_to(60, knowledge)
    participant = leader(replica, knowledge)
    participant.submit("write", WRITE, RequestRecord(1, 1, 1, 0, b""))
    assert elements(participant.space) == [b"a", b"b", b"new"]
    again, tickets = participant.step_down()
    assert again is replica and elements(replica.space) == [b"a"] and tickets == ["write"]
    assert replica.requests.find(1, 1, 1) is None
    assert [item.record.ts for item in replica.undecided] == [70]


def test_a_leader_that_steps_down_keeps_what_is_chosen_for_later() -> None:
    replica, knowledge = follower(EntryPayload(1, 60, [pushed(50, b"a")]))
    participant = leader(replica, knowledge)
    participant.submit("write", WRITE, RequestRecord(1, 1, 1, 0, b""))
    assert participant.take_entry() is not None
    participant.proposed(3)
    participant.chosen(3)
    participant.advance_to(60, knowledge)
    replica, _ = participant.step_down()
    assert replica.index == 3 and elements(replica.space) == [b"a"]
    replica.advance_to(replica.closed_ts, knowledge)
    assert elements(replica.space) == [b"a", b"new"] and replica.requests.find(1, 1, 1) == b"a"
    second = recover(replica, 3, (), knowledge, program, Random(0), 200)
    assert elements(second.space) == [b"a", b"new"]


def test_waiters_behind_locks_are_named_when_the_leadership_ends() -> None:
    participant = leader(*follower())
    assert participant.locks.try_lock("somebody", WRITE.locks)
    participant.submit("waits", WRITE)
    assert participant.step_down()[1] == ["waits"]


def test_whoever_is_gone_does_not_get_the_lock() -> None:
    participant = leader(*follower())
    participant.locks.try_lock("somebody", WRITE.locks)
    participant.submit("gone", WRITE)
    participant.withdraw("gone")
    participant.locks.release("somebody")
    assert elements(participant.space) == [] and len(participant.locks) == 0


def test_an_entry_that_is_refused_goes_into_the_next() -> None:
    participant = leader(*follower())
    participant.submit("write", WRITE)
    first = participant.take_entry()
    participant.refused()
    second = participant.take_entry()
    assert first is not None and first == second


def test_a_late_copy_of_an_answered_request_is_not_executed() -> None:
    participant = leader(*follower())
    participant.submit("one", WRITE, RequestRecord(1, 1, 1, 0, b""))
    participant.submit("two", WRITE, RequestRecord(1, 1, 2, 1, b""))
    participant.submit("one again", WRITE, RequestRecord(1, 1, 1, 0, b""))
    assert elements(participant.space) == [b"new", b"new"]


def load(saved: ShardCheckpoint, space: Keyspace, rows: dict[tuple[int, bytes], int]) -> tuple[Replica, Knowledge]:
    knowledge = Knowledge([0, 1])
    tell_known(saved, knowledge)
    return Replica.load(0, space, saved, rows), knowledge


def test_a_follower_starts_again_from_its_checkpoint() -> None:
    replica, knowledge = follower(EntryPayload(1, 60, [pushed(50, b"a"), pushed(70, b"b", DEPENDENT)]), shards=2)
    replica.advance_to(60, knowledge)
    knowledge.raise_global(60)
    saved = decode(wire_encode(finish(replica.checkpoint(), 60, knowledge)))
    replica, knowledge = load(saved, replica.space, {})
    assert replica.index == 1 and replica.is_whole and knowledge.global_ts == 60
    knowledge.learn([LOST])
    replica.advance_to(80, knowledge)
    assert elements(replica.space) == [b"a"]


def test_an_answer_that_may_be_lost_is_not_in_a_checkpoint() -> None:
    participant = leader(*follower())
    participant.submit("early", WRITE, RequestRecord(1, 1, 1, 0, b""))
    base = participant.checkpoint()
    participant.submit("late", WRITE, RequestRecord(1, 1, 2, 1, b""))
    assert base.rows_ts == participant.pending.items[0].record.ts
    participant.knowledge.raise_global(base.rows_ts)
    saved = finish(base, base.rows_ts, participant.knowledge)
    assert [(session, list(answers)) for _, session, answers in saved.requests] == [(1, [1])]


def test_rows_that_are_newer_are_not_changed_twice() -> None:
    replica, knowledge = follower(EntryPayload(1, 60, [pushed(50, b"a")]))
    replica.advance_to(60, knowledge)
    base = replica.checkpoint()
    tail = EntryPayload(1, 90, [pushed(70, b"b"), pushed(80, b"c")])
    replica.take(2, tail, knowledge)
    replica.advance_to(70, knowledge)
    knowledge.raise_global(70)
    row_ts = replica.row_ts(0, b"k")
    saved = finish(base, row_ts, knowledge)
    replica, knowledge = load(saved, replica.space, {(0, b"k"): row_ts})
    assert not replica.is_whole
    replica.take(2, tail, knowledge)
    replica.advance_to(90, knowledge)
    assert replica.is_whole and elements(replica.space) == [b"a", b"b", b"c"]


def test_a_leader_of_newer_rows_begins_where_they_are() -> None:
    replica, knowledge = follower(EntryPayload(1, 60, [pushed(50, b"a")]))
    base = replica.checkpoint()
    replica.advance_to(60, knowledge)
    knowledge.raise_global(60)
    saved = finish(base, 60, knowledge)
    assert saved.undecided
    replica, knowledge = load(saved, replica.space, {(0, b"k"): 50})
    assert elements(leader(replica, knowledge).space) == [b"a"]


def test_a_flush_spares_rows_that_are_newer() -> None:
    replica, knowledge = follower()
    replica.rows, replica.rows_ts = {(0, b"k"): 80}, 80
    ListPush(0, b"k", False, [b"late"]).apply(replica.space)
    ListPush(0, b"j", False, [b"early"]).apply(replica.space)
    replica.take(1, EntryPayload(1, 90, [TransactionRecord(70, [FlushDatabase(0)])]), knowledge)
    replica.advance_to(90, knowledge)
    assert elements(replica.space) == [b"late"] and replica.space.by_id[0].get(b"j") is None


def test_databases_that_exchange_their_content() -> None:
    replica, knowledge = follower(EntryPayload(1, 60, [pushed(50, b"a")]))
    replica.note_keys(True)
    replica.take(2, EntryPayload(1, 90, [TransactionRecord(70, [ExchangeDatabases(0, 3)])]), knowledge)
    replica.advance_to(60, knowledge)
    assert replica.take_touched() == [(0, b"k")] and replica.written.of(3, b"k") < 70
    replica.advance_to(90, knowledge)
    assert elements(replica.space) == [] and replica.space.by_id[3].get(b"k") is not None
    assert replica.take_touched() == [EVERYTHING_TOUCHED] and replica.space.exchanged_count == 1
    assert replica.written.of(3, b"k") == replica.written.of(0, b"other") == 70, "whoever watches any key is told"
    assert [database.id for database in replica.space.databases] == list(range(16))
    undo = ExchangeDatabases(0, 3).apply(replica.space)
    assert elements(replica.space) == [b"a"]
    undo.apply(replica.space)
    assert elements(replica.space) == [] and replica.space.exchanged_count == 3


def test_a_locked_row_goes_up_to_before_the_vote() -> None:
    from tests.unit.txn.test_participant import fresh, vote

    participant = fresh()
    participant.submit("before", WRITE)
    written = participant.written.of(0, b"k")
    proposal_ts = vote(participant).proposal_ts
    assert participant.row_ts(0, b"k") == written < proposal_ts
    participant.written.forget(proposal_ts + 5)
    assert participant.row_ts(0, b"k") == proposal_ts - 1
    assert participant.row_ts(0, b"other") == proposal_ts + 5


def test_a_snapshot_of_leaders_and_replicas_reads_in_place_what_is_unchanged() -> None:
    knowledge = Knowledge([0, 1])
    replicas = [Replica(0, Keyspace()), Replica(1, Keyspace())]
    snapshot = Snapshot(replicas, knowledge)
    participant = leader(replicas[0], knowledge)
    snapshot.local[0] = participant
    replicas[1].take(1, EntryPayload(1, 500, []), knowledge)
    knowledge.hear(Watermark(1, 1, 500, []))
    assert snapshot.advance() and snapshot.ts == 100
    assert snapshot.may_read_key(0, 0, b"k") and snapshot.may_read_all()
    participant.submit("write", WRITE)
    assert not snapshot.may_read_key(0, 0, b"k") and snapshot.may_read_key(0, 0, b"j")
    assert not snapshot.may_read_all() and snapshot.may_read_all(1)


def test_how_epochs_ended_is_forgotten_except_for_the_last() -> None:
    knowledge = Knowledge([0])
    facts = [ClosedEpochs(0, epoch, epoch, epoch) for epoch in range(FACTS_MAX + 3)]
    knowledge.learn(facts)
    knowledge.forget()
    assert sorted(knowledge.closed[0], key=lambda fact: fact.first) == facts
    knowledge.raise_global(FACTS_KEEP_US + 2)
    knowledge.forget()
    assert len(knowledge.closed[0]) == FACTS_MAX + 1
    knowledge.learn(facts)
    assert sorted(fact.first for fact in knowledge.closed[0]) == list(range(2, FACTS_MAX + 3))


def test_a_leader_serves_after_a_long_silence() -> None:
    participant = leader(*follower(shards=2))
    participant.knowledge.raise_global(100)
    participant.now_us = 101 + 10 * FACTS_KEEP_US
    participant.submit("write", WRITE)
    assert elements(participant.space) == [b"new"]


def test_sessions_that_are_gone_are_closed_wherever_their_last_request_shows() -> None:
    """A request that is shown only later leaves nothing either, and a checkpoint says who is gone."""
    requests = [RequestRecord(1, session, 1, 0, b"reply") for session in (1, 2, 3)]
    records = [TransactionRecord(ts, [], request) for ts, request in zip((50, 65, 66), requests)]
    replica, knowledge = follower(EntryPayload(1, 60, records))
    replica.advance_to(60, knowledge)
    assert replica.requests.find(1, 1, 1) == b"reply"
    replica.take(2, EntryPayload(1, 70, [], closed_ranges=[(1, 1, 2)]), knowledge)
    assert replica.requests.find(1, 1, 1) is None
    saved = replica.checkpoint()
    replica.advance_to(70, knowledge)
    assert list(replica.requests.sessions) == [(1, 3)]
    knowledge.raise_global(60)
    loaded = Replica.load(0, Keyspace(), decode(wire_encode(finish(saved, saved.rows_ts, knowledge))), {})
    loaded.advance_to(70, knowledge)
    assert list(loaded.requests.sessions) == [(1, 3)] and loaded.requests.is_past(1, 2, 1)


def test_forgotten_writes_count_as_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_times, "WRITES_MAX", 2)
    times = WriteTimes()
    for ts in range(1, 10):
        times.note([ListPush(0, b"%d" % ts, False, [b"x"])], ts)
        assert times.of(0, b"%d" % ts) == ts and len(times) <= 5
    assert times.of(0, b"1") == times.of(0, b"never") == times.floor == 6
    times.note([FlushDatabase(0)], 20)
    assert times.of(0, b"9") == 20 and len(times) == 0


def test_a_dependent_record_is_written_with_its_vector() -> None:
    record = pushed(70, b"b", CrossShard((1, 1), [(1, 1, 60)]))
    saved = ShardCheckpoint(1, 60, 60, 60, 70, [(1, record)], [], [], [], [])
    assert decode(wire_encode(saved)) == saved
