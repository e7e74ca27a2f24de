"""A session's node drives a transaction over several shards: speculative two-phase commit (Mako §4; design section 10).

Prepare at all participants at once, nobody waiting; on a conflict release everything and go in shard order, waiting:
there is then no cycle of waiters, and whoever is first in the queues gets through. All prepared: the timestamp is the
largest proposal, the vector joins what the participants saw and, unless it only reads, every participant's epoch at
that timestamp. Nothing has been replicated up to here. The answer waits until

* writing: one participant has committed, and the vector is satisfied. Satisfied means that every participant's
  `closed_ts` has passed the timestamp, so each has decided, and they decide alike;
* reading only: every participant confirms that it held the locks until the release, and what was read is final.

Who is prepared holds back its shard's watermark, and with it everybody who depends on another shard's. So an attempt
does not wait for a leader that is not heard (`suspect`) while others are prepared: it asks that one first, alone, and
the others once it has voted.

A broken vector or an `Aborted` means that the attempt has no effect and never will: the whole transaction starts again
as a new attempt. Without either, after the time limit, the outcome is unknown and said to be so.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from makoredis.base.record import record
from makoredis.data.effects import Effect
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.messages import (
    Abort,
    Aborted,
    Commit,
    Committed,
    Part,
    Prepare,
    Prepared,
    Refusal,
    Refused,
    TransactionId,
)
from makoredis.txn.vectors import Vector, from_wire, join, join_into, to_wire

Combine = Callable[[Mapping[int, bytes]], dict[int, list[Effect]] | None]
"""Works out every shard's effects from the results of all; None: the transaction is not to be."""

RESEND_AFTER_US = 50_000
"""An unanswered message goes out again after this."""
PREPARE_TIMEOUT_US = 250_000
"""An attempt that is not prepared everywhere by then is given up and started again."""
ORDERED_PATIENCE = 8
"""So many times as long if it waits in queues: what it waits for moves on, and its place would be lost."""
GIVE_UP_AFTER_US = 2_000_000
"""A transaction that has no outcome by then is answered as failed, or as unknown if it may have committed."""
PATIENCE_PER_KEY_US = 100
"""So much longer everybody waits, coordinator and participants, for every key that a transaction locks beyond the few
that are usual: to fetch and to send many values takes its time, and to begin anew would take it again."""
FEW_KEYS = 100
PATIENCE_MAX_US = 10_000_000
"""But no longer: the locks of a coordinator that has died are held for as long, too."""
AUTHORS_MAX = 10_000
"""Of so many transactions that wrote it is known whose they were, the last ones."""
RETRY_AFTER_US = 5_000
"""Pause before an attempt at a shard that is without leader, or in another epoch."""


class Verdict(IntEnum):
    """How a transaction ended."""

    DONE = 0
    WATCH_FAILED = 1
    """Nothing was done, because a watched key was written."""
    NOT_DONE = 2
    """It could not be prepared in time; it has no effect."""
    UNKNOWN = 3
    """It may have happened, or may still."""
    MOVED = 4
    """Nothing was done, because some keys are in other shards than was thought; the results say in which."""
    DECLINED = 5
    """Nothing was done: whoever combines the results has seen that nothing may be."""


@record
class Finished:
    """The answer to a `begin`."""

    ticket: Hashable
    verdict: Verdict
    results: dict[int, bytes]
    ts: int = 0
    """Of the transaction; what a later read of a snapshot must have seen."""


class _Phase(IntEnum):
    PAUSING = 0
    PREPARING = 1
    COMMITTING = 2


@dataclass(slots=True, eq=False)
class _Transaction:
    ticket: Hashable
    parts: Mapping[int, Part]
    is_read_only: bool
    combine: Combine | None
    give_up_us: int
    patience_us: int
    id: TransactionId = (0, 0)
    started_ts: int = 0
    is_ordered: bool = False
    asked_first: frozenset[int] = frozenset()
    """Shards that were silent when this attempt began: nobody else is asked before they have voted."""
    phase: _Phase = _Phase.PAUSING
    phase_ends_us: int = 0
    resend_us: int = 0
    epochs: dict[int, int] = field(default_factory=dict)
    votes: dict[int, Prepared] = field(default_factory=dict)
    committed: set[int] = field(default_factory=set)
    ts: int = 0
    vector: Vector = field(default_factory=dict)
    effects: list[tuple[int, list[Effect]]] = field(default_factory=list)


class Coordinator:
    """All transactions that one node coordinates. `take_output` has what to send to shards' leaders, and answers."""

    def __init__(
        self, node: int, incarnation: int, knowledge: Knowledge, give_up_after_us: int = GIVE_UP_AFTER_US
    ) -> None:
        self.node = node
        self.incarnation = incarnation
        self.knowledge = knowledge
        self.give_up_after_us = give_up_after_us
        self.prepare_timeout_us = PREPARE_TIMEOUT_US
        self.resend_after_us = RESEND_AFTER_US
        self.now_us = 0
        self.begun = 0
        """Transactions."""
        self.attempts = 0
        """All of them took so many."""
        self.conflicts = 0
        """Attempts that met a lock of somebody else."""
        self.authors: dict[TransactionId, Hashable] = {}
        """The tickets of the last transactions that wrote."""
        self._by_id: dict[TransactionId, _Transaction] = {}
        self._epochs: dict[int, int] = {}
        """The latest epoch by shard that a refusal has named."""
        self._silent: frozenset[int] = frozenset()
        """Shards that the driver does not hear, and that have not answered since it said so."""
        self._suspected: frozenset[int] = frozenset()
        """Those it has named last."""
        self._settled = -1
        """The version of what was known when `settle` was called last."""
        self._messages: list[tuple[int, Prepare | Commit | Abort]] = []
        self._finished: list[Finished] = []

    def __len__(self) -> int:
        return len(self._by_id)

    def begin(
        self, ticket: Hashable, parts: Mapping[int, Part], *, is_read_only: bool, combine: Combine | None = None
    ) -> None:
        """Starts a transaction. `Finished` with this ticket follows, in bounded time."""
        key_count = sum(len(part.locks) for part in parts.values())
        patience_us = min(PATIENCE_PER_KEY_US * max(0, key_count - FEW_KEYS), PATIENCE_MAX_US)
        give_up_us = self.now_us + self.give_up_after_us + patience_us
        transaction = _Transaction(ticket, parts, is_read_only, combine, give_up_us, patience_us)
        self.begun += 1
        self._attempt(transaction)

    def suspect(self, silent: frozenset[int]) -> None:
        """Names all shards whose leader is unknown, or not heard. To be wrong about that costs a round trip."""
        if silent == self._suspected:
            return
        lost = silent - self._suspected
        self._suspected = silent
        self._silent = (self._silent & silent) | lost
        for transaction in list(self._by_id.values()) if lost else []:
            missing = transaction.parts.keys() - transaction.votes.keys()
            if transaction.phase is _Phase.PREPARING and not lost.isdisjoint(missing):
                self._abort(transaction)
                self._attempt(transaction)

    def tick(self, now_us: int) -> None:
        """Time has passed: resends, retries, gives up."""
        self.now_us = now_us
        for transaction in list(self._by_id.values()):
            self._on_time(transaction)

    def step(self, message: Prepared | Refused | Committed | Aborted) -> None:
        """A participant answers. Answers to past attempts are ignored."""
        if message.shard in self._silent and (type(message) is not Refused or message.reason != Refusal.NOT_SERVING):
            self._silent -= {message.shard}
        transaction = self._by_id.get(message.id)
        if transaction is None:
            return
        if isinstance(message, Prepared):
            self._on_prepared(transaction, message)
        elif isinstance(message, Refused):
            self._on_refused(transaction, message)
        elif isinstance(message, Committed):
            transaction.committed.add(message.shard)
            self._settle(transaction)
        elif transaction.phase is _Phase.COMMITTING:
            # Not at once: why it was aborted, the lack of a lease for example, may last for the rest of the turn.
            self._pause(transaction)

    def settle(self) -> None:
        """The node's knowledge has grown."""
        if self.knowledge.version == self._settled:
            return
        self._settled = self.knowledge.version
        for transaction in list(self._by_id.values()):
            self._settle(transaction)

    def take_output(self) -> tuple[list[tuple[int, Prepare | Commit | Abort]], list[Finished]]:
        """Messages by shard, for its leader; and answers."""
        messages, self._messages = self._messages, []
        finished, self._finished = self._finished, []
        return messages, finished

    # -- preparing

    def _attempt(self, transaction: _Transaction) -> None:
        """Starts anew, under a new id. The last attempt has no effect, or its abort is on the way."""
        self._by_id.pop(transaction.id, None)
        self.attempts += 1
        transaction.id = (self.incarnation, self.attempts)
        self._by_id[transaction.id] = transaction
        transaction.started_ts = self.now_us
        transaction.phase = _Phase.PREPARING
        transaction.asked_first = self._silent.intersection(transaction.parts)
        patience = ORDERED_PATIENCE if self._waits_in_queues(transaction) else 1
        transaction.phase_ends_us = self.now_us + self.prepare_timeout_us * patience + transaction.patience_us
        transaction.votes, transaction.committed = {}, set()
        transaction.epochs = {
            shard: max(self.knowledge.epoch_of(shard), self._epochs.get(shard, 0)) for shard in transaction.parts
        }
        self._send_prepares(transaction)

    def _send_prepares(self, transaction: _Transaction) -> None:
        transaction.resend_us = self._resend_us(transaction)
        missing = [shard for shard in sorted(transaction.parts) if shard not in transaction.votes]
        first = [shard for shard in missing if shard in transaction.asked_first]
        if first:
            missing = first
        elif self._waits_in_queues(transaction):
            missing = missing[:1]
        for shard in missing:
            self._send_prepare(transaction, shard)

    def _resend_us(self, transaction: _Transaction) -> int:
        """When to say again what is not answered by then. What is long takes long to be answered, and to be heard."""
        return self.now_us + self.resend_after_us + transaction.patience_us // 4

    @staticmethod
    def _waits_in_queues(transaction: _Transaction) -> bool:
        """Whether locks are taken in shard order; nobody else may wait for any."""
        return transaction.is_ordered and not transaction.asked_first

    def _send_prepare(self, transaction: _Transaction, shard: int) -> None:
        prepare = Prepare(
            transaction.id,
            self.node,
            sorted(transaction.epochs.items()),
            transaction.started_ts,
            transaction.parts[shard],
            transaction.is_read_only,
            self._waits_in_queues(transaction),
            transaction.patience_us,
        )
        self._messages.append((shard, prepare))

    def _on_prepared(self, transaction: _Transaction, vote: Prepared) -> None:
        if transaction.phase is not _Phase.PREPARING or vote.shard in transaction.votes:
            return
        transaction.votes[vote.shard] = vote
        if len(transaction.votes) == len(transaction.parts):
            self._commit(transaction)
        elif self._waits_in_queues(transaction) or vote.shard in transaction.asked_first:
            self._send_prepares(transaction)

    def _on_refused(self, transaction: _Transaction, refusal: Refused) -> None:
        if transaction.phase is not _Phase.PREPARING:
            return
        self._abort(transaction)
        self._epochs[refusal.shard] = max(self._epochs.get(refusal.shard, 0), refusal.epoch)
        if refusal.reason == Refusal.WATCH:
            self._finish(transaction, Verdict.WATCH_FAILED)
        elif refusal.reason == Refusal.MOVED:
            del self._by_id[transaction.id]
            self._finished.append(Finished(transaction.ticket, Verdict.MOVED, {refusal.shard: refusal.moved}))
        elif refusal.reason == Refusal.CONFLICT:
            self.conflicts += 1
            transaction.is_ordered = True
            self._attempt(transaction)
        else:
            self._pause(transaction)

    def _abort(self, transaction: _Transaction) -> None:
        """Only of an attempt that was not committed anywhere, or only reads."""
        for shard in transaction.parts:
            self._messages.append((shard, Abort(transaction.id, transaction.started_ts)))

    def _pause(self, transaction: _Transaction) -> None:
        """Begins anew, a little later."""
        transaction.phase = _Phase.PAUSING
        transaction.phase_ends_us = self.now_us + RETRY_AFTER_US

    # -- committing

    def _commit(self, transaction: _Transaction) -> None:
        votes = transaction.votes
        combined: Mapping[int, list[Effect]] | None = {}
        if transaction.combine is not None:
            combined = transaction.combine({shard: vote.results for shard, vote in votes.items()})
        if combined is None:
            self._abort(transaction)
            self._finish(transaction, Verdict.DECLINED)
            return
        transaction.phase = _Phase.COMMITTING
        transaction.phase_ends_us = transaction.give_up_us
        if transaction.is_read_only:
            # It has no effect; that no participant can say any more whether its locks were good, is no reason to wait.
            phase_ends_us = self.now_us + self.prepare_timeout_us + transaction.patience_us
            transaction.phase_ends_us = min(transaction.give_up_us, phase_ends_us)
        transaction.ts = max(vote.proposal_ts for vote in votes.values())
        transaction.vector = join(from_wire(vote.vector) for vote in votes.values())
        if not transaction.is_read_only:
            self._note_author(transaction)
            join_into(transaction.vector, {(vote.shard, vote.epoch): transaction.ts for vote in votes.values()})
        transaction.effects = []
        if transaction.combine is not None:
            transaction.effects = [(shard, combined.get(shard, [])) for shard in sorted(votes)]
        self._send_commits(transaction)

    def _note_author(self, transaction: _Transaction) -> None:
        if len(self.authors) >= AUTHORS_MAX:
            del self.authors[next(iter(self.authors))]
        self.authors[transaction.id] = transaction.ticket

    def _send_commits(self, transaction: _Transaction) -> None:
        transaction.resend_us = self._resend_us(transaction)
        vector = to_wire(transaction.vector)
        for shard, vote in sorted(transaction.votes.items()):
            if shard not in transaction.committed:
                commit = Commit(transaction.id, self.node, vote.epoch, transaction.ts, vector, transaction.effects)
                self._messages.append((shard, commit))

    def _settle(self, transaction: _Transaction) -> None:
        if transaction.phase is not _Phase.COMMITTING:
            return
        if self.knowledge.is_broken(transaction.vector):
            self._attempt(transaction)
            return
        needed = len(transaction.parts) if transaction.is_read_only else 1
        if len(transaction.committed) >= needed and self.knowledge.is_satisfied(transaction.vector):
            self._finish(transaction, Verdict.DONE)

    def _finish(self, transaction: _Transaction, verdict: Verdict) -> None:
        del self._by_id[transaction.id]
        results = {shard: vote.results for shard, vote in transaction.votes.items()}
        self._finished.append(Finished(transaction.ticket, verdict, results, transaction.ts))

    # -- time

    def _on_time(self, transaction: _Transaction) -> None:
        now_us = self.now_us
        if now_us >= transaction.give_up_us:
            self._give_up(transaction)
        elif now_us >= transaction.phase_ends_us:
            if transaction.phase is not _Phase.PAUSING:
                self._abort(transaction)
            self._attempt(transaction)
        elif now_us >= transaction.resend_us:
            if transaction.phase is _Phase.PREPARING:
                self._send_prepares(transaction)
                for shard in transaction.votes:  # says that this coordinator is alive
                    self._send_prepare(transaction, shard)
            elif transaction.phase is _Phase.COMMITTING:
                self._send_commits(transaction)

    def _give_up(self, transaction: _Transaction) -> None:
        if transaction.phase is _Phase.COMMITTING and not transaction.is_read_only:
            self._finish(transaction, Verdict.UNKNOWN)
            return
        self._abort(transaction)
        self._finish(transaction, Verdict.NOT_DONE)
