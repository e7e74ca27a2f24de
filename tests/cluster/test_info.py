"""INFO's sections on the cluster: what they say exists, and moves when what it is about happens."""

import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from makoredis.admin.makoctl import main
from tests.cluster.processes import Cluster, Node, wait_for
from tests.cluster.test_membership import hand_over


def everything(node: Node) -> dict[str, Any]:
    return {**node.info("replication"), **node.info("raft"), **node.info("mako")}


def test_every_figure_moves(tmp_path: Path) -> None:
    patient = {"heartbeat_ms": 200, "election_ms": 2000}  # a busy machine must not make for another leader
    with Cluster(tmp_path, settings={"checkpoint_log_bytes": 50_000, **patient}).start() as cluster:
        leader = cluster.leader()
        follower = cluster.followers(leader)[0]
        before, follower_before = everything(leader), everything(follower)
        with follower.client() as client:
            for number in range(300):
                client.set(f"key{number}", "x" * 400)
            assert everything(leader)["proxies"] >= 1
        wait_for(lambda: everything(leader)["checkpoints"] > before["checkpoints"], "a checkpoint")
        after, follower_after = everything(leader), everything(follower)
        for name in ("executed_transactions", "released_transactions"):
            assert after[name] == before[name] + 300
        for name in ("raft_commit_index", "raft_applied_index", "raft_last_index", "raft_persisted_index"):
            assert after[name] > before[name]
        for name in ("released_index", "executed_index", "watermark_us", "store_disk_bytes", "master_repl_offset"):
            assert after[name] > before[name], name
        assert after["log_disk_bytes"] > 100_000
        assert follower_after["forwarded_requests"] >= follower_before["forwarded_requests"] + 300
        wait_for(lambda: everything(leader)["connected_slaves"] == 2, "both followers answer")
        wait_for(lambda: everything(leader)["connected_peers"] == 2, "both are connected")
        wait_for(lambda: _lags(everything(leader), follower) == [0, 0], "both have everything")
        assert (after["consensus_role"], follower_after["consensus_role"]) == ("leader", "follower")

        _lag_shows(leader, follower)
        _undone_transactions_show(cluster, leader)
        ended = everything(cluster.leader())
        assert ended["raft_term"] > after["raft_term"] and ended["raft_leader"] != after["raft_leader"]
        assert ended["raft_elections_won"] >= 1


def test_several_shards_show_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Cluster(tmp_path, settings={"shards": 3}).start() as cluster:
        node = cluster[1]
        with node.client() as client:
            before = node.info("mako")
            assert before["shards"] == 3
            client.mset({f"key{number}": number for number in range(100)})
            wait_for(lambda: node.info("mako")["watermark_us"] > before["watermark_us"], "the watermark moves")
            for shard in (f"shard{number}" for number in range(1, 4)):
                wait_for(
                    lambda shard=shard: node.info("mako")[shard]["commit"] > before[shard]["commit"],
                    f"entries of {shard} are chosen, and known to be",
                )

            def shows_leaders() -> bool:
                assert main(["--port", str(node.port), "status"]) == 0
                shown = capsys.readouterr().out
                runs = ((1, "0-5460"), (2, "5461-10921"), (3, "10922-16383"))
                return all(re.search(rf"^{shard} +{slots} +[123] ", shown, re.MULTILINE) for shard, slots in runs)

            wait_for(shows_leaders, "status shows every shard with its leader")


def _lags(found: dict[str, Any], follower: Node) -> list[int]:
    return [found["slave0"]["lag"], found[f"raft_peer{follower.id}"]["lag"]]


def _lag_shows(leader: Node, follower: Node) -> None:
    """A stopped follower falls behind."""
    assert follower.process is not None
    follower.process.send_signal(signal.SIGSTOP)
    try:
        with leader.client() as client:
            for number in range(50):
                client.set(f"more{number}", "x")
        assert everything(leader)[f"raft_peer{follower.id}"]["lag"] > 0
        wait_for(lambda: everything(leader)[f"raft_peer{follower.id}"]["live"] == 0, "it is missed")
        wait_for(lambda: everything(leader)["connected_slaves"] == 1, "the other one is not missed")
    finally:
        follower.process.send_signal(signal.SIGCONT)
    wait_for(lambda: everything(leader)[f"raft_peer{follower.id}"]["lag"] == 0, "it has caught up")


def _undone_transactions_show(cluster: Cluster, leader: Node) -> None:
    """A leader that is alone executes, cannot have it chosen, and has to take it back."""
    others = [node for node in cluster.nodes.values() if node is not leader]
    for node in others:
        assert node.process is not None
        os.kill(node.process.pid, signal.SIGSTOP)
    with leader.client(socket_timeout=60) as client:

        def write() -> None:
            client.set("pending", "1")

        writer = threading.Thread(target=write)
        writer.start()
        try:
            seen = wait_for(lambda: _pending(leader), "it is executed")
            assert seen["watermark_lag_us"] > 0
            wait_for(lambda: leader.info("mako")["undone_transactions"] > 0, "it is taken back")
        finally:
            for node in others:
                assert node.process is not None
                os.kill(node.process.pid, signal.SIGCONT)
        writer.join()
    new_leader = cluster.leader()
    with new_leader.client() as client:
        assert client.get("pending") == b"1"
    if new_leader is leader:  # it may win again; what follows is about another one
        hand_over(cluster, leader, others[0].id)


def _pending(leader: Node) -> dict[str, Any] | None:
    try:
        found = leader.info("mako")
    except redis.RedisError:
        return None
    is_proposed = found["executed_index"] > found["released_index"]  # not while the disk writes the entry before
    return found if found["pending_transactions"] and is_proposed else None
