"""How often keys are used, as Redis counts it for its LFU policies (`makoredis.data.eviction`) and OBJECT FREQ.

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

    __slots__ = ("_before", "counts", "rng")

    def __init__(self, rng: Random, before: "UseCounts | None" = None) -> None:
        """
        Args:
            before: the generation before this one, where counters go on from.
        """
        super().__init__()
        self.counts: dict[bytes, int] = {}
        self.rng = rng
        self._before = before

    def __setitem__(self, key: bytes, now_ms: int) -> None:
        count = self.count(key, now_ms)
        if count is None and self._before is not None:
            count = self._before.count(key, now_ms)
        if count is None:
            count = INITIAL
        elif count < USE_COUNT_MAX and self.rng.random() * (max(count - INITIAL, 0) * _LOG_FACTOR + 1) < 1:
            count += 1
        self.put(key, now_ms, count)

    def put(self, key: bytes, now_ms: int, count: int) -> None:
        """Notes a use, and what the counter is then."""
        self.counts[key] = count
        super().__setitem__(key, now_ms)

    def update(self, uses: dict[bytes, int]) -> None:  # type: ignore[override]
        """Notes a use of each of these keys."""
        for key, now_ms in uses.items():
            self[key] = now_ms

    def discard(self, key: bytes) -> None:
        """Forgets a key."""
        self.pop(key, None)
        self.counts.pop(key, None)

    def count(self, key: bytes, now_ms: int) -> int | None:
        """The counter of a key as it is now; None if its last use is not known."""
        used = self.get(key)
        return None if used is None else max(self.counts[key] - (now_ms - used) // _DECAY_MS, 0)

    def renewed(self) -> "UseCounts":
        """An empty one for the next generation."""
        self._before = None
        return UseCounts(self.rng, self)
