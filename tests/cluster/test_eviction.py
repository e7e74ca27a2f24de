"""`maxmemory` with three replicas: the leader evicts, and the others do what its log says."""

from pathlib import Path

import pytest
import redis

from tests.cluster.processes import Cluster, Node, wait_for

PATIENT = {"heartbeat_ms": 200, "election_ms": 2000}
KEYS = 600
VALUE = "x" * 20_000


def limit_everywhere(cluster: Cluster, policy: str, room: int) -> None:
    for node in cluster.nodes.values():
        with node.client() as client:
            memory = client.info("memory")
            counted = int(memory["used_memory"]) - int(memory["mem_not_counted_for_evict"])
            client.config_set("maxmemory-policy", policy)
            client.config_set("maxmemory", counted + room)


def keys_here(node: Node) -> list[bytes]:
    """What this node has applied, whoever leads."""
    with node.client(single_connection_client=True) as client:
        client.execute_command("READONLY")
        return sorted(client.keys())


def test_all_replicas_evict_the_same(tmp_path: Path) -> None:
    with Cluster(tmp_path, settings=PATIENT).start() as cluster:
        leader = cluster.leader()
        followers = cluster.followers(leader)
        limit_everywhere(cluster, "allkeys-lru", 5 << 20)
        with followers[0].client() as client:
            for number in range(KEYS):
                client.set(f"key:{number}", VALUE)
        with leader.client() as client:
            client.config_set("maxmemory", 0)
            evicted = client.info("stats")["evicted_keys"]
        left = keys_here(leader)
        assert evicted == KEYS - len(left) > KEYS // 4
        for follower in followers:
            wait_for(lambda follower=follower: keys_here(follower) == left, "replicas are equal")
            with follower.client() as client:
                assert client.info("stats")["evicted_keys"] == 0, "only the leader decides"


def test_the_leader_refuses_for_all(tmp_path: Path) -> None:
    with Cluster(tmp_path, settings=PATIENT).start() as cluster:
        limit_everywhere(cluster, "noeviction", 3 << 20)
        with cluster.followers()[0].client() as client:
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                for number in range(KEYS):
                    client.set(f"key:{number}", VALUE)
            with pytest.raises(redis.exceptions.OutOfMemoryError), client.pipeline() as pipeline:
                pipeline.set("key", "x").set("other", "x").execute()
            assert client.get("key:0") == VALUE.encode()
            assert client.delete("key:0") == 1
