"""How much memory the data takes.

Redis counts every allocation; CPython doesn't, and the resident size of the process hardly shrinks when keys are
deleted, so a `maxmemory` measured by it would refuse writes for ever. What is in use is known well enough: glibc counts
its own allocations, and CPython the blocks of its allocator for objects up to 512 bytes, which take 78 bytes on average
(measured with a million keys of up to 100 bytes). The interpreter and the code, some 50 MB, are no data: what they take
before anything is loaded is left out, so that a `maxmemory` that was chosen for Redis means about the same here.
"""

import ctypes
import resource
import sys

PAGE_BYTES = resource.getpagesize()
BLOCK_BYTES = 78
"""Average size of CPython's small blocks."""
STARTUP_BYTES = 1 << 20
"""What an empty server says it uses: about what an empty redis-server does."""


_FIELDS = (
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
)


class _MallInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _FIELDS)


class MemoryMeter:
    """To be created before any data is loaded."""

    def __init__(self) -> None:
        self._mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
        if self._mallinfo is not None:
            self._mallinfo.restype = _MallInfo
        self.peak = STARTUP_BYTES
        self.interpreter_bytes = self._allocated()

    def used(self) -> int:
        """INFO's used_memory, bytes."""
        used = max(0, self._allocated() - self.interpreter_bytes) + STARTUP_BYTES
        self.peak = max(self.peak, used)
        return used

    def _allocated(self) -> int:
        if self._mallinfo is None:
            return resident_bytes()
        info = self._mallinfo()
        return int(info.uordblks) + int(info.hblkhd) + BLOCK_BYTES * sys.getallocatedblocks()


def resident_bytes() -> int:
    """Resident bytes of this process."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * PAGE_BYTES
