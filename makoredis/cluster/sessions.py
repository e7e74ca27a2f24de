"""Telling the shards which sessions of a node are gone, so that they drop the answers kept for them (`txn.sessions`).

A shard's leader is told by the same connection as it is asked by, so after all requests of the session, and for the
leadership that this node knows. Had a later one been asked meanwhile, nothing of the earlier one would be chosen any
more. It is told again until it says that it keeps nothing of them.

What clients of this node's earlier processes have left behind is closed in the same way: the data directory says which
those were (`storage.directory`).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from makoredis.base.ids import NodeId, ShardId
from makoredis.cluster.messages import CloseSessions, SessionsClosed
from makoredis.txn.requests import Origin, origins_within
from makoredis.txn.sessions import ALL_SESSIONS, Intervals, close_sessions

if TYPE_CHECKING:
    from makoredis.cluster.shards import Shards

TELL_SECONDS = 1.0
"""How often a shard is told of what it has not confirmed."""
INTERVALS_MAX = 1000
"""In one message."""


class ClosedSessions:
    """Sessions of this node, and of other nodes in shards that are led here."""

    def __init__(self, shards: "Shards") -> None:
        self.shards = shards
        self.latest: dict[ShardId, dict[Origin, int]] = {shard: {} for shard in shards.slots.shards}
        """By shard and session: the last request that was taken in this leadership."""
        self.tell_seconds = TELL_SECONDS
        self._closed: dict[int, Intervals] = {}
        """By incarnation: what is gone."""
        self._untold: dict[tuple[ShardId, int], Intervals] = {}
        """By shard and incarnation: what its leader has not confirmed."""
        self._told_at = 0.0

    def close(self, session: int) -> None:
        """A client of this node is gone; nothing will be asked for it any more."""
        self.add(self.shards.incarnation, session, session)

    def close_processes(self, incarnations: Iterable[int]) -> None:
        """These were processes of this node, and have ended."""
        for incarnation in incarnations:
            self.add(incarnation, *ALL_SESSIONS)

    def add(self, incarnation: int, first: int, last: int) -> None:
        """Sessions of a process of this node are gone."""
        self._closed.setdefault(incarnation, Intervals()).add(first, last)
        for shard in self.shards.slots.shards:
            self._untold.setdefault((shard, incarnation), Intervals()).add(first, last)

    def untold_count(self) -> int:
        """How much some leader has not confirmed."""
        return sum(map(len, self._untold.values()))

    def tick(self, now: float) -> None:
        """Tells the shards' leaders, now and then."""
        if not self._untold or now - self._told_at < self.tell_seconds:
            return
        self._told_at = now
        for (shard, incarnation), untold in list(self._untold.items()):
            leader, term = self.shards.leader_of(shard)
            if not leader:
                continue
            sessions = list(untold)[:INTERVALS_MAX]
            closed = self._closed[incarnation]
            message = CloseSessions(shard, term, incarnation, sessions, [closed.around(first) for first, _ in sessions])
            if leader == self.shards.node:
                self.asked(NodeId(leader), message)
            else:
                self.shards.send(NodeId(leader), message)

    def asked(self, sender: NodeId, message: CloseSessions) -> None:
        """A node tells the leader of a shard."""
        shard = ShardId(message.shard)
        replica = self.shards.replicas.get(shard)
        if replica is None or replica.participant is None or not replica.is_serving() or replica.term != message.term:
            return
        done = close_sessions(replica.participant, message.incarnation, message.sessions, message.around)
        for interval in done:
            for origin in origins_within(self.latest[shard], message.incarnation, *interval):
                del self.latest[shard][origin]
        answer = SessionsClosed(shard, message.incarnation, done)
        if sender == self.shards.node:
            self.answered(answer)
        elif done:
            self.shards.send(sender, answer)

    def answered(self, message: SessionsClosed) -> None:
        """A leader keeps nothing of these."""
        name = (ShardId(message.shard), message.incarnation)
        untold = self._untold.get(name)
        if untold is None:
            return
        for interval in message.sessions:
            untold.remove(*interval)
        if not untold:
            del self._untold[name]
