"""What an operator is told in the node's log about the groups that it takes part in.

* A group without leader for a while: who votes in it, and whom of them this node reaches. Nothing is written meanwhile,
  and whoever waits for it gets errors; a majority that is lost looks like this.
* A leader after that.
* This node votes in all groups, after it did not: a node that was added or repaired counts from then on, and another
  one may fail. Until then the others have to do without it.
* Where there are several shards: that after its start it has caught up with the others, in all of them.
"""

from collections.abc import Collection, Iterable, Mapping

from makoredis.base.ids import NodeId, ShardId
from makoredis.consensus.core import Status
from makoredis.consensus.types import Configuration

LEADERLESS_SECONDS = 5.0
"""An election takes one or two; what takes longer needs somebody's attention."""


class GroupReports:
    """Notices what has changed, at each tick."""

    def __init__(self) -> None:
        self._led_at: dict[ShardId, float] = {}
        """When a group was seen with a leader last, or first looked at."""
        self._leaderless: set[ShardId] = set()
        """Groups of which that was reported."""
        self._votes: bool | None = None
        """Whether this node has a vote in all groups; None: not known yet."""

    def look(
        self, statuses: Mapping[ShardId, Status], connected: Collection[NodeId], now: float
    ) -> list[tuple[str, str]]:
        """Level and text of what there is to be said.

        Args:
            statuses: of every group.
            now: monotonic seconds.
        """
        reports = [
            report for shard, status in statuses.items() for report in self._leader(shard, status, connected, now)
        ]
        if not all(status.node in status.configuration.voters for status in statuses.values()):
            self._votes = False
        elif all(_is_chosen(status) for status in statuses.values()):
            if self._votes is False:
                reports.append(("info", "this node is a voter of every group now: it counts for a majority"))
            self._votes = True
        return reports

    def _leader(
        self, shard: ShardId, status: Status, connected: Collection[NodeId], now: float
    ) -> Iterable[tuple[str, str]]:
        led_at = self._led_at.setdefault(shard, now)
        if status.leader is not None or not status.configuration.votes(status.node):
            self._led_at[shard] = now
            if shard in self._leaderless:
                self._leaderless.discard(shard)
                seconds = f"{now - led_at:.0f} s"
                yield "info", f"{group_name(shard)} has a leader again, node {status.leader}, after {seconds}"
        elif now - led_at >= LEADERLESS_SECONDS and shard not in self._leaderless:
            self._leaderless.add(shard)
            reached = sorted({status.node, *connected} & set(_voters(status.configuration)))
            yield (
                "warning",
                (
                    f"{group_name(shard)} has no leader for {now - led_at:.0f} s; a majority is needed of its voters "
                    f"{_list(_voters(status.configuration))}, this node reaches {_list(reached)}"
                ),
            )


class CatchingUp:
    """Notices once that this node has everything of all shards that was final when it first heard of all of them."""

    def __init__(self, started: float) -> None:
        self.started = started
        """Monotonic seconds."""
        self.is_over = False
        self._target_ts = 0

    def look(self, shards: int, heard: int, global_ts: int, snapshot_ts: int, now: float) -> str | None:
        """What is to be said.

        Args:
            heard: of how many shards the leader has announced its watermark.
            global_ts: the least of these.
            snapshot_ts: what the snapshot here shows; 0 while it is none.
        """
        if not self._target_ts and heard == shards:
            self._target_ts = global_ts
        if self.is_over or not self._target_ts or snapshot_ts < self._target_ts:
            return None
        self.is_over = True
        return f"caught up with all {shards} shards in {now - self.started:.1f} s"


def _is_chosen(status: Status) -> bool:
    """Whether the configuration in force stays."""
    return status.configuration_index <= status.commit_index and not status.configuration.is_joint


def _voters(configuration: Configuration) -> list[NodeId]:
    return sorted({*configuration.voters, *configuration.outgoing})


def group_name(shard: ShardId) -> str:
    """How people are told of a group."""
    return f"shard {shard}" if shard else "the members' group"


def _list(nodes: Iterable[NodeId]) -> str:
    return ", ".join(map(str, nodes))
