"""What an entry of a shard's log carries: the transactions that were executed in one turn.

Fields are a file format: a new one goes last and has a default.
"""

from makoredis.base.record import Wire, wire_decoder, wire_encode
from makoredis.data.effects import Effect


class TransactionRecord(Wire):
    """One transaction as the log has it."""

    ts: int
    effects: list[Effect]


class EntryPayload(Wire):
    """The batch of one turn. `closed_ts`: no transaction with ts ≤ this will follow in this log."""

    epoch: int
    closed_ts: int
    transactions: list[TransactionRecord]


encode_payload = wire_encode
decode_payload = wire_decoder(EntryPayload)
