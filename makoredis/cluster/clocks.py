"""The peers' wall clocks, as far as messages tell: a peer that is too far ahead is refused.

A new leader starts its clock above every timestamp that its predecessor can have promised to readers of followers,
which rests on clocks that are at most `max_clock_offset_ms` apart. A message takes time, so what it
says of a clock is always behind: a peer that looks ahead is ahead. Who is behind itself refuses everybody else.
"""

from collections.abc import Callable

from makoredis.base.ids import NodeId

LOG_SECONDS = 30.0
"""Between two lines on the same peer, which calls again all the time."""


class PeerClocks:
    """What one node knows of the others' clocks."""

    def __init__(self, offset_ms_max: int, wall_us: Callable[[], int], now: Callable[[], float]) -> None:
        """
        Args:
            now: monotonic seconds.
        """
        self.offset_ms_max = offset_ms_max
        self.wall_us = wall_us
        self.now = now
        self.offsets_us: dict[NodeId, int] = {}
        """By how much a clock was ahead when it was last heard of, the time that the message took subtracted."""
        self.ahead: set[NodeId] = set()
        """Refused, and not heard of with a better clock since."""
        self._logged: dict[NodeId, float] = {}

    def refusal(self, node: NodeId, clock_us: int) -> str | None:
        """Takes note of a peer's clock. Returns why it is refused, None if it is not."""
        offset_us = self.offsets_us[node] = clock_us - self.wall_us()
        if offset_us <= self.offset_ms_max * 1000:
            self.ahead.discard(node)
            return None
        self.ahead.add(node)
        return (
            f"the clock of node {node} is {offset_us // 1000} ms ahead of this node's, at most {self.offset_ms_max} "
            "are allowed (max_clock_offset_ms); set the clocks, it is taken as soon as they fit"
        )

    def is_worth_a_line(self, node: NodeId) -> bool:
        """Whether a refusal is to be logged; a peer that keeps calling is not, each time."""
        now = self.now()
        if now - self._logged.get(node, -LOG_SECONDS) < LOG_SECONDS:
            return False
        self._logged[node] = now
        return True
