"""SLOWLOG: the last requests that took longer than a threshold."""

from collections import deque

from makoredis.base.record import record

ARGUMENTS_MAX = 32
ARGUMENT_BYTES_MAX = 128


@record
class SlowEntry:
    """One slow request. Times: Unix seconds, microseconds."""

    id: int
    at: int
    duration_us: int
    argv: list[bytes]
    address: str
    name: bytes


class SlowLog:
    """The newest entries first, at most `length_max`."""

    def __init__(self, length_max: int = 128) -> None:
        self.entries: deque[SlowEntry] = deque()
        self.length_max = length_max
        self.threshold_us = 10_000
        """What takes longer belongs into it; negative: nothing does."""
        self._next_id = 0

    def add(self, at: int, duration_us: int, argv: list[bytes], address: str, name: bytes) -> None:
        entry = SlowEntry(self._next_id, at, duration_us, shorten(argv), address, name)
        self._next_id += 1
        self.entries.appendleft(entry)
        self.trim()

    def trim(self) -> None:
        """Drops the oldest beyond the limit."""
        while len(self.entries) > self.length_max:
            self.entries.pop()


def shorten(argv: list[bytes]) -> list[bytes]:
    """A request as the slow log keeps it: at most 32 arguments of 128 bytes, with a note of what is missing."""
    shown = argv
    if len(argv) > ARGUMENTS_MAX:
        shown = argv[: ARGUMENTS_MAX - 1]
    result = [
        argument
        if len(argument) <= ARGUMENT_BYTES_MAX
        else argument[:ARGUMENT_BYTES_MAX] + b"... (%d more bytes)" % (len(argument) - ARGUMENT_BYTES_MAX)
        for argument in shown
    ]
    if len(argv) > ARGUMENTS_MAX:
        result.append(b"... (%d more arguments)" % (len(argv) - ARGUMENTS_MAX + 1))
    return result
