"""What an entry of a shard's log carries: the transactions that were executed in one turn.

Fields are a file format: a new one goes last and has a default.
"""

from makoredis.base.record import Wire, field, wire_decoder, wire_encode
from makoredis.data.effects import Effect
from makoredis.txn.requests import RequestRecord
from makoredis.txn.sessions import SessionRange


class CrossShard(Wire):
    """What a record says if the transaction depends on other shards, or is one of several records of one."""

    id: tuple[int, int] | None
    """Incarnation and number at its coordinator; None for a transaction of one shard."""
    dependencies: list[tuple[int, int, int]]
    """Its vector: shard, epoch, timestamp."""
    effects: list[tuple[int, list[Effect]]] = field(default_factory=list)
    """All participants', by shard, if its coordinator worked them out: for one that has missed the commit."""


class ClosedEpochs(Wire):
    """The fact that all leaderships `first` … `last` of a shard are over, and where they ended.

    Of what they had promised with a timestamp above `final_ts`, nothing survives; of the rest, everything.
    """

    shard: int
    first: int
    last: int
    final_ts: int


class TransactionRecord(Wire):
    """One transaction as the log has it."""

    ts: int
    effects: list[Effect]
    request: RequestRecord | None = None
    """Which request it was and what was answered, where a request could be repeated."""
    notices: list[tuple[int, bytes, bytes, int]] = field(default_factory=list)
    messages: list[tuple[bytes, bytes, bool, int]] = field(default_factory=list)
    """What other nodes have to tell their clients (`Access.notices`, `Access.messages`)."""
    cross: CrossShard | None = None


class PlainTransaction(Wire):
    """A `TransactionRecord` with nothing but the defaults behind its effects, which is how it is read back: it takes
    half the time to make and to encode."""

    ts: int
    effects: list[Effect]


class EntryPayload(Wire):
    """The batch of one turn. `closed_ts`: no transaction with ts ≤ this will follow in this log."""

    epoch: int
    closed_ts: int
    transactions: list[TransactionRecord]
    closed_sessions: list[tuple[int, int]] = field(default_factory=list)
    """Incarnation and session of clients that are gone."""
    facts: list[ClosedEpochs] = field(default_factory=list)
    """What voids transactions of this log: known to the leader since this entry."""
    prepared: list[tuple[int, int]] = field(default_factory=list)
    """Synchronous execution: votes that are given when this entry is chosen. Whoever replays has no use for them."""
    requests: list[tuple[int, RequestRecord]] = field(default_factory=list)
    """What was answered to clients whose requests came several at a time, in place of a record per transaction, each
    with the number of transactions before it."""
    closed_ranges: list[SessionRange] = field(default_factory=list)
    """The same as `closed_sessions` where there are several shards."""


_COPIED_BYTES_MIN = 4096


def encode_payload(entry: EntryPayload) -> bytes:
    """The bytes of an entry. Large ones are copied: the encoder's own have a fifth more memory behind them, which the
    log would keep."""
    encoded = wire_encode(entry)
    return encoded if len(encoded) < _COPIED_BYTES_MIN else bytes(memoryview(encoded))


decode_payload = wire_decoder(EntryPayload)
