"""The disk thread: order, group commit, limits, and what happens when the disk fails or fills."""

import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from makoredis.base.errors import Busy, StorageError
from makoredis.base.ids import NodeId
from makoredis.storage.disk import DiskState, DiskThread, Durability
from makoredis.storage.engine import Batch, Engine, LevelDbEngine, Op
from makoredis.storage.errors import DiskFull
from makoredis.storage.store import Store, open_store

from .conftest import open_test_store

DEADLINE_SECONDS = 20.0


class FaultyEngine(LevelDbEngine):
    """A LevelDB that raises what it is told to, and can be held up."""

    errors: list[StorageError]
    writes: list[bool]

    def __init__(self, path: Path, *, create: bool, errors: list[StorageError], gate: threading.Event) -> None:
        super().__init__(path, create=create)
        self.errors = errors
        self.gate = gate
        self.writes = []
        self.sync_count = 0

    def write(self, batches: Sequence[Batch], *, sync: bool) -> None:
        assert self.gate.wait(DEADLINE_SECONDS)
        if self.errors:
            raise self.errors.pop(0)
        super().write(batches, sync=sync)
        self.writes.append(sync)

    def write_ops(self, ops: Iterable[Op], *, sync: bool) -> None:
        if self.errors:
            raise self.errors.pop(0)
        super().write_ops(ops, sync=sync)
        self.writes.append(sync)

    def sync(self) -> None:
        super().sync()
        self.sync_count += 1


class Bench:
    """A store over a faulty engine, and disk threads on it."""

    def __init__(self, path: Path) -> None:
        self.errors: list[StorageError] = []
        self.open_errors: list[StorageError] = []
        self.gate = threading.Event()
        self.gate.set()
        self.engines: list[FaultyEngine] = []
        self.threads: list[DiskThread[int]] = []
        self.store = open_store(
            path, cluster="test", node_id=NodeId(1), now_ms=0, ballast_bytes=1 << 16, open_engine=self._open
        )

    def _open(self, path: Path, create: bool) -> Engine:
        if self.open_errors:
            raise self.open_errors.pop(0)
        engine = FaultyEngine(path, create=create, errors=self.errors, gate=self.gate)
        self.engines.append(engine)
        return engine

    def thread(self, durability: Durability = Durability.SYNC, *, queue_bytes_max: int = 1 << 30) -> DiskThread[int]:
        thread: DiskThread[int] = DiskThread(
            self.store, durability, sync_interval_seconds=0.05, queue_bytes_max=queue_bytes_max
        )
        self.threads.append(thread)
        return thread

    def close(self) -> None:
        self.gate.set()
        for thread in self.threads:
            if thread.state is not DiskState.CLOSED:
                thread.close()
        self.store.close()


@pytest.fixture
def bench(data_path: Path) -> Iterator[Bench]:
    opened = Bench(data_path)
    yield opened
    opened.close()


def wait_for(disk: DiskThread[int], condition: Callable[[], bool]) -> None:
    """Waits on the wake-up descriptor, as the loop does, until a condition holds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the disk thread did not get there"
        select.select([disk.wakeup_fd], [], [], 0.02)


def completed(disk: DiskThread[int], count: int) -> list[int]:
    tokens: list[int] = []

    def enough() -> bool:
        tokens.extend(disk.take_completed())
        return len(tokens) >= count

    wait_for(disk, enough)
    return tokens


def put(number: int, size: int = 10) -> list[tuple[bytes, bytes | None]]:
    return [(b"x%08d" % number, b"v" * size)]


def stored(store: Store) -> list[int]:
    return [int(key[1:]) for key, _ in store.engine.scan(b"x", b"y")]


@pytest.mark.parametrize("durability", [Durability.SYNC, Durability.INTERVAL])
def test_tokens_complete_in_order_and_the_data_is_there(bench: Bench, durability: Durability) -> None:
    disk = bench.thread(durability)
    for number in range(100):
        disk.submit(put(number), number)
    assert completed(disk, 100) == list(range(100))
    assert stored(bench.store) == list(range(100))
    assert disk.queued_bytes == 0
    assert set(bench.engines[0].writes) == {durability is Durability.SYNC}


def test_what_queues_up_during_a_write_becomes_one_batch(bench: Bench) -> None:
    bench.gate.clear()
    disk = bench.thread()
    disk.submit(put(0), 0)
    for number in range(1, 50):
        disk.submit(put(number), number)
    bench.gate.set()
    assert completed(disk, 50) == list(range(50))
    assert disk.write_count <= 2


def test_a_write_is_bounded(bench: Bench) -> None:
    bench.gate.clear()
    disk = bench.thread()
    for number in range(5):
        disk.submit(put(number, size=5 << 20), number)
    bench.gate.set()
    assert completed(disk, 5) == list(range(5))
    assert disk.write_count == 5


def test_nothing_completes_before_it_is_written(bench: Bench) -> None:
    bench.gate.clear()
    disk = bench.thread()
    disk.submit(put(0), 0)
    assert not select.select([disk.wakeup_fd], [], [], 0.05)[0]
    assert disk.take_completed() == []
    bench.gate.set()
    assert completed(disk, 1) == [0]


def test_a_token_without_operations_keeps_its_place_and_costs_no_write(bench: Bench) -> None:
    bench.gate.clear()
    disk = bench.thread()
    disk.submit(put(0), 0)
    disk.submit([], 1)
    assert not select.select([disk.wakeup_fd], [], [], 0.05)[0]
    bench.gate.set()
    assert completed(disk, 2) == [0, 1]
    writes = disk.write_count
    disk.submit([], 2)
    assert completed(disk, 1) == [2]
    assert disk.write_count == writes


def test_above_the_queue_limit_it_is_busy_until_it_has_written(bench: Bench) -> None:
    bench.gate.clear()
    disk = bench.thread(queue_bytes_max=1000)
    disk.submit(put(0, size=2000), 0)
    with pytest.raises(Busy):
        disk.submit(put(1), 1)
    bench.gate.set()
    assert completed(disk, 1) == [0]
    disk.submit(put(1), 1)
    assert completed(disk, 1) == [1]


def test_memory_mode_completes_at_once_and_writes_nothing(bench: Bench) -> None:
    disk = bench.thread(Durability.MEMORY)
    disk.submit(put(0), 0)
    assert select.select([disk.wakeup_fd], [], [], 0)[0]
    assert disk.take_completed() == [0]
    assert bench.engines[0].writes == []


def test_interval_mode_syncs_soon_after_writing_and_is_quiet_when_idle(bench: Bench) -> None:
    disk = bench.thread(Durability.INTERVAL)
    engine = bench.engines[0]
    disk.submit(put(0), 0)
    assert completed(disk, 1) == [0]
    wait_for(disk, lambda: engine.sync_count == 1)
    time.sleep(0.15)  # three intervals without work
    assert engine.sync_count == 1
    disk.submit(put(1), 1)
    wait_for(disk, lambda: engine.sync_count == 2)


def test_closing_writes_and_syncs_what_is_queued(bench: Bench, data_path: Path) -> None:
    disk = bench.thread(Durability.INTERVAL)
    for number in range(10):
        disk.submit(put(number), number)
    disk.close()
    assert disk.take_completed() == list(range(10))
    assert bench.engines[0].sync_count >= 1
    bench.close()
    reopened = open_test_store(data_path)
    assert stored(reopened) == list(range(10))
    reopened.close()


def test_an_io_error_is_final_and_hands_back_all_that_is_not_written(bench: Bench) -> None:
    disk = bench.thread()
    disk.submit(put(0), 0)
    assert completed(disk, 1) == [0]
    bench.gate.clear()
    bench.errors.append(StorageError("/data/db: IO error: Input/output error"))
    for number in (1, 2, 3):
        disk.submit(put(number), number)
    bench.gate.set()
    wait_for(disk, lambda: disk.state is DiskState.FAILED)
    assert "Input/output error" in str(disk.failure)
    assert disk.take_failed() == [1, 2, 3]
    assert disk.take_completed() == []
    with pytest.raises(StorageError, match="Input/output error"):
        disk.submit(put(4), 4)


def test_a_full_disk_keeps_what_is_queued_and_writes_it_after_recovery(bench: Bench) -> None:
    disk = bench.thread()
    bench.errors.append(DiskFull("full"))
    disk.submit(put(0), 0)
    wait_for(disk, lambda: disk.state is DiskState.FULL)
    for number in (1, 2, 3):
        disk.submit(put(number) if number != 2 else [], number)
    assert disk.take_completed() == []
    assert bench.store.space.has_ballast()
    disk.recover()
    assert completed(disk, 4) == [0, 1, 2, 3]
    assert disk.state is DiskState.RUNNING
    assert disk.failure is None
    assert len(bench.engines) == 2, "the handle that failed was not replaced"
    assert stored(bench.store) == [0, 1, 3]
    disk.submit(put(4), 4)
    assert completed(disk, 1) == [4]


def test_recovery_can_be_tried_until_there_is_space(bench: Bench) -> None:
    disk = bench.thread()
    bench.errors.append(DiskFull("full"))
    disk.submit(put(0), 0)
    wait_for(disk, lambda: disk.state is DiskState.FULL)
    bench.open_errors.append(DiskFull("still full"))
    disk.recover()
    wait_for(disk, lambda: str(disk.failure) == "still full")
    disk.submit(put(1), 1)
    bench.errors.append(DiskFull("full again"))
    disk.recover()
    wait_for(disk, lambda: str(disk.failure) == "full again" and disk.state is DiskState.FULL)
    disk.recover()
    assert completed(disk, 2) == [0, 1]


def test_a_full_disk_still_limits_the_queue(bench: Bench) -> None:
    disk = bench.thread(queue_bytes_max=1000)
    bench.errors.append(DiskFull("full"))
    disk.submit(put(0, size=2000), 0)
    wait_for(disk, lambda: disk.state is DiskState.FULL)
    with pytest.raises(Busy):
        disk.submit(put(1), 1)


def test_a_reopening_that_fails_for_another_reason_is_final(bench: Bench) -> None:
    disk = bench.thread()
    bench.errors.append(DiskFull("full"))
    disk.submit(put(0), 0)
    wait_for(disk, lambda: disk.state is DiskState.FULL)
    bench.open_errors.append(StorageError("gone"))
    disk.recover()
    wait_for(disk, lambda: disk.state is DiskState.FAILED)
    assert disk.take_failed() == [0]


def test_the_callback_is_called_beside_the_descriptor(store: Store) -> None:
    called = threading.Event()
    disk: DiskThread[int] = DiskThread(store, Durability.SYNC, called.set)
    disk.submit(put(0), 0)
    assert called.wait(DEADLINE_SECONDS)
    disk.close()


def test_a_direct_write_is_done_when_it_returns(bench: Bench) -> None:
    disk = bench.thread()
    assert disk.write(put(0), 0)
    assert disk.write([], 1)
    assert stored(bench.store) == [0]
    assert bench.engines[0].writes == [True]
    assert disk.take_completed() == []
    assert disk.queued_bytes == 0


def test_a_direct_write_does_not_overtake_what_is_queued_or_not_taken(bench: Bench) -> None:
    bench.gate.clear()
    disk = bench.thread()
    disk.submit(put(0), 0)
    assert not disk.write(put(1), 1)
    assert not disk.write([], 2)
    bench.gate.set()
    wait_for(disk, lambda: disk.queued_bytes == 0)
    assert not disk.write(put(3), 3), "the tokens before it are still to be taken"
    assert completed(disk, 4) == [0, 1, 2, 3]
    assert disk.write(put(4), 4)
    assert stored(bench.store) == [0, 1, 3, 4]


def test_while_the_disk_is_slow_writes_are_the_threads(bench: Bench) -> None:
    disk = bench.thread()
    disk.average_write_seconds = 1.0
    writes = 0
    while not disk.write(put(writes), writes):
        assert completed(disk, 1) == [writes]
        writes += 1
        assert disk.average_write_seconds < 1.0
    assert writes > 1


def test_a_direct_write_on_a_full_disk_is_kept(bench: Bench) -> None:
    disk = bench.thread()
    bench.errors.append(DiskFull("full"))
    assert not disk.write(put(0), 0)
    assert disk.state is DiskState.FULL
    assert select.select([disk.wakeup_fd], [], [], 0)[0], "nobody would hear of it"
    assert not disk.write(put(1), 1)
    disk.recover()
    assert completed(disk, 2) == [0, 1]
    assert stored(bench.store) == [0, 1]


def test_an_io_error_of_a_direct_write_is_final(bench: Bench) -> None:
    disk = bench.thread()
    bench.errors.append(StorageError("Input/output error"))
    with pytest.raises(StorageError, match="Input/output error"):
        disk.write(put(0), 0)
    assert disk.state is DiskState.FAILED
    assert disk.take_failed() == [0]
    with pytest.raises(StorageError, match="Input/output error"):
        disk.write(put(1), 1)


def test_direct_writes_are_synced_within_the_interval(bench: Bench) -> None:
    disk = bench.thread(Durability.INTERVAL)
    engine = bench.engines[0]
    assert disk.write(put(0), 0)
    assert disk.write(put(1), 1)
    assert engine.writes == [False, False]
    wait_for(disk, lambda: engine.sync_count == 1)
    assert disk.write(put(2), 2)
    wait_for(disk, lambda: engine.sync_count == 2)
