"""What a node with a full disk does and says: it refuses writes, once says why, and hands leaderships away.

Whether the others' disks are full too nobody tells it. So it asks those first whom it has not asked yet, and ever more
rarely: while a leadership is being handed over nobody is served, and with all disks full that must not be all the time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from makoredis.base.ids import NodeId, ShardId
from makoredis.cluster.membership import Group
from makoredis.cluster.reports import group_name
from makoredis.consensus.types import Role
from makoredis.storage.disk import DiskState, DiskThread, Durability
from makoredis.storage.space import DiskSpace, SpaceState

DISK_FULL_TEXT = (
    "MISCONF Errors writing to the log: no space left on the disk. Commands that may modify the data set are refused "
    "until there is space again; reads go on."
)
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


class FullDisk:
    """Whether a node's disk takes writes, and what follows."""

    def __init__(
        self, disk: DiskThread[Any], space: DiskSpace, durability: Durability, log: Callable[[str, str], None]
    ) -> None:
        """
        Args:
            log: is given level and text.
        """
        self.refusal: str | None = None
        """The error for every write while the disk cannot take one."""
        self._disk = disk
        self._space = space
        self._durability = durability
        self._log = log
        self._reports = SpaceReports()
        self._successors: dict[ShardId, Successors] = {}
        """Of groups that were led here when the disk was full."""

    def look(self, now: float) -> None:
        """Refuses writes while the disk is full or nearly so, and tries to go on when there is space again."""
        is_low = self._space.state() is SpaceState.LOW
        if self._disk.state is DiskState.FULL and not is_low:
            self._disk.recover()
        refuses = (is_low or self._disk.state is DiskState.FULL) and self._durability is not Durability.MEMORY
        self.refusal = DISK_FULL_TEXT if refuses else None
        if not refuses:
            self._successors.clear()
        report = self._reports.look(self._space.shortage() if refuses else None, now)
        if report is not None:
            self._log(*report)

    def hand_over(self, groups: Mapping[ShardId, Group], now: float) -> None:
        """A leader that cannot write has its groups led by replicas that can."""
        for shard, group in groups.items():
            status = group.core.status()
            if status.role is not Role.LEADER or status.transferring_to is not None:
                continue
            may_lead = status.configuration.may_lead
            peers = status.peers.items()
            able = [node for node, peer in peers if peer.is_live and peer.is_caught_up and may_lead(node)]
            node = self._successors.setdefault(shard, Successors()).next(able, now)
            if node is not None:
                self._log("warning", f"the disk is full: node {node} is asked to lead {group_name(shard)}")
                group.transfer_leadership(node)
