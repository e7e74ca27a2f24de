"""One consistent snapshot over all shards of a node: everything with a timestamp up to `W`, and nothing else.

Chosen entries wait until the global watermark has passed their transactions; then those of all shards are applied in
one step. At that point every dependency is decided: it has a timestamp of at most `W`, so either the watermark of its
own epoch covers it, or a later epoch was announced together with how the earlier one ended.

Transactions of one shard are applied in log order. A log is not sorted by timestamps, but those that conflict are in
the same order in both, and the others commute.
"""

from collections import deque
from collections.abc import Callable, Iterable

from makoredis.data.keyspace import Keyspace
from makoredis.txn.entries import ClosedEpochs, EntryPayload, TransactionRecord
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.requests import RequestTable
from makoredis.txn.vectors import from_wire

Waiting = deque[tuple[int, TransactionRecord]]
"""Records with the index of their entry, in log order."""


class Snapshot:
    """The follower replicas of one node."""

    def __init__(
        self, shards: Iterable[int], knowledge: Knowledge, make_space: Callable[[], Keyspace] = Keyspace
    ) -> None:
        self.knowledge = knowledge
        self.spaces = {shard: make_space() for shard in shards}
        self.requests = {shard: RequestTable() for shard in self.spaces}
        """By shard, what was answered to requests that are part of the snapshot."""
        self.facts: dict[int, list[ClosedEpochs]] = {shard: [] for shard in self.spaces}
        """By shard, the facts in its log."""
        self.ts = 0
        """What is visible. Never decreases."""
        self.complete_to: dict[int, int] = dict.fromkeys(self.spaces, 0)
        """By shard, `closed_ts` of the last entry that has arrived."""
        self.waiting: dict[int, Waiting] = {shard: deque() for shard in self.spaces}
        """By shard, what is chosen and above `ts`."""
        self.notes_keys = False
        """Whether somebody wants to know which keys have changed."""
        self.touched: list[tuple[int, bytes]] = []
        """They have, since somebody took this list."""

    def chosen(self, shard: int, entry: EntryPayload, index: int = 0) -> None:
        """The next chosen entry of a shard's log."""
        self.waiting[shard].extend((index, transaction) for transaction in entry.transactions)
        self.complete_to[shard] = max(self.complete_to[shard], entry.closed_ts)
        self.facts[shard] += entry.facts
        self.knowledge.learn(entry.facts)

    def advance(self) -> bool:
        """Moves the snapshot as far as the watermark and the entries here allow. Returns whether it moved."""
        ts = min(self.knowledge.global_ts, *self.complete_to.values())
        if ts <= self.ts:
            return False
        self.ts = ts
        for shard, waiting in self.waiting.items():
            if waiting:
                self.waiting[shard] = self._apply(shard, waiting, ts)
        return True

    def _apply(self, shard: int, waiting: Waiting, ts: int) -> Waiting:
        space, requests = self.spaces[shard], self.requests[shard]
        later: Waiting = deque()
        for index, transaction in waiting:
            if transaction.ts > ts:
                later.append((index, transaction))
            elif not self._is_void(transaction):
                for effect in transaction.effects:
                    effect.apply(space)
                if self.notes_keys:
                    self.touched += [
                        (effect.db, effect.key) for effect in transaction.effects if effect.key is not None
                    ]
                if transaction.request is not None:
                    requests.add(transaction.request)
        return later

    def _is_void(self, transaction: TransactionRecord) -> bool:
        cross = transaction.cross
        return cross is not None and self.knowledge.is_broken(from_wire(cross.dependencies))

    def waiting_count(self) -> int:
        """Transactions that are chosen but not visible."""
        return sum(map(len, self.waiting.values()))
