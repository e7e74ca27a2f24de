"""Membership of a running node: dials the members, and as leader drives changes on to their goal.

Every node dials who is in its configurations. The leader of a group, besides,

* makes learners voters when a goal says so and all of them have caught up (`members.step_to_goal`);
* hands over when it is drained, or not to be a member any more, and another node can lead.

Where there are several shards, commands change the configuration of the group that keeps no keys (`Membership`), and
the leader of each shard takes it over (`ShardMembership`). It says when its shard has got there, again and again, to
whoever leads the other group; that one goes on when all have.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from makoredis.base.errors import Busy, ClientError, NotLeader
from makoredis.base.ids import Index, NodeId, ShardId
from makoredis.cluster.members import (
    Address,
    following,
    has_followed,
    notes_of,
    numbered,
    preferred_leader,
    step_to_goal,
    wanted_voters,
)
from makoredis.consensus.core import ChangeRefused, Core, Status
from makoredis.consensus.types import Configuration


class Group(Protocol):
    """One group's replica on this node: a `ShardHost` or a `ShardReplica`."""

    core: Core
    is_leader: bool
    leader: NodeId | None

    def is_settled(self) -> bool: ...

    def transfer_leadership(self, node: NodeId) -> None: ...


class GroupMembership:
    """Acts on the configuration of one group."""

    def __init__(self, node: NodeId, group: Group) -> None:
        self.node = node
        self.group = group
        self.preferred: NodeId | None = None
        """Who shall lead whenever it can."""
        self.last_refusal = ""
        """Why a change could not go on when it was tried last."""

    def successors(self, status: Status) -> list[NodeId]:
        """Who could take the leadership at once, the best one first."""
        configuration = status.configuration
        excluded = {*notes_of(configuration).drained, self.node}
        wanted = wanted_voters(configuration)
        able = [
            (node in wanted, node == self.preferred, peer.match_index, node)
            for node, peer in status.peers.items()
            if peer.is_live and peer.is_caught_up and configuration.may_lead(node) and node not in excluded
        ]
        return [node for *_, node in sorted(able, reverse=True)]

    def drive(self, status: Status, next_one: Callable[[Status], Configuration | None]) -> None:
        """Leader: takes the next step, if there is one and the last one is done."""
        is_settled = status.configuration_index <= status.commit_index and self.group.is_settled()
        if is_settled and status.transferring_to is None:
            target = next_one(status)
            if target is not None:
                self._try(lambda: self.group.core.propose_configuration(target))
            self._leave(status)

    def _leave(self, status: Status) -> None:
        """Hands over what is not to be led here: the node is drained, or to be removed."""
        configuration = status.configuration
        drained, wanted = notes_of(configuration).drained, wanted_voters(configuration)
        successors = self.successors(status) if self.node in drained or self.node not in wanted else []
        if successors and (self.node in drained or successors[0] in wanted):
            self._try(lambda: self.group.transfer_leadership(successors[0]))

    def _try(self, action: Callable[[], object]) -> None:
        """What cannot be done now is tried again at the next tick."""
        try:
            action()
        except (ChangeRefused, NotLeader, Busy, ClientError) as error:
            self.last_refusal = str(error)


class ShardMembership(GroupMembership):
    """Has one of several shards follow the group that commands change."""

    def __init__(self, node: NodeId, shard: ShardId, group: Group, *, is_spread: bool) -> None:
        """
        Args:
            is_spread: whether each shard is to be led by another node, as far as that is possible.
        """
        super().__init__(node, group)
        self.shard = shard
        self.is_spread = is_spread

    def tick(self, status: Status, leading: Status) -> int | None:
        """Does what is due.

        Args:
            status: of this shard's group.
            leading: the status of the group to follow.
        Returns: the number of the configuration that this shard has followed to its goal, on its leader.
        """
        core = self.group.core
        self.preferred = preferred_leader(status.configuration, self.shard, is_spread=self.is_spread)
        core.prefer(self.preferred)
        if not self.group.is_leader or leading.configuration_index > leading.commit_index:
            return None
        configuration = leading.configuration
        self.drive(status, lambda status: self._next(status, configuration))
        is_chosen = status.configuration_index <= status.commit_index
        if is_chosen and has_followed(status.configuration, configuration):
            return notes_of(configuration).number
        return None

    @staticmethod
    def _next(status: Status, leading: Configuration) -> Configuration | None:
        current = status.configuration
        return following(current, leading) or step_to_goal(current, _caught_up(status))


class Membership(GroupMembership):
    """Acts on the configuration that commands change, and dials the members of all groups."""

    def __init__(
        self,
        node: NodeId,
        group: Group,
        known: dict[NodeId, Address],
        dial: Callable[[dict[NodeId, Address]], None],
        report: Callable[[NodeId, ShardId, int], None],
    ) -> None:
        """
        Args:
            known: addresses from the configuration file: for who is not in the cluster's own book.
            dial: hangs up on everybody else.
            report: tells a node which configuration a shard has followed.
        """
        super().__init__(node, group)
        self.known = known
        self.dial = dial
        self.report = report
        self.shards: dict[ShardId, ShardMembership] = {}
        """Those of the shards with keys, where there are several."""
        self.statuses: dict[ShardId, Status] = {}
        """Of every group, as of the last tick; the group that commands change has number 0."""
        self._dialled: dict[NodeId, Address] = {}
        self._followed: dict[ShardId, int] = {}
        """By shard, the number of the last configuration that it has followed to its goal."""

    def tick(self) -> None:
        """Does what is due."""
        status = self.group.core.status()
        statuses = {shard: membership.group.core.status() for shard, membership in self.shards.items()}
        self.statuses = {ShardId(0): status, **statuses}
        self._dial_members(status, statuses.values())
        for shard, membership in self.shards.items():
            number = membership.tick(statuses[shard], status)
            if number and self.group.leader is not None and notes_of(status.configuration).goal:
                self.report(self.group.leader, shard, number)
        if self.group.is_leader:
            self.drive(status, self._next)

    def followed(self, shard: ShardId, number: int) -> None:
        """The leader of a shard says which configuration its shard has followed to its goal."""
        self._followed[shard] = max(number, self._followed.get(shard, 0))

    def change(self, target: Configuration) -> Index:
        """Proposes another configuration.

        Raises: NotLeader, ChangeRefused, ClientError.
        """
        core = self.group.core
        index = core.propose_configuration(numbered(core.status().configuration, target))
        self._dial_members(core.status(), [shard.group.core.status() for shard in self.shards.values()])
        return index

    def addresses(self, configuration: Configuration) -> dict[NodeId, Address]:
        """Where the members listen for their peers, as far as it is known."""
        book = {**self.known, **{NodeId(node): at for node, at in notes_of(configuration).addresses.items()}}
        members = configuration.members()
        return {node: at for node, at in book.items() if node in members}

    def _dial_members(self, status: Status, shards: Iterable[Status]) -> None:
        wanted: dict[NodeId, Address] = {}
        for each in [*shards, status]:
            wanted.update(self.addresses(each.configuration))
            for node in each.peers:
                if node not in wanted and node in self._dialled:
                    wanted[node] = self._dialled[node]  # is leaving, and has to hear of it
        if self.node not in status.configuration.members() or self.group.leader is None:
            # It waits to be added, or was removed, perhaps without having heard of it: others know who leads.
            wanted = {**self.known, **wanted}
        wanted.pop(self.node, None)
        if wanted != self._dialled:
            self._dialled = wanted
            self.dial(wanted)

    def _next(self, status: Status) -> Configuration | None:
        """The next step to the goal; the last one not before all shards are there."""
        current = status.configuration
        number = notes_of(current).number
        if any(self._followed.get(shard, 0) < number for shard in self.shards):
            return None
        target = step_to_goal(current, _caught_up(status))
        return None if target is None else numbered(current, target)


def _caught_up(status: Status) -> list[NodeId]:
    return [node for node, peer in status.peers.items() if peer.is_caught_up]
