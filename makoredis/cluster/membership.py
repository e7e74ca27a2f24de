"""Membership of a running node: dials the members, and as leader drives changes on to their goal.

Every node dials who is in its configuration. The leader, besides,

* makes learners voters when a goal says so and all of them have caught up (`members.step_to_goal`);
* hands over when it is drained and another node can lead.
"""

from collections.abc import Callable

from makoredis.base.errors import Busy, ClientError, NotLeader
from makoredis.base.ids import Index, NodeId
from makoredis.cluster.host import ShardHost
from makoredis.cluster.members import Address, notes_of, step_to_goal
from makoredis.consensus.core import ChangeRefused, Status
from makoredis.consensus.types import Configuration


class Membership:
    """Acts on the configuration of one shard."""

    def __init__(
        self,
        node: NodeId,
        host: ShardHost,
        known: dict[NodeId, Address],
        dial: Callable[[dict[NodeId, Address]], None],
    ) -> None:
        """
        Args:
            known: addresses from the configuration file: for who is not in the cluster's own book.
            dial: hangs up on everybody else.
        """
        self.node = node
        self.host = host
        self.known = known
        self.dial = dial
        self._dialled: dict[NodeId, Address] = {}
        self.last_refusal = ""
        """Why a change could not go on when it was tried last."""

    def tick(self) -> None:
        """Does what is due."""
        status = self.host.core.status()
        self._dial_members(status)
        if not self.host.is_leader:
            return
        is_settled = status.configuration_index <= status.commit_index and self.host.is_settled()
        if is_settled and status.transferring_to is None:
            self._go_on(status)
            self._leave_if_drained(status)

    def change(self, target: Configuration) -> Index:
        """Proposes another configuration.

        Raises: NotLeader, ChangeRefused, ClientError.
        """
        index = self.host.core.propose_configuration(target)
        self._dial_members(self.host.core.status())
        return index

    def addresses(self, configuration: Configuration) -> dict[NodeId, Address]:
        """Where the members listen for their peers, as far as it is known."""
        book = {**self.known, **{NodeId(node): at for node, at in notes_of(configuration).addresses.items()}}
        members = configuration.members()
        return {node: at for node, at in book.items() if node in members}

    def successors(self, status: Status) -> list[NodeId]:
        """Who could take the leadership at once, the best one first."""
        configuration = status.configuration
        excluded = {*notes_of(configuration).drained, self.node}
        able = [
            (peer.match_index, node)
            for node, peer in status.peers.items()
            if peer.is_live and peer.is_caught_up and configuration.may_lead(node) and node not in excluded
        ]
        return [node for _, node in sorted(able, reverse=True)]

    def _dial_members(self, status: Status) -> None:
        configuration = status.configuration
        wanted = self.addresses(configuration)
        if self.node not in configuration.members():
            wanted = {**self.known, **wanted}  # waits to be added, or was removed: others know who leads
        for node in status.peers:
            if node not in wanted and node in self._dialled:
                wanted[node] = self._dialled[node]  # is leaving, and has to hear of it
        wanted.pop(self.node, None)
        if wanted != self._dialled:
            self._dialled = wanted
            self.dial(wanted)

    def _go_on(self, status: Status) -> None:
        caught_up = [node for node, peer in status.peers.items() if peer.is_caught_up]
        target = step_to_goal(status.configuration, caught_up)
        if target is not None:
            self._try(lambda: self.change(target))

    def _leave_if_drained(self, status: Status) -> None:
        if self.node in notes_of(status.configuration).drained:
            successors = self.successors(status)
            if successors:
                self._try(lambda: self.host.transfer_leadership(successors[0]))

    def _try(self, action: Callable[[], object]) -> None:
        """What cannot be done now is tried again at the next tick."""
        try:
            action()
        except (ChangeRefused, NotLeader, Busy, ClientError) as error:
            self.last_refusal = str(error)
