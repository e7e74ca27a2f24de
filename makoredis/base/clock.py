"""Hybrid logical clock: wall time made unique and monotone (Kulkarni et al., "Logical Physical Clocks", 2014).

Wall time comes from outside, so that a simulation can skew it.
"""

from makoredis.base.ids import Timestamp


class HybridClock:
    """One shard's clock on one node. Invariant: `last` never decreases, and no two `tick`s return the same."""

    __slots__ = ("last",)

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def tick(self, wall_us: int) -> Timestamp:
        """A new timestamp: wall time in microseconds, or one more than the last if the wall is behind."""
        last = self.last + 1
        if wall_us > last:
            last = wall_us
        self.last = last
        return Timestamp(last)

    def observe(self, ts: int) -> None:
        """Moves to at least `ts`, which somebody else's clock showed."""
        if ts > self.last:
            self.last = ts
