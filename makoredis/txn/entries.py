"""What an entry of a shard's log carries: the transactions that were executed in one turn.

Fields are a file format: a new one goes last and has a default.
"""

from makoredis.base.record import Wire, field, wire_decoder, wire_encode
from makoredis.data.effects import Effect
from makoredis.txn.requests import RequestRecord


class TransactionRecord(Wire):
    """One transaction as the log has it."""

    ts: int
    effects: list[Effect]
    request: RequestRecord | None = None
    """Which request it was and what was answered, where a request could be repeated."""
    notices: list[tuple[int, bytes, bytes, int]] = field(default_factory=list)
    messages: list[tuple[bytes, bytes, bool, int]] = field(default_factory=list)
    """What other nodes have to tell their clients (`Access.notices`, `Access.messages`)."""


class EntryPayload(Wire):
    """The batch of one turn. `closed_ts`: no transaction with ts ≤ this will follow in this log."""

    epoch: int
    closed_ts: int
    transactions: list[TransactionRecord]
    closed_sessions: list[tuple[int, int]] = field(default_factory=list)
    """Incarnation and session of clients that are gone."""


encode_payload = wire_encode
decode_payload = wire_decoder(EntryPayload)
