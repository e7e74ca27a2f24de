"""Snapshots between nodes: the driver's half of what `consensus/snapshot.py` asks for.

The *sender* reads the last checkpoint from a frozen view of the store, so that it neither stops the shard nor sees
later checkpoints. One that begins too early for the log that is left is not of use: then a checkpoint is made first.

The *receiver* keeps chunks aside in a file. When all have arrived, the state is built beside the old one, on the disk
as another generation of rows and in memory as another keyspace, a bounded time per tick. One last batch switches the
disk over, log included; when it is written, the databases in memory are exchanged in place, because everybody holds
the keyspace. Until then the old state and log count, and a restart finds nothing else.

Left out: resuming a transfer after a restart of either side. It begins anew.
"""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from makoredis.base.errors import StorageError
from makoredis.base.ids import Index, ShardId
from makoredis.base.record import record
from makoredis.cluster.host import Disk
from makoredis.cluster.loading import RowLoader
from makoredis.cluster.pace import Pace
from makoredis.cluster.snapshot_stream import StreamReader, StreamWriter
from makoredis.consensus.core import ChunkRequest, ChunkWrite, Core, Ready
from makoredis.consensus.types import SnapshotMetadata
from makoredis.storage.engine import Engine, Ops, Snapshot
from makoredis.storage.errors import Damaged
from makoredis.storage.log import ShardLog
from makoredis.storage.state import Row, StateTable
from makoredis.storage.store import Store

TRANSFERS_MAX = 2
"""Snapshots being sent at a time; others wait for their turn."""
INSTALL_SECONDS_PER_TICK = 0.03
"""How long one tick may build on a received state. Its node has little else to do, but must answer heartbeats."""
INSTALL_QUEUE_BYTES_MAX = 32 * 1024 * 1024
"""With so much waiting for the disk, building pauses."""
ROWS_BETWEEN_LOOKS = 256

RECEIVING_FILE = "snapshot.receiving"
"""For one of several shards, with its number behind."""


class StateOwner(Protocol):
    """Whose state it is: one replica of one shard."""

    shard: ShardId
    core: Core
    log: ShardLog
    disk: Disk

    def new_loader(self, metadata: SnapshotMetadata, blob: bytes) -> RowLoader:
        """For a state that is received; its keyspace is empty."""
        ...

    def take_state(self, loader: Any, metadata: SnapshotMetadata) -> None:
        """What that loader has filled takes the place of the state in memory."""
        ...


class Checkpoints(Protocol):
    """What snapshots need of the checkpointer (`makoredis.cluster.checkpointer`)."""

    is_running: bool

    def request(self) -> None: ...

    def stop_for_snapshot(self) -> None: ...

    def restart_after_snapshot(self) -> None: ...


@record
class _Written:
    """Token of a batch; `then` runs once it is on the disk."""

    then: Callable[[], None]

    def written(self) -> None:
        self.then()


class _Outgoing:
    """One snapshot on its way. Keeps the last chunk, because that one may be asked for again."""

    def __init__(self, engine: Engine, snapshot: Snapshot, table: StateTable, metadata: SnapshotMetadata) -> None:
        self.engine = engine
        self.snapshot = snapshot
        self.metadata = metadata
        self.offset = 0
        self.data = b""
        self.is_last = False
        self._stream = StreamWriter(table.checkpoint.blob, table.rows(snapshot))

    def read(self, offset: int, bytes_max: int) -> bool:
        """Makes `data` the chunk at an offset; False if it is not the last one again nor the one behind it."""
        if offset == self.offset and self.data:
            return True
        if offset != self.offset + len(self.data) or self.is_last:
            return False
        self.offset = offset
        self.data, self.is_last = self._stream.read(bytes_max)
        return True


class SnapshotSender:
    """Answers the core's requests for bytes of a snapshot."""

    def __init__(self, host: StateOwner, store: Store, checkpoints: Checkpoints) -> None:
        self.host = host
        self.store = store
        self.checkpoints = checkpoints
        self.sent_count = 0
        """Snapshots sent to their last byte, since start."""
        self.sent_bytes = 0
        self._outgoing: dict[int, _Outgoing] = {}
        self._waiting: list[ChunkRequest] = []

    @property
    def active_count(self) -> int:
        """Transfers under way or waiting."""
        return len(self._outgoing) + len(self._waiting)

    def request(self, request: ChunkRequest) -> None:
        """The core wants the next bytes of a transfer; perhaps it has to wait for a checkpoint or for others."""
        transfer = self._outgoing.get(request.transfer)
        if transfer is None and request.metadata is not None:
            self.host.core.chunks_unavailable(request.transfer)
        elif transfer is None:
            self._open(request)
        else:
            self._supply(request, transfer)

    def close(self, number: int) -> None:
        """A transfer needs no more bytes."""
        self._waiting = [request for request in self._waiting if request.transfer != number]
        transfer = self._outgoing.pop(number, None)
        if transfer is not None:
            transfer.snapshot.close()
            self.sent_count += transfer.is_last

    def close_all(self) -> None:
        """This node stops."""
        for number in list(self._outgoing):
            self.close(number)

    def tick(self) -> None:
        """Tries again what had to wait."""
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            self._open(request)

    def _open(self, request: ChunkRequest) -> None:
        transfer = self._freeze(request.index_min) if len(self._outgoing) < TRANSFERS_MAX else None
        if transfer is None:
            self._waiting.append(request)
        else:
            self._outgoing[request.transfer] = transfer
            self._supply(request, transfer)

    def _freeze(self, index_min: Index) -> _Outgoing | None:
        """A frozen view of the last checkpoint; None if that is too old, and a newer one has been asked for."""
        engine = self.store.engine
        snapshot = engine.snapshot()
        table = StateTable(snapshot, self.host.shard)
        metadata = table.checkpoint.metadata
        if metadata is not None and metadata.index >= max(index_min, 1):
            return _Outgoing(engine, snapshot, table, metadata)
        snapshot.close()
        if not self.checkpoints.is_running:
            self.checkpoints.request()
        return None

    def _supply(self, request: ChunkRequest, transfer: _Outgoing) -> None:
        # A store that was opened anew, because the disk was full, has lost its frozen views.
        is_readable = transfer.engine is self.store.engine
        if not is_readable or not transfer.read(request.offset, request.bytes_max):
            self.host.core.chunks_unavailable(request.transfer)
            return
        self.sent_bytes += len(transfer.data)
        self.host.core.supply_chunk(
            request.transfer, transfer.metadata, transfer.offset, transfer.data, transfer.is_last
        )


class _Installation:
    """A received snapshot on its way into the state's place."""

    def __init__(self, host: StateOwner, table: StateTable, file: BinaryIO, metadata: SnapshotMetadata) -> None:
        """Raises: Damaged."""
        self.metadata = metadata
        self.file = file
        self.blob = b""
        self._rows: Iterator[Row] = iter(())
        if host.core.status().node not in metadata.configuration.witnesses:  # those get nothing but the metadata
            reader = StreamReader(file)
            self.blob, self._rows = reader.blob, reader.rows()
        self.loader = host.new_loader(metadata, self.blob)
        self.writer = table.replacement_writer()

    def build(self, pace: Pace) -> bool:
        """Takes rows over as long as there is time. Returns whether all are done.

        Raises: Damaged.
        """
        writer, loader = self.writer, self.loader
        for row in self._rows:
            writer.put(row)
            loader.put(row)
            if pace.is_over():
                return False
        return True


class SnapshotReceiver:
    """Keeps aside what arrives, and puts it in the state's place when the core says so."""

    def __init__(self, host: StateOwner, store: Store, table: StateTable, checkpoints: Checkpoints) -> None:
        self.host = host
        self.store = store
        self.table = table
        self.checkpoints = checkpoints
        self.installed_count = 0
        """Since start."""
        self.received_bytes = 0
        suffix = f".{host.shard}" if host.shard else ""
        self._path: Path = store.directory.path / (RECEIVING_FILE + suffix)
        self._path.unlink(missing_ok=True)
        self._file: BinaryIO | None = None
        self._installation: _Installation | None = None
        self.pace = Pace(INSTALL_SECONDS_PER_TICK, ROWS_BETWEEN_LOOKS)

    @property
    def is_installing(self) -> bool:
        """Whether the state is being replaced; it is the old one until that is done."""
        return self._installation is not None

    def write(self, chunk: ChunkWrite) -> None:
        """Keeps a chunk. One that does not fit on the disk is not acknowledged, so it comes again."""
        try:
            if chunk.offset == 0:
                self._drop_file()
                self._file = self._path.open("w+b")
            assert self._file is not None, "the first chunk has offset 0"
            self._file.seek(chunk.offset)
            self._file.write(chunk.data)
            self._file.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(f"{self._path}: {error.strerror}; check the disk") from error
            return
        self.received_bytes += len(chunk.data)
        self.host.core.chunk_stored(chunk.receipt, chunk.offset + len(chunk.data))

    def install(self, metadata: SnapshotMetadata) -> None:
        """All has arrived: begins to build the new state beside the old one."""
        assert self._file is not None and self._installation is None
        self.checkpoints.stop_for_snapshot()
        self._file.seek(0)
        try:
            self._installation = _Installation(self.host, self.table, self._file, metadata)
        except Damaged:
            self._reject(metadata)

    def tick(self) -> None:
        """Goes on with an installation."""
        installation = self._installation
        if installation is None or self._file is None or self.host.disk.queued_bytes > INSTALL_QUEUE_BYTES_MAX:
            return
        try:
            is_done = installation.build(self.pace.start())
        except Damaged:
            self._reject(installation.metadata)
            return
        for ops in installation.writer.take_batches():
            self.host.disk.submit(ops, _Written(_nothing))
        if is_done:
            self._drop_file()
            self._switch_disk(installation)

    def close(self) -> None:
        """This node stops: what was received is void."""
        self._drop_file()

    def _switch_disk(self, installation: _Installation) -> None:
        metadata = installation.metadata
        ops: Ops = installation.writer.finish(metadata, installation.blob)
        ops += self.host.log.reset_ops(metadata.index, metadata.term)
        self.host.disk.submit(ops, _Written(lambda: self._switch_memory(installation)))

    def _switch_memory(self, installation: _Installation) -> None:
        """The disk has the new state: so has the memory from now on."""
        self.host.take_state(installation.loader, installation.metadata)
        self._installation = None
        self.installed_count += 1
        self.checkpoints.restart_after_snapshot()
        self.host.core.snapshot_installed(installation.metadata)

    def _reject(self, metadata: SnapshotMetadata) -> None:
        self._installation = None
        self._drop_file()
        self.checkpoints.restart_after_snapshot()
        self.host.core.snapshot_rejected(metadata)

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._path.unlink(missing_ok=True)


class Snapshots:
    """Both directions, for one shard."""

    def __init__(self, sender: SnapshotSender, receiver: SnapshotReceiver) -> None:
        self.sender = sender
        self.receiver = receiver

    def perform(self, ready: Ready) -> None:
        """What a `Ready` wants of snapshots."""
        for number in ready.closed_transfers:
            self.sender.close(number)
        for request in ready.chunk_requests:
            self.sender.request(request)
        for chunk in ready.chunk_writes:
            self.receiver.write(chunk)
        if ready.install is not None:
            self.receiver.install(ready.install)

    def tick(self) -> None:
        self.sender.tick()
        self.receiver.tick()

    def close(self) -> None:
        self.sender.close_all()
        self.receiver.close()


def _nothing() -> None:
    return None
