"""Data directories that somebody or something has damaged, and a second process on the same one."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.server_process import ServerProcess

KEYS = 300


@pytest.fixture
def killed(new_server: ServerFactory) -> ServerProcess:
    """A server that was killed after it had acknowledged some writes."""
    server = new_server().start()
    client = server.client()
    for number in range(KEYS):
        client.set(f"key{number}", "x" * 300)
    server.kill()
    return server


def newest_log(server: ServerProcess) -> Path:
    return max((server.data / "db").glob("*.log"))


def refusal(server: ServerProcess) -> str:
    """The one line that a start prints which is refused."""
    lines = server.start_refused().strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("makoredis: ")
    return lines[0]


def test_a_record_cut_off_in_the_middle_of_its_write_is_dropped(killed: ServerProcess) -> None:
    torn = struct.pack("<IHB", 0x12345678, 5000, 1) + b"y" * 1000
    with newest_log(killed).open("ab") as file:
        file.write(torn)
    client = killed.start().client()
    assert client.dbsize() == KEYS
    assert client.set("after", "1")
    killed.kill()
    assert killed.start().client().dbsize() == KEYS + 1


def test_what_was_acknowledged_and_is_cut_off_is_missed(killed: ServerProcess) -> None:
    log = newest_log(killed)
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 2000)
    line = refusal(killed)
    assert "the end of the store is missing" in line
    assert str(killed.data) in line


@pytest.mark.parametrize("part", [0.3, 0.6])
def test_a_flipped_byte_is_refused_with_one_line(killed: ServerProcess, part: float) -> None:
    log = newest_log(killed)
    data = bytearray(log.read_bytes())
    data[int(len(data) * part)] ^= 0x40
    log.write_bytes(data)
    line = refusal(killed)
    assert str(killed.data) in line
    assert "restore a backup" in line


def test_a_flipped_byte_in_a_checkpoint_is_refused_with_one_line(killed: ServerProcess) -> None:
    killed.start().client().save()
    killed.stop()
    killed.start()  # which makes LevelDB write a table of what it has
    killed.stop()
    tables = sorted((killed.data / "db").glob("*.ldb"), key=lambda file: file.stat().st_size)
    data = bytearray(tables[-1].read_bytes())
    data[len(data) // 2] ^= 0x01
    tables[-1].write_bytes(data)
    assert str(killed.data) in refusal(killed)


def test_a_second_process_on_the_same_directory_is_refused(new_server: ServerFactory) -> None:
    first = new_server().start()
    second = new_server(data=first.data)
    line = refusal(second)
    assert f"in use by another makoredis (process {first.pid})" in line
    assert first.client().ping()


def test_a_directory_that_is_not_ours_is_left_alone(new_server: ServerFactory) -> None:
    server = new_server()
    server.data.mkdir(parents=True)
    (server.data / "diary.txt").write_text("dear diary")
    assert "is not a makoredis data directory" in refusal(server)
    assert [file.name for file in server.data.iterdir() if file.name != "lock"] == ["diary.txt"]


def test_fewer_databases_than_the_data_has_are_refused(killed: ServerProcess) -> None:
    killed.start().client().save()
    killed.stop()
    killed.parameters["databases"] = 4
    assert "16 databases" in refusal(killed)


def test_a_copy_of_a_stopped_directory_is_a_backup(killed: ServerProcess, new_server: ServerFactory) -> None:
    killed.start()
    killed.stop()
    other = new_server()
    shutil.copytree(killed.data, other.data)
    assert other.start().client().dbsize() == KEYS


def test_a_port_in_use_is_one_line(new_server: ServerFactory) -> None:
    first = new_server().start()
    second = new_server(port=first.port)
    line = refusal(second)
    assert str(first.port) in line


def test_no_process_is_left_behind(new_server: ServerFactory) -> None:
    server = new_server().start()
    pid = server.pid
    assert server.stop() == 0
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    assert found.stdout.strip() == ""
