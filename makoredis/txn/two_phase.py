"""A shard's part in transactions over several shards: prepare, vote, commit; and what becomes of a transaction whose
coordinator is silent (Mako §4; design sections 10 and 11).

A prepared transaction holds its locks and is not in the keyspace: it was run once, for its results and effects, and
taken back. A commit appends its effects. Whoever hears nothing asks the other participants, and while it asks its vote
is frozen: then only their answers decide, not the coordinator (`resolution`).
"""

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, ClassVar

from makoredis.txn.entries import CrossShard, TransactionRecord
from makoredis.txn.handover import elsewhere
from makoredis.txn.in_hand import Outcome, PreparedTransaction, Refusals
from makoredis.txn.messages import (
    Abort,
    Aborted,
    Answer,
    Commit,
    Committed,
    Fate,
    Prepare,
    Query,
    Refusal,
    Refused,
    ShardMessage,
    TransactionId,
)
from makoredis.txn.pending import PendingTransaction, depend_on, latest_ts, vector_of
from makoredis.txn.resolution import Inquiry
from makoredis.txn.vectors import from_wire, to_wire

if TYPE_CHECKING:
    from makoredis.txn.knowledge import Knowledge
    from makoredis.txn.participant import Participant


class TwoPhaseCommit:
    """The side of a participant that votes in transactions which others coordinate."""

    def __init__(self, participant: "Participant") -> None:
        self.participant = participant
        self.shard, self.epoch = participant.shard, participant.epoch
        self.prepared: dict[TransactionId, PreparedTransaction] = {}
        self.outcomes: dict[TransactionId, Outcome] = {}
        """Committed ones that somebody may still ask about: those above `W`."""
        self._refused = Refusals()
        self._queued: dict[TransactionId, Prepare] = {}
        """They wait for locks."""

    # -- what the participant calls

    def tick(self, now_us: int) -> None:
        """Asks about what has been silent for too long."""
        for transaction in [item for item in self.prepared.values() if item.deadline_us <= now_us]:
            self._inquire(transaction)

    def step(self, message: ShardMessage) -> None:
        """A message from a coordinator or another shard's leader."""
        self._HANDLERS[type(message)](self, message)

    def granted(self, owner: Hashable) -> None:
        """Somebody has got the locks that it waited for."""
        if owner in self._queued:
            self._prepare(self._queued.pop(owner))

    def closable_ts(self, last_ts: int) -> int:
        """Up to where nothing is undecided, of what has a timestamp up to `last_ts`."""
        undecided = min((item.proposal_ts for item in self.prepared.values()), default=last_ts + 1)
        return min(last_ts, undecided - 1)

    def void(self, knowledge: "Knowledge") -> None:
        """Gives up what depends on something lost."""
        for transaction in [item for item in self.prepared.values() if knowledge.is_broken(item.vector)]:
            self._abort(transaction.prepare.id, transaction.prepare.started_ts)

    def forget(self, global_ts: int) -> None:
        """Nobody asks any more about what is at or below `W`; that it is committed the replica keeps for a while."""
        participant = self.participant
        for id, outcome in [item for item in self.outcomes.items() if item[1].ts <= global_ts]:
            del self.outcomes[id]
            if not participant.knowledge.is_broken(outcome.vector):
                participant.replica.committed[id] = outcome.ts

    def refuse(self, message: Prepare, reason: Refusal, moved: bytes = b"") -> None:
        """Says no to a coordinator."""
        refusal = Refused(message.id, self.shard, self.epoch, reason, moved)
        self.participant.output.to_nodes.append((message.coordinator, refusal))

    def vote_durably(self, id: TransactionId) -> None:
        """Synchronous execution: the entry is chosen that names a vote."""
        transaction = self.prepared.get(id)
        if transaction is not None:
            transaction.may_vote = True
            self._vote(transaction)

    def tell_released(self, message: Commit) -> None:
        """Its read-only transaction is over: a majority has confirmed that its locks were good."""
        transaction = self.prepared.get(message.id)
        if transaction is not None:
            self._tell(message, Committed(message.id, self.shard))
            self._end(transaction)

    # -- votes

    def _on_prepare(self, message: Prepare) -> None:
        participant = self.participant
        id = message.id
        known = self.prepared.get(id)
        if known is not None:
            if known.inquiry is None:
                known.deadline_us = participant.now_us + participant.resolve_after_us + message.patience_us
            self._vote(known)
        elif dict(message.epochs)[self.shard] != self.epoch:
            self.refuse(message, Refusal.EPOCH)
        elif id in self._refused or message.started_ts <= self._refused.floor:
            self.refuse(message, Refusal.OVER)
        elif id in self.outcomes or id in participant.replica.committed or id in self._queued:
            return  # a late copy: what is committed must not be prepared, and committed, once more
        elif participant.locks.try_lock(id, message.part.locks):
            self._prepare(message)
        elif message.may_wait:
            self._queued[id] = message
            participant.locks.wait(id, message.part.locks)
        else:
            self.refuse(message, Refusal.CONFLICT)

    def _prepare(self, message: Prepare) -> None:
        """The locks are held: runs it, takes it back, votes."""
        participant = self.participant
        part = message.part
        moved = elsewhere(participant.space, self.shard, part.locks)
        if moved:
            self.refuse(message, Refusal.MOVED, moved)
            participant.unlock(message.id)
            return
        if not participant.watches_hold(part.watches):
            self.refuse(message, Refusal.WATCH)
            participant.unlock(message.id)
            return
        seen = participant.pending.seen_by(part.locks)
        access = participant.new_access()
        results = participant.program(access, part.operation)
        effects, notices = list(access.effects), access.notices
        access.rollback()
        if not any(lock.is_exclusive for lock in part.locks):
            effects, notices = [], []  # deletions of what has expired: for whoever holds the key exclusively
        vector = vector_of(seen, participant.knowledge)
        depend_on(vector, self.shard, self.epoch, latest_ts(seen))
        deadline_us = participant.now_us + participant.resolve_after_us + message.patience_us
        proposal_ts = participant.clock.tick(participant.wall_us)
        transaction = PreparedTransaction(message, proposal_ts, vector, results, effects, notices, deadline_us)
        self.prepared[message.id] = transaction
        if participant.is_synchronous and not message.is_read_only:
            transaction.may_vote = False
            participant.proposals.votes.append(message.id)
        else:
            self._vote(transaction)

    def _vote(self, transaction: PreparedTransaction) -> None:
        if transaction.may_vote:
            vote = transaction.vote(self.shard, self.epoch)
            self.participant.output.to_nodes.append((transaction.prepare.coordinator, vote))

    def _on_commit(self, message: Commit) -> None:
        transaction = self.prepared.get(message.id)
        if transaction is not None and message.epoch == self.epoch:
            if transaction.inquiry is not None:
                return  # the vote is frozen; the other participants know more
            if transaction.prepare.is_read_only:
                self._release(transaction, message)
            elif self._commit(transaction, message):
                self._tell(message, Committed(message.id, self.shard))
            else:
                self._tell(message, Aborted(message.id, self.shard))
        elif message.id in self.outcomes or message.id in self.participant.replica.committed:
            self._tell(message, Committed(message.id, self.shard))
        elif message.id in self._refused:
            self._tell(message, Aborted(message.id, self.shard))
        elif message.epoch == self.epoch and not self._refused.floor:
            # This leader has voted for it, and what it gave up it remembers.
            self._tell(message, Committed(message.id, self.shard))
        elif message.epoch <= self.epoch and message.ts > self.participant.replica.committed_floor:
            # Whatever is committed that late is known; what is not known is committed nowhere, or void.
            self._tell(message, Aborted(message.id, self.shard))

    def _tell(self, message: Commit, answer: Committed | Aborted) -> None:
        self.participant.output.to_nodes.append((message.coordinator, answer))

    def _release(self, transaction: PreparedTransaction, message: Commit) -> None:
        """Ends a read-only transaction. That its locks were good until now, the leadership has to prove."""
        participant = self.participant
        participant.clock.observe(message.ts)
        if participant.has_lease:
            self.tell_released(message)
        elif participant.held.may_ask:
            participant.held.releases.setdefault(message.id, (participant.held.next_round(), message))
        else:
            self._tell(message, Aborted(message.id, self.shard))
            self._abort(message.id, transaction.prepare.started_ts)

    def _commit(self, transaction: PreparedTransaction, decision: Commit | Answer) -> bool:
        """Appends the record and unlocks. False if it is void already: then there is nothing to append."""
        participant = self.participant
        if decision.ts < transaction.proposal_ts:
            # No vote is later than the decision. So the prepare was a copy that came after all of it was forgotten.
            self._end(transaction)
            return True
        id, vector = decision.id, from_wire(decision.vector)
        if participant.knowledge.is_broken(vector):
            self._abort(id, transaction.prepare.started_ts)
            return False
        participant.want(decision.ts)
        by_shard = dict(decision.effects)
        effects = by_shard.get(self.shard, []) if by_shard else transaction.effects
        cross = CrossShard(id, decision.vector, decision.effects)
        record_ = TransactionRecord(decision.ts, effects, None, [] if by_shard else transaction.notices, [], cross)
        item = participant.append(PendingTransaction(record_, vector))
        participant.shared_ts = max(participant.shared_ts, decision.ts)
        self.outcomes[id] = Outcome(decision.ts, vector, decision.effects)
        if participant.is_synchronous:
            item.lock_owner = id
            del self.prepared[id]
        else:
            self._end(transaction)
        return True

    def _on_abort(self, message: Abort) -> None:
        transaction = self.prepared.get(message.id)
        if message.id not in self.outcomes and (transaction is None or transaction.inquiry is None):
            self._abort(message.id, message.started_ts)

    def _abort(self, id: TransactionId, started_ts: int) -> None:
        """This shard will never commit it."""
        self._refused.add(id, started_ts)
        transaction = self.prepared.get(id)
        if transaction is not None:
            self._end(transaction)
        elif self._queued.pop(id, None) is not None:
            self.participant.unlock(id)

    def _end(self, transaction: PreparedTransaction) -> None:
        id = transaction.prepare.id
        del self.prepared[id]
        self.participant.unlock(id)

    # -- a silent coordinator

    def _inquire(self, transaction: PreparedTransaction) -> None:
        participant = self.participant
        prepare = transaction.prepare
        transaction.deadline_us = participant.now_us + participant.resolve_after_us
        if prepare.is_read_only:
            self._abort(prepare.id, prepare.started_ts)
            return
        inquiry = self._freeze(transaction)
        if inquiry.verdict() is Fate.ABORTED:  # it takes part alone: there is nobody to ask
            self._abort(prepare.id, prepare.started_ts)
            return
        for shard, epoch in prepare.epochs:
            if shard != self.shard and shard not in inquiry.frozen:
                query = Query(prepare.id, self.shard, epoch, prepare.started_ts)
                participant.output.to_shards.append((shard, query))

    def _freeze(self, transaction: PreparedTransaction) -> Inquiry:
        if transaction.inquiry is None:
            others = tuple(shard for shard, _ in transaction.prepare.epochs if shard != self.shard)
            transaction.inquiry = Inquiry(others)
        return transaction.inquiry

    def _on_query(self, message: Query) -> None:
        if self.epoch < message.epoch:
            return
        transaction, outcome = self.prepared.get(message.id), self.outcomes.get(message.id)
        answer = Answer(message.id, self.shard, Fate.ABORTED, 0, [], [])
        if outcome is not None:
            vector = to_wire(outcome.vector)
            answer = Answer(message.id, self.shard, Fate.COMMITTED, outcome.ts, vector, outcome.effects)
        elif transaction is not None:
            self._freeze(transaction)
            answer = Answer(message.id, self.shard, Fate.FROZEN, 0, [], [])
        else:
            self._abort(message.id, message.started_ts)
        self.participant.output.to_shards.append((message.shard, answer))

    def _on_answer(self, message: Answer) -> None:
        transaction = self.prepared.get(message.id)
        if transaction is None or transaction.inquiry is None:
            return
        fate = transaction.inquiry.take(message)
        if fate is Fate.COMMITTED:
            self._commit(transaction, message)
        elif fate is Fate.ABORTED:
            self._abort(message.id, transaction.prepare.started_ts)

    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any], None]]] = {
        Prepare: _on_prepare,
        Commit: _on_commit,
        Abort: _on_abort,
        Query: _on_query,
        Answer: _on_answer,
    }
