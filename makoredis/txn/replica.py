"""One shard on a node: the state that followers read from, checkpoints are made of, and leaders begin with.

A replica contains every transaction of its log up to `index` that is not void, except those with a timestamp above
`ts`: these wait in `undecided` until the node's snapshot gets there (`follower`). Transactions that conflict are in the
same order in the log and in time, so that is a state which can be gone on with. `recovery` makes a leader of it, which
gives it back when it steps down.

A checkpoint is `ShardCheckpoint` and the rows of the keyspace. Rows are written while transactions go on, so they may
be newer; each says up to which timestamp it goes. To write one:

1. `checkpoint(...)` of the replica or of the leader: the state it begins from, and the answers to requests by then.
2. Every key that has changed since the last one (`written.take_changed`), with `row_ts`. Nothing of it may be on disk
   before it `is_settled` up to `rows_ts`, the highest timestamp that can show in a row: until then it may be void. If
   the leader takes anything back in between (`voided_count`, stepping down), begin anew. Where rows are written over
   those of the last one, before this one is complete, `finish` the last one again with the new `rows_ts` first.
3. `finish(...)` sets `rows_ts` and what is known of other shards by then. The log up to `index` may go.

Loaded, it is no state that ever was before the log has been taken in to `rows_ts` (`is_whole`).
"""

from collections import deque
from collections.abc import Iterable, Mapping

from makoredis.base.record import Wire, field, record
from makoredis.data.effects import ExchangeDatabases
from makoredis.data.effects.databases import EVERY_DATABASE
from makoredis.data.keyspace import Keyspace
from makoredis.data.slot_table import SLOT_TABLE_DB
from makoredis.txn.entries import ClosedEpochs, EntryPayload, TransactionRecord
from makoredis.txn.knowledge import FACTS_MAX, Knowledge
from makoredis.txn.requests import RequestTable
from makoredis.txn.rows import RowTimes, apply_unless_included
from makoredis.txn.sessions import SessionRange
from makoredis.txn.vectors import Vector, from_wire
from makoredis.txn.write_times import WriteTimes

COMMITTED_KEEP_US = 40_000_000
"""How long it is remembered what was committed over several shards; longer than a coordinator asks."""
COMMITTED_MAX = 500_000
"""How much of it; beyond that the oldest goes first."""
EVERYTHING_TOUCHED = (EVERY_DATABASE, b"")
"""In the place of a key: any key may be another one now."""


@record
class LoggedTransaction:
    """One of a log's transactions, and where it is."""

    index: int
    record: TransactionRecord
    is_told: bool = False
    """Whether this node has reported it as final, when it led the shard."""


class ShardCheckpoint(Wire):
    """What a shard's checkpoint says beside its rows. Fields are a file format: a new one goes last, with a default."""

    index: int
    """Entries up to here are in the rows or in `undecided`; the log goes on behind it."""
    ts: int
    """Up to here all of them are in the rows."""
    rows_ts: int
    """The highest timestamp that may show in a row or in `requests`; `W` has reached it."""
    closed_ts: int
    """Of the entry at `index`."""
    clock_ts: int
    """The highest timestamp that occurs in the log up to `index`, or in a row."""
    undecided: list[tuple[int, TransactionRecord]]
    """Chosen transactions above `ts`, with the index of their entry."""
    facts: list[ClosedEpochs]
    """Those in the log up to `index`."""
    known: list[ClosedEpochs]
    """What decides about everything up to `rows_ts`, in this log or not."""
    requests: list[tuple[int, int, dict[int, bytes]]]
    """`RequestTable.dump`; like the rows it may be newer."""
    closed_sessions: list[tuple[int, int, int]]
    """Always empty. Before there was `gone`: timestamp, incarnation and session of clients."""
    committed: list[tuple[int, int, int]] = field(default_factory=list)
    """What was committed over several shards up to `ts`: both parts of the id, and the timestamp."""
    committed_floor: int = 0
    """Since when."""
    gone: list[SessionRange] = field(default_factory=list)
    """Clients that are gone."""


class Replica:
    """One shard's state on a node that does not lead it."""

    def __init__(self, shard: int, space: Keyspace) -> None:
        self.shard = shard
        self.space = space
        self.requests = RequestTable()
        self.written = WriteTimes()
        self.index = 0
        """Of the last entry taken in; the next one has to be behind it."""
        self.ts = 0
        self.closed_ts = 0
        self.clock_ts = 0
        self.undecided: deque[LoggedTransaction] = deque()
        self.facts: list[ClosedEpochs] = []
        self.committed: dict[tuple[int, int], int] = {}
        """Timestamps of what was committed over several shards, visible here and later than `committed_floor`."""
        self.committed_floor = 0
        self.version = 0
        """Counts transactions that became visible here, or were executed by a leader here."""
        self.rows_ts = 0
        self.rows: RowTimes = {}
        """Rows that are newer than `ts`."""
        self.reports = False
        """Whether `applied` is collected. Somebody has to empty it."""
        self.applied: list[TransactionRecord] = []
        """What became visible, in order."""
        self.notes_keys = False
        self.touched: list[tuple[int, bytes]] = []

    # -- following

    def take(self, index: int, entry: EntryPayload, knowledge: Knowledge) -> None:
        """The next chosen entry of the log."""
        for transaction in entry.transactions:
            self.undecided.append(LoggedTransaction(index, transaction))
            self.clock_ts = max(self.clock_ts, transaction.ts)
        self.note_entry(index, entry.closed_ts, entry.facts, knowledge)
        for sessions in entry.closed_ranges:
            self.requests.close_range(*sessions)

    def note_entry(self, index: int, closed_ts: int, facts: Iterable[ClosedEpochs], knowledge: Knowledge) -> None:
        """An entry is chosen; its transactions are somebody else's business."""
        self.index = index
        self.closed_ts = max(self.closed_ts, closed_ts)
        self.clock_ts = max(self.clock_ts, closed_ts)
        knowledge.learn(facts)
        self.facts.extend(facts)
        if len(self.facts) > FACTS_MAX:
            self.facts = knowledge.still_needed(self.facts)

    @property
    def complete_to(self) -> int:
        """Every transaction of this shard up to here is in this replica."""
        return self.closed_ts

    @property
    def is_whole(self) -> bool:
        """Whether the keyspace is a state of one moment."""
        return self.ts >= self.rows_ts

    def advance_to(self, ts: int, knowledge: Knowledge) -> None:
        """Makes visible what is not void up to `ts`, at most `W` and at most `complete_to`."""
        if ts <= self.ts:
            return
        later: deque[LoggedTransaction] = deque()
        for transaction in self.undecided:
            if transaction.record.ts > ts:
                later.append(transaction)
            elif transaction.record.cross is None or not knowledge.is_broken(vector_of_record(transaction.record)):
                self._apply(transaction.record)
                if self.reports and not transaction.is_told:
                    self.applied.append(transaction.record)
        self.undecided = later
        self.ts = ts
        self.forget_committed(ts)
        if ts >= self.rows_ts:
            self.rows = {}

    def _apply(self, transaction: TransactionRecord) -> None:
        ts = transaction.ts
        self.version += 1
        for effect in transaction.effects:
            if self.rows or ts <= self.rows_ts:
                apply_unless_included(self.space, effect, ts, self.rows, self.rows_ts)
            else:
                effect.apply(self.space)
        self.written.note(transaction.effects, ts)
        if transaction.cross is not None and transaction.cross.id is not None:
            self.committed[transaction.cross.id] = ts
        if transaction.request is not None:
            self.requests.record(transaction.request)
        if self.notes_keys:
            self.note_touched(transaction)

    def forget_committed(self, ts: int) -> None:
        """Nobody asks any more about what is much older than `ts`."""
        limit = ts - COMMITTED_KEEP_US
        committed = self.committed
        while committed:
            id = next(iter(committed))
            if committed[id] > limit and len(committed) <= COMMITTED_MAX:
                return
            self.committed_floor = max(self.committed_floor, committed.pop(id))

    def note_touched(self, transaction: TransactionRecord) -> None:
        """A transaction has become visible here, or final."""
        for effect in transaction.effects:
            if effect.key is None:
                if type(effect) is ExchangeDatabases:
                    self.touched.append(EVERYTHING_TOUCHED)
            elif effect.db != SLOT_TABLE_DB:
                self.touched.append((effect.db, effect.key))

    def shows(self, db: int, key: bytes, ts: int) -> bool:
        """Whether the keyspace has a key as of `ts`, the node's snapshot."""
        return True

    def shows_all(self) -> bool:
        """Whether that holds for every key."""
        return True

    def waiting_count(self) -> int:
        """Transactions that are chosen and not visible."""
        return len(self.undecided)

    def note_keys(self, is_wanted: bool) -> None:
        """Whether `take_touched` is of interest."""
        self.notes_keys = is_wanted
        self.touched = []

    def take_touched(self) -> list[tuple[int, bytes]]:
        """Databases and keys of what has become visible, or final with the leader, since the last call; perhaps
        `EVERYTHING_TOUCHED`."""
        touched = self.touched
        if touched:
            self.touched = []
        return touched

    # -- checkpoints

    def row_ts(self, db: int, key: bytes) -> int:
        """Up to which timestamp a key's row goes that is captured now."""
        return self.ts

    def checkpoint_index(self) -> int:
        """`checkpoint().index`, without the rest."""
        return self.index

    def checkpoint(self) -> ShardCheckpoint:
        """What the rows captured from now on are based on."""
        undecided = [(item.index, item.record) for item in self.undecided]
        return self.describe(undecided, self.ts, self.ts, self.clock_ts)

    def describe(
        self, undecided: list[tuple[int, TransactionRecord]], ts: int, requests_ts: int, clock_ts: int
    ) -> ShardCheckpoint:
        """A checkpoint of these chosen transactions above `ts`, and everything else up to `index` in the rows.

        Args:
            requests_ts: the highest timestamp of a transaction that has an answer among the requests.
        """
        return ShardCheckpoint(
            self.index,
            ts,
            max(ts, requests_ts),
            self.closed_ts,
            clock_ts,
            undecided,
            list(self.facts),
            [],
            self.requests.dump(),
            [],
            [(*id, committed_ts) for id, committed_ts in self.committed.items()],
            self.committed_floor,
            self.requests.gone.dump(),
        )

    @classmethod
    def load(
        cls, shard: int, space: Keyspace, saved: ShardCheckpoint, rows: Mapping[tuple[int, bytes], int]
    ) -> "Replica":
        """The replica of a checkpoint. `tell_known` has to follow.

        Args:
            space: holds the rows.
            rows: by database id and key, timestamps of rows that are newer than the checkpoint's `ts`.
        """
        replica = cls(shard, space)
        replica.index, replica.ts, replica.rows_ts = saved.index, saved.ts, saved.rows_ts
        replica.closed_ts, replica.clock_ts = saved.closed_ts, saved.clock_ts
        replica.rows = dict(rows)
        replica.undecided.extend(LoggedTransaction(index, record_) for index, record_ in saved.undecided)
        replica.facts = list(saved.facts)
        replica.requests.load(saved.requests, saved.gone)
        replica.committed = {(incarnation, number): ts for incarnation, number, ts in saved.committed}
        replica.committed_floor = saved.committed_floor
        replica.written = WriteTimes(saved.clock_ts)
        return replica


def is_settled(rows_ts: int, complete_to: int, knowledge: Knowledge) -> bool:
    """Whether nothing can be void any more that shows in rows up to `rows_ts`.

    That `W` is there is not enough for a leader that has lost its leadership without hearing of it: it may have `W`
    from its successor, and may have executed what is in nobody's log.

    Args:
        complete_to: of the replica or leader that the rows are from.
    """
    return min(knowledge.global_ts, complete_to) >= rows_ts


def finish(saved: ShardCheckpoint, rows_ts: int, knowledge: Knowledge) -> ShardCheckpoint:
    """The checkpoint as it is written, when all rows are captured and what they show `is_settled`."""
    assert knowledge.global_ts >= rows_ts >= saved.rows_ts
    return ShardCheckpoint(
        saved.index,
        saved.ts,
        rows_ts,
        saved.closed_ts,
        max(saved.clock_ts, rows_ts),
        saved.undecided,
        saved.facts,
        known_facts(knowledge),
        saved.requests,
        saved.closed_sessions,
        saved.committed,
        saved.committed_floor,
        saved.gone,
    )


def tell_known(saved: ShardCheckpoint, knowledge: Knowledge) -> None:
    """What a checkpoint proves about all shards: for the node that has loaded it."""
    knowledge.learn(saved.known)
    knowledge.raise_global(saved.rows_ts)


def known_facts(knowledge: Knowledge) -> list[ClosedEpochs]:
    """All that a node knows of how epochs ended."""
    return [fact for facts in knowledge.closed.values() for fact in facts]


def vector_of_record(record_: TransactionRecord) -> Vector:
    """What a transaction of the log depends on."""
    return {} if record_.cross is None else from_wire(record_.cross.dependencies)
