"""How often keys are used, as Redis counts it for its LFU policies: only for OBJECT FREQ, since nothing is evicted.

A counter of 8 bits grows the slower the higher it is (a hundred needs some fifty thousand uses), and goes down by one
for each minute without a use. Which use counts is left to chance: equal histories give similar counters, not equal
ones.
"""

from random import Random

INITIAL = 5
"""Of a key that was used once."""
USE_COUNT_MAX = 255
_LOG_FACTOR = 10
_DECAY_MS = 60_000


class UseCounts(dict[bytes, int]):
    """Key → when it was last used, as `Database.touched`, with a counter beside it."""

    __slots__ = ("_rng", "counts")

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self.counts: dict[bytes, int] = {}
        self._rng = rng

    def __setitem__(self, key: bytes, now_ms: int) -> None:
        count = self.count(key, now_ms)
        if count is None:
            count = INITIAL
        elif count < USE_COUNT_MAX and self._rng.random() * (max(count - INITIAL, 0) * _LOG_FACTOR + 1) < 1:
            count += 1
        self.put(key, now_ms, count)

    def put(self, key: bytes, now_ms: int, count: int) -> None:
        """Notes a use, and what the counter is then."""
        self.counts[key] = count
        super().__setitem__(key, now_ms)

    def count(self, key: bytes, now_ms: int) -> int | None:
        """The counter of a key as it is now; None if its last use is not known."""
        used = self.get(key)
        return None if used is None else max(self.counts[key] - (now_ms - used) // _DECAY_MS, 0)

    def renewed(self) -> "UseCounts":
        """An empty one for the next generation."""
        return UseCounts(self._rng)
