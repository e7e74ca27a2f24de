"""A backup of several shards is of one moment of all of them, and what is restored equals it."""

import json
from pathlib import Path
from typing import Any

import pytest

from makoredis.admin.makoctl import main
from tests.cluster.processes import Cluster
from tests.cluster.test_backup import Makoctl, contents, fill, writing
from tests.cluster.test_backup import makoctl as makoctl

SETTINGS = {"shards": 3, "disk_ballast_bytes": 0}


def test_a_restored_cluster_equals_the_one_that_was_backed_up(tmp_path: Path, makoctl: Makoctl) -> None:
    file = tmp_path / "all.backup"

    with Cluster(tmp_path / "a", settings=SETTINGS).start() as first:
        leader = first.leader()
        follower = first.followers(leader)[0]
        with leader.client(single_connection_client=True) as client:
            fill(client, 50)
        makoctl(follower, "snapshot")
        with leader.client() as client:  # behind the checkpoint, so that some of it is only in the log
            client.rpush("list", "behind")
            client.delete("string:3")
            client.rename("string:4", "renamed")
        said: dict[str, Any] = json.loads(makoctl(follower, "--json", "backup", str(file)))
        assert said["shards"] == 3 and said["bytes"] == file.stat().st_size
        expected = contents(leader)
        assert "there are" in makoctl(leader, "restore", str(file), status=1)
    assert len(expected) > 60 and (0, b"string:3") not in expected and (0, b"renamed") in expected

    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    broken = tmp_path / "broken.backup"
    broken.write_bytes(damaged)
    # Into another number of shards.
    with Cluster(tmp_path / "b", settings={**SETTINGS, "shards": 2}).start() as second:
        assert "the backup is damaged" in makoctl(second[1], "restore", str(broken), status=1)
        assert f"{len(expected):,} keys" in makoctl(second[1], "check", str(file))
        makoctl(second[1], "restore", str(file))
        assert contents(second.leader()) == expected
        with second[2].client() as client:
            assert client.fcall("twice", 0, 21) == 42


def test_a_backup_is_of_one_moment_and_has_what_was_acknowledged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**SETTINGS, "checkpoint_log_bytes": 100_000}  # checkpoints all the time
    cluster, other = Cluster(tmp_path / "a", settings=settings), Cluster(tmp_path / "b", 1)
    with cluster.start(), other.start(), writing(cluster[2]):
        for number, node in enumerate([*cluster.nodes.values(), cluster[2], cluster[3]]):
            with cluster[2].client() as client:
                client.set("marker", number)
                before = int(client.get("left") or 0)
            file = tmp_path / f"{number}.backup"
            assert main(["--port", str(node.port), "backup", str(file)]) == 0, capsys.readouterr()
            assert main(["--port", str(other[1].port), "restore", "--replace", str(file)]) == 0
            with other[1].client() as client:
                left, right = int(client.get("left") or 0), int(client.get("right") or 0)
                assert left == right == client.llen("log") == client.llen("more") >= before
                assert client.get("marker") == b"%d" % number
            if number == 2:
                cluster[3].kill()
                cluster.start([3])
