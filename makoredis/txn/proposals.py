"""The entries that a leader proposes: what the next one says, the one that was just taken, and those on their way.

An entry is taken, then `proposed` or `refused`; those proposed are chosen in order. What was refused goes into the next
entry, before everything newer.
"""

from collections import deque
from collections.abc import Iterable

from makoredis.txn.entries import ClosedEpochs, EntryPayload, encode_payload
from makoredis.txn.in_hand import Proposed
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.messages import TransactionId
from makoredis.txn.pending import PendingTransaction
from makoredis.txn.sessions import SessionRange


class Proposals:
    """What one leadership has to say in its log."""

    __slots__ = ("_entries", "_logged", "_proposing", "_taken", "closed_sessions", "epoch", "facts", "turn", "votes")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.turn: list[PendingTransaction] = []
        """Executed since the last entry, in order."""
        self.facts: list[ClosedEpochs] = []
        """For the next entry."""
        self.closed_sessions: list[SessionRange] = []
        """Clients that are gone, for the next entry."""
        self.votes: list[TransactionId] = []
        """Synchronous execution: those that the next entry makes durable."""
        self._logged: set[tuple[int, int]] = set()
        """Shard and first epoch of the facts that are in the log or in `facts`."""
        self._entries: deque[Proposed] = deque()
        """On their way."""
        self._taken: Proposed | None = None
        self._proposing: list[PendingTransaction] = []
        """The transactions of `_taken`."""

    # -- what the next entry says

    def open_with(self, facts: Iterable[ClosedEpochs], logged: Iterable[ClosedEpochs]) -> None:
        """Sets what the first entry says, and what the log says already."""
        self.facts = list(facts)
        self._logged.update((fact.shard, fact.first) for fact in (*logged, *self.facts))

    def note_facts(self, knowledge: Knowledge) -> None:
        """The next entry says what is known of closed epochs and not in the log."""
        for known in knowledge.closed.values():
            for fact in known:
                if (fact.shard, fact.first) not in self._logged:
                    self._logged.add((fact.shard, fact.first))
                    self.facts.append(fact)

    def drop_void(self) -> None:
        """Void transactions are not logged."""
        self.turn = [item for item in self.turn if not item.is_void]

    def has_content(self) -> bool:
        """Whether the next entry has anything to say but its closed timestamp."""
        return bool(self.turn or self.facts or self.closed_sessions or self.votes)

    def is_under_way(self) -> bool:
        """Whether there is more to be chosen."""
        return bool(self._entries or self.turn)

    # -- one entry after the other

    def take(self, closed_ts: int) -> bytes:
        """The payload of the next entry; `proposed` or `refused` has to follow."""
        self._proposing, self.turn = self.turn, []
        taken = self._taken = Proposed(0, closed_ts, self.facts, self.closed_sessions, self.votes)
        self.facts, self.closed_sessions, self.votes = [], [], []
        records = [item.record for item in self._proposing]
        facts, closed_sessions = taken.facts, taken.closed_sessions
        return encode_payload(
            EntryPayload(self.epoch, closed_ts, records, [], facts, taken.prepared, [], closed_sessions)
        )

    def proposed(self, index: int) -> list[PendingTransaction]:
        """The entry just taken has its place in the log. Returns its transactions."""
        taken, self._taken = self._taken, None
        assert taken is not None
        transactions, self._proposing = self._proposing, []
        for item in transactions:
            item.index = index
        self._entries.append(Proposed(index, taken.closed_ts, taken.facts, taken.closed_sessions, taken.prepared))
        return transactions

    def refused(self) -> None:
        """The entry just taken could not be proposed; what is in it goes into the next."""
        taken, self._taken = self._taken, None
        assert taken is not None
        self.turn = self._proposing + self.turn
        self._proposing = []
        self.facts = taken.facts + self.facts
        self.closed_sessions = taken.closed_sessions + self.closed_sessions
        self.votes = taken.prepared + self.votes

    def inherit(self, index: int, entry: EntryPayload) -> None:
        """An entry of the log from before this leadership that may not be chosen yet."""
        self._entries.append(Proposed(index, entry.closed_ts, entry.facts, entry.closed_ranges))

    def take_chosen(self, index: int) -> Proposed | None:
        """The first entry on its way, if everything up to `index` is chosen and it is among that."""
        entries = self._entries
        return entries.popleft() if entries and entries[0].index <= index else None
