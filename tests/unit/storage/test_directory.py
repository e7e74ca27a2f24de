"""The data directory: whose it is and who has it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from makoredis.base.errors import StorageError
from makoredis.base.ids import NodeId
from makoredis.storage.directory import PROCESSES_MAX, Identity
from makoredis.storage.errors import Damaged, DirectoryRefused
from makoredis.storage.layout import FORMAT_VERSION
from makoredis.storage.store import Store, open_store

from .conftest import open_test_store


def open_as(path: Path, cluster: str = "test", node_id: int = 1, *, initialise: bool = True) -> Store:
    return open_store(
        path, cluster=cluster, node_id=NodeId(node_id), now_ms=1_700_000_000_000, ballast_bytes=0, initialise=initialise
    )


def test_a_new_directory_gets_an_identity_that_stays(data_path: Path) -> None:
    store = open_as(data_path / "deeper")
    created = store.identity
    assert created == Identity(FORMAT_VERSION, "test", NodeId(1), 1_700_000_000_000)
    store.close()
    store = open_store(data_path / "deeper", cluster="test", node_id=NodeId(1), now_ms=5, ballast_bytes=0)
    assert store.identity == created
    store.close()


def test_a_second_process_is_refused_with_directory_and_process_id(data_path: Path) -> None:
    store = open_as(data_path)
    program = (
        "import sys; from pathlib import Path; from makoredis.storage.store import open_store\n"
        "try: open_store(Path(sys.argv[1]), cluster='test', node_id=1, now_ms=0)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, str(data_path)], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    store.close()
    assert answer.startswith(f"DirectoryRefused {data_path}: in use by another makoredis (process {os.getpid()})")
    assert answer.count("\n") == 1


def test_a_database_locked_by_something_else_is_refused(data_path: Path) -> None:
    import plyvel

    open_as(data_path).close()
    other = plyvel.DB(str(data_path / "db"))
    with pytest.raises(DirectoryRefused, match="another process has this database open"):
        open_as(data_path)
    other.close()
    open_as(data_path).close()


def test_a_lock_goes_with_its_process(data_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from makoredis.storage.store import open_store\n"
        "store = open_store(Path(sys.argv[1]), cluster='test', node_id=1, now_ms=0, ballast_bytes=0)\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(data_path)], timeout=60, check=True)
    open_as(data_path).close()


@pytest.mark.parametrize(("cluster", "node_id"), [("other", 1), ("test", 2)])
def test_a_directory_of_another_node_or_cluster_is_refused(data_path: Path, cluster: str, node_id: int) -> None:
    open_as(data_path).close()
    with pytest.raises(DirectoryRefused, match=f"belongs to node 1 of cluster 'test', this is node {node_id}"):
        open_as(data_path, cluster, node_id)
    open_as(data_path).close()


def test_a_directory_with_other_files_is_left_alone(data_path: Path) -> None:
    data_path.mkdir()
    (data_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DirectoryRefused, match=r"is not empty and has no identity\.json"):
        open_as(data_path)
    assert os.listdir(data_path) == ["thesis.txt"]


def test_a_directory_that_lost_its_identity_is_refused(data_path: Path) -> None:
    open_as(data_path).close()
    (data_path / "identity.json").unlink()
    with pytest.raises(DirectoryRefused, match="restore the file"):
        open_as(data_path)


def test_without_leave_to_initialise_an_empty_directory_is_refused(data_path: Path) -> None:
    with pytest.raises(DirectoryRefused, match="no data here"):
        open_as(data_path, initialise=False)
    open_as(data_path).close()
    open_as(data_path, initialise=False).close()


def test_another_format_version_is_refused(data_path: Path) -> None:
    open_as(data_path).close()
    file = data_path / "identity.json"
    fields = json.loads(file.read_text())
    file.write_text(json.dumps({**fields, "format_version": FORMAT_VERSION + 1}))
    with pytest.raises(DirectoryRefused, match=f"format version {FORMAT_VERSION + 1}, this makoredis reads"):
        open_as(data_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format_version": "x"}'])
def test_an_unreadable_identity_is_refused(data_path: Path, content: str) -> None:
    open_as(data_path).close()
    (data_path / "identity.json").write_text(content)
    with pytest.raises(Damaged, match="is not an identity"):
        open_as(data_path)


def test_an_interrupted_initialisation_begins_again(data_path: Path) -> None:
    store = open_as(data_path)
    store.write_ops([(b"x", b"left over")], sync=True)
    store.close()
    os.rename(data_path / "identity.json", data_path / "identity.new")
    store = open_as(data_path)
    assert store.engine.get(b"x") is None
    store.close()


def test_a_path_that_cannot_be_a_directory_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/data: .*check the path"):
        open_as(tmp_path / "file" / "data")


def test_a_failed_opening_gives_the_directory_back(data_path: Path) -> None:
    open_as(data_path).close()
    os.rename(data_path / "db", data_path / "db.away")
    with pytest.raises(Damaged):
        open_as(data_path)
    os.rename(data_path / "db.away", data_path / "db")
    open_test_store(data_path).close()


def test_a_directory_knows_the_processes_that_had_it(data_path: Path) -> None:
    directory = open_as(data_path).directory
    assert directory.begin_process(11) == []
    assert directory.begin_process(12) == [11]
    for incarnation in range(20, 20 + PROCESSES_MAX):
        directory.begin_process(incarnation)
    assert directory.begin_process(99) == list(range(20, 20 + PROCESSES_MAX)), "the latest"
    (data_path / "processes.json").write_text("[1,")
    with pytest.raises(Damaged, match="not a list of processes"):
        directory.begin_process(1)
    directory.close()
