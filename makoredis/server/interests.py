"""What clients of other nodes listen to, so that PUBLISH can say how many get a message, whichever node executes it.

Every node tells all others how many of its clients listen to what: all of it when a connection is new, later at a
turn's end what has changed. Only the number that PUBLISH answers rests on it; messages go to all nodes with the log. So
it may be out of date: a subscription counts elsewhere a moment after it was confirmed.
"""

from typing import TYPE_CHECKING

from makoredis.base.ids import NodeId
from makoredis.cluster.messages import Listeners
from makoredis.commands.glob import Matcher, matcher

if TYPE_CHECKING:
    from makoredis.server.server import Server

CHANNEL, PATTERN, SHARD_CHANNEL = range(3)

Interest = tuple[int, bytes]
"""One of the kinds above, and a name."""


class Interests:
    """The other nodes' subscribers, and what they have to be told of this one's."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.changed: set[Interest] = set()
        """Of this node, since it told the others last."""
        self._elsewhere: dict[NodeId, dict[Interest, int]] = {}
        self._matchers: dict[bytes, Matcher] = {}
        """Of the other nodes' patterns."""

    def count(self, channel: bytes, is_sharded: bool) -> int:
        """How many clients of other nodes would get a message, as often as they would."""
        total = 0
        for known in self._elsewhere.values():
            total += known.get((SHARD_CHANNEL if is_sharded else CHANNEL, channel), 0)
        if self._matchers and not is_sharded:
            for pattern, matches in self._matchers.items():
                if matches(channel):
                    total += sum(known.get((PATTERN, pattern), 0) for known in self._elsewhere.values())
        return total

    # -- telling the others

    def end_turn(self) -> None:
        """Tells everybody what has changed."""
        transport = self.server.node.transport
        changed, self.changed = self.changed, set()
        if transport is not None:
            message = Listeners(False, [(*each, self._own(each)) for each in sorted(changed)])
            for node in transport.links:
                transport.send(node, message)

    def peer_connected(self, node: NodeId) -> None:
        """A connection is new: tells everything."""
        pubsub, transport = self.server.pubsub, self.server.node.transport
        own = [
            *((CHANNEL, name) for name in pubsub.channels),
            *((PATTERN, name) for name in pubsub.patterns),
            *((SHARD_CHANNEL, name) for name in pubsub.shard_channels),
        ]
        if transport is not None:
            transport.send(node, Listeners(True, [(*each, self._own(each)) for each in own]))

    def _own(self, interest: Interest) -> int:
        kind, name = interest
        pubsub = self.server.pubsub
        if kind == PATTERN:
            return len(pubsub.patterns[name].subscribers) if name in pubsub.patterns else 0
        return len((pubsub.channels if kind == CHANNEL else pubsub.shard_channels).get(name, ()))

    # -- being told

    def learn(self, sender: NodeId, message: Listeners) -> None:
        """Another node has told what its clients listen to."""
        known = self._elsewhere.setdefault(sender, {})
        if message.is_all:
            known.clear()
        for kind, name, count in message.counts:
            if count:
                known[kind, name] = count
            else:
                known.pop((kind, name), None)
        self._find_patterns()

    def peer_gone(self, node: NodeId) -> None:
        """Nothing is known of a node any more."""
        if self._elsewhere.pop(node, None):
            self._find_patterns()

    def _find_patterns(self) -> None:
        patterns = {name for known in self._elsewhere.values() for kind, name in known if kind == PATTERN}
        self._matchers = {name: self._matchers.get(name) or matcher(name) for name in patterns}
