"""How much of a shard's log a start has to replay, which decides when the next checkpoint is due.

A checkpoint goes up to what was chosen when it began. What was written by then and not chosen stays in the log behind
it, and may be most of it: so entries count until they are cut, and not until a checkpoint begins.

Bytes are kept per run of entries, and there are few runs: each is a small part of the whole. So a cut in the middle of
one leaves a little more than is there.
"""

from collections import deque

RUN_BYTES_MIN = 512
RUN_SHARE = 64
"""A run ends when it is such a part of the whole."""


class LogSize:
    """Bytes of the entries that no checkpoint has made superfluous."""

    __slots__ = ("_runs", "bytes")

    def __init__(self) -> None:
        self.bytes = 0
        self._runs: deque[tuple[int, int]] = deque()
        """The last index of each run, and its bytes."""

    def add(self, index: int, size: int) -> None:
        """An entry is written, at the end or in the place of what was there and behind."""
        runs = self._runs
        while runs and runs[-1][0] >= index:
            self.bytes -= runs.pop()[1]
        if runs and runs[-1][1] < max(RUN_BYTES_MIN, self.bytes // RUN_SHARE):
            size_before = runs.pop()[1]
            runs.append((index, size_before + size))
        else:
            runs.append((index, size))
        self.bytes += size

    def cut(self, index: int) -> None:
        """The log up to here is not needed any more."""
        runs = self._runs
        while runs and runs[0][0] <= index:
            self.bytes -= runs.popleft()[1]

    def clear(self) -> None:
        """The log is empty."""
        self.bytes = 0
        self._runs.clear()
