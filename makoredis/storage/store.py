"""An open data directory: lock, identity, ordered store, and the proof that nothing synced is missing from it.

Order of opening: lock, identity, store, batch number against the synced mark. Each step refuses with one line.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from makoredis.base.errors import StorageError
from makoredis.base.ids import NodeId
from makoredis.storage.directory import DataDirectory, Identity, check_identity
from makoredis.storage.engine import Batch, Engine, LevelDbEngine, Ops
from makoredis.storage.errors import Damaged, DirectoryRefused
from makoredis.storage.layout import BATCH_NUMBER_KEY, FORMAT_VERSION, seal, unseal
from makoredis.storage.space import DiskSpace
from makoredis.storage.synced import SyncedMark

_MARK_FILE = "synced"

EngineOpener = Callable[[Path, bool], Engine]
"""Opens the store in a directory; True to create it, False if it must exist."""


def _open_leveldb(path: Path, create: bool) -> Engine:
    return LevelDbEngine(path, create=create)


class Store:
    """One node's disk. What is written is numbered; `engine` is for reading and for making batches.

    Invariants:
    * The store's batch number ≥ the synced mark, at every moment and after every crash.
    * After `reopen` the engine is another object: do not keep it.
    """

    def __init__(
        self, directory: DataDirectory, identity: Identity, space: DiskSpace, open_engine: EngineOpener, *, create: bool
    ) -> None:
        self.directory = directory
        self.identity = identity
        self.space = space
        self._open_engine = open_engine
        self._mark = SyncedMark(directory.path / _MARK_FILE)
        try:
            self.engine, self._written_number = self._open_checked(create)
        except StorageError:
            self._mark.close()
            raise
        self._next_number = self._written_number

    def numbered(self, ops: Ops) -> tuple[int, Ops]:
        """Gives operations the next number. They have to be written in the order of their numbers."""
        self._next_number += 1
        number = self._next_number
        return number, [*ops, (BATCH_NUMBER_KEY, seal(BATCH_NUMBER_KEY, number.to_bytes(8, "big")))]

    def write(self, batches: Sequence[Batch], number: int, *, sync: bool) -> None:
        """Writes batches of numbered operations as one, all or none; `number` is the last one's."""
        self.engine.write(batches, sync=sync)
        self._written(number, sync)

    def write_numbered(self, ops: Ops, number: int, *, sync: bool) -> None:
        """The same for numbered operations that no batch was made of."""
        self.engine.write_ops(ops, sync=sync)
        self._written(number, sync)

    def _written(self, number: int, sync: bool) -> None:
        self._written_number = number
        if sync:
            self._mark.store(number)

    def write_ops(self, ops: Ops, *, sync: bool) -> None:
        """Writes operations at once, for whoever has no disk thread yet."""
        number, ops = self.numbered(ops)
        self.write_numbered(ops, number, sync=sync)

    def sync(self) -> None:
        """Brings everything written so far to the disk; another thread may go on writing."""
        number = self._written_number
        self.engine.sync()
        self._mark.store(number)

    def reopen(self) -> None:
        """Opens the store anew after a failed write; whether the failed batch is in it is not known, and no matter.

        Raises:
            StorageError: it cannot be opened; may be tried again.
        """
        self.engine.close()
        self.engine, self._written_number = self._open_checked(create=False)

    def disk_bytes(self) -> tuple[int, int]:
        """What the store's files take, and how much of that is its journal, which is in no table yet."""
        sizes = {}
        for file in self.directory.database_path.iterdir():
            with suppress(FileNotFoundError):  # it deletes some at any time
                sizes[file] = file.stat().st_size
        return sum(sizes.values()), sum(size for file, size in sizes.items() if file.suffix == ".log")

    def close(self) -> None:
        """Syncs nothing that was not synced; releases the directory."""
        self.engine.close()
        self._mark.close()
        self.directory.close()

    def _open_checked(self, create: bool) -> tuple[Engine, int]:
        """The engine and its batch number, which must not be behind the mark."""
        engine = self._open_engine(self.directory.database_path, create)
        try:
            number = _last_batch_number(engine)
            if number < self._mark.number:
                raise Damaged(
                    engine.place,
                    f"the end of the store is missing: batch {self._mark.number} was synced, the last there is "
                    f"{number} (a file is missing, cut off or damaged)",
                )
        except StorageError:
            engine.close()
            raise
        return engine, number


def _last_batch_number(engine: Engine) -> int:
    value = engine.get(BATCH_NUMBER_KEY)
    return 0 if value is None else int.from_bytes(unseal(BATCH_NUMBER_KEY, value, engine.place), "big")


def open_store(
    path: Path,
    *,
    cluster: str,
    node_id: NodeId,
    now_ms: int,
    initialise: bool = True,
    disk_free_bytes_min: int | None = None,
    ballast_bytes: int | None = None,
    open_engine: EngineOpener = _open_leveldb,
) -> Store:
    """Opens a node's data directory.

    Args:
        now_ms: wall clock, for the identity of a new directory.
        initialise: a directory that does not exist or is empty becomes this node's; otherwise it is refused.
    Raises:
        DirectoryRefused: it is in use, or not this node's.
        Damaged: what is in it is not what was written.
        StorageError: the disk fails.
    """
    directory = DataDirectory(path)
    try:
        limits = {"free_bytes_min": disk_free_bytes_min, "ballast_bytes": ballast_bytes}
        space = DiskSpace(path, **{name: value for name, value in limits.items() if value is not None})
        identity = directory.read_identity()
        if identity is not None:
            check_identity(path, identity, cluster, node_id)
            store = Store(directory, identity, space, open_engine, create=False)
        elif initialise:
            identity = Identity(FORMAT_VERSION, cluster, node_id, now_ms)
            directory.begin_initialising(identity)
            store = Store(directory, identity, space, open_engine, create=True)
            directory.finish_initialising()
        else:
            raise DirectoryRefused(f"{path}: there is no data here; initialise the directory first, or set another one")
        space.place_ballast()
    except BaseException:
        directory.close()
        raise
    return store
