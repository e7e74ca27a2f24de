"""Watching free space, and a ballast to throw overboard.

A full disk is sticky in LevelDB: after one failed write the handle must be opened anew, and opening writes a table from
the log before it does anything else. The ballast is the space for that, so it must be larger than two write buffers
(the one being filled and the one being written).
"""

import os
from enum import Enum
from pathlib import Path

from makoredis.base.errors import StorageError
from makoredis.storage.errors import DiskFull

BALLAST_BYTES = 128 << 20
DISK_FREE_BYTES_MIN = 256 << 20

BALLAST_FILE = "ballast"


class SpaceState(Enum):
    """What the node should do about the disk."""

    OK = "ok"
    LOW = "low"
    """Too little is free, or the ballast is gone and does not fit. Refuse new writes; what is under way may finish."""


class DiskSpace:
    """Free space below one directory."""

    def __init__(
        self, directory: Path, *, free_bytes_min: int = DISK_FREE_BYTES_MIN, ballast_bytes: int = BALLAST_BYTES
    ) -> None:
        """
        Args:
            free_bytes_min: below this the state is LOW.
            ballast_bytes: 0 for no ballast.
        """
        self._directory = directory
        self._ballast = directory / BALLAST_FILE
        self._free_bytes_min = free_bytes_min
        self._ballast_bytes = ballast_bytes
        self._ballast_in_place = self.has_ballast()

    def free_bytes(self) -> int:
        """What the file system would still give to this user. Costs one system call (1 µs)."""
        try:
            status = os.statvfs(self._directory)
        except OSError as error:
            raise StorageError(f"{self._directory}: {error.strerror}; check the disk") from error
        return status.f_bavail * status.f_frsize

    def state(self) -> SpaceState:
        """Whether there is enough. Puts the ballast back when there is room for it. Meant for every tick (2 µs)."""
        if self._ballast_in_place:
            return SpaceState.OK if self.free_bytes() >= self._free_bytes_min else SpaceState.LOW
        return SpaceState.OK if self.place_ballast() else SpaceState.LOW

    def shortage(self) -> str:
        """How much there is, and how much there would have to be, for people."""
        wanted = self._free_bytes_min + (0 if self._ballast_in_place else self._ballast_bytes)
        return f"{self.free_bytes():,} bytes are free below {self._directory}, {wanted:,} are needed"

    def has_ballast(self) -> bool:
        """Whether the ballast is in place, in full."""
        try:
            return self._ballast.stat().st_size >= self._ballast_bytes
        except FileNotFoundError:
            return self._ballast_bytes == 0

    def place_ballast(self) -> bool:
        """Makes the ballast if that leaves the limit free. Returns whether it is in place."""
        self._ballast_in_place = self.has_ballast()
        if self._ballast_in_place:
            return True
        if self.free_bytes() < self._free_bytes_min + self._ballast_bytes:
            return False
        try:
            _allocate(self._ballast, self._ballast_bytes)
        except DiskFull:
            self.release_ballast()
            return False
        self._ballast_in_place = True
        return True

    def release_ballast(self) -> None:
        """Gives the ballast's space to whoever needs it now."""
        self._ballast_in_place = self._ballast_bytes == 0
        self._ballast.unlink(missing_ok=True)


def _allocate(path: Path, size: int) -> None:
    """Reserves real blocks for a file.

    Raises:
        DiskFull: they are not there.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise DiskFull(f"{path}: cannot reserve {size} bytes: {error.strerror}") from error
    finally:
        os.close(descriptor)
