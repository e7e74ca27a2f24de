"""Replies of a shard's leader that have to wait, and what for: that all they show is final, and, where a reply only
reads and there is no lease, that a majority has confirmed this leadership since.

A confirmation is a *round*: the driver asks a quorum once for all that has come to wait for one since it last asked.
Execution has to come before the question, so what is read later waits for the next round.
"""

from dataclasses import dataclass, field

from makoredis.txn.in_hand import Reply, Turned, Waiting
from makoredis.txn.messages import Commit, TransactionId


@dataclass(slots=True, eq=False)
class Held:
    """What one leadership holds back."""

    may_ask: bool = False
    """Kept by the driver: whether a quorum can be asked. If not, what needs a lease fails without one."""
    waiting: list[Waiting] = field(default_factory=list)
    releases: dict[TransactionId, tuple[int, Commit]] = field(default_factory=dict)
    """Ends of read-only transactions over several shards, with the round that they wait for."""
    asked: int = 0
    """The last round that a quorum was asked for."""
    confirmed: int = 0
    """The last one that it has confirmed."""
    is_wanted: bool = False
    """Whether somebody waits for the round behind `asked`."""

    def next_round(self) -> int:
        """The round that has to be waited for by who reads now."""
        self.is_wanted = True
        return self.asked + 1

    def ask(self) -> int:
        """The driver asks a quorum now. Returns the number of the round."""
        self.is_wanted = False
        self.asked += 1
        return self.asked

    def hold(self, waiting: Waiting, replies: list[Reply | Turned]) -> None:
        """Puts a reply among those that leave, or keeps it."""
        if self._may_show(waiting):
            replies.append(Reply(waiting.submission.ticket, waiting.results, waiting.ts))
        else:
            self.waiting.append(waiting)

    def release(self, replies: list[Reply | Turned]) -> list[Waiting]:
        """Puts what may leave now among the replies that do. Returns those that show what is void."""
        kept, self.waiting = self.waiting, []
        void: list[Waiting] = []
        for one in kept:
            if any(item.is_void for item in one.seen):
                void.append(one)
            else:
                self.hold(one, replies)
        return void

    def _may_show(self, waiting: Waiting) -> bool:
        return waiting.round <= self.confirmed and all(item.is_final for item in waiting.seen)

    def take_releases(self) -> list[Commit]:
        """The read-only transactions that may end."""
        due = [id for id, (round_, _) in self.releases.items() if round_ <= self.confirmed]
        return [self.releases.pop(id)[1] for id in due]
