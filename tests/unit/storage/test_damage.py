"""What happens to the files behind our back is noticed: flipped bits, cut and missing files, on a real LevelDB.

Every test writes through the store as a node does, closes it, changes a file, and opens it again. Nothing that was
synced may be missing without an error, at opening or at reading.
"""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from makoredis.base.errors import StorageError
from makoredis.base.ids import Index, ShardId, Slot, Term
from makoredis.consensus.types import Configuration, Entry, EntryKind, SnapshotMetadata
from makoredis.storage.engine import LevelDbEngine
from makoredis.storage.errors import Damaged
from makoredis.storage.log import load_log
from makoredis.storage.state import StateTable
from makoredis.storage.store import Store

from .conftest import open_test_store

SHARD = ShardId(0)
LAST = 300


def entry(index: int, size: int = 400) -> Entry:
    return Entry(Term(1), Index(index), EntryKind.NORMAL, random.Random(index).randbytes(size))


def append(store: Store, first: int, last: int, *, sync: bool = True, size: int = 400) -> None:
    """One batch per entry."""
    log = load_log(store.engine, SHARD).log
    for index in range(first, last + 1):
        store.write_ops(log.append_ops([entry(index, size)]), sync=sync)


def load_all(path: Path) -> int:
    """Opens, reads all and returns the number of log entries."""
    store = open_test_store(path)
    try:
        rows = list(StateTable(store.engine, SHARD).rows(store.engine))
        entries = load_log(store.engine, SHARD).entries
        assert all(each == entry(each.index) for each in entries), "a wrong entry was believed"
        assert all(row[-1] == state_value(int(row[2])) for row in rows), "a wrong row was believed"
        return len(entries) + len(rows)
    finally:
        store.close()


def files(path: Path, pattern: str) -> list[Path]:
    found = sorted((path / "db").glob(pattern))
    assert found, f"no {pattern} in {os.listdir(path / 'db')}"
    return found


def flip(file: Path, position: int, mask: int = 0x10) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= mask
    file.write_bytes(content)


def state_value(number: int) -> bytes:
    return random.Random(number).randbytes(900)


@pytest.fixture(scope="module")
def with_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose entries are all in LevelDB's write-ahead log."""
    path = tmp_path_factory.mktemp("with_log") / "data"
    store = open_test_store(path)
    append(store, 1, LAST)
    store.close()
    assert files(path, "*.log")[-1].stat().st_size > LAST * 400
    return path


ROWS = 2000


@pytest.fixture(scope="module")
def with_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose state rows are in a table file of LevelDB."""
    path = tmp_path_factory.mktemp("with_tables") / "data"
    store = open_test_store(path)
    table = StateTable(store.engine, SHARD)
    writer = table.writer()
    for number in range(ROWS):
        writer.put((0, Slot(7), b"%06d" % number, Index(1), None, 1, state_value(number)))
    batches = [*writer.take_batches(), writer.finish(SnapshotMetadata(Index(1), Term(1), Configuration()), b"")]
    for ops in batches:
        store.write_ops(ops, sync=True)
    store.close()
    assert load_all(path) == ROWS  # opening turns the write-ahead log into a table
    assert files(path, "*.ldb")[0].stat().st_size > ROWS * 900
    return path


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Makes a copy that a test may damage."""
    return lambda path: Path(shutil.copytree(path, tmp_path / "copy"))


def test_undamaged_copies_open(with_log: Path, with_tables: Path, copied: Callable[[Path], Path]) -> None:
    assert load_all(copied(with_log)) == LAST


def test_without_our_options_leveldb_opens_a_damaged_log_and_says_nothing(
    with_log: Path, copied: Callable[[Path], Path]
) -> None:
    """The reason for all this. When LevelDB gets better, this test tells."""
    import plyvel

    path = copied(with_log)
    flip(files(path, "*.log")[-1], 50_000)
    database = plyvel.DB(str(path / "db"))
    assert 0 < sum(1 for _ in database.iterator(start=b"l", stop=b"m")) < LAST
    database.close()


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_in_the_write_ahead_log_is_refused(
    with_log: Path, copied: Callable[[Path], Path], seed: int
) -> None:
    path = copied(with_log)
    log = files(path, "*.log")[-1]
    chosen = random.Random(seed)
    flip(log, chosen.randrange(log.stat().st_size), 1 << chosen.randrange(8))
    with pytest.raises(Damaged):
        load_all(path)


def test_leveldb_with_our_options_refuses_a_damaged_log_by_itself(
    with_log: Path, copied: Callable[[Path], Path]
) -> None:
    """Our own checks find missing entries; rows of which nothing is known but themselves only LevelDB can miss."""
    path = copied(with_log)
    flip(files(path, "*.log")[-1], 50_000)
    with pytest.raises(Damaged, match=r"copy/db: Corruption: checksum mismatch; do not start"):
        LevelDbEngine(path / "db", create=False)


def test_a_damaged_length_at_the_end_of_the_log_is_not_taken_for_a_torn_write(
    with_log: Path, copied: Callable[[Path], Path]
) -> None:
    """A record that claims to go beyond the end of the file looks torn to LevelDB, and everything behind it is lost."""
    path = copied(with_log)
    log = files(path, "*.log")[-1]
    last_block = log.stat().st_size // 32768 * 32768
    flip(log, last_block + 5, 0x40)
    engine = LevelDbEngine(path / "db", create=False)
    engine.close()  # LevelDB itself, with paranoid checks, finds nothing wrong
    with pytest.raises(Damaged, match=r"batch 300 was synced, the last there is 2\d\d"):
        load_all(path)


@pytest.mark.parametrize("cut", [1, 10, 400, 450, 5_000, 40_000])
def test_a_log_that_lost_synced_records_at_its_end_is_refused(
    with_log: Path, copied: Callable[[Path], Path], cut: int
) -> None:
    path = copied(with_log)
    log = files(path, "*.log")[-1]
    os.truncate(log, log.stat().st_size - cut)
    with pytest.raises(Damaged, match="the end of the store is missing: batch 300 was synced"):
        load_all(path)


@pytest.mark.parametrize("cut", [1, 6, 8, 100, 430])
def test_a_torn_write_that_was_never_synced_is_cut(data_path: Path, cut: int) -> None:
    store = open_test_store(data_path)
    append(store, 1, 10)
    append(store, 11, 11, sync=False)
    store.close()
    log = files(data_path, "*.log")[-1]
    os.truncate(log, log.stat().st_size - cut)
    assert load_all(data_path) == 10
    store = open_test_store(data_path)
    append(store, 11, 12)
    store.close()
    assert load_all(data_path) == 12


def test_an_unsynced_batch_that_is_whole_is_kept(data_path: Path) -> None:
    store = open_test_store(data_path)
    append(store, 1, 10)
    append(store, 11, 11, sync=False)
    store.close()
    assert load_all(data_path) == 11


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_in_a_table_is_refused_or_harmless(
    with_tables: Path, copied: Callable[[Path], Path], seed: int
) -> None:
    """Harmless: LevelDB's filter and statistics are not data. Then every row must be there."""
    path = copied(with_tables)
    table = max(files(path, "*.ldb"), key=lambda file: file.stat().st_size)
    chosen = random.Random(seed)
    size = table.stat().st_size
    flip(table, chosen.randrange(int(size * 0.99)), 1 << chosen.randrange(8))
    with pytest.raises(Damaged):
        load_all(path)


@pytest.mark.parametrize("distance", range(1, 60, 3))
def test_a_flipped_bit_at_the_end_of_a_table_never_loses_a_row(
    with_tables: Path, copied: Callable[[Path], Path], distance: int
) -> None:
    """The footer and what it points to."""
    path = copied(with_tables)
    table = max(files(path, "*.ldb"), key=lambda file: file.stat().st_size)
    flip(table, -distance)
    try:
        count = load_all(path)
    except StorageError:
        return
    assert count == ROWS


def test_damage_in_the_last_block_does_not_look_like_the_end(
    with_tables: Path, copied: Callable[[Path], Path]
) -> None:
    """With nothing behind the damage plyvel's iterator ends as if all were read."""
    import plyvel

    path = copied(with_tables)
    table = max(files(path, "*.ldb"), key=lambda file: file.stat().st_size)
    content = table.read_bytes()
    last_value = content.rindex(state_value(ROWS - 1)[-64:])
    flip(table, last_value)
    database = plyvel.DB(str(path / "db"), paranoid_checks=True)
    seen = sum(1 for _ in database.iterator(start=b"s", stop=b"t", verify_checksums=True))
    database.close()
    assert 0 < seen < ROWS
    with pytest.raises(Damaged, match="checksum mismatch"):
        load_all(path)


@pytest.mark.parametrize("pattern", ["*.log", "*.ldb", "CURRENT", "MANIFEST-*"])
def test_a_missing_file_is_refused(
    with_log: Path, with_tables: Path, copied: Callable[[Path], Path], pattern: str
) -> None:
    path = copied(with_log if pattern == "*.log" else with_tables)
    for file in files(path, pattern):
        file.unlink()
    with pytest.raises(StorageError, match=r"copy/db.*(restore|check)"):
        load_all(path)


def test_a_missing_database_is_refused(with_log: Path, copied: Callable[[Path], Path]) -> None:
    path = copied(with_log)
    shutil.rmtree(path / "db")
    with pytest.raises(Damaged, match=r"the database is missing.*restore a backup"):
        load_all(path)
    assert not (path / "db" / "CURRENT").exists(), "an empty database was made in its place"


def test_a_manifest_cut_short_is_refused_or_harmless(with_tables: Path, copied: Callable[[Path], Path]) -> None:
    path = copied(with_tables)
    manifest = files(path, "MANIFEST-*")[-1]
    os.truncate(manifest, manifest.stat().st_size - 1)
    try:
        count = load_all(path)
    except StorageError:
        return
    assert count == ROWS


def test_a_store_of_an_older_day_is_refused(with_log: Path, copied: Callable[[Path], Path]) -> None:
    """As when only the database was restored from a backup."""
    path = copied(with_log)
    older = shutil.copytree(path / "db", path.parent / "older")
    store = open_test_store(path)
    append(store, LAST + 1, LAST + 1)
    store.close()
    shutil.rmtree(path / "db")
    shutil.copytree(older, path / "db")
    with pytest.raises(Damaged, match="batch 301 was synced, the last there is 300"):
        load_all(path)


def test_the_mark_survives_one_bad_copy_but_not_two(with_log: Path, copied: Callable[[Path], Path]) -> None:
    path = copied(with_log)
    flip(path / "synced", 3)
    assert load_all(path) == LAST
    flip(path / "synced", 3)
    flip(path / "synced", 2048 + 3)
    assert load_all(path) == LAST
    flip(path / "synced", 3)
    with pytest.raises(Damaged, match="neither copy"):
        load_all(path)
