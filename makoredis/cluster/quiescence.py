"""Watches over groups that are quiesced (`makoredis.consensus.quiesce`): one small message per pair of nodes now and
then, however many groups there are, instead of heartbeats in each group.

In it a node states which groups are quiesced here, and as of which term and entry. Whoever states the same of a group
has everything that is chosen, and has voted for nobody since. So

* a quiesced leader that a majority agrees with still led when they said so, and what followers have is not older. It
  says with its own statement how long ago that was, which is what bounded staleness of reads on followers counts;
* who says something else, or nothing for `SILENT_SECONDS`, wakes the group: a leader looks at all members, a member at
  its leader. Then heartbeats, check-quorum and elections do what they always do. To wake in vain costs some heartbeats.

A broken connection and any use of a group wake it at once, and don't wait for this.
"""

from collections.abc import Mapping

from makoredis.base.ids import NodeId, ShardId
from makoredis.cluster.messages import QuiescedGroup
from makoredis.consensus.core import Core, Quiesced
from makoredis.consensus.quorum import quorum_value
from makoredis.consensus.types import Configuration

STATE_SECONDS = 1.0
"""Between two statements of a node that has quiesced groups."""
STALENESS_SHARE = 0.2
"""At most this part of what followers' answers may be behind: two or three statements have to fit in."""
SILENT_STATEMENTS = 3
"""A node that has said nothing for so many of them may be gone."""


class _Group:
    """One that is quiesced here."""

    __slots__ = ("configuration", "heard", "since", "state", "watched")

    def __init__(self, node: NodeId, state: Quiesced, configuration: Configuration, now: float) -> None:
        self.state = state
        self.configuration = configuration
        self.since = now
        self.heard: dict[NodeId, float] = {}
        """When others have stated the same last."""
        is_led_here = state.leader == node
        self.watched = configuration.members() - {node} if is_led_here else {state.leader}

    def agreed_at(self, node: NodeId, now: float, state_seconds: float) -> float:
        """When a quorum was known to agree with this leader last.

        It heard all of them just before it fell silent, and was looked at not much later.
        """
        heard = {each: int(at * 1e6) for each, at in self.heard.items()}
        heard[node] = int(now * 1e6)
        return max(self.since - state_seconds, quorum_value(self.configuration, heard, 0) / 1e6)


class Quiescence:
    """The quiesced groups of one node."""

    def __init__(self, node: NodeId, max_staleness_seconds: float) -> None:
        self.node = node
        self.state_seconds = min(STATE_SECONDS, STALENESS_SHARE * max_staleness_seconds)
        self._groups: dict[ShardId, _Group] = {}
        self._stated_at = 0.0
        self.woken = 0
        """Groups that were woken because a member was silent or said something else, since start."""

    def is_due(self, now: float) -> bool:
        """Whether it is time for a statement."""
        return now - self._stated_at >= 0.9 * self.state_seconds

    def state(self, cores: Mapping[ShardId, Core], now: float) -> list[QuiescedGroup]:
        """What is to be said to everybody. Wakes the groups of which somebody has not been heard."""
        self._stated_at = now
        statements = []
        for shard, core in cores.items():
            group = self._look(shard, core, now)
            if group is None:
                continue
            oldest = now - SILENT_STATEMENTS * self.state_seconds
            if any(group.heard.get(node, group.since) < oldest for node in group.watched):
                self._wake(shard, core)
                continue
            state, age_ms = group.state, 0
            if state.leader == self.node:
                age_ms = int(1000 * (now - group.agreed_at(self.node, now, self.state_seconds)))
            statements.append(QuiescedGroup(shard, state.leader, state.term, state.last_index, age_ms))
        return statements

    def hear(
        self, sender: NodeId, statements: list[QuiescedGroup], cores: Mapping[ShardId, Core], now: float
    ) -> dict[ShardId, float]:
        """Another node's statement. Returns when the groups that it leads were known to be led by it last."""
        led_at: dict[ShardId, float] = {}
        stated = {each.shard: each for each in statements}
        for shard, core in cores.items():
            group = self._look(shard, core, now)
            if group is None or sender not in group.watched:
                continue
            other, state = stated.get(shard), group.state
            if other is None or (other.leader, other.term, other.last_index) != (
                state.leader,
                state.term,
                state.last_index,
            ):
                if now - group.since > 2 * self.state_seconds:  # else it may not have fallen silent when it said that
                    self._wake(shard, core)
                continue
            group.heard[sender] = now
            if sender == state.leader:
                led_at[shard] = now - other.age_ms / 1000
        return led_at

    def _look(self, shard: ShardId, core: Core, now: float) -> _Group | None:
        state = core.quiesced()
        if state is None:
            self._groups.pop(shard, None)
            return None
        group = self._groups.get(shard)
        if group is None or group.state != state:
            group = self._groups[shard] = _Group(self.node, state, core.status().configuration, now)
        return group

    def _wake(self, shard: ShardId, core: Core) -> None:
        del self._groups[shard]
        self.woken += 1
        core.wake()
