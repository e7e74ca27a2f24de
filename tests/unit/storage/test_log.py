"""The log: what is appended is read back, and nothing else is."""

import pytest

from makoredis.base.ids import Index, NodeId, ShardId, Term
from makoredis.consensus.types import Entry, EntryKind, HardState
from makoredis.storage.engine import Ops
from makoredis.storage.errors import Damaged
from makoredis.storage.layout import log_base_key, log_key
from makoredis.storage.log import (
    TRUNCATE_PIECE_ROWS,
    LoadedLog,
    ShardLog,
    TermRuns,
    hard_state_op,
    load_hard_states,
    load_log,
    load_terms,
    read_entries,
    remove_shard_ops,
    term_op,
)
from makoredis.storage.store import Store

SHARD = ShardId(3)


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [
        Entry(Term(term), Index(i), EntryKind(i % 3), b"payload %d of term %d" % (i, term))
        for i in range(first, last + 1)
    ]


def write(store: Store, ops: Ops) -> None:
    store.write_ops(ops, sync=True)


def load(store: Store, shard: ShardId = SHARD) -> LoadedLog:
    return load_log(store.engine, shard)


def written_log(store: Store, last: int) -> ShardLog:
    log = load(store).log
    write(store, log.append_ops(entries(1, last)))
    return log


def test_an_empty_log_has_no_entries(store: Store) -> None:
    loaded = load(store)
    assert (loaded.entries, loaded.log.base_index, loaded.log.last_index) == ([], 0, 0)


def test_entries_come_back_as_they_were(store: Store) -> None:
    log = load(store).log
    write(store, log.append_ops(entries(1, 5)))
    write(store, log.append_ops(entries(6, 9, term=4)))
    loaded = load(store)
    assert loaded.entries == entries(1, 5) + entries(6, 9, term=4)
    assert [loaded.log.terms.term_at(index) for index in (5, 6, 9)] == [1, 4, 4]
    assert loaded.log.last_index == log.last_index == 9


def test_only_entries_from_an_index_are_returned_when_asked(store: Store) -> None:
    written_log(store, 10)
    loaded = load_log(store.engine, SHARD, from_index=8)
    assert loaded.entries == entries(8, 10)
    assert loaded.log.base_index == 0


def test_a_conflicting_suffix_is_replaced(store: Store) -> None:
    log = written_log(store, 10)
    write(store, log.append_ops(entries(4, 5, term=2)))
    assert load(store).entries == entries(1, 3) + entries(4, 5, term=2)
    write(store, log.append_ops(entries(6, 6, term=2)))
    assert load(store).log.last_index == 6


def test_shards_do_not_see_each_other(store: Store) -> None:
    logs = [load(store, ShardId(shard)).log for shard in (0, 255, 256)]
    write(store, [op for log in logs for op in log.append_ops(entries(1, log.shard % 7 + 1))])
    assert [len(load(store, log.shard).entries) for log in logs] == [log.shard % 7 + 1 for log in logs]


@pytest.mark.parametrize("pieces_written", [1, 2, 3])
def test_a_truncation_that_was_interrupted_is_complete_after_the_sweep(store: Store, pieces_written: int) -> None:
    last = 2 * TRUNCATE_PIECE_ROWS + 10
    log = written_log(store, last)
    pieces = list(log.truncate_prefix_ops(Index(last - 2)))
    assert len(pieces) == 3
    for piece in pieces[:pieces_written]:
        write(store, piece)
    loaded = load(store)
    assert loaded.log.base_index == last - 2
    assert loaded.entries == entries(last - 1, last)
    assert bool(loaded.sweep_ops) == (pieces_written < 3)
    write(store, loaded.sweep_ops)
    assert load(store).sweep_ops == []


def test_a_truncated_log_goes_on(store: Store) -> None:
    log = written_log(store, 10)
    for piece in log.truncate_prefix_ops(Index(10)):
        write(store, piece)
    write(store, log.append_ops(entries(11, 12, term=2)))
    loaded = load(store)
    assert loaded.entries == entries(11, 12, term=2)
    assert loaded.log.terms.term_at(10) == 1


def test_truncating_what_is_truncated_writes_nothing(store: Store) -> None:
    log = written_log(store, 5)
    list(log.truncate_prefix_ops(Index(3)))
    assert list(log.truncate_prefix_ops(Index(3))) == []


def test_a_snapshot_replaces_the_log(store: Store) -> None:
    log = written_log(store, 10)
    write(store, log.reset_ops(Index(7), Term(5)))
    loaded = load(store)
    assert (loaded.entries, loaded.log.base_index, loaded.log.last_index) == ([], 7, 7)
    write(store, log.append_ops(entries(8, 8, term=5)))
    assert load(store).entries == entries(8, 8, term=5)


def test_entries_that_do_not_join_the_log_are_a_bug(store: Store) -> None:
    log = written_log(store, 3)
    with pytest.raises(AssertionError):
        log.append_ops(entries(5, 5))
    with pytest.raises(AssertionError):
        log.append_ops([*entries(4, 4), *entries(6, 6)])


def test_read_entries_stops_at_the_byte_limit_but_returns_one(store: Store) -> None:
    written_log(store, 100)
    assert read_entries(store.engine, SHARD, Index(20), Index(30), 1 << 20) == entries(20, 30)
    assert read_entries(store.engine, SHARD, Index(20), Index(30), 1) == entries(20, 20)


def test_read_entries_refuses_a_gap(store: Store) -> None:
    written_log(store, 10)
    write(store, [(log_key(SHARD, 5), None)])
    with pytest.raises(Damaged, match="log entry 5 is missing"):
        read_entries(store.engine, SHARD, Index(4), Index(8), 1 << 20)
    with pytest.raises(Damaged, match="log entry 11 is missing"):
        read_entries(store.engine, SHARD, Index(9), Index(11), 1 << 20)


def test_a_missing_entry_is_refused_with_its_place(store: Store) -> None:
    written_log(store, 10)
    write(store, [(log_key(SHARD, 5), None), (log_key(SHARD, 6), None)])
    with pytest.raises(Damaged, match=r"shard 3: log entries 5 to 6 are missing; .*restore"):
        load(store)


def test_a_missing_log_base_is_refused(store: Store) -> None:
    log = written_log(store, 10)
    for piece in log.truncate_prefix_ops(Index(4)):
        write(store, piece)
    write(store, [(log_base_key(SHARD), None)])
    with pytest.raises(Damaged, match="log entries 1 to 4 are missing"):
        load(store)


@pytest.mark.parametrize("position", [0, 3, 4, 11, 12, 19, 20, 21, -1])
def test_a_flipped_bit_anywhere_in_a_record_is_refused(store: Store, position: int) -> None:
    written_log(store, 3)
    key = log_key(SHARD, 2)
    value = bytearray(store.engine.get(key) or b"")
    value[position] ^= 0x10
    write(store, [(key, bytes(value))])
    with pytest.raises(Damaged, match="shard 3, log entry 2: checksum mismatch"):
        load(store)


def test_a_record_cut_short_is_refused(store: Store) -> None:
    written_log(store, 3)
    key = log_key(SHARD, 2)
    write(store, [(key, (store.engine.get(key) or b"")[:20])])
    with pytest.raises(Damaged, match="only 20 bytes long"):
        load(store)


def test_a_record_at_another_place_is_refused(store: Store) -> None:
    written_log(store, 3)
    write(store, [(log_key(SHARD, 2), store.engine.get(log_key(SHARD, 3)))])
    with pytest.raises(Damaged, match="log entry 2: checksum mismatch"):
        load(store)


def test_a_record_of_another_history_is_refused(store: Store) -> None:
    """As when an old table file comes back: each record is whole, but they do not belong together."""
    log = written_log(store, 5)
    old = store.engine.get(log_key(SHARD, 4))
    write(store, log.append_ops(entries(3, 5, term=2)))
    write(store, [(log_key(SHARD, 4), old)])
    with pytest.raises(Damaged, match="log entry 4: follows an entry of term 1, but the entry before it is of term 2"):
        load(store)


def test_hard_states_and_terms_come_back(store: Store) -> None:
    write(store, [hard_state_op(ShardId(s), HardState(Term(s), NodeId(2), Index(5))) for s in (0, 7)])
    write(store, [term_op(SHARD, Term(t), b"term %d" % t) for t in (1, 300)])
    assert load_hard_states(store.engine) == {s: HardState(Term(s), NodeId(2), Index(5)) for s in (0, 7)}
    assert load_terms(store.engine, SHARD) == {1: b"term 1", 300: b"term 300"}
    write(store, [term_op(SHARD, Term(1), None)])
    assert load_terms(store.engine, SHARD) == {300: b"term 300"}


def test_a_removed_shard_leaves_nothing(store: Store) -> None:
    log = written_log(store, 5)
    other = load(store, ShardId(4)).log
    write(store, [*other.append_ops(entries(1, 2)), hard_state_op(SHARD, HardState()), term_op(SHARD, Term(1), b"y")])
    for piece in log.truncate_prefix_ops(Index(2)):
        write(store, piece)
    write(store, remove_shard_ops(store.engine, SHARD))
    loaded = load(store)
    assert (loaded.entries, loaded.log.base_index) == ([], 0)
    assert load_hard_states(store.engine) == {}
    assert load_terms(store.engine, SHARD) == {}
    assert load(store, ShardId(4)).entries == entries(1, 2)


def test_term_runs_follow_appends_and_cuts() -> None:
    runs = TermRuns(0, 0)
    terms = [1, 1, 2, 2, 2, 5]
    for index, term in enumerate(terms, start=1):
        runs.extend(index, term)
    assert [runs.term_at(index) for index in range(7)] == [0, *terms]
    runs.cut_from(4)
    runs.extend(4, 3)
    assert [runs.term_at(index) for index in range(5)] == [0, 1, 1, 2, 3]
    runs.cut_before(2)
    assert [runs.term_at(index) for index in (2, 3, 4)] == [1, 2, 3]
    runs.cut_from(3)
    assert runs.term_at(2) == 1
