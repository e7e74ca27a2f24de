"""What a participant has in hand: requests, votes, outcomes, entries on their way, and its output to the driver."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from makoredis.base.record import record
from makoredis.data.effects import Effect
from makoredis.txn.entries import ClosedEpochs
from makoredis.txn.gate import Gate
from makoredis.txn.knowledge import Watermark
from makoredis.txn.messages import Aborted, Answer, Committed, Part, Prepare, Prepared, Query, Refused, TransactionId
from makoredis.txn.pending import PendingTransaction
from makoredis.txn.requests import RequestRecord
from makoredis.txn.resolution import Inquiry
from makoredis.txn.sessions import SessionRange
from makoredis.txn.vectors import Vector, to_wire

REFUSED_MAX = 100_000
"""Refused attempts that are remembered. Beyond it the oldest goes, and everything that started before it is refused."""


@record
class Reply:
    """The answer to a `submit`: final, may be shown."""

    ticket: Hashable
    results: bytes
    ts: int
    """The leader's clock when it was executed: what a WATCH remembers."""


@record
class Turned:
    """A `submit` that was not executed here and never will be: this leader may not, or no longer."""

    ticket: Hashable


@dataclass(slots=True)
class Output:
    """What to do now. Messages go to a coordinator's node or to a shard's leader."""

    to_nodes: list[tuple[int, Prepared | Refused | Committed | Aborted]] = field(default_factory=list)
    to_shards: list[tuple[int, Query | Answer]] = field(default_factory=list)
    replies: list[Reply | Turned] = field(default_factory=list)
    watermark: Watermark | None = None
    voided: list[Gate] = field(default_factory=list)
    """Gates that never open; whoever waits there has to run again."""
    final: list[PendingTransaction] = field(default_factory=list)
    """What has become final, in order, if the driver wants to tell somebody (`reports`)."""

    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        is_silent = not (self.to_nodes or self.to_shards or self.replies)
        return is_silent and self.watermark is None and not (self.voided or self.final)


@dataclass(slots=True, eq=False)
class Submission:
    ticket: Hashable
    part: Part
    request: RequestRecord | None
    """Without the answer."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A reply and what it shows."""

    submission: Submission
    seen: list[PendingTransaction]
    results: bytes
    ts: int
    round: int = 0
    """What has to be confirmed of the leadership (`held`)."""


@dataclass(slots=True, eq=False)
class PreparedTransaction:
    prepare: Prepare
    proposal_ts: int
    vector: Vector
    results: bytes
    effects: list[Effect]
    notices: list[tuple[int, bytes, bytes, int]]
    """Of its own effects (`Access.notices`)."""
    deadline_us: int
    inquiry: Inquiry | None = None
    """Set when the vote is frozen."""
    may_vote: bool = True
    """Synchronous execution: whether the vote is durable."""

    def vote(self, shard: int, epoch: int) -> Prepared:
        """What to answer: yes."""
        vector = to_wire(self.vector)
        return Prepared(self.prepare.id, shard, epoch, self.proposal_ts, vector, self.results)


def row_ts(written_ts: int, prepared: Iterable[PreparedTransaction], db: int, key: bytes) -> int:
    """Up to which timestamp a key's row goes, last written at `written_ts`: what is undecided is not in it."""
    for transaction in prepared:
        if transaction.proposal_ts <= written_ts and any(
            lock.is_exclusive and lock.covers(db, key) for lock in transaction.prepare.part.locks
        ):
            written_ts = transaction.proposal_ts - 1
    return written_ts


@record
class Outcome:
    ts: int
    vector: Vector
    effects: list[tuple[int, list[Effect]]]


@record
class Proposed:
    """An entry on its way."""

    index: int
    closed_ts: int
    facts: list[ClosedEpochs]
    closed_sessions: list[SessionRange]
    prepared: list[TransactionId] = field(default_factory=list)
    """Votes that wait for it."""


class Refusals:
    """Attempts that a shard has said no to, and says no to for ever."""

    def __init__(self) -> None:
        self.floor = 0
        """What has started before is refused, remembered or not."""
        self._started: dict[TransactionId, int] = {}

    def __contains__(self, id: TransactionId) -> bool:
        return id in self._started

    def add(self, id: TransactionId, started_ts: int) -> None:
        """Remembers one, in place of the oldest if there are too many."""
        self._started[id] = started_ts
        if len(self._started) > REFUSED_MAX:
            self.floor = max(self.floor, self._started.pop(next(iter(self._started))))
