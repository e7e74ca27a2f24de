"""The ordered store below everything that is kept on disk: an interface, and LevelDB (by plyvel) behind it.

Another ordered store is one more class here; nothing else in makoredis imports plyvel.

What LevelDB and plyvel need to be trusted (each point is held by a test):

* With default options LevelDB opens a write-ahead log with a flipped bit and drops the records it cannot read.
  `paranoid_checks=True` turns that into an error. What it still takes for a torn tail is found by `SyncedMark`.
* Without `verify_checksums=True` a flipped bit in a table file is returned as data, or loses rows.
* plyvel's iterator ends without an error when damage leaves LevelDB's iterator with nothing behind it: a scan that
  hit a bad last block looks complete. `scan` therefore asks once more, at its end, for what follows the last row.
* After one failed write every later write on the same handle fails, also when there is space again. `DiskFull` says
  so; the handle has to be closed and opened anew.

Left out: merge operators, column families, per-range options. Nobody here needs them.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

import plyvel

from makoredis.base.errors import StorageError
from makoredis.storage.errors import Damaged, DirectoryRefused, DiskFull

Op = tuple[bytes, bytes | None]
"""One change: key and value, or key and None to delete it."""
Ops = list[Op]

WRITE_BUFFER_BYTES = 32 << 20
"""How much LevelDB gathers in memory before it writes a table.

Measured with 16 KiB entries at 64 MiB of log kept (`tools/storage_bench.py`): with 4, 16, 32, 64 MiB the log is
written at 64, 140, 139, 127 MiB/s, the slowest write takes 43, 40, 69, 103 ms, and 403, 322, 246, 153 MiB of disk are
in use. A larger buffer lets truncation catch up with entries before they become a table; above 32 MiB the stalls
outweigh that.
"""
BLOCK_CACHE_BYTES = 16 << 20
OPEN_FILES_MAX = 256
BLOOM_BITS_PER_KEY = 10
DELETE_RANGE_PIECE_ROWS = 4096
OP_OVERHEAD_BYTES = 16
"""What an operation counts for in limits beside its key and value."""


class Batch(Protocol):
    """Changes made ready for one engine, to be written all or none. Opaque to everyone else."""


class Reader(Protocol):
    """What can be read from an engine, or from a snapshot of one."""

    place: str
    """Where it is, for messages."""

    def get(self, key: bytes) -> bytes | None:
        """The value at a key, checksum verified; None if there is none."""

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All rows with start ≤ key < stop in order, checksums verified."""


class Snapshot(Reader, Protocol):
    """The engine as it was at one moment. Holds disk space until closed."""

    def close(self) -> None:
        """Lets the engine forget this moment."""


class Engine(Reader, Protocol):
    """An ordered map of bytes to bytes with atomic, optionally synced, batches.

    `get`, `scan`, `write` may be called from different threads at once.
    Every method raises StorageError (a `Damaged` or `DiskFull` where it is one).
    """

    def batch(self, ops: Iterable[Op]) -> Batch:
        """Makes changes ready for `write`."""

    def write(self, batches: Sequence[Batch], *, sync: bool) -> None:
        """Writes all batches as one, in order, all or none; returns when on the disk if `sync`."""

    def write_ops(self, ops: Iterable[Op], *, sync: bool) -> None:
        """Writes operations as one, without a batch made before."""

    def sync(self) -> None:
        """Brings everything written so far to the disk."""

    def snapshot(self) -> Snapshot:
        """Freezes what is there now for reading."""

    def delete_range(self, start: bytes, stop: bytes) -> int:
        """Deletes start ≤ key < stop in bounded batches, not synced. Returns the number of rows."""

    def approximate_size(self, start: bytes, stop: bytes) -> int:
        """About how many bytes of table files the range takes; what is only in memory does not count."""

    def memory_bytes(self) -> int:
        """How much memory it takes beyond an empty one: what is not in a table yet, and blocks it has read."""

    def close(self) -> None:
        """Releases the files. Further calls fail."""


def ops_size(ops: Ops) -> int:
    """Bytes that operations count for in the limits."""
    size = len(ops) * OP_OVERHEAD_BYTES
    for key, value in ops:
        size += len(key) + (0 if value is None else len(value))
    return size


@contextmanager
def _mapped_errors(place: str) -> Iterator[None]:
    """Turns plyvel's errors into ours, with place and advice."""
    try:
        yield
    except plyvel.CorruptionError as error:
        raise Damaged(place, _text(error)) from error
    except plyvel.Error as error:
        text = _text(error)
        if os.strerror(errno.ENOSPC) in text or os.strerror(errno.EDQUOT) in text:
            raise DiskFull(f"{place}: the disk is full ({text}); free some space, then the node goes on") from error
        raise StorageError(f"{place}: {text}; check the disk and the kernel's log, then start again") from error
    except RuntimeError as error:
        raise StorageError(f"{place}: {error}; it was closed, probably after an earlier failure") from error


def _text(error: plyvel.Error) -> str:
    """LevelDB's own words, which plyvel hands over as bytes."""
    detail = error.args[0] if error.args else error
    return detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)


EMPTY_BYTES = 4104
"""What LevelDB says it takes when nothing was written."""


class _LevelDbReader:
    """`get` and `scan` over a plyvel database or snapshot."""

    def __init__(self, source: "plyvel.DB | plyvel.Snapshot", place: str) -> None:
        self._source = source
        self.place = place

    def get(self, key: bytes) -> bytes | None:
        with _mapped_errors(self.place):
            return self._source.get(key, verify_checksums=True)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        row: tuple[bytes, bytes] | None = None
        with _mapped_errors(self.place):
            rows = self._source.iterator(start=start, stop=stop, verify_checksums=True, fill_cache=False)
            try:
                for row in rows:
                    yield row
            finally:
                rows.close()
            self._check_end(start if row is None else row[0])

    def _check_end(self, last_key: bytes) -> None:
        """Raises if a scan ended at `last_key` because of damage and not because nothing more was there."""
        cursor = self._source.raw_iterator(verify_checksums=True, fill_cache=False)
        try:
            cursor.seek(last_key)
            if cursor.valid() and cursor.key() == last_key:
                cursor.next()
        finally:
            cursor.close()


class _LevelDbSnapshot(_LevelDbReader):
    def __init__(self, source: "plyvel.Snapshot", place: str) -> None:
        super().__init__(source, place)
        self._snapshot = source

    def close(self) -> None:
        self._snapshot.close()


class LevelDbEngine(_LevelDbReader):
    """LevelDB with the options that make it admit damage."""

    def __init__(self, path: Path, *, create: bool, write_buffer_bytes: int = WRITE_BUFFER_BYTES) -> None:
        """Opens the database in a directory of its own.

        Args:
            create: the database must not exist and is created; otherwise it must exist.
        """
        self._path = path
        place = str(path)
        if not create and not (path / "CURRENT").exists():
            # LevelDB would say so too, but leave an empty directory behind.
            raise Damaged(place, "the database is missing (no CURRENT file)")
        with _mapped_errors(place), _refused_if_locked(place):
            self._db = plyvel.DB(
                place,
                create_if_missing=create,
                error_if_exists=create,
                paranoid_checks=True,
                write_buffer_size=write_buffer_bytes,
                lru_cache_size=BLOCK_CACHE_BYTES,
                max_open_files=OPEN_FILES_MAX,
                bloom_filter_bits=BLOOM_BITS_PER_KEY,
                compression=None,
            )
        super().__init__(self._db, place)

    def batch(self, ops: Iterable[Op]) -> "plyvel.WriteBatch":
        with _mapped_errors(self.place):
            return self._batch(ops, sync=False)

    def _batch(self, ops: Iterable[Op], *, sync: bool) -> "plyvel.WriteBatch":
        batch = self._db.write_batch(sync=sync)
        put, delete = batch.put, batch.delete
        for key, value in ops:
            if value is None:
                delete(key)
            else:
                put(key, value)
        return batch

    def write(self, batches: Sequence[Batch], *, sync: bool) -> None:
        with _mapped_errors(self.place):
            whole = self._db.write_batch(sync=sync)
            for batch in batches:
                whole.append(cast("plyvel.WriteBatch", batch))
            whole.write()

    def write_ops(self, ops: Iterable[Op], *, sync: bool) -> None:
        with _mapped_errors(self.place):
            self._batch(ops, sync=sync).write()

    def sync(self) -> None:
        """Brings everything written so far to the disk.

        LevelDB syncs only the log file it writes to now, and does not sync the one before when it changes files: until
        that one's memtable is a table, a power cut could keep the newer half and lose the older. So the older log
        files are synced first, in order.
        """
        with _mapped_errors(self.place):
            for log in sorted(self._path.glob("*.log"), key=lambda file: int(file.stem))[:-1]:
                _sync_file(log)
            self._db.write_batch(sync=True).write()

    def snapshot(self) -> _LevelDbSnapshot:
        with _mapped_errors(self.place):
            return _LevelDbSnapshot(self._db.snapshot(), self.place)

    def delete_range(self, start: bytes, stop: bytes) -> int:
        deleted = 0
        piece: Ops = []
        for key, _ in self.scan(start, stop):
            piece.append((key, None))
            if len(piece) == DELETE_RANGE_PIECE_ROWS:
                deleted += len(piece)
                self.write([self.batch(piece)], sync=False)
                piece = []
        self.write([self.batch(piece)], sync=False)
        return deleted + len(piece)

    def approximate_size(self, start: bytes, stop: bytes) -> int:
        with _mapped_errors(self.place):
            return self._db.approximate_size(start, stop)

    def memory_bytes(self) -> int:
        with _mapped_errors(self.place):
            return max(int(self._db.get_property(b"leveldb.approximate-memory-usage") or 0) - EMPTY_BYTES, 0)

    def close(self) -> None:
        self._db.close()


@contextmanager
def _refused_if_locked(place: str) -> Iterator[None]:
    """A clear line for LevelDB's own lock, the second line of defence behind the directory's."""
    try:
        yield
    except plyvel.IOError as error:
        if "lock" not in _text(error).lower():
            raise
        raise DirectoryRefused(f"{place}: another process has this database open; stop it first") from error


def _sync_file(path: Path) -> None:
    """Syncs a file that LevelDB has written and may be about to delete, which is as good."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        raise StorageError(f"{path}: cannot sync: {error.strerror}; check the disk") from error
    finally:
        os.close(descriptor)
