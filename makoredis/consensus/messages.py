"""One record per message between replicas of a group, as a tagged union that a transport can encode.

Every message carries its sender's `term` first (Raft §5.1). Sender and receiver travel beside it, not inside.
The tags and the order of fields are a wire format: append, never reorder, never reuse a tag.
"""

from makoredis.base.ids import Index, Term
from makoredis.base.record import Wire, wire_decoder, wire_encode
from makoredis.consensus.types import Entry, SnapshotMetadata


class PreVoteRequest(Wire, tag=1):
    """Would you vote for me? Raises nobody's term, so an isolated node cannot disturb a leader (thesis §9.6)."""

    term: Term
    """The term the sender would campaign in: its own plus one."""
    last_index: Index
    last_term: Term


class PreVoteResponse(Wire, tag=2):
    """The answer to `PreVoteRequest`."""

    term: Term
    """If granted, the term asked for; if not, the sender's own, so that one who lags behind catches up."""
    granted: bool


class VoteRequest(Wire, tag=3):
    """RequestVote of the paper (§5.2)."""

    term: Term
    last_index: Index
    last_term: Term
    is_transfer: bool
    """The leader asked for this election, so hearing that leader is no reason to refuse (thesis §3.10)."""


class VoteResponse(Wire, tag=4):
    """The answer to `VoteRequest`; leaves only after the vote is on disk."""

    term: Term
    granted: bool


class AppendRequest(Wire, tag=5):
    """AppendEntries of the paper (§5.3). Without entries it asks whether the logs match at `previous_index`."""

    term: Term
    previous_index: Index
    previous_term: Term
    commit: Index
    entries: list[Entry]


class AppendResponse(Wire, tag=6):
    """The answer to `AppendRequest`; an accepting one leaves only after the entries are on disk."""

    term: Term
    accepted: bool
    index: Index
    """Accepted: the logs match up to here. Refused: the `previous_index` that didn't match."""
    hint_index: Index = Index(0)
    """Refused: the last index at which the logs may still match."""
    hint_term: Term = Term(0)
    """Refused: the sender's term at `hint_index`, to skip a whole term per round (§5.3, end)."""


class Heartbeat(Wire, tag=7):
    """The leader lives. Also spreads its commit index."""

    term: Term
    commit: Index
    """Never past what this receiver acknowledged in this term, so it can be believed without a log check."""
    round: int
    """Echoed by the response: proves leadership at the time the round began (thesis §6.4); 0: no answer wanted."""


class HeartbeatResponse(Wire, tag=8):
    """The answer to `Heartbeat`."""

    term: Term
    round: int


class SnapshotChunk(Wire, tag=9):
    """A piece of a snapshot (InstallSnapshot, §7)."""

    term: Term
    transfer: int
    """Numbers the leader's attempts; bytes of different transfers never mix."""
    metadata: SnapshotMetadata
    offset: int
    data: bytes
    is_last: bool


class SnapshotResponse(Wire, tag=10):
    """How far a snapshot got."""

    term: Term
    transfer: int
    received: int
    """Bytes safely received: the offset the sender should go on from. 0: start again. That the snapshot is in place is
    said by an accepting `AppendResponse`."""


class TimeoutNow(Wire, tag=11):
    """Campaign at once: the leader hands over (thesis §3.10)."""

    term: Term


class ReadRequest(Wire, tag=12):
    """A follower asks the leader for an index to read at (thesis §6.4)."""

    term: Term
    context: int


class ReadResponse(Wire, tag=13):
    """Everything acknowledged before the request is at or below `index`; 0: refused, ask again."""

    term: Term
    context: int
    index: Index


class Quiesce(Wire, tag=14):
    """Nothing to do: stop the election timer until anything else arrives."""

    term: Term
    last_index: Index
    """Believed only by a follower whose log ends here and is committed up to here."""


class Wake(Wire, tag=15):
    """Somebody wants this group again: start the timers."""

    term: Term


class Prepare(Wire, tag=16):
    """Phase 1a of Multi-Paxos: promise to accept nothing below this ballot, and tell what was accepted."""

    term: Term
    """The ballot."""
    previous_index: Index
    """Behind this the sender wants to see what was accepted: its commit index, or how far it was told already."""
    last_index: Index
    last_term: Term
    is_transfer: bool
    """As in `VoteRequest`."""


class Promise(Wire, tag=17):
    """Phase 1b: the promise, and what was accepted if that is more than the proposer has."""

    term: Term
    previous_index: Index
    """Of the first entry below. Above the one asked for if those entries are compacted."""
    entries: list[Entry]
    last_index: Index
    """Where the sender's log ends; the entries may be fewer, then the proposer asks again."""
    last_term: Term


Message = (
    PreVoteRequest
    | PreVoteResponse
    | VoteRequest
    | VoteResponse
    | AppendRequest
    | AppendResponse
    | Heartbeat
    | HeartbeatResponse
    | SnapshotChunk
    | SnapshotResponse
    | TimeoutNow
    | ReadRequest
    | ReadResponse
    | Quiesce
    | Wake
    | Prepare
    | Promise
)

encode_message = wire_encode
decode_message = wire_decoder(Message)
"""Raises msgspec.ValidationError or msgspec.DecodeError on bytes that are no message."""
