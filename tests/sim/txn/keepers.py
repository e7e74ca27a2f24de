"""Checkpoints and snapshots of the cluster world: the server's own, on simulated disks, a few keys per tick."""

from collections.abc import Iterator
from io import BytesIO
from random import Random
from typing import Any

from makoredis.cluster.loading import leftovers
from makoredis.cluster.pace import Pace
from makoredis.cluster.replica import ShardReplica
from makoredis.cluster.shard_checkpointer import ShardCheckpointer
from makoredis.cluster.snapshots import SnapshotReceiver, Snapshots, SnapshotSender
from makoredis.consensus.types import SnapshotMetadata
from makoredis.storage.state import StateTable
from tests.sim.cluster.node import Rows


class Steps(Pace):
    """Pieces per tick as chance has it."""

    def __init__(self, rng: Random) -> None:
        super().__init__(0.0)
        self._rng = rng

    def start(self) -> Pace:
        return self

    def is_over(self) -> bool:
        return self._rng.random() < 0.4


class _File:
    """What is received of a snapshot. It is in memory: no start looks at what an earlier process has received."""

    def unlink(self, *, missing_ok: bool) -> None:
        assert missing_ok

    def open(self, mode: str) -> BytesIO:
        assert mode == "w+b"
        return BytesIO()


class _Directory:
    def __truediv__(self, name: str) -> _File:
        return _File()

    path = property(lambda self: self)


class Store:
    """As much of the store as they look at."""

    def __init__(self, rows: Rows) -> None:
        self.engine = rows
        self.directory = _Directory()


def open_table(rows: Rows, shard: Any, first: SnapshotMetadata) -> StateTable:
    """A shard's rows. On the first start an empty checkpoint says who the members are."""
    table = StateTable(rows, shard)  # type: ignore[arg-type]  # rows are a reader
    if table.checkpoint.metadata is None:
        rows.write(table.writer().finish(first, b""))
    return table


def sweep(rows: Rows, table: StateTable) -> None:
    """Deletes what interrupted checkpoints have left."""
    for ops in leftovers(rows, table):
        rows.write(ops)


class EarlyCheckpointer(ShardCheckpointer):
    """A broken rule: does not wait until nothing of what it writes can be void any more."""

    def _is_final(self, capture: Any) -> bool:
        return True


class Keeper:
    """Keeps one shard's checkpoints on one node."""

    def __init__(
        self, replica: ShardReplica, rows: Rows, table: StateTable, rng: Random, kind: type[ShardCheckpointer]
    ) -> None:
        store: Any = Store(rows)
        self.rng = rng
        self.checkpointer = checkpointer = kind(replica, store, table)
        checkpointer.pace = checkpointer.cleaning_pace = Steps(rng)
        self.receiver = SnapshotReceiver(replica, store, table, checkpointer)
        self.receiver.pace = checkpointer.pace
        self.snapshots = Snapshots(SnapshotSender(replica, store, checkpointer), self.receiver)
        replica.snapshots = self.snapshots
        self._done = (0, 0)

    def tick(self, chance: float) -> Iterator[str]:
        """Goes on with what is under way, and now and then asks for a checkpoint. Yields what was done since."""
        self.snapshots.tick()
        if not self.receiver.is_installing:
            if self.rng.random() < chance:
                self.checkpointer.request()
            self.checkpointer.tick(1 << 60)
        done, self._done = self._done, (self.checkpointer.count, self.receiver.installed_count)
        for name, before, now in zip(("checkpoint", "snapshot installed"), done, self._done, strict=True):
            yield from [name] * (now - before)
