"""Free space, the ballast, and a disk that is really full (a small tmpfs, where the test may mount one)."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from makoredis.base.ids import NodeId
from makoredis.storage.disk import DiskState, DiskThread, Durability
from makoredis.storage.engine import Engine, LevelDbEngine
from makoredis.storage.errors import DiskFull
from makoredis.storage.space import DiskSpace, SpaceState
from makoredis.storage.store import Store, open_store

from .test_disk import completed, put, stored, wait_for

TMPFS_BYTES = 24 << 20
WRITE_BUFFER_BYTES = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "none", str(path)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine does not let us mount a small disk")
    yield path
    # Lazily, because a failed test's frames keep files open.
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def small_engine(path: Path, create: bool) -> Engine:
    return LevelDbEngine(path, create=create, write_buffer_bytes=WRITE_BUFFER_BYTES)


def open_on(path: Path) -> Store:
    return open_store(
        path / "data",
        cluster="test",
        node_id=NodeId(1),
        now_ms=0,
        disk_free_bytes_min=1 << 20,
        ballast_bytes=4 * WRITE_BUFFER_BYTES,
        open_engine=small_engine,
    )


def fill(path: Path, *, leave_bytes: int) -> Path:
    """Takes all space but a little, as another program would."""
    status = os.statvfs(path)
    filler = path / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - leave_bytes)
    return filler


def is_running(disk: DiskThread[int]) -> bool:
    return disk.state is DiskState.RUNNING


def is_low(space: DiskSpace) -> bool:
    return space.state() is SpaceState.LOW


def test_the_state_follows_the_limit(tmp_path: Path) -> None:
    free = DiskSpace(tmp_path, ballast_bytes=0).free_bytes()
    assert free > 0
    assert not is_low(DiskSpace(tmp_path, free_bytes_min=free // 2, ballast_bytes=0))
    assert is_low(DiskSpace(tmp_path, free_bytes_min=free * 2, ballast_bytes=0))


def test_a_ballast_that_does_not_fit_is_lack_of_space(tmp_path: Path) -> None:
    free = DiskSpace(tmp_path, ballast_bytes=0).free_bytes()
    assert is_low(DiskSpace(tmp_path, free_bytes_min=free // 2, ballast_bytes=free))


def test_the_ballast_takes_real_space_and_gives_it_back(tmp_path: Path) -> None:
    space = DiskSpace(tmp_path, free_bytes_min=0, ballast_bytes=1 << 20)
    assert not space.has_ballast()
    assert space.state() is SpaceState.OK
    assert space.has_ballast()
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= 1 << 20
    assert space.place_ballast()
    space.release_ballast()
    assert not space.has_ballast()
    assert os.listdir(tmp_path) == []
    space.release_ballast()


def test_no_ballast_is_placed_where_it_would_leave_too_little(tmp_path: Path) -> None:
    free = DiskSpace(tmp_path).free_bytes()
    space = DiskSpace(tmp_path, free_bytes_min=free * 2, ballast_bytes=1 << 20)
    assert not space.place_ballast()
    assert space.state() is SpaceState.LOW
    assert os.listdir(tmp_path) == []


def test_without_a_ballast_there_is_none_to_miss(tmp_path: Path) -> None:
    space = DiskSpace(tmp_path, ballast_bytes=0)
    assert space.has_ballast()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_stops_writing_and_loses_nothing(small_disk: Path) -> None:
    store = open_on(small_disk)
    assert store.space.has_ballast()
    disk: DiskThread[int] = DiskThread(store, Durability.SYNC)
    for number in range(50):
        disk.submit(put(number, 1000), number)
    assert completed(disk, 50) == list(range(50))
    filler = fill(small_disk, leave_bytes=300_000)
    assert is_low(store.space)

    submitted = 50
    acknowledged: list[int] = []
    while is_running(disk):
        disk.submit(put(submitted, 20_000), submitted)
        submitted += 1
        assert submitted < 1000, "the disk never filled up"
        wait_for(disk, lambda: disk.queued_bytes == 0 or not is_running(disk))
        acknowledged += disk.take_completed()
    assert isinstance(disk.failure, DiskFull)
    assert str(disk.failure).startswith(f"{small_disk}/data/db: the disk is full")
    assert acknowledged == list(range(50, submitted - 1))
    disk.submit(put(submitted, 20_000), submitted)

    disk.recover()  # nobody has made space; the ballast must do
    assert completed(disk, 2) == [submitted - 1, submitted]
    assert is_running(disk)
    assert not store.space.has_ballast()
    assert is_low(store.space)

    filler.unlink()
    assert store.space.state() is SpaceState.OK
    assert store.space.has_ballast()
    disk.close()
    store.close()
    store = open_on(small_disk)
    assert stored(store) == list(range(submitted + 1))
    store.close()


def test_a_disk_that_stays_full_keeps_what_is_queued(small_disk: Path) -> None:
    store = open_on(small_disk)
    disk: DiskThread[int] = DiskThread(store, Durability.SYNC)
    store.space.release_ballast()  # as after an earlier recovery
    filler = fill(small_disk, leave_bytes=0)
    number = 0
    while is_running(disk):
        disk.submit(put(number, 20_000), number)
        number += 1
        wait_for(disk, lambda: disk.queued_bytes == 0 or not is_running(disk))
    acknowledged = disk.take_completed()
    failure = disk.failure
    disk.recover()
    wait_for(disk, lambda: disk.failure is not failure or is_running(disk))
    assert disk.state is DiskState.FULL
    filler.unlink()
    disk.recover()
    assert acknowledged + completed(disk, number - len(acknowledged)) == list(range(number))
    assert is_running(disk)
    disk.close()
    assert stored(store) == list(range(number))
    store.close()
