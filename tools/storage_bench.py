"""Measures the storage layer: synced batches, group commit, and starting from a large state table.

    python tools/storage_bench.py [directory]

The directory must be on the disk that is to be measured. Figures quoted in docstrings come from here.
"""

import gc
import resource
import select
import statistics
import sys
import tempfile
import time
from pathlib import Path

from makoredis.base.ids import Index, NodeId, ShardId, Slot, Term
from makoredis.consensus.types import Configuration, Entry, EntryKind, SnapshotMetadata
from makoredis.storage.disk import DiskThread, Durability
from makoredis.storage.engine import WRITE_BUFFER_BYTES, Engine, LevelDbEngine
from makoredis.storage.log import ShardLog, load_log
from makoredis.storage.state import StateTable
from makoredis.storage.store import Store, open_store

SHARD = ShardId(0)


def open_bench_store(path: Path, write_buffer_bytes: int = WRITE_BUFFER_BYTES) -> Store:
    """A store with a given write buffer."""

    def open_engine(database: Path, create: bool) -> Engine:
        return LevelDbEngine(database, create=create, write_buffer_bytes=write_buffer_bytes)

    return open_store(path, cluster="bench", node_id=NodeId(1), now_ms=0, ballast_bytes=0, open_engine=open_engine)


def entry(index: int, payload: bytes) -> Entry:
    """A log entry."""
    return Entry(Term(1), Index(index), EntryKind.NORMAL, payload)


def measure_synced_batches(path: Path) -> None:
    """One synced batch of 1, 100, 1000 records of 100 B."""
    store = open_bench_store(path)
    log = ShardLog(SHARD, Index(0), Term(0))
    for count in (1, 100, 1000):
        times = []
        for _ in range(200):
            entries = [entry(log.last_index + 1 + offset, b"x" * 100) for offset in range(count)]
            started = time.perf_counter()
            store.write_ops(log.append_ops(entries), sync=True)
            times.append((time.perf_counter() - started) * 1000)
        times.sort()
        print(f"synced batch of {count:5} records: median {statistics.median(times):.2f} ms, p99 {times[197]:.2f} ms")
    store.close()


def measure_group_commit(path: Path, durability: Durability, producers: int = 50, seconds: float = 3.0) -> None:
    """Producers that each wait for their token before they submit again; one turn serves all that completed."""
    store = open_bench_store(path)
    log = ShardLog(SHARD, Index(0), Term(0))
    disk: DiskThread[list[int]] = DiskThread(store, durability)
    done = turns = 0
    ready = list(range(producers))
    ended = time.perf_counter() + seconds
    while time.perf_counter() < ended:
        if ready:
            turns += 1
            index = Index(log.last_index + 1)
            disk.submit(log.append_ops([entry(index, b"x" * 130 * len(ready))]), ready)
            ready = []
        select.select([disk.wakeup_fd], [], [], 1)
        for group in disk.take_completed():
            done += len(group)
            ready.extend(group)
    print(f"{producers} producers, {durability.value}: {done / seconds:,.0f} acknowledgements/s in {turns} turns")
    disk.close()
    store.close()


def measure_sustained(path: Path, write_buffer_bytes: int, total_bytes: int = 400 << 20) -> None:
    """Log writing with truncation behind it, unsynced so that LevelDB's own work shows; 64 MiB of log are kept."""
    store = open_bench_store(path, write_buffer_bytes)
    log = ShardLog(SHARD, Index(0), Term(0))
    payload = bytes(range(256)) * 64
    keep = (64 << 20) // len(payload)
    slowest = 0.0
    began = time.perf_counter()
    for number in range(total_bytes // len(payload)):
        started = time.perf_counter()
        ops = log.append_ops([entry(log.last_index + 1, payload)])
        if number % 512 == 511 and log.last_index > keep:
            for piece in log.truncate_prefix_ops(Index(log.last_index - keep)):
                ops.extend(piece)
        store.write_ops(ops, sync=False)
        slowest = max(slowest, time.perf_counter() - started)
    rate = total_bytes / (time.perf_counter() - began) / (1 << 20)
    started = time.perf_counter()
    store.reopen()
    reopened = time.perf_counter() - started
    size = sum(file.stat().st_size for file in store.directory.database_path.iterdir()) >> 20
    print(
        f"write buffer {write_buffer_bytes >> 20:3} MiB: log at {rate:.0f} MiB/s, "
        f"slowest write {slowest * 1000:.0f} ms, {size} MiB on disk, reopened in {reopened * 1000:.0f} ms"
    )
    store.close()


def measure_state(path: Path, rows: int = 1_000_000) -> None:
    """A checkpoint of many small rows, then a start from it."""
    store = open_bench_store(path)
    table = StateTable(store.engine, SHARD)
    writer = table.writer()
    started = time.perf_counter()
    for number in range(rows):
        writer.put((0, Slot(number * 16384 // rows), b"key:%012d" % number, Index(1), None, 1, b"v" * 64))
        for ops in writer.take_batches():
            store.write_ops(ops, sync=False)
    ops = writer.finish(SnapshotMetadata(Index(1), Term(1), Configuration()), b"")
    store.write_ops(ops, sync=True)
    took = time.perf_counter() - started
    print(f"checkpoint of {rows:,} rows: {took:.2f} s, {rows / took:,.0f} rows/s")
    store.close()
    del writer, table, ops
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    store = open_bench_store(path)
    opened = time.perf_counter()
    count = sum(1 for _ in StateTable(store.engine, SHARD).rows(store.engine))
    read = time.perf_counter() - opened
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        f"start with {count:,} rows: opened in {opened - started:.2f} s, read in {read:.2f} s, "
        f"{count / read:,.0f} rows/s, peak memory +{grown / 1024:.0f} MiB"
    )
    loaded = load_log(store.engine, SHARD)
    assert not loaded.entries
    store.close()


def main() -> None:
    """Runs all measurements."""
    parent = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=parent) as name:
        directory = Path(name)
        measure_synced_batches(directory / "batches")
        measure_group_commit(directory / "sync", Durability.SYNC)
        measure_group_commit(directory / "interval", Durability.INTERVAL)
        for mebibytes in (4, 16, 32, 64):
            measure_sustained(directory / f"buffer{mebibytes}", mebibytes << 20)
        measure_state(directory / "state")


if __name__ == "__main__":
    main()
