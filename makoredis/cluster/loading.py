"""From rows and blob of a checkpoint to a state in memory: at a start, and when a snapshot takes the state's place.

What was loaded is *fuzzy*: a row may include effects of entries behind the checkpoint's index. `rows_until` and
`state_index` say how far; until everything up to there is applied, the state is no state that ever was.
"""

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from makoredis.base.errors import Fatal
from makoredis.base.ids import Index
from makoredis.base.record import Wire, field, wire_decoder
from makoredis.data.encoding import decode_value
from makoredis.data.keyspace import Keyspace
from makoredis.storage.engine import Ops, Reader
from makoredis.storage.state import TOMBSTONE, Row, StateTable
from makoredis.txn.executor import Executor

PROGRESS_SECONDS = 1.0
"""Between lines on how far a start is."""
KEYS_BETWEEN_LOOKS = 4096

Progress = Callable[[str], None]


class StateBlob(Wire):
    """What belongs to a shard's state beside its keys, as of `index`."""

    index: int
    numbers: list[int]
    """Which database id each number stands for."""
    libraries: dict[bytes, bytes]
    last_ts: int
    requests: list[tuple[int, int, dict[int, bytes]]] = field(default_factory=list)
    """Answers that may be asked for again (`RequestTable.dump`)."""


decode_blob = wire_decoder(StateBlob)


class RowLoader(Protocol):
    """Fills an empty keyspace with the rows of a checkpoint."""

    space: Keyspace

    def put(self, row: Row) -> None:
        """Takes one row over."""
        ...


class Loader:
    """Fills an empty keyspace with a checkpoint."""

    def __init__(self, space: Keyspace, index: Index) -> None:
        """
        Args:
            index: the checkpoint's; replay begins behind it.
        """
        self.space = space
        self.index = index
        self.row_indexes: dict[tuple[int, bytes], int] = {}
        """Rows that go further than the checkpoint: what replay has to skip."""
        self.rows_until = 0
        self.blob: StateBlob | None = None

    def load_blob(self, encoded: bytes) -> None:
        """Raises: Fatal when the data has more databases than the configuration."""
        if not encoded:
            return
        blob: StateBlob = decode_blob(encoded)
        space = self.space
        if len(blob.numbers) > len(space.by_id):
            raise Fatal(
                f"the data has {len(blob.numbers)} databases, the configuration only {len(space.by_id)}; set the "
                "parameter databases to at least that"
            )
        space.databases[: len(blob.numbers)] = [space.by_id[id] for id in blob.numbers]
        space.libraries.update(blob.libraries)
        self.blob = blob

    def put(self, row: Row) -> None:
        """Takes one row over."""
        db, _, key, index, deadline, tag, value = row
        if index > self.index:
            self.row_indexes[db, key] = index
            if index > self.rows_until:
                self.rows_until = index
        if tag != TOMBSTONE:
            database = self.space.by_id[db]
            database.put(key, decode_value(bytes((tag,)) + value))
            if deadline is not None:
                database.set_deadline(key, deadline)

    def stored_databases(self) -> int:
        """How many databases there were when the checkpoint was made; 0 without one."""
        return 0 if self.blob is None else len(self.blob.numbers)

    def hand_over(self, executor: Executor) -> None:
        """Tells the executor what replay has to know."""
        executor.row_indexes = self.row_indexes
        executor.rows_until = self.rows_until
        blob = self.blob
        executor.state_index = 0 if blob is None else blob.index
        executor.requests.load([] if blob is None else blob.requests)
        if blob is not None:
            executor.clock.observe(blob.last_ts)


def load_table(reader: Reader, table: StateTable, executor: Executor, progress: Progress) -> int:
    """Fills the executor's empty keyspace with the checkpoint on the disk.

    Returns: how many databases there were when it was made, 0 without one.
    Raises: StorageError for damage, Fatal when the configuration has fewer databases than the data.
    """
    loader = Loader(executor.space, table.checkpoint.index)
    loader.load_blob(table.checkpoint.blob)
    load_rows(reader, table, loader, progress)
    loader.hand_over(executor)
    return loader.stored_databases()


def load_rows(reader: Reader, table: StateTable, loader: RowLoader, progress: Progress) -> None:
    """Reads all rows of a table, and says now and then how far it is."""
    next_report = time.monotonic() + PROGRESS_SECONDS
    for count, row in enumerate(table.rows(reader)):
        loader.put(row)
        if count % KEYS_BETWEEN_LOOKS == 0 and time.monotonic() > next_report:
            next_report = time.monotonic() + PROGRESS_SECONDS
            progress(f"loading the checkpoint: {count:,} keys")


def leftovers(reader: Reader, table: StateTable) -> Iterator[Ops]:
    """Deletes what interrupted checkpoints have left on the disk. To be written before anything else is."""
    yield from table.unfinished_ops(reader)
    yield from table.garbage_ops(reader)
