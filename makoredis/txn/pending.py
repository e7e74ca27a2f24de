"""What a shard's leader has executed and cannot vouch for yet: undo, finality, voiding (design sections 8, 9, 11).

Invariants:
* `items` is in execution order, which is log order. Undone from the last to the first, they lead back to a state of
  final transactions only.
* `writers[(db, key)]` is the last transaction not yet final that wrote a key.
* A transaction's vector covers the open part of the vectors of all whose effects it saw, so whoever saw a void one is
  void too, and those after it in `items` that are not void did not see it: they can be applied again as they are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from makoredis.data.effects import Effect, Undo
from makoredis.data.keyspace import Keyspace
from makoredis.txn.entries import TransactionRecord
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.locks import KeyLock
from makoredis.txn.requests import RequestTable
from makoredis.txn.vectors import Vector, join, join_into


@dataclass(slots=True, eq=False)
class PendingTransaction:
    """One transaction in the leader's memory."""

    record: TransactionRecord
    vector: Vector
    index: int = 0
    """Its entry's place in the log; 0: not proposed yet."""
    undo: list[Undo] = field(default_factory=list)
    is_final: bool = False
    is_void: bool = False


class PendingList:
    """The executed transactions of one shard from the first that is not final."""

    def __init__(self, space: Keyspace, requests: RequestTable) -> None:
        self.space = space
        self.requests = requests
        self.items: list[PendingTransaction] = []
        self.writers: dict[tuple[int, bytes], PendingTransaction] = {}
        self.barrier: PendingTransaction | None = None
        """The last that changed the shard as a whole."""

    def execute(self, transaction: PendingTransaction, undo: list[Undo] | None = None) -> None:
        """Appends a transaction. `undo` given: its effects are in the keyspace already."""
        if undo is None:
            undo = [effect.apply(self.space) for effect in transaction.record.effects]
        if transaction.record.request is not None:
            undo.append(self.requests.add(transaction.record.request))
        transaction.undo = undo
        self.items.append(transaction)
        self._note(transaction)

    def _note(self, transaction: PendingTransaction) -> None:
        for effect in transaction.record.effects:
            if effect.key is None:
                self.barrier = transaction
            else:
                self.writers[effect.db, effect.key] = transaction

    def seen_by(self, locks: Sequence[KeyLock]) -> list[PendingTransaction]:
        """The transactions whose effects show on these keys and are not final."""
        if not self.items:
            return []
        if any(lock.key is None for lock in locks):
            return [item for item in self.items if not item.is_final]
        seen = {self.writers.get((lock.db, lock.key)) for lock in locks if lock.key is not None}
        seen.add(self.barrier)
        return [item for item in seen if item is not None and not item.is_final]

    def settle(self, knowledge: Knowledge, chosen_index: int) -> list[PendingTransaction]:
        """Marks what has become final. Returns it, in order."""
        done = [
            item
            for item in self.items
            if not item.is_final and 0 < item.index <= chosen_index and knowledge.is_satisfied(item.vector)
        ]
        for item in done:
            item.is_final = True
            self._forget(item)
        keep = next((at for at, item in enumerate(self.items) if not item.is_final), len(self.items))
        del self.items[:keep]
        return done

    def _forget(self, item: PendingTransaction) -> None:
        if self.barrier is item:
            self.barrier = None
        for effect in item.record.effects:
            if effect.key is not None and self.writers.get((effect.db, effect.key)) is item:
                del self.writers[effect.db, effect.key]

    def void(self, knowledge: Knowledge) -> list[PendingTransaction]:
        """Takes back what can never become final, and nothing else. Returns it, in order."""
        first = next((at for at, item in enumerate(self.items) if knowledge.is_broken(item.vector)), None)
        if first is None:
            return []
        tail = self.items[first:]
        for item in reversed(tail):
            for undo in reversed(item.undo):
                undo.apply(self.space)
        del self.items[first:]
        voided: list[PendingTransaction] = []
        for item in tail:
            if knowledge.is_broken(item.vector):
                item.is_void = True
                voided.append(item)
            else:
                self._apply_again(item)
        self._rebuild_writers()
        return voided

    def _apply_again(self, item: PendingTransaction) -> None:
        item.undo = [effect.apply(self.space) for effect in item.record.effects]
        if item.record.request is not None:
            item.undo.append(self.requests.add(item.record.request))
        self.items.append(item)

    def _rebuild_writers(self) -> None:
        self.writers.clear()
        self.barrier = None
        for item in self.items:
            if not item.is_final:
                self._note(item)


def vector_of(seen: Iterable[PendingTransaction], knowledge: Knowledge) -> Vector:
    """What a transaction depends on that saw these."""
    return join(knowledge.open_part(item.vector) for item in seen)


def latest_ts(seen: Iterable[PendingTransaction]) -> int:
    """The highest timestamp among them; 0 if none."""
    return max((item.record.ts for item in seen), default=0)


def depend_on(vector: Vector, shard: int, epoch: int, ts: int) -> None:
    """Adds one dependency to a vector."""
    if ts:
        join_into(vector, {(shard, epoch): ts})


def keys_of(effects: Iterable[Effect]) -> list[tuple[int, bytes]]:
    """The keys that effects change."""
    return [(effect.db, effect.key) for effect in effects if effect.key is not None]
