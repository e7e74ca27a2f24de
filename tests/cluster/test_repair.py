"""A replica whose data is damaged is refused, and repaired from the others by command."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from makoredis.admin import repair
from makoredis.base.config import load_config
from makoredis.base.errors import Fatal
from tests.cluster.processes import ROOT, Cluster, Node, wait_for


def damage(node: Node) -> None:
    """Flips a bit in the middle of what LevelDB has written last."""
    log = max((node.data / "db").glob("*.log"), key=lambda file: file.stat().st_size)
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 0x40
    log.write_bytes(data)


def run(node: Node, *options: str) -> "subprocess.CompletedProcess[str]":
    """Starts a node that is to be refused."""
    words = [sys.executable, "-m", "makoredis", "--config", str(node.cluster.config), "--node", node.name, *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=100, cwd=ROOT)


def test_a_damaged_replica_gets_its_data_anew(tmp_path: Path) -> None:
    settings = {"checkpoint_log_bytes": 50_000, "log_keep_bytes": 50_000}  # so that only a snapshot has everything
    with Cluster(tmp_path, settings=settings).start() as cluster:
        leader = cluster.leader()
        broken = cluster.followers(leader)[0]
        with leader.client() as client:
            for hundred in range(10):
                client.mset({f"key{100 * hundred + number}": "x" * 500 for number in range(100)})
        cluster.wait_equal()
        wait_for(lambda: _is_cut(leader), "the log is cut")
        broken.kill()
        damage(broken)
        refused = run(broken)
        assert refused.returncode == 1
        lines = refused.stderr.strip().splitlines()
        assert len(lines) == 1 and str(broken.data) in lines[0]
        assert lines[0].endswith(
            f"makoredis --config {cluster.config} --node {broken.name} --repair fetches it from them"
        )
        with leader.client() as client:
            client.set("meanwhile", "written")

        broken.start("--repair")
        wait_for(lambda: _is_voter(leader, broken), "it is a voter again")
        expected = cluster.wait_equal()
        assert len(expected) == 1001
        assert broken.info("mako")["snapshots_installed"] >= 1
        assert list(tmp_path.glob(f"{broken.name}.damaged-*"))

        other = next(node for node in cluster.nodes.values() if node not in (leader, broken))
        other.kill()  # now every write needs the repaired one
        with leader.client() as client:
            client.set("after", "repaired")
        leader.kill()
        broken.kill()
        broken.start()  # as ever
        other.start()
        leader.start()
        assert len(cluster.wait_equal()) == 1002


def test_no_repair_where_it_would_lose_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Cluster(tmp_path).start() as cluster:
        leader = cluster.leader()
        broken = cluster.followers(leader)[0]
        in_use = run(broken, "--repair")
        assert in_use.returncode == 1 and "in use by another makoredis" in in_use.stderr
        wrong = subprocess.run(
            [sys.executable, "-m", "makoredis", "--config", str(cluster.config), "--repair"],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=ROOT,
        )
        assert wrong.returncode == 1 and "--repair needs --node" in wrong.stderr
        with leader.client() as client:
            client.set("x", "1")
        wait_for(lambda: _is_voter(leader, broken), "it votes")
        broken.kill()
        leader.kill()  # the one that is left cannot decide anything
        monkeypatch.setattr(repair, "WAIT_SECONDS", 2.0)
        file = load_config(cluster.config)
        with pytest.raises(Fatal, match="nothing was changed here"):
            repair.Repair(file, file.node(broken.name)).remove()
        assert broken.data.exists()
        with pytest.raises(Fatal, match="there are none"):
            repair.Repair(replace(file, nodes=file.nodes[:1]), file.nodes[0])


def _is_cut(leader: Node) -> bool:
    """Entries go when others come: those before came perhaps while the leader waited for a slow follower."""
    with leader.client() as client:
        client.set("key0", "x" * 500)
    return int(leader.info("raft")["raft_first_index"]) > 2


def _is_voter(leader: Node, node: Node) -> bool:
    """Whether a node runs and votes."""
    try:
        with leader.client() as client, node.client() as running:
            return running.ping() and node.id in client.info("raft")["raft_voters"]
    except redis.RedisError:
        return False
