"""The ordered store behind its interface."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from makoredis.base.errors import StorageError
from makoredis.storage import engine as engine_module
from makoredis.storage.engine import DELETE_RANGE_PIECE_ROWS, LevelDbEngine, Ops, ops_size
from makoredis.storage.errors import Damaged


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LevelDbEngine]:
    opened = LevelDbEngine(tmp_path / "db", create=True)
    yield opened
    opened.close()


def write(engine: LevelDbEngine, *batches: Ops) -> None:
    engine.write([engine.batch(ops) for ops in batches], sync=False)


def keys(rows: Iterator[tuple[bytes, bytes]]) -> list[bytes]:
    return [key for key, _ in rows]


def test_batches_are_written_in_order(engine: LevelDbEngine) -> None:
    write(engine, [(b"a", b"1"), (b"b", b"1")], [(b"a", b"2"), (b"b", None), (b"c", b"")])
    assert (engine.get(b"a"), engine.get(b"b"), engine.get(b"c")) == (b"2", None, b"")


def test_a_scan_is_ordered_and_half_open(engine: LevelDbEngine) -> None:
    write(engine, [(key, key) for key in (b"c", b"a", b"b\xff", b"b", b"d")])
    assert list(engine.scan(b"a", b"c")) == [(b"a", b"a"), (b"b", b"b"), (b"b\xff", b"b\xff")]
    assert keys(engine.scan(b"x", b"z")) == []
    assert keys(engine.scan(b"d", b"e")) == [b"d"]


def test_a_scan_that_is_given_up_leaves_nothing_open(engine: LevelDbEngine) -> None:
    write(engine, [(b"%d" % number, b"") for number in range(10)])
    rows = engine.scan(b"0", b"9")
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    engine.close()


def test_a_row_deleted_during_a_scan_is_no_damage(engine: LevelDbEngine) -> None:
    write(engine, [(b"a", b""), (b"b", b"")])
    rows = engine.scan(b"a", b"c")
    assert next(rows)[0] == b"a"
    write(engine, [(b"a", None), (b"b", None)])
    assert keys(rows) == [b"b"]


def test_a_snapshot_does_not_see_later_writes(engine: LevelDbEngine) -> None:
    write(engine, [(b"a", b"1")])
    snapshot = engine.snapshot()
    write(engine, [(b"a", b"2"), (b"b", b"2")])
    assert list(snapshot.scan(b"a", b"z")) == [(b"a", b"1")]
    assert (snapshot.get(b"a"), snapshot.get(b"b")) == (b"1", None)
    snapshot.close()


@pytest.mark.parametrize("count", [0, 1, DELETE_RANGE_PIECE_ROWS, 2 * DELETE_RANGE_PIECE_ROWS + 1])
def test_delete_range_deletes_the_range_alone(engine: LevelDbEngine, count: int) -> None:
    write(engine, [(b"k%06d" % number, b"") for number in range(count)], [(b"j", b""), (b"l", b"")])
    assert engine.delete_range(b"k", b"l") == count
    assert keys(engine.scan(b"a", b"z")) == [b"j", b"l"]


def test_the_size_of_what_is_in_tables_is_known(tmp_path: Path) -> None:
    engine = LevelDbEngine(tmp_path / "db", create=True)
    write(engine, [(b"k%06d" % number, b"x" * 1000) for number in range(3000)])
    engine.close()
    engine = LevelDbEngine(tmp_path / "db", create=False)
    assert 2_500_000 < engine.approximate_size(b"k", b"l") < 3_500_000
    assert engine.approximate_size(b"l", b"m") == 0
    engine.close()


def test_creating_over_an_existing_database_is_refused(engine: LevelDbEngine, tmp_path: Path) -> None:
    engine.close()
    with pytest.raises(StorageError, match="exists"):
        LevelDbEngine(tmp_path / "db", create=True)


def test_opening_a_missing_database_is_refused_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="the database is missing"):
        LevelDbEngine(tmp_path / "db", create=False)
    assert not (tmp_path / "db").exists()


def test_memory_is_what_was_written(engine: LevelDbEngine) -> None:
    assert engine.memory_bytes() == 0
    engine.write([engine.batch([(b"key", b"x" * 100_000)])], sync=False)
    assert 100_000 < engine.memory_bytes() < 120_000


def test_a_closed_engine_says_so(engine: LevelDbEngine) -> None:
    engine.close()
    with pytest.raises(StorageError, match="closed"):
        engine.get(b"a")
    with pytest.raises(StorageError, match="closed"):
        list(engine.scan(b"a", b"b"))
    with pytest.raises(StorageError, match="closed"):
        engine.batch([(b"a", b"")])


def test_a_sync_covers_the_older_log_files_in_order(
    engine: LevelDbEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LevelDB does not sync the log file that it leaves behind when it changes to the next."""
    for number in (1, 2, 1_000_000):
        (tmp_path / "db" / f"{number:06}.log").touch()
    synced: list[str] = []
    monkeypatch.setattr(engine_module, "_sync_file", lambda path: synced.append(path.name))
    engine.sync()
    assert synced == ["000001.log", "000002.log", "000003.log"]


def test_syncing_a_log_file_that_is_gone_is_as_good(tmp_path: Path) -> None:
    engine_module._sync_file(tmp_path / "gone.log")


def test_operations_are_measured_with_overhead() -> None:
    assert ops_size([(b"abc", b"1234"), (b"d", None)]) == 2 * 16 + 8
