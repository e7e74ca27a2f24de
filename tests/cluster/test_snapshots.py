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


def keys_of(node: Node) -> int:
    return int(node.info("keyspace").get("db0", {}).get("keys", 0))


def are_cut(nodes: list[Node], behind: int) -> bool:
    """Whether the logs in memory of nodes, each of which may lead, no longer begin with what a follower misses.

    Checkpoints take their time: a follower that comes back before would get what it misses from the log.
    """
    return all(int(node.info("raft")["raft_first_index"]) > behind for node in nodes)


def write_until_cut(cluster: Cluster, victim: Node, behind: int) -> None:
    """5 MB of values, a thousand keys, which a follower that is not running can get by a snapshot only."""
    others = [node for node in cluster.nodes.values() if node is not victim]
    write(others[0], 0, 1000, size=5000)

    def is_cut() -> bool:
        write(others[0], 0, 20, size=5000)  # so that another checkpoint is due
        return are_cut(others, behind)

    wait_for(is_cut, "the log is cut")


def received_bytes(node: Node) -> int:
    """How much of a snapshot a node has so far."""
    try:
        return (node.data / "snapshot.receiving").stat().st_size
    except FileNotFoundError:
        return 0


def start_receiving(cluster: Cluster, victim: Node) -> None:
    """Starts a node that needs a snapshot, and returns when it has a part of it."""
    victim.start()

    def is_receiving() -> bool:
        if received_bytes(victim) > 500_000:
            return True
        if snapshots_installed(victim):  # quicker than we have looked: once more
            known = int(victim.info("raft")["raft_last_index"])
            victim.kill()
            write_until_cut(cluster, victim, known + 1)
            victim.start()
        return False

    wait_for(is_receiving, "chunks arrive", 180)


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
            return are_cut([node for node in cluster.nodes.values() if node is not victim], known + 1)

        wait_for(is_cut, "the log is cut")
        victim.start()
        wait_for(lambda: snapshots_installed(victim) >= 1, "the snapshot is installed")
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
        wait_for(lambda: keys_of(victim) == 5205, "the restarted follower has everything")


def test_a_follower_that_missed_little_gets_the_log(tmp_path: Path) -> None:
    with Cluster(tmp_path, settings={"checkpoint_log_bytes": 20_000}).start() as cluster:
        victim = cluster.followers()[0]
        victim.kill()
        write(cluster.leader(), 0, 3000)
        wait_for(lambda: cluster.leader().info("persistence")["rdb_saves"] > 0, "checkpoints cut the log on the disk")
        victim.start()
        assert len(cluster.wait_equal()) == 3000
        assert snapshots_installed(victim) == 0


def test_a_receiver_killed_in_the_middle_begins_anew(tmp_path: Path) -> None:
    settings = {**SMALL_LOG, "peer_delay_ms": 50}
    with Cluster(tmp_path, settings=settings).start() as cluster:
        write(cluster.leader(), 0, 100)
        victim = cluster.followers()[0]
        known = int(victim.info("raft")["raft_last_index"])
        victim.kill()
        write_until_cut(cluster, victim, known + 1)
        for _ in range(2):
            start_receiving(cluster, victim)
            victim.kill()
        victim.start()
        wait_for(lambda: snapshots_installed(victim) >= 1, "the snapshot is installed")
        assert len(cluster.wait_equal()) == 1000
        assert not (victim.data / "snapshot.receiving").exists()


def test_a_sender_killed_in_the_middle_is_replaced(tmp_path: Path) -> None:
    settings = {**SMALL_LOG, "peer_delay_ms": 50}
    with Cluster(tmp_path, settings=settings).start() as cluster:
        victim = cluster.followers()[0]
        known = int(victim.info("raft")["raft_last_index"])
        victim.kill()
        write_until_cut(cluster, victim, known + 1)
        leader = cluster.leader()
        start_receiving(cluster, victim)
        leader.kill()
        write(cluster.leader(), 1000, 100)
        leader.start()
        assert len(cluster.wait_equal()) == 1100
