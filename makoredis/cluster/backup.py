"""Backups: the whole keyspace as of one entry of the log, read while the shard goes on.

A checkpoint is fuzzy: a row may include effects of entries behind the checkpoint's index. So a backup is a frozen view
of the store: the checkpoint's rows, and behind them the log, up to an entry that is chosen and that no row is ahead of.
Whoever reads it back does what a start does, loads the rows and replays the log, and has the state right after that
entry: all databases, deadlines and function libraries, as of one moment.

    file = MAGIC frame(head) part frame(shard)? … frame(end)
    part = frame(row)* frame(entry)*
    frame = length(4) kind(1) body

Where there are several shards, a part of each follows, and their moment is a timestamp (`shard_backup`).

The end has the number of frames and a checksum of everything before it. Nothing of a file is used before that is right.

Why the last entry of the view that is chosen covers every row of it: rows are handed to the disk when what they include
is chosen, and behind the entries that they include.

Left out: users and parameters, which belong to nodes and not to the keyspace; answers to repeated requests.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO
from zlib import crc32

import msgspec

from makoredis.base.errors import ClientError, StorageError
from makoredis.base.ids import Index, ShardId
from makoredis.base.record import Wire, field, wire_decoder, wire_encode
from makoredis.cluster.host import ShardHost
from makoredis.cluster.loading import Loader
from makoredis.cluster.shard_backup import Restore, ShardPart, ShardRestore, move_keys, shard_parts
from makoredis.cluster.shards import Shards
from makoredis.consensus.types import EntryKind
from makoredis.data.keyspace import Keyspace
from makoredis.storage.engine import Engine, Reader, Snapshot
from makoredis.storage.layout import log_key
from makoredis.storage.log import read_entries
from makoredis.storage.state import Row, StateTable
from makoredis.storage.store import Store
from makoredis.txn.entries import ClosedEpochs
from makoredis.txn.executor import Executor
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.replica import known_facts

MAGIC = b"makoredis backup\n"
FORMAT_VERSION = 1
FORMAT_VERSION_SHARDS = 2
"""Of a backup of several shards."""
FRAME_BYTES_MAX = 1 << 30
"""A longer frame is damage: no row and no entry can be that large."""
ENTRIES_BYTES = 1 << 20
"""Read from the log at a time."""

_FRAME = struct.Struct(">IB")
_END = struct.Struct(">QI")
_INDEX = struct.Struct(">Q")
_HEAD, _ROW, _ENTRY, _LAST, _SHARD = range(1, 6)


class NotABackup(Exception):
    """Why a file cannot be used."""


class BackupHead(Wire):
    """What a backup is of. Fields are a file format: a new one goes last, with a default."""

    version: int
    software: str
    cluster: str
    created_ms: int
    """Wall clock of the node that made it."""
    index: int
    """The entry that it goes up to."""
    term: int
    checkpoint_index: int
    """What the log in it begins behind."""
    databases: int
    blob: bytes
    """The checkpoint's."""
    ts: int = 0
    """Where there are several shards: what their parts are to be taken up to."""
    shards: list[ShardPart] = field(default_factory=list)
    facts: list[ClosedEpochs] = field(default_factory=list)
    """What decides which transactions of the shards' logs are void."""


_decode_head = wire_decoder(BackupHead)
_decode_row = wire_decoder(tuple[int, int, bytes, int, int | None, int, bytes])


# -- on the node


class Backup:
    """One backup being read. Holds a frozen view of the store until closed."""

    def __init__(self, engine: Engine, snapshot: Snapshot, head: BackupHead, frames: Iterator[bytes]) -> None:
        self.engine = engine
        self.head = head
        self._snapshot = snapshot
        self._frames = frames
        self._buffer = bytearray()

    def read(self, bytes_max: int) -> bytes:
        """The next bytes of the file; none at its end.

        Raises: StorageError when the store cannot be read.
        """
        buffer = self._buffer
        while len(buffer) < bytes_max:
            frame = next(self._frames, None)
            if frame is None:
                break
            buffer += frame
        data = bytes(buffer[:bytes_max])
        del buffer[:bytes_max]
        return data

    def close(self) -> None:
        """Lets the store forget the moment."""
        self._snapshot.close()


def open_backup(
    host: ShardHost,
    store: Store,
    *,
    index_min: int,
    software: str,
    now_ms: int,
    shards: Shards | None = None,
    ts_min: int = 0,
) -> Backup:
    """Freezes what is on the disk now.

    Args:
        index_min: what the backup has to include at least.
        shards: those with keys, where there are several.
        ts_min: what it has to include of them.
    Raises: ClientError TRYAGAIN while this replica does not have as much, or not as of one moment.
    """
    if host.applied_index < index_min or not host.is_consistent():
        raise ClientError("TRYAGAIN this replica has not caught up yet")
    engine = store.engine
    snapshot = engine.snapshot()
    try:
        table = StateTable(snapshot, host.shard)
        checkpoint = table.checkpoint.index
        index = _last_chosen(snapshot, host, checkpoint)
        if checkpoint > host.applied_index or index < index_min:
            raise ClientError("TRYAGAIN this replica's disk has not caught up yet")
        ts, parts = (0, []) if shards is None else shard_parts(shards, snapshot, ts_min)
    except (ClientError, StorageError):
        snapshot.close()
        raise
    head = BackupHead(
        FORMAT_VERSION if shards is None else FORMAT_VERSION_SHARDS,
        software,
        store.identity.cluster,
        now_ms,
        index,
        host.core.status().term,
        checkpoint,
        len(host.space.by_id),
        table.checkpoint.blob,
        ts,
        parts,
        [] if shards is None else known_facts(shards.knowledge),
    )
    return Backup(engine, snapshot, head, _frames(head, snapshot, table))


def _last_chosen(view: Reader, host: ShardHost, checkpoint: Index) -> Index:
    """The last entry in a view of the store that is known to be chosen."""
    index = max(checkpoint, min(host.core.status().persisted_index, host.applied_index))
    # The disk may be further than it has said so far, and rows with it.
    while index < host.applied_index and view.get(log_key(host.shard, index + 1)) is not None:
        index = Index(index + 1)
    return index


def _frames(head: BackupHead, view: Reader, table: StateTable) -> Iterator[bytes]:
    crc = crc32(MAGIC)
    count = 0
    yield MAGIC
    for kind, body in _bodies(head, view, table):
        frame = _FRAME.pack(len(body), kind) + body
        crc = crc32(frame, crc)
        count += 1
        yield frame
    end = _FRAME.pack(_END.size, _LAST)
    yield end + _END.pack(count, crc32(end, crc))


def _bodies(head: BackupHead, view: Reader, table: StateTable) -> Iterator[tuple[int, bytes]]:
    yield _HEAD, wire_encode(head)
    yield from _part(view, table, head.checkpoint_index, head.index)
    for part in head.shards:
        yield _SHARD, _INDEX.pack(part.shard)
        yield from _part(view, StateTable(view, ShardId(part.shard)), part.checkpoint_index, part.index)


def _part(view: Reader, table: StateTable, checkpoint_index: int, index: int) -> Iterator[tuple[int, bytes]]:
    for row in table.rows(view):
        yield _ROW, wire_encode(row)
    first = checkpoint_index + 1
    while first <= index:
        for entry in read_entries(view, table.shard, Index(first), Index(index), ENTRIES_BYTES):
            first = entry.index + 1
            if entry.kind == EntryKind.NORMAL:
                yield _ENTRY, _INDEX.pack(entry.index) + entry.payload


# -- in whoever reads it back


class _HostRestore:
    """Fills a keyspace with the part that every backup has: all keys, or none where there are several shards."""

    def __init__(self, space: Keyspace, head: BackupHead) -> None:
        self._executor = Executor(space)
        self._loader: Loader | None = Loader(space, Index(head.checkpoint_index))
        self._loader.load_blob(head.blob)

    def put(self, row: Row) -> None:
        assert self._loader is not None, "rows come first"
        self._loader.put(row)

    def take(self, index: int, payload: bytes) -> None:
        self.finish()
        self._executor.apply_payload(payload, Index(index))

    def finish(self) -> None:
        """There are no more rows."""
        if self._loader is not None:
            self._loader.hand_over(self._executor)
            self._loader = None


class BackupFile:
    """A file that was checked to its end: what is in it is what was written."""

    def __init__(self, file: BinaryIO) -> None:
        """Reads all of it once. Raises: NotABackup."""
        self._file = file
        self._crc = 0
        self.frames = 0
        self.head = self._check()

    def load(self) -> Keyspace:
        """The keyspace as of the moment of the backup."""
        head = self.head
        space = Keyspace(head.databases)
        shards = {part.shard: ShardRestore(part, head.databases) for part in head.shards}
        knowledge = Knowledge([part.shard for part in head.shards])
        knowledge.learn(head.facts)
        into: Restore = _HostRestore(space, head)
        for kind, body in self._bodies():
            if kind == _SHARD:
                into.finish()
                into = shards[_INDEX.unpack(body)[0]]
            elif kind == _ROW:
                row: Row = _decode_row(body)
                into.put(row)
            elif kind == _ENTRY:
                (index,) = _INDEX.unpack_from(body)
                into.take(index, body[_INDEX.size :])
        into.finish()
        for replica in [shard.learn(knowledge) for shard in shards.values()]:
            move_keys(replica, space, head.ts, knowledge)
        return space

    def _check(self) -> BackupHead:
        head: BackupHead | None = None
        for kind, body in self._bodies():
            if head is None:
                head = self._decoded_head(kind, body)
            self.frames += 1
        if head is None:
            raise self._damaged("there is no head")
        return head

    def _decoded_head(self, kind: int, body: bytes) -> BackupHead:
        try:
            head: BackupHead = _decode_head(body)
        except msgspec.DecodeError as error:
            raise self._damaged(f"the head cannot be read: {error}") from None
        if kind != _HEAD or head.version not in (FORMAT_VERSION, FORMAT_VERSION_SHARDS):
            raise NotABackup(
                f"a backup of format {head.version}, made by makoredis {head.software}; "
                f"this one reads formats {FORMAT_VERSION} and {FORMAT_VERSION_SHARDS}"
            )
        return head

    def _bodies(self) -> Iterator[tuple[int, bytes]]:
        """All frames from the start. Raises: NotABackup at the latest behind the last one."""
        file = self._file
        file.seek(0)
        if file.read(len(MAGIC)) != MAGIC:
            raise NotABackup("this is no backup of makoredis")
        self._crc = crc32(MAGIC)
        count = 0
        while True:
            before = self._crc
            kind, body = self._frame()
            if kind == _LAST:
                if body != _END.pack(count, crc32(_FRAME.pack(_END.size, _LAST), before)):
                    raise self._damaged("the checksum does not fit")
                if file.read(1):
                    raise self._damaged("something follows its end")
                return
            count += 1
            yield kind, body

    def _frame(self) -> tuple[int, bytes]:
        start = self._file.read(_FRAME.size)
        if len(start) < _FRAME.size:
            raise self._damaged("it is cut off")
        length, kind = _FRAME.unpack(start)
        if length > FRAME_BYTES_MAX:
            raise self._damaged(f"a frame says that it has {length:,} bytes")
        body = self._file.read(length)
        if len(body) < length:
            raise self._damaged("it is cut off")
        self._crc = crc32(body, crc32(start, self._crc))
        return kind, body

    def _damaged(self, what: str) -> NotABackup:
        return NotABackup(f"the backup is damaged: {what} (at byte {self._file.tell():,})")
