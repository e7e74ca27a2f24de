"""What a node with a full disk does and says: it refuses writes, once says why, and hands leaderships away.

Whether the others' disks are full too nobody tells it. So it asks those first whom it has not asked yet, and ever more
rarely: while a leadership is being handed over nobody is served, and with all disks full that must not be all the time.
"""

from collections.abc import Sequence

from makoredis.base.ids import NodeId

REPORT_SECONDS = 10.0
"""No more than one line in this time, however often space comes and goes."""
ASK_SECONDS_MAX = 16.0
"""Between two attempts to hand one leadership over. The first two are two seconds apart, then four, and so on."""


class Successors:
    """Whom the leader of one group asks to lead in its place."""

    def __init__(self) -> None:
        self._count = 0
        self._asked: dict[NodeId, int] = {}
        """The number of the last attempt with each node."""
        self._next_at = 0.0

    def next(self, able: Sequence[NodeId], now: float) -> NodeId | None:
        """Who is to be asked now, if anybody.

        Args:
            able: those who have everything and may lead.
            now: monotonic seconds.
        """
        if not able or now < self._next_at:
            return None
        node = min(able, key=lambda each: (self._asked.get(each, 0), each))
        self._count += 1
        self._asked[node] = self._count
        self._next_at = now + min(ASK_SECONDS_MAX, 2.0**self._count)
        return node


class SpaceReports:
    """What the log says about the space on the disk."""

    def __init__(self) -> None:
        self._said = False
        self._said_at = -REPORT_SECONDS

    def look(self, shortage: str | None, now: float) -> tuple[str, str] | None:
        """Level and text of what there is to be said.

        Args:
            shortage: how much space there is, if that is why writes are refused.
            now: monotonic seconds.
        """
        is_short = shortage is not None
        if is_short == self._said or now - self._said_at < REPORT_SECONDS:
            return None
        self._said, self._said_at = is_short, now
        if shortage is None:
            return "info", "there is space on the disk again: writes are taken"
        return "warning", f"the disk is full: {shortage}; this node takes no writes until there are"
