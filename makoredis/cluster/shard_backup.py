"""The part that each of several shards has in a backup, and how it is read back.

The moment of such a backup is a timestamp, the same for all shards: a cut of the vector watermark. It is one that the
node's snapshot has passed, so everything up to it is chosen and decided; no row on the disk is newer; and every log on
the disk reaches so far that nothing below it follows. Whoever reads it back does what a follower does: loads each
shard's checkpoint, takes in its log, and makes visible what is not void up to that timestamp. A transaction over
several shards has one timestamp, so it is there as a whole or not at all.
"""

from typing import Protocol

from makoredis.base.errors import ClientError
from makoredis.base.ids import Index, ShardId
from makoredis.base.record import Wire, wire_decoder
from makoredis.cluster.replica import ShardReplica
from makoredis.cluster.shard_loading import ShardLoader
from makoredis.cluster.shards import Shards
from makoredis.consensus.types import EntryKind
from makoredis.data.keyspace import Keyspace
from makoredis.storage.engine import Reader
from makoredis.storage.log import read_entries
from makoredis.storage.state import Row, StateTable
from makoredis.txn.entries import decode_payload
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.replica import Replica, ShardCheckpoint

_NOT_YET = ClientError("TRYAGAIN this replica's disk has not caught up yet")
_decode_checkpoint = wire_decoder(ShardCheckpoint)


class ShardPart(Wire):
    """What a backup has of one shard."""

    shard: int
    checkpoint_index: int
    index: int
    """The entry that its part of the log goes up to."""
    blob: bytes
    """The checkpoint's; empty before the first one."""


def shard_parts(shards: Shards, view: Reader, ts_min: int) -> tuple[int, list[ShardPart]]:
    """Up to which timestamp a frozen view of the disk can be read back, and what of it is needed for that.

    Raises: ClientError TRYAGAIN if that is before `ts_min`, or not one moment of all shards yet.
    """
    snapshot = shards.snapshot
    if not snapshot.is_whole or snapshot.ts < ts_min:
        raise ClientError("TRYAGAIN this replica has not caught up yet")
    ts, parts, rows_ts = snapshot.ts, [], 0
    for shard, replica in shards.replicas.items():
        part, closed_ts, newest = _part_of(shard, replica, view)
        parts.append(part)
        ts, rows_ts = min(ts, closed_ts), max(rows_ts, newest)
    if ts < max(ts_min, rows_ts):
        raise _NOT_YET
    return ts, parts


def _part_of(shard: ShardId, replica: ShardReplica, view: Reader) -> tuple[ShardPart, int, int]:
    """A shard's part, up to which timestamp it is complete, and the highest timestamp in its rows."""
    checkpoint = StateTable(view, shard).checkpoint
    index = min(replica.core.status().persisted_index, replica.applied_index)
    if index < checkpoint.index:
        raise _NOT_YET
    closed_ts, rows_ts = 0, 0
    if checkpoint.blob:
        saved: ShardCheckpoint = _decode_checkpoint(checkpoint.blob)
        closed_ts, rows_ts = saved.closed_ts, saved.rows_ts
    for at in range(index, checkpoint.index, -1):
        entry = read_entries(view, shard, Index(at), Index(at), 1)[0]
        if entry.kind == EntryKind.NORMAL:
            closed_ts = decode_payload(entry.payload).closed_ts
            break
    return ShardPart(shard, checkpoint.index, index, checkpoint.blob), closed_ts, rows_ts


class Restore(Protocol):
    """Takes a part of a backup: rows, then entries of the log."""

    def put(self, row: Row) -> None: ...

    def take(self, index: int, payload: bytes) -> None: ...

    def finish(self) -> None: ...


class ShardRestore:
    """One shard's part, read back."""

    def __init__(self, part: ShardPart, databases: int) -> None:
        self.part = part
        self._space = Keyspace(databases)
        self._loader = ShardLoader(part.shard, self._space, part.blob) if part.blob else None
        self._entries: list[tuple[int, bytes]] = []

    def put(self, row: Row) -> None:
        assert self._loader is not None, "there are no rows before the first checkpoint"
        self._loader.put(row)

    def take(self, index: int, payload: bytes) -> None:
        self._entries.append((index, payload))

    def finish(self) -> None:
        """Which entries are void is not known before all shards' are here."""

    def learn(self, knowledge: Knowledge) -> Replica:
        """The replica up to the end of this part of the log. How epochs ended is known from then on."""
        replica = Replica(self.part.shard, self._space) if self._loader is None else self._loader.replica(knowledge)
        for index, payload in self._entries:
            replica.take(index, decode_payload(payload), knowledge)
        self._entries = []
        return replica


def move_keys(replica: Replica, space: Keyspace, ts: int, knowledge: Knowledge) -> None:
    """Moves the keys that a replica has as of a timestamp into a keyspace. All shards' facts have to be known."""
    replica.advance_to(ts, knowledge)
    for mine, target in zip(replica.space.by_id, space.by_id):
        for key in list(mine.keys()):
            value = mine.get(key)
            if value is not None:
                target.put(key, value)
                target.set_deadline(key, mine.expires.get(key, 0))
