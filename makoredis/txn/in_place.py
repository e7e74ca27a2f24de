"""Transactions of one shard that the driver runs itself, on the leader's keyspace, for clients of its own node.

1. `is_free`, for all keys; if not, it has to be submitted.
2. The driver runs it, with `access`, and nothing of it waits for anything.
3. What has changed something is handed over (`commit`); what has only read asks `gate_of`. The reply leaves when the
   gate opens, at once if there is none. If the gate is void, the transaction has to be submitted, under the same name:
   perhaps it was chosen after all.

Reads need the leader's lease, which is the driver's to look at. Speculative execution only: with synchronous execution
locks are held until what they are for is durable, and whoever reads waits for them.
"""

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from makoredis.data.access import Access
from makoredis.txn.gate import Gate, JointGate
from makoredis.txn.locks import KeyLock
from makoredis.txn.requests import RequestRecord

if TYPE_CHECKING:
    from makoredis.txn.participant import Participant

Name = tuple[int, bytes]
"""Database and key."""


class InPlace:
    """The side of a participant that runs what does not wait."""

    __slots__ = ("access", "entry_gate", "participant")

    def __init__(self, participant: "Participant", rng: Random) -> None:
        self.participant = participant
        self.access = Access(participant.space, rng)
        self.entry_gate: Gate | None = None
        """Of the next entry's transactions that depend on their place in the log alone: they are final together."""

    def is_free(self, names: Sequence[Name], *, is_exclusive: bool) -> bool:
        """Whether a transaction that touches these may run now: they are here, and nobody holds or waits for them."""
        participant = self.participant
        table = participant.space.slot_table
        if table is not None:
            shard, shard_of = participant.shard, table.shard_of
            for _, key in names:
                if shard_of(key) != shard:
                    return False
        locks = participant.locks
        return not locks or not locks.is_blocked([KeyLock(*name, is_exclusive) for name in names])

    def commit(self, names: Sequence[Name], request: RequestRecord | None = None) -> Gate:
        """Takes what a transaction did that touches these. Its reply waits at the gate."""
        participant = self.participant
        item = participant.execute(self.access, participant.pending.seen_on(names), request)
        if item.vector:
            return participant.gate_of_item(item)
        if self.entry_gate is None:
            self.entry_gate = Gate(item.position)
        item.gate = self.entry_gate
        return item.gate

    def gate_of(self, names: Sequence[Name]) -> Gate | None:
        """The gate of a reply that has looked at these; None if nothing it saw is pending."""
        seen = self.participant.pending.seen_on(names)
        if not seen:
            return None
        gates = list(dict.fromkeys(map(self.participant.gate_of_item, seen)))
        return JointGate(gates) if len(gates) > 1 else gates[0]
