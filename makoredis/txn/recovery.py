"""A new leader: what it makes of its replica and its log before it serves (design section 11).

1. Take over the replica: the node's snapshot, and what is chosen above it. Collect the facts of the rest of the log, if
   there is any that is not chosen; with them decide what in it is void.
2. Apply the rest as pending: its dependencies may still break.
3. Propose the first entry of the new epoch. It closes the earlier ones at the `closed_ts` of the last entry before it.
4. When that entry is chosen, and not before, the fact is true on every later leader's log: announce it, and serve.

A leader of Raft may wait until the first, empty entry of its own term is chosen and then have an empty rest.
"""

from collections.abc import Iterable, Sequence
from random import Random

from makoredis.base.record import record
from makoredis.txn.entries import ClosedEpochs, EntryPayload, TransactionRecord
from makoredis.txn.in_hand import Outcome
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.participant import Participant, Program
from makoredis.txn.pending import PendingTransaction
from makoredis.txn.replica import Replica, vector_of_record


@record
class LogEntry:
    """One entry of the new leader's log, chosen or not."""

    index: int
    payload: EntryPayload


def recover(
    replica: Replica,
    epoch: int,
    rest: Sequence[LogEntry],
    knowledge: Knowledge,
    program: Program,
    rng: Random,
    wall_us: int,
    machine: type[Participant] = Participant,
) -> Participant:
    """The leader of a new epoch. It serves when its first entry is chosen.

    Args:
        replica: what is chosen. It belongs to the leader until that steps down.
        rest: the log behind it.
        wall_us: the leader's wall clock, by now past everything its predecessors can have promised: an election
            takes longer than two clocks can differ.
    """
    rest = list(rest)
    if not replica.is_whole:
        # `W` has been at `rows_ts`, so all up to there is chosen, and the log of a new leader has all that is chosen.
        while replica.closed_ts < replica.rows_ts:
            entry = rest.pop(0)
            replica.take(entry.index, entry.payload, knowledge)
        replica.advance_to(replica.rows_ts, knowledge)
    participant = machine(replica, epoch, knowledge, program, rng)
    facts = [*replica.facts, *(fact for entry in rest for fact in entry.payload.facts)]
    knowledge.learn(fact for fact in facts if fact.shard != replica.shard)
    participant.clock.observe(replica.clock_ts)
    last_closed_ts = replica.closed_ts
    for item in replica.undecided:
        _replay(participant, item.index, item.record, knowledge, item.is_told)
    for entry in rest:
        for transaction in entry.payload.transactions:
            _replay(participant, entry.index, transaction, knowledge)
        participant.inherit(entry.index, entry.payload)
        last_closed_ts = entry.payload.closed_ts
    replica.undecided.clear()
    participant.clock.observe(wall_us)
    participant.now_us = wall_us
    own = closing_fact(replica.shard, epoch, last_closed_ts, facts)
    if own is None:
        raise ValueError(f"epoch {epoch} of shard {replica.shard} has nothing to close")
    participant.open_with([own], facts)
    return participant


def closing_fact(shard: int, epoch: int, final_ts: int, facts: Iterable[ClosedEpochs]) -> ClosedEpochs | None:
    """How the epochs end that no entry of the log has closed yet."""
    first = max((fact.last + 1 for fact in facts if fact.shard == shard), default=0)
    return ClosedEpochs(shard, first, epoch - 1, final_ts) if first < epoch else None


def _replay(
    participant: Participant, index: int, transaction: TransactionRecord, knowledge: Knowledge, is_told: bool = False
) -> None:
    participant.clock.observe(transaction.ts)
    vector = vector_of_record(transaction)
    cross = transaction.cross
    if cross is not None and cross.id is not None:  # somebody may ask about it
        participant.two_phase.outcomes[cross.id] = Outcome(transaction.ts, vector, cross.effects)
    if not knowledge.is_broken(vector):
        item = PendingTransaction(transaction, vector, index, is_told=is_told)
        participant.pending.execute(item)
        participant.note_written(item)
