"""A witness beside the store: the number of the last batch that was synced.

LevelDB takes a damaged length in the last 32 KiB of its write-ahead log, or a log file that is gone, for a torn write
and opens without a word, although what is missing had been synced and acknowledged. Every batch therefore writes its
number into the store, and when a batch is synced its number goes into a small file of its own. At opening the store
must be at least as new as this file says.

* The file is written through a memory map without a sync, which costs 0.3 µs. After a power cut it may be older than
  the store (then it proves less), never newer: it is written after the store's sync has returned.
* Two slots are written in turn, so that a write cut short leaves the other.

Removing the file by hand is the way to accept a loss that was refused.
"""

import mmap
import os
import struct
from pathlib import Path
from zlib import crc32

from makoredis.base.errors import StorageError
from makoredis.storage.errors import Damaged

_SLOT = struct.Struct(">QI")
_SLOT_DISTANCE = 2048
_FILE_BYTES = 4096


class SyncedMark:
    """The number of the last synced batch, in a file."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes one that says 0.

        Raises:
            Damaged: neither slot can be read.
        """
        self._path = path
        try:
            self._map = _map_file(path)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}; check the disk and the owner of the directory") from error
        numbers = [_read_slot(self._map, slot) for slot in (0, 1)]
        readable = [number for number in numbers if number is not None]
        if not readable:
            raise Damaged(str(path), "neither copy of the last synced batch's number can be read")
        self.number = max(readable)

    def store(self, number: int) -> None:
        """Says that batch `number` is on the disk."""
        self.number = number
        body = number.to_bytes(8, "big")
        _SLOT.pack_into(self._map, (number & 1) * _SLOT_DISTANCE, number, crc32(body))

    def close(self) -> None:
        """Brings the number itself to the disk: after an orderly end it is exact."""
        if not self._map.closed:
            self._map.flush()
            self._map.close()


def _map_file(path: Path) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if os.fstat(descriptor).st_size == 0:
            empty = _SLOT.pack(0, crc32(bytes(8)))
            os.pwrite(descriptor, empty.ljust(_SLOT_DISTANCE, b"\0") + empty.ljust(_SLOT_DISTANCE, b"\0"), 0)
            os.fsync(descriptor)
        return mmap.mmap(descriptor, _FILE_BYTES)
    except ValueError as error:
        raise Damaged(str(path), "too short") from error
    finally:
        os.close(descriptor)


def _read_slot(source: mmap.mmap, slot: int) -> int | None:
    number, checksum = _SLOT.unpack_from(source, slot * _SLOT_DISTANCE)
    return int(number) if checksum == crc32(number.to_bytes(8, "big")) else None
