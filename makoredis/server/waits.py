"""WAIT and WAITAOF: clients that want to know how far their writes have come.

A client hears of its own write only when it is on the disks of a majority. So there is nothing to wait for with less
than a majority in mind; more than that is what WAIT tells.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from makoredis.server.session import Session

if TYPE_CHECKING:
    from makoredis.server.server import Server


@dataclass(slots=True)
class Waiting:
    """One client. `index`: the last entry that may hold a write of its, 0 until this turn's is proposed."""

    session: Session
    replicas: int
    deadline_ms: int
    """0 = never."""
    wants_local: bool
    """WAITAOF: the reply says of the own disk, too."""
    index: int = 0
    question: int = 0
    """Where there are several shards: the number of what their leaders are asked (`cluster.replicated`)."""
    known: int = 0
    """So many have it in any case."""

    def reply(self, count: int) -> Any:
        return [1, count] if self.wants_local else count


class Waits:
    """All clients of this node that wait for replicas."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.waiting: list[Waiting] = []

    def count_now(self, index: int) -> int:
        """How many other replicas have the log up to an index on their disks, as far as this node knows."""
        status = self.server.node.host.core.status()
        if status.peers:
            return sum(peer.match_index >= index for peer in status.peers.values())
        return len(status.configuration.voters) // 2

    def park(self, session: Session, waiting: Waiting) -> None:
        """Makes a session wait; its further requests go to its backlog."""
        session.blocked = waiting
        session.refresh_special()
        self.waiting.append(waiting)
        if self.server.router is not None:
            waiting.question = self.server.router.shards.replicated.begin(waiting.replicas)
        if waiting.deadline_ms:
            self.server.timer.wake_at(waiting.deadline_ms)

    def end_turn(self) -> None:
        """Answers those who have waited enough: for replicas, or for their time."""
        now_ms = self.server.now_ms
        for waiting in self.waiting[:]:
            session = waiting.session
            count = self._count(waiting)
            is_over = bool(waiting.deadline_ms) and waiting.deadline_ms <= now_ms
            if session.closed_reason is not None or session.blocked is not waiting:
                self._forget(waiting)
            elif count >= waiting.replicas or is_over:
                self._forget(waiting)
                session.blocked = None
                session.refresh_special()
                self.server.dispatcher.answer(session, waiting.reply(count), None)
                session.want_flush()
                self.server.reactor.resume(session)

    def _count(self, waiting: Waiting) -> int:
        if self.server.router is not None:
            return max(waiting.known, self.server.router.shards.replicated.count(waiting.question))
        host = self.server.node.host
        waiting.index = waiting.index or max(host.applied_index, host.executor.last_proposed)
        return self.count_now(waiting.index)

    def _forget(self, waiting: Waiting) -> None:
        self.waiting.remove(waiting)
        if self.server.router is not None:
            self.server.router.shards.replicated.end(waiting.question)

    def next_deadline_ms(self) -> int | None:
        """When somebody's time is over."""
        return min((waiting.deadline_ms for waiting in self.waiting if waiting.deadline_ms), default=None)
