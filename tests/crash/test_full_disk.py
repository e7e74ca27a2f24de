"""A disk without space: writes are refused, reads go on, and when there is space again everything does."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.conftest import ServerFactory
from tests.server_process import ServerProcess

MIB = 1 << 20
BALLAST_BYTES = 72 * MIB
FREE_BYTES_MIN = 8 * MIB
DEADLINE_S = 60

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("cannot mount a tmpfs here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Takes all space but some bytes."""
    file = disk / "filler"
    status = os.statvfs(disk)
    with file.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, status.f_bavail * status.f_frsize - leave)
    return file


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def accepts(client: "redis.Redis[bytes]", key: str) -> bool:
    try:
        return bool(client.set(key, "1"))
    except redis.ResponseError as error:
        assert str(error).startswith("MISCONF"), error
        return False


def write_until_refused(writer: "redis.Redis[bytes]", reader: "redis.Redis[bytes]") -> list[int]:
    """Sets large keys until there is no space. A write that is not answered for long may also be a slow one.

    Returns: the numbers of those that were acknowledged.
    """
    acknowledged: list[int] = []
    for number in range(1000):
        try:
            writer.set(f"k{number}", b"%d" % number + b"x" * 100_000)
            acknowledged.append(number)
        except redis.ResponseError:
            return acknowledged
        except redis.TimeoutError:
            if not accepts(reader, "refused"):
                return acknowledged
    raise AssertionError("the disk never fills up")


def server_on(disk: Path, new_server: ServerFactory, free_bytes_min: int) -> ServerProcess:
    settings = {"disk_ballast_bytes": BALLAST_BYTES, "disk_free_bytes_min": free_bytes_min}
    return new_server(data=disk / "data", settings=settings).start()


def test_little_space_refuses_writes_and_serves_reads(small_disk: Path, new_server: ServerFactory) -> None:
    server = server_on(small_disk, new_server, FREE_BYTES_MIN)
    client = server.client()
    client.set("a", "1")
    client.set("short", "1", px=500)
    filler = fill(small_disk, FREE_BYTES_MIN // 2)
    wait_for(lambda: not accepts(client, "b"), "writes are not refused")
    assert client.get("a") == b"1"
    with pytest.raises(redis.ResponseError, match="MISCONF"):
        client.pipeline(transaction=True).set("c", "1").get("a").execute()
    with pytest.raises(redis.ResponseError, match="MISCONF"):
        client.save()
    time.sleep(0.5)  # until the deadline of `short` is past
    assert client.get("short") is None, "what is past its deadline is hidden, though it cannot be deleted"
    assert client.info("persistence")["aof_last_write_status"] == "err"
    filler.unlink()
    wait_for(lambda: accepts(client, "b"), "writes are refused for ever")
    server.kill()
    client = server.start().client()
    assert sorted(client.keys("?")) == [b"a", b"b"]


def test_no_space_at_all_keeps_everything_acknowledged(small_disk: Path, new_server: ServerFactory) -> None:
    server = server_on(small_disk, new_server, 0)
    writer, reader = server.client(socket_timeout=1), server.client()
    filler = fill(small_disk, 2 * MIB)
    acknowledged = write_until_refused(writer, reader)
    wait_for(lambda: not accepts(reader, "refused"), "writes are not refused")
    assert reader.get("k0") is not None
    filler.unlink()
    wait_for(lambda: accepts(reader, "again"), "writes are refused for ever")
    server.kill()
    client = server.start().client()
    for number in acknowledged:
        assert client.strlen(f"k{number}") == 100_000 + len(str(number)), f"k{number} is lost"
    assert client.get("again") == b"1"


def test_a_start_without_space_says_so(small_disk: Path, new_server: ServerFactory) -> None:
    server = server_on(small_disk, new_server, 0)
    server.client().set("a", "1")
    server.kill()
    (server.data / "ballast").unlink()
    filler = fill(small_disk, 0)
    output = server.start_refused()
    assert len(output.strip().splitlines()) == 1
    assert "disk is full" in output or "No space left" in output
    filler.unlink()
    assert server.start().client().get("a") == b"1"
