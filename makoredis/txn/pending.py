"""What a shard's leader has executed and cannot vouch for yet: undo, finality, voiding (design sections 8, 9, 11).

Invariants:
* `items` is in execution order, which is log order. Undone from the last to the first, they lead back to a state of
  transactions only that are final and that every snapshot of this node shows.
* `writers[(db, key)]` is the last transaction not yet final that wrote a key.
* A transaction's vector covers the open part of the vectors of all whose effects it saw, so whoever saw a void one is
  void too, and those after it in `items` that are not void did not see it: they can be applied again as they are.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from makoredis.data.effects import AssignSlots, Undo
from makoredis.data.keyspace import Keyspace
from makoredis.data.slot_table import position_of
from makoredis.txn.entries import TransactionRecord
from makoredis.txn.gate import Gate
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
    position: int = 0
    """Its place in the order of execution."""
    undo: list[Undo] = field(default_factory=list)
    is_final: bool = False
    is_void: bool = False
    gate: Gate | None = None
    """Opens when it is final; made when somebody waits there."""
    origin: int = 0
    """The client of this node whose transaction it was."""
    is_told: bool = False
    """Whether this node has reported it as final, in a leadership before this one."""
    lock_owner: Hashable = None
    """Synchronous execution: who holds its locks until it is durable."""


class PendingList:
    """The executed transactions of one shard, from the first that is not final or not in the node's snapshot."""

    def __init__(self, space: Keyspace, requests: RequestTable, kept_ts: int = 0) -> None:
        self.space = space
        self.requests = requests
        self.items: list[PendingTransaction] = []
        self.writers: dict[tuple[int, bytes], PendingTransaction] = {}
        self.barrier: PendingTransaction | None = None
        """The last that changed the shard as a whole."""
        self.handovers: list[PendingTransaction] = []
        """Those not final that moved keys between shards."""
        self.kept_ts = kept_ts
        """The node's snapshot shows everything up to here, so it is never taken back."""
        self.executed = 0
        """How many were, since the leadership began."""
        self._plain: deque[PendingTransaction] = deque()
        """Not final, and depends on nothing but its place in the log."""
        self._bound: list[PendingTransaction] = []
        """Not final, and depends on other shards."""

    def __len__(self) -> int:
        """Transactions that are not final."""
        return len(self._plain) + len(self._bound)

    def execute(self, transaction: PendingTransaction, undo: list[Undo] | None = None) -> None:
        """Appends a transaction. `undo` given: its effects are in the keyspace already."""
        if undo is None:
            undo = [effect.apply(self.space) for effect in transaction.record.effects]
        if transaction.record.request is not None:
            undo.append(self.requests.add(transaction.record.request))
        transaction.undo = undo
        self.executed += 1
        transaction.position = self.executed
        self.items.append(transaction)
        if transaction.vector:
            self._bound.append(transaction)
        else:
            self._plain.append(transaction)
        self._note(transaction)

    def _note(self, transaction: PendingTransaction) -> None:
        for effect in transaction.record.effects:
            if effect.key is None:
                self.barrier = transaction
            else:
                self.writers[effect.db, effect.key] = transaction
                if type(effect) is AssignSlots:
                    self.handovers.append(transaction)

    def seen_by(self, locks: Sequence[KeyLock]) -> list[PendingTransaction]:
        """The transactions whose effects show on these keys and are not final."""
        if not self._plain and not self._bound:
            return []
        if any(lock.key is None for lock in locks):
            return [*self._plain, *self._bound]
        seen = {self.writers.get((lock.db, lock.key)) for lock in locks if lock.key is not None}
        seen.add(self.barrier)
        if self.handovers:
            seen.update(self._handovers_of(lock.key for lock in locks if lock.key is not None))
        return sorted((item for item in seen if item is not None), key=_position)

    @property
    def has_bound(self) -> bool:
        """Whether anything that is not final depends on other shards."""
        return bool(self._bound)

    def seen_on(self, names: Sequence[tuple[int, bytes]]) -> list[PendingTransaction]:
        """The same for keys alone, as whoever runs in place names them. Of those that depend on nothing but their place
        in the log, the last stands for all."""
        if not self._plain and not self._bound:
            return []
        writers = self.writers
        seen = {} if self.barrier is None else {self.barrier.position: self.barrier}
        for name in names:
            item = writers.get(name)
            if item is not None:
                seen[item.position] = item
        if self.handovers:
            seen.update((item.position, item) for item in self._handovers_of(key for _, key in names))
        if len(seen) < 2:
            return list(seen.values())
        plain = max((position for position, item in seen.items() if not item.vector), default=0)
        return [item for position, item in sorted(seen.items()) if item.vector or position == plain]

    def _handovers_of(self, keys: Iterable[bytes]) -> list[PendingTransaction]:
        """By which some of these keys came here or left."""
        positions = [position_of(key) for key in keys]
        return [
            item
            for item in self.handovers
            for effect in item.record.effects
            if type(effect) is AssignSlots and any(effect.first <= position <= effect.last for position in positions)
        ]

    def of_request(self, name: tuple[int, int, int]) -> PendingTransaction | None:
        """The transaction of a request that is not final, itself or with a later request of its session."""
        for item in reversed(self.items):
            known = item.record.request
            if known is None or item.is_final or (known.incarnation, known.session) != name[:2]:
                continue
            if known.sequence == name[2] or any(sequence == name[2] for sequence, _ in known.earlier):
                return item
        return None

    def settle(self, knowledge: Knowledge, chosen_index: int) -> list[PendingTransaction]:
        """Marks what has become final. Returns it, in order. To be called behind `void`.

        Below `W` everything is decided, and what was void is gone. A node that was started again may know `W` from its
        checkpoint, and not the watermarks that made it.
        """
        done: list[PendingTransaction] = []
        plain = self._plain
        while plain and 0 < plain[0].index <= chosen_index:
            done.append(plain.popleft())
        if self._bound:
            open_ones: list[PendingTransaction] = []
            for item in self._bound:
                is_decided = item.record.ts <= knowledge.global_ts or knowledge.is_satisfied(item.vector)
                is_final = 0 < item.index <= chosen_index and is_decided
                (done if is_final else open_ones).append(item)
            self._bound = open_ones
            done.sort(key=_position)
        for item in done:
            item.is_final = True
            self._forget(item)
        self._trim()
        return done

    def keep(self, ts: int) -> None:
        """The node's snapshot shows everything up to `ts`.

        After a start that may be behind what the leadership began with: another shard of the node may lack its log.
        """
        self.kept_ts = max(self.kept_ts, ts)
        self._trim()

    def _trim(self) -> None:
        items, kept_ts = self.items, self.kept_ts
        count = 0
        for item in items:
            if not item.is_final or item.record.ts > kept_ts:
                break
            count += 1
        if count:
            del items[:count]

    def _forget(self, item: PendingTransaction) -> None:
        if self.barrier is item:
            self.barrier = None
        if item in self.handovers:
            self.handovers.remove(item)
        for effect in item.record.effects:
            if effect.key is not None and self.writers.get((effect.db, effect.key)) is item:
                del self.writers[effect.db, effect.key]

    def chosen_above_snapshot(self, chosen_index: int) -> list[tuple[int, TransactionRecord]]:
        """What a checkpoint has to say beside the rows: with the index of each one's entry."""
        return [
            (item.index, item.record)
            for item in self.items
            if 0 < item.index <= chosen_index and item.record.ts > self.kept_ts
        ]

    def void(self, knowledge: Knowledge) -> list[PendingTransaction]:
        """Takes back what can never become final, and nothing else. Returns it, in order."""
        voided = [item for item in self._bound if knowledge.is_broken(item.vector)]
        if not voided:
            return []
        for item in voided:
            item.is_void = True
        self._bound = [item for item in self._bound if not item.is_void]
        first = self.items.index(voided[0])
        tail = self.items[first:]
        self._undo(tail)
        del self.items[first:]
        for item in tail:
            if not item.is_void:
                self._apply_again(item)
        self._rebuild_writers()
        return voided

    def take_back(self, chosen_index: int) -> list[PendingTransaction]:
        """Ends with the leadership: only what the snapshot shows stays. Returns what is chosen of the rest, in order.

        Call `settle` before: what the snapshot shows has to be known as final.
        """
        items, self.items = self.items, []
        self._undo(items)
        later: list[PendingTransaction] = []
        for item in items:
            if item.is_final and item.record.ts <= self.kept_ts:
                self._apply_again(item)
            elif 0 < item.index <= chosen_index:
                later.append(item)
        self.items.clear()
        self._plain.clear()
        self._bound.clear()
        self._rebuild_writers()
        return later

    def _undo(self, items: Sequence[PendingTransaction]) -> None:
        for item in reversed(items):
            for undo in reversed(item.undo):
                undo.apply(self.space)

    def _apply_again(self, item: PendingTransaction) -> None:
        item.undo = [effect.apply(self.space) for effect in item.record.effects]
        if item.record.request is not None:
            item.undo.append(self.requests.add(item.record.request))
        self.items.append(item)

    def _rebuild_writers(self) -> None:
        self.writers.clear()
        self.barrier = None
        self.handovers.clear()
        for item in self.items:
            if not item.is_final:
                self._note(item)


def _position(item: PendingTransaction) -> int:
    return item.position


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
