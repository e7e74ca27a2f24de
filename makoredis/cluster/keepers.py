"""What keeps the logs of a node's groups short: the checkpoints and snapshots of all of them."""

from typing import Protocol

from makoredis.cluster.checkpointer import Checkpointer
from makoredis.cluster.host import ShardHost
from makoredis.cluster.log_size import LogSize
from makoredis.cluster.shard_checkpointer import ShardCheckpointer
from makoredis.cluster.snapshots import SnapshotReceiver, Snapshots, SnapshotSender
from makoredis.storage.disk import DiskState, Durability
from makoredis.storage.state import StateTable
from makoredis.storage.store import Store


class Logged(Protocol):
    """A group, as far as it has a log."""

    log_size: LogSize


class Keepers:
    """All of one node. `checkpointer` and `snapshots` are those of the group that every node is in; where there are
    several shards, they have their own."""

    def __init__(self, host: ShardHost, store: Store, table: StateTable, durability: Durability) -> None:
        self.checkpointer = Checkpointer(host, store, table)
        self.snapshots = Snapshots(
            SnapshotSender(host, store, self.checkpointer),
            SnapshotReceiver(host, store, table, self.checkpointer),
        )
        self._logged: list[Logged] = [host]
        self._of_shards: list[tuple[ShardCheckpointer, Snapshots]] = []
        self._durability = durability
        self._finished_at = 0.0

    def add(self, shard: Logged, checkpointer: ShardCheckpointer, snapshots: Snapshots) -> None:
        """Those of a shard, where there are several."""
        self._logged.append(shard)
        self._of_shards.append((checkpointer, snapshots))

    def tick(self, log_bytes_max: int, disk: DiskState, *, is_refusing: bool) -> None:
        """Goes on with what is under way, and begins a checkpoint of each group whose log is longer than that.

        Args:
            is_refusing: writes are refused because there is no room, so no checkpoint begins.
        """
        self.finished_at()
        self.snapshots.tick()
        for checkpointer, snapshots in self._of_shards:
            snapshots.tick()
            is_full = disk is DiskState.FULL or is_refusing
            if not snapshots.receiver.is_installing and (not is_full or checkpointer.is_running):
                checkpointer.tick(log_bytes_max)
        if self.snapshots.receiver.is_installing or disk is DiskState.FULL:
            return
        own = self.checkpointer
        if is_refusing and not own.is_running:
            return
        if self._durability is not Durability.MEMORY:
            own.tick(log_bytes_max)
        elif own.is_running:
            own.release()
        elif own.is_requested:
            own.capture_at_once()

    def request(self) -> None:
        """Asks for a checkpoint of every group (SAVE, BGSAVE)."""
        for checkpointer in self.checkpointers():
            checkpointer.request()

    def checkpointers(self) -> list[Checkpointer | ShardCheckpointer]:
        return [self.checkpointer, *(checkpointer for checkpointer, _ in self._of_shards)]

    def all_snapshots(self) -> list[Snapshots]:
        return [self.snapshots, *(snapshots for _, snapshots in self._of_shards)]

    def log_bytes(self) -> int:
        """How much log a start has to replay."""
        return sum(each.log_size.bytes for each in self._logged)

    def count(self) -> int:
        """Checkpoints since start."""
        return sum(keeper.count for keeper in self.checkpointers())

    def changes(self) -> int:
        """Transactions that no checkpoint holds yet."""
        return sum(keeper.changes() for keeper in self.checkpointers())

    def is_busy(self) -> bool:
        """Whether a checkpoint is being written, of whatever is here, or is to be."""
        return any(keeper.is_running or keeper.is_requested for keeper in self.checkpointers())

    def finished_at(self) -> float:
        """When the last checkpoint was written and no other was under way, so that what was asked for is there; wall
        clock, 0: none since start."""
        if not self.is_busy():
            self._finished_at = max(keeper.last_success_at for keeper in self.checkpointers())
        return self._finished_at

    def close(self) -> None:
        for snapshots in self.all_snapshots():
            snapshots.close()
