"""The log in memory: marks, cutting, compaction, backtracking."""

import pytest

from makoredis.base.errors import Fatal
from makoredis.base.ids import Index, Term
from makoredis.consensus.log import Log
from makoredis.consensus.types import ENTRY_OVERHEAD_BYTES, SnapshotMetadata
from tests.unit.consensus.bench import configuration, entry


def log_of(*terms: int, base: tuple[int, int] = (0, 0), commit: int = 0) -> Log:
    index, term = base
    entries = [entry(number, at, b"x" * 10) for number, at in enumerate(terms, index + 1)]
    return Log(Index(index), Term(term), entries, Index(commit))


def test_restored_log_skips_what_the_checkpoint_covers() -> None:
    log = Log(Index(2), Term(1), [entry(1, 1), entry(2, 1), entry(3, 2)], Index(0))
    assert (log.first_index, log.last_index, log.last_term, log.commit_index) == (3, 3, 2, 2)


def test_restored_log_with_a_gap_is_refused() -> None:
    with pytest.raises(Fatal, match="where 2 belongs"):
        Log(Index(0), Term(0), [entry(1, 1), entry(3, 1)], Index(0))


def test_a_commit_index_beyond_the_restored_log_is_cut_down() -> None:
    assert log_of(1, 1, commit=9).commit_index == 2


@pytest.mark.parametrize("index, term", [(0, None), (4, None), (5, 3), (6, 3), (7, 4), (8, None)])
def test_term_at(index: int, term: int | None) -> None:
    assert log_of(3, 4, base=(5, 3)).term_at(Index(index)) == term


@pytest.mark.parametrize(
    "index, term, expected",
    [
        (7, 9, (7, 5)),
        (99, 9, (7, 5)),
        (7, 4, (4, 4)),
        (7, 3, (2, 2)),
        (3, 9, (3, 4)),
        (7, 1, (1, 1)),
        (7, 0, (0, 0)),
        (0, 9, (0, 0)),
    ],
)
def test_where_two_logs_may_still_agree(index: int, term: int, expected: tuple[int, int]) -> None:
    assert log_of(1, 2, 4, 4, 5, 5, 5).last_index_not_above(Index(index), Term(term)) == expected


def test_cutting_moves_the_marks_of_what_was_written() -> None:
    log = log_of(1, 1, 1, commit=1)
    assert log.handed_index == log.persisted_index == 3
    log.cut_from(Index(2))
    assert (log.last_index, log.handed_index, log.persisted_index) == (1, 1, 1)
    log.append(entry(2, 2))
    assert [each.term for each in log.take_unhanded()] == [2]
    assert log.take_unhanded() == []


def test_committed_entries_are_never_cut() -> None:
    log = log_of(1, 1, 1, commit=2)
    with pytest.raises(Fatal, match="committed"):
        log.cut_from(Index(2))


def test_a_log_that_lost_acknowledged_entries_is_noticed() -> None:
    with pytest.raises(Fatal, match="lost data"):
        log_of(1, 1).commit_to(Index(3))


def test_slices_are_bounded_but_never_empty() -> None:
    log = log_of(1, 1, 1, 1)
    assert [each.index for each in log.slice(Index(1), Index(4), 25)] == [1, 2]
    assert [each.index for each in log.slice(Index(2), Index(4), 1)] == [2]
    assert [each.index for each in log.slice(Index(2), Index(3), 100)] == [2, 3]


def test_committed_entries_are_handed_out_once_and_in_portions() -> None:
    log = log_of(1, 1, 1, 1, commit=3)
    assert [each.index for each in log.take_committed(20)] == [1, 2]
    assert [each.index for each in log.take_committed(20)] == [3]
    assert log.committed_handed == 3


def test_compaction_keeps_the_term_of_the_base() -> None:
    log = log_of(1, 2, 3, commit=3)
    log.drop_to(Index(2))
    assert (log.first_index, log.base_term, log.term_at(Index(2)), log.term_at(Index(1))) == (3, 2, 2, None)
    assert log.bytes == 10 + ENTRY_OVERHEAD_BYTES
    log.drop_to(Index(1))
    assert log.first_index == 3


def test_an_installed_snapshot_replaces_everything() -> None:
    log = log_of(1, 1)
    log.restore(SnapshotMetadata(Index(9), Term(4), configuration(1)))
    assert (log.first_index, log.last_index, log.last_term, log.commit_index, log.bytes) == (10, 9, 4, 9, 0)
    assert not log.take_unhanded()


def test_droppable_index_leaves_about_what_is_to_be_kept() -> None:
    log = log_of(1, 1, 1, 1)
    each = 10 + ENTRY_OVERHEAD_BYTES
    assert log.droppable_index(2 * each, Index(4)) == 2
    assert log.droppable_index(2 * each, Index(1)) == 1
    assert log.droppable_index(9 * each, Index(4)) == 0
