"""One consistent snapshot over all shards of a node: everything with a timestamp up to `W`, and nothing else.

Chosen entries wait until the global watermark has passed their transactions; then those of all shards are applied in
one step. At that point every dependency is decided: it has a timestamp of at most `W`, so either the watermark of its
own epoch covers it, or a later epoch was announced together with how the earlier one ended.

Transactions of one shard are applied in log order. A log is not sorted by timestamps, but those that conflict are in
the same order in both, and the others commute.
"""

from collections import deque
from collections.abc import Iterable

from makoredis.data.keyspace import Keyspace
from makoredis.txn.entries import EntryPayload, TransactionRecord
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.vectors import from_wire


class Snapshot:
    """The follower replicas of one node."""

    def __init__(self, shards: Iterable[int], knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self.spaces = {shard: Keyspace() for shard in shards}
        self.ts = 0
        """What is visible. Never decreases."""
        self.complete_to: dict[int, int] = dict.fromkeys(self.spaces, 0)
        """By shard, `closed_ts` of the last entry that has arrived."""
        self._waiting: dict[int, deque[TransactionRecord]] = {shard: deque() for shard in self.spaces}

    def chosen(self, shard: int, entry: EntryPayload) -> None:
        """The next chosen entry of a shard's log."""
        self._waiting[shard].extend(entry.transactions)
        self.complete_to[shard] = max(self.complete_to[shard], entry.closed_ts)
        self.knowledge.learn(entry.facts)

    def advance(self) -> bool:
        """Moves the snapshot as far as the watermark and the entries here allow. Returns whether it moved."""
        ts = min(self.knowledge.global_ts, *self.complete_to.values())
        if ts <= self.ts:
            return False
        self.ts = ts
        for shard, waiting in self._waiting.items():
            self._waiting[shard] = self._apply(self.spaces[shard], waiting, ts)
        return True

    def _apply(self, space: Keyspace, waiting: deque[TransactionRecord], ts: int) -> deque[TransactionRecord]:
        later: deque[TransactionRecord] = deque()
        for transaction in waiting:
            if transaction.ts > ts:
                later.append(transaction)
            elif not self._is_void(transaction):
                for effect in transaction.effects:
                    effect.apply(space)
        return later

    def _is_void(self, transaction: TransactionRecord) -> bool:
        cross = transaction.cross
        return cross is not None and self.knowledge.is_broken(from_wire(cross.dependencies))

    def waiting_count(self) -> int:
        """Transactions that are chosen but not visible."""
        return sum(map(len, self._waiting.values()))
