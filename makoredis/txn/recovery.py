"""A new leader: what it makes of its log before it serves (design section 11).

1. Collect the facts of the whole log; with them decide what in it is void.
2. Apply the rest as pending: its dependencies may still break.
3. Propose the first entry of the new epoch. It closes the earlier ones at the `closed_ts` of the last entry before it.
4. When that entry is chosen, and not before, the fact is true on every later leader's log: announce it, and serve.
"""

from collections.abc import Sequence
from random import Random

from makoredis.base.record import record
from makoredis.data.copying import copy_space
from makoredis.data.keyspace import Keyspace
from makoredis.txn.entries import ClosedEpochs, EntryPayload, TransactionRecord
from makoredis.txn.follower import Snapshot
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
    _collect(participant, log, [])
    _replay_log(participant, log)
    _open(participant, wall_us)
    return participant


def take_over(
    shard: int,
    epoch: int,
    snapshot: Snapshot,
    log: Sequence[LogEntry],
    program: Program,
    rng: Random,
    wall_us: int,
    machine: type[Participant] = Participant,
) -> Participant:
    """The same for a node that has followed the shard: it begins with what the follower has applied, which is final.

    Args:
        log: what is not yet handed to the snapshot.
    """
    participant = machine(shard, epoch, snapshot.knowledge, program, copy_space(snapshot.spaces[shard]), rng)
    participant.requests.load(snapshot.requests[shard].dump())
    participant.forget_writes(snapshot.ts)
    participant.clock.observe(snapshot.ts)
    _collect(participant, log, snapshot.facts[shard])
    for index, transaction in snapshot.waiting[shard]:
        _replay(participant, index, transaction)
    participant.clock.observe(snapshot.complete_to[shard])
    participant.closed_ts = snapshot.complete_to[shard]
    _replay_log(participant, log)
    _open(participant, wall_us)
    return participant


def closing_fact(shard: int, epoch: int, final_ts: int, facts: Sequence[ClosedEpochs]) -> ClosedEpochs | None:
    """How the epochs end that no entry of the log has closed yet."""
    first = max((fact.last + 1 for fact in facts if fact.shard == shard), default=0)
    return ClosedEpochs(shard, first, epoch - 1, final_ts) if first < epoch else None


def _open(participant: Participant, wall_us: int) -> None:
    participant.clock.observe(wall_us)
    participant.now_us = wall_us
    shard, epoch, facts = participant.shard, participant.epoch, participant.logged_facts
    own = closing_fact(shard, epoch, participant.closed_ts, facts)
    if own is None:
        raise ValueError(f"epoch {epoch} of shard {shard} has nothing to close")
    participant.open_with([own], facts)


def _collect(participant: Participant, log: Sequence[LogEntry], earlier: Sequence[ClosedEpochs]) -> None:
    """The facts of the whole log, before anything in it is looked at."""
    facts = [*earlier, *(fact for entry in log for fact in entry.payload.facts)]
    participant.logged_facts = facts
    participant.knowledge.learn(fact for fact in facts if fact.shard != participant.shard)


def _replay_log(participant: Participant, log: Sequence[LogEntry]) -> None:
    for entry in log:
        for transaction in entry.payload.transactions:
            _replay(participant, entry.index, transaction)
        participant.clock.observe(entry.payload.closed_ts)
        participant.closed_ts = entry.payload.closed_ts


def _replay(participant: Participant, index: int, transaction: TransactionRecord) -> None:
    participant.clock.observe(transaction.ts)
    participant.restore_outcome(transaction)
    vector = from_wire(transaction.cross.dependencies) if transaction.cross is not None else {}
    if not participant.knowledge.is_broken(vector):
        item = PendingTransaction(transaction, vector, index)
        participant.pending.execute(item)
        participant.note_written(item)
