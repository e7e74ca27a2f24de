"""Speculative execution: what waits for what, and that taking back leads to where one was."""

from random import Random

import pytest

from makoredis.base.ids import Index
from makoredis.data.access import Access
from makoredis.data.effects import FlushDatabase, ListPush, SetString
from makoredis.data.keyspace import Keyspace
from makoredis.txn.entries import decode_payload
from makoredis.txn.executor import Executor
from makoredis.txn.gate import Gate
from makoredis.txn.requests import RequestRecord

NOW_US = 1_000_000


class Leader:
    """An executor with a log that the test commits by hand."""

    def __init__(self, *, is_replicated: bool = False) -> None:
        self.space = Keyspace()
        self.executor = Executor(self.space, is_replicated=is_replicated)
        self.access = Access(self.space, Random(1))
        self.log: list[bytes] = []

    def set(self, key: bytes, value: bytes, request: RequestRecord | None = None) -> Gate:
        self.access.apply(SetString(0, key, value))
        gate = self.executor.commit(self.access, NOW_US, request)
        assert gate is not None
        return gate

    def propose(self) -> Index:
        self.log.append(self.executor.encode_entry(1))
        index = Index(len(self.log))
        self.executor.proposed(index)
        return index

    def get(self, key: bytes) -> object:
        return self.space.by_id[0].get(key)


class Recorder:
    """A waiter that counts its releases."""

    def __init__(self) -> None:
        self.released = 0

    def release(self) -> None:
        self.released += 1


def test_a_write_waits_for_its_entry() -> None:
    leader = Leader()
    gate = leader.set(b"a", b"1")
    waiter = Recorder()
    gate.waiters.append(waiter)
    index = leader.propose()
    assert not gate.is_open
    leader.executor.chosen(index)
    assert gate.is_open
    assert waiter.released == 1


def test_a_read_waits_only_for_pending_writers_of_what_it_looked_at() -> None:
    leader = Leader()
    first = leader.set(b"a", b"1")
    index = leader.propose()
    second = leader.set(b"b", b"2")
    leader.propose()
    assert leader.executor.gate_of_reads(0, [b"a"]) is first
    assert leader.executor.gate_of_reads(0, [b"a", b"b"]) is second
    assert leader.executor.gate_of_reads(0, [b"c"]) is None
    assert leader.executor.gate_of_reads(1, [b"a"]) is None
    leader.executor.chosen(index)
    assert leader.executor.gate_of_reads(0, [b"a"]) is None
    assert leader.executor.gate_of_reads(0, [b"b"]) is second


def test_a_later_writer_of_the_same_key_takes_over() -> None:
    leader = Leader()
    leader.set(b"a", b"1")
    first = leader.propose()
    later = leader.set(b"a", b"2")
    leader.propose()
    leader.executor.chosen(first)
    assert leader.executor.gate_of_reads(0, [b"a"]) is later


def test_emptying_a_database_holds_up_every_read() -> None:
    leader = Leader()
    leader.access.apply(FlushDatabase(0))
    gate = leader.executor.commit(leader.access, NOW_US)
    index = leader.propose()
    assert leader.executor.gate_of_reads(0, [b"anything"]) is gate
    leader.executor.chosen(index)
    assert leader.executor.gate_of_reads(0, [b"anything"]) is None


def test_what_looks_at_everything_waits_for_everything() -> None:
    leader = Leader()
    assert leader.executor.gate_of_everything() is None
    first = leader.set(b"a", b"1")
    assert leader.executor.gate_of_everything() is first
    index = leader.propose()
    assert leader.executor.gate_of_everything() is first
    leader.executor.chosen(index)
    assert leader.executor.gate_of_everything() is None


def test_timestamps_grow_and_the_entry_is_closed_at_the_last() -> None:
    leader = Leader()
    for number in range(3):
        leader.set(b"k%d" % number, b"v")
    leader.propose()
    entry = decode_payload(leader.log[0])
    stamps = [transaction.ts for transaction in entry.transactions]
    assert stamps == sorted(set(stamps))
    assert entry.closed_ts == stamps[-1]


def test_undoing_all_leads_back_to_what_was_chosen() -> None:
    leader = Leader()
    leader.set(b"a", b"1")
    leader.executor.chosen(leader.propose())
    leader.set(b"a", b"2")
    leader.access.apply(ListPush(0, b"l", False, [b"x", b"y"]))
    leader.executor.commit(leader.access, NOW_US)
    leader.propose()
    open_turn = leader.set(b"b", b"3")
    gates = leader.executor.undo_all()
    assert leader.get(b"a") == b"1"
    assert leader.get(b"b") is None
    assert leader.get(b"l") is None
    assert len(gates) == 2
    assert gates[-1] is open_turn
    assert not any(gate.is_open for gate in gates)
    assert leader.executor.pending_count == 0
    assert leader.executor.gate_of_reads(0, [b"a", b"b"]) is None


def test_undoing_a_turn_keeps_what_is_proposed() -> None:
    leader = Leader()
    kept = leader.set(b"a", b"1")
    leader.propose()
    leader.set(b"a", b"2")
    leader.executor.undo_turn()
    assert leader.get(b"a") == b"1"
    assert leader.executor.gate_of_reads(0, [b"a"]) is kept
    assert leader.executor.pending_count == 1


def test_a_replica_that_applies_the_log_equals_the_leader() -> None:
    leader = Leader(is_replicated=True)
    leader.set(b"a", b"1", RequestRecord(7, 1, 1, 0, b"+OK\r\n"))
    leader.propose()
    leader.set(b"a", b"2", RequestRecord(7, 1, 2, 1, b"+OK\r\n"))
    leader.propose()
    follower = Executor(Keyspace(), is_replicated=True)
    for number, payload in enumerate(leader.log, 1):
        follower.apply_payload(payload, Index(number))
    assert follower.space.by_id[0].get(b"a") == b"2"
    assert follower.requests.sessions == leader.executor.requests.sessions == {(7, 1): {2: b"+OK\r\n"}}
    assert follower.clock.last == leader.executor.clock.last


def test_an_answer_is_undone_with_its_transaction() -> None:
    leader = Leader(is_replicated=True)
    leader.set(b"a", b"1", RequestRecord(7, 1, 1, 0, b"+OK\r\n"))
    leader.propose()
    assert leader.executor.requests.find(7, 1, 1) == b"+OK\r\n"
    leader.executor.undo_all()
    assert leader.executor.requests.find(7, 1, 1) is None


def test_replay_skips_what_the_rows_include() -> None:
    leader = Leader()
    for _ in range(3):
        leader.access.apply(ListPush(0, b"l", False, [b"x"]))
        leader.executor.commit(leader.access, NOW_US)
        leader.propose()
    replayed = Executor(Keyspace())
    ListPush(0, b"l", False, [b"x", b"x"]).apply(replayed.space)
    replayed.row_indexes = {(0, b"l"): 2}
    replayed.rows_until = 2
    for number, payload in enumerate(leader.log, 1):
        replayed.apply_payload(payload, Index(number))
    value = replayed.space.by_id[0].get(b"l")
    assert value is not None
    assert not isinstance(value, bytes | bytearray)
    assert len(value) == 3


def test_replayed_emptying_spares_newer_rows() -> None:
    leader = Leader()
    leader.access.apply(FlushDatabase(0))
    leader.executor.commit(leader.access, NOW_US)
    leader.propose()
    replayed = Executor(Keyspace())
    for key in (b"old", b"new"):
        SetString(0, key, b"v").apply(replayed.space)
    replayed.row_indexes = {(0, b"new"): 5}
    replayed.rows_until = 5
    replayed.apply_payload(leader.log[0], Index(1))
    assert replayed.space.by_id[0].get(b"old") is None
    assert replayed.space.by_id[0].get(b"new") == b"v"


def test_nothing_is_ever_pending_without_a_log() -> None:
    space = Keyspace()
    executor = Executor(space, is_durable=False)
    access = Access(space, Random(1))
    access.apply(SetString(0, b"a", b"1"))
    assert executor.commit(access, NOW_US) is None
    assert executor.gate_of_everything() is None
    assert b"a" in executor.dirty[0]


@pytest.mark.parametrize("acknowledged", [0, 1, 2])
def test_answers_are_dropped_once_the_client_has_them(acknowledged: int) -> None:
    leader = Leader(is_replicated=True)
    for sequence in (1, 2, 3):
        acked = acknowledged if sequence == 3 else 0
        leader.set(b"a", b"%d" % sequence, RequestRecord(7, 1, sequence, acked, b"+OK\r\n"))
    kept = set(leader.executor.requests.sessions[7, 1])
    assert kept == {sequence for sequence in (1, 2, 3) if sequence > acknowledged}


def test_one_record_answers_for_several_requests() -> None:
    leader = Leader(is_replicated=True)
    leader.set(b"a", b"0", RequestRecord(7, 2, 1, 0, b"+OK\r\n"))
    leader.set(b"a", b"1")
    leader.set(b"b", b"2")
    leader.executor.answered(RequestRecord(7, 1, 3, 0, b"+OK\r\n", [(1, b"+OK\r\n"), (2, b"$1\r\n1\r\n")]))
    leader.set(b"a", b"3", RequestRecord(7, 1, 4, 0, b":4\r\n"))
    assert leader.executor.requests.find(7, 1, 2) == b"$1\r\n1\r\n"
    index = leader.propose()
    follower = Executor(Keyspace(), is_replicated=True)
    follower.apply_payload(leader.log[0], index)
    assert follower.requests.dump() == leader.executor.requests.dump()
    assert list(follower.requests.sessions[7, 1]) == [1, 2, 3, 4]
    leader.executor.undo_all()
    assert leader.executor.requests.sessions == {}
