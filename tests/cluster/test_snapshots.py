"""Followers that are too far behind for the log catch up from a snapshot."""

from pathlib import Path

from tests.cluster.processes import Cluster, Node, wait_for

SMALL_LOG = {"checkpoint_log_bytes": 20_000, "log_keep_bytes": 20_000}


def write(node: Node, first: int, count: int, size: int = 100) -> None:
    with node.client() as client:
        for start in range(first, first + count, 100):
            pipeline = client.pipeline(transaction=False)
            for number in range(start, min(start + 100, first + count)):
                pipeline.set(f"key {number}", bytes([number % 251]) * size)
            pipeline.execute()


def change_collections(node: Node) -> None:
    with node.client() as client:
        client.rpush("list", *range(2000))
        client.hset("hash", mapping={f"field {number}": number for number in range(1000)})
        client.zadd("sorted set", {f"member {number}": number for number in range(1000)})
        client.set("large", bytes(range(256)) * 2000)
        client.set("with deadline", "value", ex=100_000)
        client.set("gone", "soon")
        client.delete("gone")


def snapshots_installed(node: Node) -> int:
    return int(node.info("mako")["snapshots_installed"])


def wait_until_cut(leader: Node, behind: int = 2) -> None:
    """Waits until the leader's log in memory no longer begins with the first entries, of which a follower misses some.

    Checkpoints take their time: a follower that comes back before would get what it misses from the log.
    """
    wait_for(lambda: int(leader.info("raft")["raft_first_index"]) > behind, "the log is cut")


def test_a_follower_behind_the_log_gets_a_snapshot(tmp_path: Path) -> None:
    with Cluster(tmp_path, settings=SMALL_LOG).start() as cluster:
        write(cluster.leader(), 0, 200)
        cluster.wait_equal()
        victim = cluster.followers()[0]
        known = int(victim.info("raft")["raft_last_index"])
        victim.kill()
        leader = cluster.leader()
        write(leader, 100, 3000)
        change_collections(leader)
        write(leader, 5000, 2000)

        def is_cut() -> bool:
            # A checkpoint may have begun while most of this was not chosen yet; the next takes some more to be due.
            write(leader, 5000, 300)
            return int(leader.info("raft")["raft_first_index"]) > known + 1

        wait_for(is_cut, "the log is cut")
        victim.start()
        wait_for(lambda: snapshots_installed(victim) == 1, "the snapshot is installed")
        with victim.client(single_connection_client=True) as client:
            client.execute_command("READONLY")
            wait_for(lambda: client.get("key 6999") is not None, "the follower has caught up")
            assert client.lrange("list", 0, -1) == [b"%d" % number for number in range(2000)]
            assert client.hlen("hash") == client.zcard("sorted set") == 1000
            assert client.get("large") == bytes(range(256)) * 2000
            assert client.ttl("with deadline") > 99_000
            assert client.get("gone") is None
            assert client.dbsize() == 3100 + 2000 + 5
        # It is a full replica: with the leader gone it makes a majority, and what it has on its disk lasts.
        leader.kill()
        write(victim, 20_000, 100)
        victim.kill()
        victim.start()
        leader.start()
        wait_for(lambda: victim.info("keyspace")["db0"]["keys"] == 5205, "the restarted follower has everything")


def test_a_follower_that_missed_little_gets_the_log(tmp_path: Path) -> None:
    with Cluster(tmp_path, settings={"checkpoint_log_bytes": 20_000}).start() as cluster:
        victim = cluster.followers()[0]
        victim.kill()
        write(cluster.leader(), 0, 3000)
        assert cluster.leader().info("persistence")["rdb_saves"] > 0, "checkpoints have cut the log on the disk"
        victim.start()
        assert len(cluster.wait_equal()) == 3000
        assert snapshots_installed(victim) == 0


def test_a_receiver_killed_in_the_middle_begins_anew(tmp_path: Path) -> None:
    settings = {**SMALL_LOG, "peer_delay_ms": 20}
    with Cluster(tmp_path, settings=settings).start() as cluster:
        write(cluster.leader(), 0, 100)
        victim = cluster.followers()[0]
        victim.kill()
        leader = cluster.leader()
        write(leader, 0, 1000, size=5000)
        for _ in range(2):
            victim.start()
            receiving = victim.data / "snapshot.receiving"
            wait_for(lambda file=receiving: file.exists() and file.stat().st_size > 1_000_000, "chunks arrive")
            victim.kill()
        victim.start()
        wait_for(lambda: snapshots_installed(victim) == 1, "the snapshot is installed")
        assert len(cluster.wait_equal()) == 1000
        assert not receiving.exists()


def test_a_sender_killed_in_the_middle_is_replaced(tmp_path: Path) -> None:
    settings = {**SMALL_LOG, "peer_delay_ms": 20}
    with Cluster(tmp_path, settings=settings).start() as cluster:
        victim = cluster.followers()[0]
        victim.kill()
        leader = cluster.leader()
        write(leader, 0, 1000, size=5000)
        victim.start()
        receiving = victim.data / "snapshot.receiving"
        wait_for(lambda: receiving.exists() and receiving.stat().st_size > 1_000_000, "chunks arrive")
        leader.kill()
        write(cluster.leader(), 1000, 100)
        leader.start()
        assert len(cluster.wait_equal()) == 1100
