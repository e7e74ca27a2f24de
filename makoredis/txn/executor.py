"""Speculative execution on one shard's leader (Mako §4; design section 8).

Transactions run one after the other on the state in memory, ahead of the log. Each turn's transactions become one
entry; what they wrote is *pending* until that entry is chosen. Replies wait at a `Gate`:

* a write's reply waits for its own entry;
* a reply that only reads waits for the entries of the last pending writers of what it looked at, or not at all.

Invariants:
* `_pending` holds the entries that are executed and not chosen, in log order; their undo lists, run from the last to
  the first, lead back to the state after the last chosen entry.
* `_writers[db][key]` is the gate of the last pending writer of that key, and never an open gate.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import cast

from makoredis.base.clock import HybridClock
from makoredis.base.ids import Index, Timestamp
from makoredis.base.record import record
from makoredis.data.access import Access
from makoredis.data.effects import Effect, FlushDatabase, Undo
from makoredis.data.keyspace import Keyspace
from makoredis.txn.entries import EntryPayload, PlainTransaction, TransactionRecord, decode_payload, encode_payload
from makoredis.txn.gate import Gate
from makoredis.txn.requests import RequestRecord, RequestTable
from makoredis.txn.rows import apply_unless_included

_NOTHING_ANSWERED: tuple[int, RequestRecord | None] = (-1, None)
Notices = list[tuple[int, bytes, bytes, int]]
Messages = list[tuple[bytes, bytes, bool, int]]


@record
class Announcement:
    """What one final transaction tells the world outside the keyspace."""

    effects: Sequence[Effect]
    notices: Notices
    messages: Messages
    origin: int
    """The client whose transaction it was, if this node has executed it; else, and for the server's own, 0."""
    version: int
    """`Executor.version` right after it: what was read at a lower one did not see its effects."""
    request: RequestRecord | None
    """Which client's it was, if another node has executed it."""


@dataclass(slots=True)
class _Turn:
    """The transactions of one entry. `index` is known once it is proposed."""

    gate: Gate
    transactions: list[TransactionRecord | PlainTransaction]
    undo: list[list[Undo]]
    announcements: list[Announcement]
    closed_sessions: list[tuple[int, int]] = field(default_factory=list)
    requests: list[tuple[int, RequestRecord]] = field(default_factory=list)
    """See `EntryPayload`."""
    are_first: list[bool] = field(default_factory=list)
    """For each of these whether it was its client's first."""
    is_wanted: bool = False
    """Somebody waits for an entry, even an empty one."""
    request_count: int = 0
    """How many clients' requests the transactions are."""
    closed_ts: int = 0
    """The entry's, once it is proposed."""


@record
class _Proposed:
    index: Index
    turn: _Turn


class Executor:
    """The leader's side of one shard: runs transactions, batches them into entries, opens gates."""

    def __init__(self, space: Keyspace, *, is_durable: bool = True, is_replicated: bool = False) -> None:
        """
        Args:
            is_durable: False if nothing is ever pending (durability `memory` on a single replica): a transaction is
                final when it has run, and no entries are made.
            is_replicated: whether other replicas have to know what clients are to be told.
        """
        self.space = space
        self.clock = HybridClock()
        self.is_durable = is_durable
        self.is_replicated = is_replicated
        self.requests = RequestTable()
        self.closed_sessions: list[tuple[int, int]] = []
        """Clients that are gone since the last entry."""
        self.undone_count = 0
        """Requests taken back since start."""
        self.announces = False
        """Whether somebody wants announcements; they cost a record per transaction."""
        self.dirty: list[set[bytes]] = [set() for _ in space.by_id]
        """Keys by database id whose final value may differ from the checkpoint's."""
        self.is_all_dirty = False
        """Whether a whole database was emptied since the last checkpoint began, or `dirty` is not kept."""
        self.last_proposed = Index(0)
        """The last entry that this replica proposed and executed."""
        self.row_indexes: dict[tuple[int, bytes], int] = {}
        """By database id and key, how far the row that it was loaded from goes: what replay has to skip."""
        self.rows_until = 0
        """The highest of them: behind it there is nothing to skip."""
        self.state_index = 0
        """How far database numbers and function libraries were loaded."""
        self.version = 0
        """Counts transactions that changed something (INFO's rdb_changes_since_last_save)."""
        self.pending_count = 0
        """Requests that are executed and not chosen; several may be one transaction."""
        self.watermark = 0
        """The closed timestamp of the last chosen entry."""
        self._positions = 0
        self._turn = self._new_turn()
        self._pending: deque[_Proposed] = deque()
        self._writers: list[dict[bytes, Gate]] = [{} for _ in space.by_id]
        self._barrier: Gate | None = None

    # -- executing

    def commit(self, access: Access, wall_us: int, request: RequestRecord | None = None, count: int = 1) -> Gate | None:
        """Takes what a transaction did. Returns the gate that its reply waits for, None if it need not wait.

        Args:
            request: what caused it and what is answered, where the request could come again.
            count: how many clients' requests it was.
        """
        effects, undo = access.effects, access.undo
        access.effects, access.undo = [], []
        self.version += count
        turn = self._turn
        notices, messages = access.notices, access.messages
        if self.announces or notices or messages:
            turn.announcements.append(self._announcement(access, effects))
        if not self.is_durable:
            if not self.is_all_dirty:
                self._mark_dirty(effects)
                if access.unlogged:
                    self.dirty[access.database.id].update(access.unlogged)
            return None
        clock = self.clock
        ts = clock.last + 1
        clock.last = ts if ts > wall_us else wall_us  # clock.tick, without the call
        gate = turn.gate
        if self.is_replicated and (request is not None or notices or messages):
            turn.transactions.append(TransactionRecord(clock.last, effects, request, notices, messages))
            if request is not None:
                undo.append(self.requests.add(request))
        else:
            turn.transactions.append(PlainTransaction(clock.last, effects))
        turn.undo.append(undo)
        turn.request_count += count
        self.pending_count += count
        writers = self._writers
        for effect in effects:
            key = effect.key
            if key is None:
                self._barrier = gate
            else:
                writers[effect.db][key] = gate
        return gate

    def answered(self, request: RequestRecord) -> None:
        """Notes the answers to several requests that were committed in this turn without a record of their own."""
        turn = self._turn
        turn.requests.append((len(turn.transactions), request))
        turn.are_first.append(self.requests.record(request))

    def gate_of_reads(self, db: int, keys: Iterable[bytes]) -> Gate | None:
        """The gate that a reply which looked at these keys waits for; None if nothing it saw is pending."""
        latest = self._barrier
        writers = self._writers[db]
        if writers:
            for key in keys:
                gate = writers.get(key)
                if gate is not None and (latest is None or gate.position > latest.position):
                    latest = gate
        return latest

    def gate_of_everything(self) -> Gate | None:
        """The gate of a reply that looked at the keyspace as a whole (DBSIZE, KEYS, SCAN, RANDOMKEY)."""
        if self._turn.transactions:
            return self._turn.gate
        return self._pending[-1].turn.gate if self._pending else None

    def _announcement(self, access: Access, effects: list[Effect]) -> Announcement:
        announcement = Announcement(effects, access.notices, access.messages, access.origin, self.version, None)
        access.notices, access.messages = [], []
        return announcement

    def announce_only(self, access: Access, wall_us: int, request: RequestRecord | None = None) -> Gate | None:
        """Takes the messages of a transaction that changed nothing (PUBLISH). They go out in log order."""
        if self.is_replicated:
            return self.commit(access, wall_us, request)
        announcement = self._announcement(access, [])
        if self._pending and not self._turn.transactions:
            self._pending[-1].turn.announcements.append(announcement)
        else:
            self._turn.announcements.append(announcement)
        return self.gate_of_everything()

    # -- the log

    def has_entry(self) -> bool:
        """Whether there is something to be proposed."""
        return bool(self._turn.transactions) or self._turn.is_wanted

    def turn_count(self) -> int:
        """Requests that wait to be proposed."""
        return self._turn.request_count

    def want_entry(self) -> Gate:
        """Makes this turn propose an entry, transactions or not. Its gate opens when all before it is chosen too."""
        self._turn.is_wanted = True
        return self._turn.gate

    def encode_entry(self, epoch: int) -> bytes:
        """The payload of this turn's entry; `proposed` or `undo_turn` says what became of it."""
        closed, self.closed_sessions = self.closed_sessions, []
        self._turn.closed_sessions = closed
        self._turn.closed_ts = self.clock.last
        turn = self._turn
        transactions = cast("list[TransactionRecord]", turn.transactions)
        return encode_payload(EntryPayload(epoch, self.clock.last, transactions, closed, requests=turn.requests))

    def proposed(self, index: Index) -> None:
        """This turn's entry has its place in the log; the next turn begins."""
        self._pending.append(_Proposed(index, self._turn))
        self.last_proposed = index
        self._turn = self._new_turn()

    def executed(self, index: Index) -> bool:
        """Whether the entry at an index is in the state already, because this replica executed it."""
        return bool(self._pending) and self._pending[0].index <= index

    def chosen(self, index: Index) -> list[Announcement]:
        """Everything up to `index` is chosen: opens the gates, and returns what is to be announced, in order."""
        announcements: list[Announcement] = []
        while self._pending and self._pending[0].index <= index:
            turn = self._pending.popleft().turn
            self.pending_count -= turn.request_count
            self._forget_writers(turn)
            for origin in turn.closed_sessions:
                self.requests.close(origin)
            announcements += turn.announcements
            self.watermark = turn.closed_ts
            turn.gate.open()
        return announcements

    def take_announcements(self) -> list[Announcement]:
        """What this turn has to announce when nothing is pending (never anything while there is)."""
        if self._turn.transactions or self._pending or not self._turn.announcements:
            return []
        announcements, self._turn.announcements = self._turn.announcements, []
        return announcements

    def apply_payload(self, payload: bytes, index: Index) -> list[Announcement]:
        """Applies a chosen entry that this replica did not execute: when replaying, or as a follower.

        Returns: what it has to tell, if anybody wants to know.
        """
        entry = decode_payload(payload)
        if self.row_indexes and index > self.rows_until:
            self.row_indexes = {}
        announcements: list[Announcement] = []
        is_ahead = bool(self.row_indexes) or index <= self.state_index
        space, dirty, requests = self.space, self.dirty, self.requests
        answered = iter(entry.requests)
        position, answer = next(answered, _NOTHING_ANSWERED)
        for count, transaction in enumerate(entry.transactions):
            while position == count and answer is not None:
                requests.record(answer)
                position, answer = next(answered, _NOTHING_ANSWERED)
            effects = transaction.effects
            for effect in effects:
                if is_ahead:
                    apply_unless_included(space, effect, index, self.row_indexes, self.state_index)
                else:
                    effect.apply(space)
                if effect.key is not None:
                    dirty[effect.db].add(effect.key)
                elif isinstance(effect, FlushDatabase):
                    self.is_all_dirty = True
            self.version += 1
            request = transaction.request
            if request is not None:
                requests.record(request)
            if self.announces or transaction.notices or transaction.messages:
                notices, messages = transaction.notices, transaction.messages
                announcements.append(Announcement(effects, notices, messages, 0, self.version, request))
        while answer is not None:
            requests.record(answer)
            position, answer = next(answered, _NOTHING_ANSWERED)
        for origin in entry.closed_sessions:
            requests.close(origin)
        self.clock.observe(entry.closed_ts)
        self.watermark = entry.closed_ts
        return announcements

    def undo_turn(self) -> Gate:
        """Takes back what this turn did, because it cannot be proposed. Returns the gate that will never open."""
        turn = self._turn
        self._undo(turn)
        self.pending_count -= turn.request_count
        self._turn = self._new_turn()
        self._rebuild_writers()
        return turn.gate

    def undo_all(self) -> list[Gate]:
        """Takes back everything that is not chosen, last first. Returns the gates that will never open."""
        gates = [self._turn.gate]
        self._undo(self._turn)
        while self._pending:
            turn = self._pending.pop().turn
            self._undo(turn)
            gates.append(turn.gate)
        self._turn = self._new_turn()
        self.pending_count = 0
        self.last_proposed = Index(0)
        self._rebuild_writers()
        return gates[::-1]

    def _rebuild_writers(self) -> None:
        """Finds the last pending writer of every key anew."""
        for writers in self._writers:
            writers.clear()
        self._barrier = None
        for proposed in self._pending:
            for transaction in proposed.turn.transactions:
                for effect in transaction.effects:
                    if effect.key is None:
                        self._barrier = proposed.turn.gate
                    else:
                        self._writers[effect.db][effect.key] = proposed.turn.gate

    def touched_keys(self, db: int) -> Iterable[bytes]:
        """Keys of a database with changes since the last checkpoint began, those that are not chosen yet included."""
        return chain(self.dirty[db], self._writers[db])

    def forget_dirty(self) -> None:
        """Has the next checkpoint write everything, instead of remembering all keys that were ever written: where keys
        come and go (evicted ones) without a checkpoint for long, they would fill the memory. Only where no log has to
        fit to a checkpoint."""
        assert not self.is_durable
        self.is_all_dirty = True
        for keys in self.dirty:
            keys.clear()

    def last_ts(self) -> Timestamp:
        """The latest timestamp given out or observed."""
        return Timestamp(self.clock.last)

    def _undo(self, turn: _Turn) -> None:
        self.undone_count += turn.request_count
        self.closed_sessions += turn.closed_sessions
        for (_, request), is_first in zip(reversed(turn.requests), reversed(turn.are_first)):
            self.requests.forget(request, is_first)
        for undo_list in reversed(turn.undo):
            for undo in reversed(undo_list):
                undo.apply(self.space)

    def _new_turn(self) -> _Turn:
        self._positions += 1
        return _Turn(Gate(self._positions), [], [], [])

    def _forget_writers(self, turn: _Turn) -> None:
        gate = turn.gate
        was_barrier = self._barrier is gate
        if was_barrier:
            self._barrier = None
        is_last = not self._pending and not self._turn.transactions
        if is_last and not was_barrier:
            for dirty, writers in zip(self.dirty, self._writers):
                if writers:  # it is this turn's alone
                    dirty.update(writers)
                    writers.clear()
            return
        for transaction in turn.transactions:
            self._mark_dirty(transaction.effects)
        if is_last:
            for writers in self._writers:
                writers.clear()
            return
        for transaction in turn.transactions:
            for effect in transaction.effects:
                key = effect.key
                if key is not None:
                    writers = self._writers[effect.db]
                    if writers.get(key) is gate:
                        del writers[key]

    def _mark_dirty(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if effect.key is None:
                # Libraries and the numbers of databases are part of every checkpoint.
                self.is_all_dirty = self.is_all_dirty or isinstance(effect, FlushDatabase)
            else:
                self.dirty[effect.db].add(effect.key)
