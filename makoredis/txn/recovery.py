"""A new leader: what it makes of its log before it serves (design section 11).

1. Collect the facts of the whole log; with them decide what in it is void.
2. Apply the rest as pending: its dependencies may still break.
3. Propose the first entry of the new epoch. It closes the earlier ones at the `closed_ts` of the last entry before it.
4. When that entry is chosen, and not before, the fact is true on every later leader's log: announce it, and serve.
"""

from collections.abc import Sequence
from random import Random

from makoredis.base.record import record
from makoredis.data.keyspace import Keyspace
from makoredis.txn.entries import ClosedEpochs, EntryPayload
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.participant import Participant, Program
from makoredis.txn.pending import PendingTransaction
from makoredis.txn.vectors import from_wire


@record
class LogEntry:
    """One entry of the new leader's log, chosen or not."""

    index: int
    payload: EntryPayload


def recover(
    shard: int,
    epoch: int,
    log: Sequence[LogEntry],
    knowledge: Knowledge,
    program: Program,
    rng: Random,
    wall_us: int,
    machine: type[Participant] = Participant,
) -> Participant:
    """The leader of a new epoch. It serves when its first entry is chosen.

    Args:
        log: all of it, from the first entry.
        wall_us: the leader's wall clock, by now past everything its predecessors can have promised: an election
            takes longer than two clocks can differ.
    """
    participant = machine(shard, epoch, knowledge, program, Keyspace(), rng)
    facts = [fact for entry in log for fact in entry.payload.facts]
    knowledge.learn(fact for fact in facts if fact.shard != shard)
    for entry in log:
        _replay(participant, entry, knowledge)
    participant.clock.observe(wall_us)
    participant.now_us = wall_us
    own = closing_fact(shard, epoch, log, facts)
    participant.open_with([own] if own is not None else [], facts)
    if own is None:
        raise ValueError(f"epoch {epoch} of shard {shard} has nothing to close")
    return participant


def closing_fact(shard: int, epoch: int, log: Sequence[LogEntry], facts: Sequence[ClosedEpochs]) -> ClosedEpochs | None:
    """How the epochs end that no entry of the log has closed yet."""
    first = max((fact.last + 1 for fact in facts if fact.shard == shard), default=0)
    final_ts = log[-1].payload.closed_ts if log else 0
    return ClosedEpochs(shard, first, epoch - 1, final_ts) if first < epoch else None


def _replay(participant: Participant, entry: LogEntry, knowledge: Knowledge) -> None:
    for transaction in entry.payload.transactions:
        participant.clock.observe(transaction.ts)
        participant.restore_outcome(transaction)
        vector = from_wire(transaction.cross.dependencies) if transaction.cross is not None else {}
        if not knowledge.is_broken(vector):
            item = PendingTransaction(transaction, vector, entry.index)
            participant.pending.execute(item)
            participant.note_written(item)
    participant.clock.observe(entry.payload.closed_ts)
    participant.closed_ts = entry.payload.closed_ts
