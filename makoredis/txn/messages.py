"""What coordinators and the leaders of shards say to each other about transactions over several shards.

All of it may be lost, late, repeated or reordered. Every message to a leader names the epoch it is meant for.
"""

from enum import IntEnum
from typing import Union

from makoredis.base.record import Wire, field
from makoredis.data.effects import Effect
from makoredis.txn.locks import KeyLock
from makoredis.txn.vectors import WireVector

TransactionId = tuple[int, int]
"""Incarnation of the coordinating node, and a number; every attempt has its own."""


class WatchedKey(Wire):
    """A key that must not have been written since `as_of`, a timestamp of its shard's leader."""

    db: int
    key: bytes
    as_of: int


class Part(Wire):
    """What one shard has to do for a transaction."""

    operation: bytes
    """Opaque here; the participant's `Program` runs it."""
    locks: list[KeyLock]
    watches: list[WatchedKey] = field(default_factory=list)


class Prepare(Wire, tag=1):
    """Lock, run, propose a timestamp; nothing is replicated yet."""

    id: TransactionId
    coordinator: int
    epochs: list[tuple[int, int]]
    """Every participant's shard and the epoch it has to be in: a later leader does not know what an earlier one has
    refused, so it must not take part under the earlier one's name."""
    started_ts: int
    part: Part
    is_read_only: bool
    may_wait: bool
    patience_us: int = 0
    """So much later than it does else a participant gives up a coordinator that it hears no more."""


class Prepared(Wire, tag=2):
    """Yes: the locks are held."""

    id: TransactionId
    shard: int
    epoch: int
    proposal_ts: int
    vector: WireVector
    results: bytes


class Refused(Wire, tag=3):
    """No. `reason` is a `Refusal`; `epoch` is the one the shard is in."""

    id: TransactionId
    shard: int
    epoch: int
    reason: int
    moved: bytes = b""
    """For `MOVED`: where to (`handover.decode_moved`)."""


class Commit(Wire, tag=4):
    """All are prepared. For a read-only transaction: the release."""

    id: TransactionId
    coordinator: int
    epoch: int
    ts: int
    vector: WireVector
    effects: list[tuple[int, list[Effect]]]
    """By shard, if the coordinator worked them out from the results; empty: those of the prepared operations. All
    shards', so that a participant can tell another its part when the coordinator is dead."""


class Committed(Wire, tag=5):
    """The record is appended (executed, not yet chosen), or the read locks were held until now."""

    id: TransactionId
    shard: int


class Aborted(Wire, tag=6):
    """This shard has not committed the transaction and never will, or what it commits is void."""

    id: TransactionId
    shard: int


class Abort(Wire, tag=7):
    """The coordinator gives up an attempt that it has not committed anywhere."""

    id: TransactionId
    started_ts: int


class Query(Wire, tag=8):
    """A participant that has heard nothing asks another: what became of it? Asking freezes the answerer's vote."""

    id: TransactionId
    shard: int
    """Who asks."""
    epoch: int
    """The one that the asked shard was expected to be in."""
    started_ts: int


class Answer(Wire, tag=9):
    """To a query. `state` is a `Fate`; the rest, as in `Commit`, only if the transaction is committed."""

    id: TransactionId
    shard: int
    state: int
    ts: int
    vector: WireVector
    effects: list[tuple[int, list[Effect]]]


class Refusal(IntEnum):
    """Why a shard does not take part."""

    NOT_SERVING = 0
    """Not the leader, or not yet."""
    EPOCH = 1
    """It is in another epoch."""
    CONFLICT = 2
    """Somebody holds a lock."""
    WATCH = 3
    """A watched key was written."""
    OVER = 4
    """This attempt is known to have failed."""
    MOVED = 5
    """Some of the keys belong to another shard now."""


class Fate(IntEnum):
    """What a participant knows of a transaction."""

    COMMITTED = 0
    FROZEN = 1
    """Prepared, and it will not take a commit from the coordinator any more."""
    ABORTED = 2


Message = Union[Prepare, Prepared, Refused, Commit, Committed, Aborted, Abort, Query, Answer]  # noqa: UP007 - msgspec
ShardMessage = Union[Prepare, Commit, Abort, Query, Answer]  # noqa: UP007
