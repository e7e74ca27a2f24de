"""A cluster that nobody uses is silent, and is there when it is wanted."""

import os
import signal
import statistics
import time
from pathlib import Path

import pytest
import redis

from tests.cluster.processes import Cluster, Node, wait_for
from tests.cluster.test_membership import address, mako, status, wait_for_voters
from tests.cluster.test_witness import WithWitness

pytestmark = pytest.mark.long
KEYS = [f"k{number}" for number in range(30)]


def quiet_cluster(folder: Path, shards: int, kind: type[Cluster] = Cluster, **settings: object) -> Cluster:
    """Three nodes that have been used and then left alone, until all of their groups are quiesced."""
    cluster = kind(folder, settings={"shards": shards, "quiesce_ms": 1000, **settings}).start()
    write(cluster[1])
    sleep_tight(cluster)
    return cluster


def write(node: Node) -> None:
    with node.client() as client:
        for key in KEYS:
            client.set(key, node.id)


def sleep_tight(cluster: Cluster) -> None:
    groups = 1 if cluster.settings["shards"] == 1 else cluster.settings["shards"] + 1
    nodes = [node for node in cluster.nodes.values() if node.process is not None]
    wait_for(lambda: all(node.info("mako")["quiesced_groups"] == groups for node in nodes), "all is quiet")


def cpu_seconds(node: Node) -> float:
    assert node.process is not None
    fields = Path(f"/proc/{node.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("shards", [1, 3])
def test_nothing_is_written_and_next_to_nothing_done(tmp_path: Path, shards: int) -> None:
    with quiet_cluster(tmp_path, shards) as cluster:
        before = {id: (cpu_seconds(node), node.info("raft")["raft_term"]) for id, node in cluster.nodes.items()}
        time.sleep(20)
        for id, node in cluster.nodes.items():
            assert cpu_seconds(node) - before[id][0] < 0.2, "more than 1 % of a processor"
            assert node.info("raft")["raft_term"] == before[id][1]
            assert node.info("mako")["quiesced_groups_woken"] == 0
            assert node.info("mako")["quiesced_groups"] == (1 if shards == 1 else 4)
        for node in reversed(cluster.nodes.values()):  # whoever leads is woken by that
            assert node.contents() == {key.encode(): b"1" for key in KEYS}, "followers' reads are not refused as stale"


@pytest.mark.parametrize("shards", [1, 3])
def test_every_node_takes_writes_at_once(tmp_path: Path, shards: int) -> None:
    with quiet_cluster(tmp_path, shards) as cluster:
        for node in cluster.nodes.values():
            begun = time.monotonic()
            write(node)
            assert time.monotonic() - begun < 5
            sleep_tight(cluster)
            for other in cluster.nodes.values():
                expected = {key.encode(): b"%d" % node.id for key in KEYS}
                wait_for(lambda other=other, expected=expected: other.contents() == expected, "all have it")


def time_to_write(cluster: Cluster, without: int) -> float:
    """How long it takes until keys of all shards can be written through a node that is left."""
    survivor = cluster[2 if without == 1 else 1]
    with survivor.client() as client:
        begun = time.monotonic()
        for key in KEYS[: 1 if cluster.settings["shards"] == 1 else 12]:
            client.set(key, survivor.id)
        seconds = time.monotonic() - begun
    write(survivor)
    return seconds


def led_by(cluster: Cluster) -> int:
    """Who leads the only shard; where there are several, each node leads one."""
    return cluster.leader().id if cluster.settings["shards"] == 1 else 1


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGSTOP])
def test_a_leader_that_is_gone_is_replaced_as_soon_as_ever(tmp_path: Path, shards: int, kind: signal.Signals) -> None:
    times = []
    with quiet_cluster(tmp_path, shards) as cluster:
        for _ in range(5):
            gone = cluster[led_by(cluster)]
            assert gone.process is not None
            sleep_tight(cluster)
            gone.process.send_signal(kind)
            times.append(time_to_write(cluster, gone.id))
            if kind == signal.SIGKILL:
                gone.kill()
                gone.start()
            else:
                gone.process.send_signal(signal.SIGCONT)
            expected = {key.encode(): b"%d" % (2 if gone.id == 1 else 1) for key in KEYS}
            for node in cluster.nodes.values():
                wait_for(lambda node=node, expected=expected: node.contents() == expected, "all have it")
    print(f"from {kind.name} to the next write, quiesced, {shards} shards: {[f'{each:.2f}' for each in times]} s")
    assert statistics.median(times) <= (1.0 if shards == 1 else 1.5), "to one shard, or to all of them"
    assert max(times) <= 2.5


@pytest.mark.parametrize("shards", [1, 3])
def test_a_leader_that_says_nothing_is_replaced_though_nobody_asks(tmp_path: Path, shards: int) -> None:
    with quiet_cluster(tmp_path, shards) as cluster:
        gone = cluster[led_by(cluster)]
        others = [id for id in cluster.nodes if id != gone.id]
        before = cluster[others[0]].info("raft")["raft_leaders_seen"] if shards == 1 else 0
        assert gone.process is not None
        gone.process.send_signal(signal.SIGSTOP)
        wait_for(lambda: any(cluster[id].info("mako")["quiesced_groups_woken"] for id in others), "somebody notices")
        if shards == 1:
            wait_for(lambda: cluster[others[0]].info("raft")["raft_leaders_seen"] > before, "another one leads")
        gone.process.send_signal(signal.SIGCONT)
        sleep_tight(cluster)
        assert cluster[gone.id].contents() == {key.encode(): b"1" for key in KEYS}


@pytest.mark.parametrize("shards", [1, 3])
def test_keys_expire_on_all_nodes_though_nobody_asks(tmp_path: Path, shards: int) -> None:
    with quiet_cluster(tmp_path, shards) as cluster:
        with cluster[2].client() as client:
            for key in KEYS:
                client.set(f"short {key}", "x", px=6000)
        sleep_tight(cluster)
        nodes = cluster.nodes.values()
        wait_for(lambda: sum(node.info("stats")["expired_keys"] for node in nodes) == len(KEYS), "they expire")
        for node in nodes:
            wait_for(lambda node=node: len(node.contents()) == len(KEYS), "the rest is there")


@pytest.mark.parametrize("shards", [1, 3])
def test_a_node_that_is_restarted_finds_the_others(tmp_path: Path, shards: int) -> None:
    with quiet_cluster(tmp_path, shards) as cluster:
        for node in cluster.nodes.values():
            sleep_tight(cluster)
            node.kill()
            node.start()
            wait_for(lambda node=node: node.contents() == {key.encode(): b"1" for key in KEYS}, f"{node.name} is back")
        sleep_tight(cluster)


def test_a_blocked_client_gets_its_answer_in_time(tmp_path: Path) -> None:
    with quiet_cluster(tmp_path, 1) as cluster, cluster[1].client() as first, cluster[3].client() as third:
        for client in (first, third):
            begun = time.monotonic()
            assert client.blpop("no list", timeout=4) is None
            assert 4 <= time.monotonic() - begun < 6


@pytest.mark.parametrize("shards", [1, 3])
def test_a_leader_that_was_stopped_answers_nothing_old(tmp_path: Path, shards: int) -> None:
    """Its clients have asked it meanwhile, and it hears of that before anything else."""
    with quiet_cluster(tmp_path, shards) as cluster:
        for number in range(4):
            stopped = cluster[led_by(cluster)]
            sleep_tight(cluster)
            assert stopped.process is not None
            clients = [stopped.client(single_connection_client=True) for _ in KEYS]
            for client in clients:
                assert client.ping()
            stopped.process.send_signal(signal.SIGSTOP)
            for client, key in zip(clients, KEYS):
                client.connection.send_command("GET", key)
            with cluster[2 if stopped.id == 1 else 1].client() as other:
                for key in KEYS:
                    other.set(key, f"written while it slept, {number}")
            stopped.process.send_signal(signal.SIGCONT)
            answers = {client.connection.read_response() for client in clients}
            assert answers == {b"written while it slept, %d" % number}
            for client in clients:
                client.close()


def test_one_shard_that_is_used_brings_the_others_along(tmp_path: Path) -> None:
    """What followers show is of one moment on all shards, and goes on though only one of them has anything new."""
    with quiet_cluster(tmp_path, 3) as cluster, cluster[1].client() as client:
        for number in range(3):
            sleep_tight(cluster)
            client.set(KEYS[0], f"alone {number}")
            for node in cluster.nodes.values():
                begun = time.monotonic()
                wait_for(lambda node=node: node.contents()[KEYS[0].encode()] == b"alone %d" % number, "it is shown")  # noqa: B023
                assert time.monotonic() - begun < 3


@pytest.mark.parametrize("shards", [1, 3])
def test_reads_on_followers_are_not_refused_where_they_may_be_a_second_old(tmp_path: Path, shards: int) -> None:
    with quiet_cluster(tmp_path, shards, max_staleness_ms=1000) as cluster:
        for node in cluster.nodes.values():
            with node.client(single_connection_client=True) as client:
                client.execute_command("READONLY")
                refused = 0
                for _ in range(100):
                    try:
                        assert client.mget(KEYS) == [b"1"] * len(KEYS)
                    except redis.ResponseError as error:
                        assert str(error).startswith("STALE")
                        refused += 1
                    time.sleep(0.05)
                assert refused < 10, "a busy machine apart"


def test_slots_move_though_all_shards_were_silent(tmp_path: Path) -> None:
    with quiet_cluster(tmp_path, 3) as cluster, cluster[2].client() as client:
        assert client.execute_command("MAKO MOVE SLOTS", 0, 16383, "TO", 2) == b"OK"
        wait_for(lambda: len(client.execute_command("CLUSTER SLOTS")) == 1, "one shard has all slots")
        sleep_tight(cluster)
        for node in cluster.nodes.values():
            assert node.contents() == {key.encode(): b"1" for key in KEYS}


@pytest.mark.parametrize("shards", [1, 3])
def test_silence_with_a_witness(tmp_path: Path, shards: int) -> None:
    with quiet_cluster(tmp_path, shards, WithWitness) as cluster:
        gone = cluster[led_by(cluster)]
        gone.kill()
        with cluster[3].client() as client:
            assert client.set("through the witness", 1)
        gone.start()
        sleep_tight(cluster)
        assert len(gone.contents()) == len(KEYS) + 1


def test_members_come_and_go_though_the_cluster_was_silent(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, joining=1, settings={"shards": 1, "quiesce_ms": 1000}).start()
    with cluster:
        write(cluster[1])
        sleep_tight(cluster)
        cluster[4].start()
        assert mako(cluster[1], "ADD", 4, address(cluster[4])) == b"OK"
        wait_for_voters(cluster[1], {1, 2, 3, 4})
        sleep_tight(cluster)
        leader = cluster.leader()
        assert mako(leader, "DRAIN") == b"OK"
        wait_for(lambda: cluster.leader() is not leader, "another node leads")
        sleep_tight(cluster)
        assert status(leader)["nodes"][leader.id]["drained"] == 1
        assert mako(leader, "REMOVE", leader.id) == b"OK"
        others = [node for node in cluster.nodes.values() if node is not leader]
        wait_for_voters(others[0], {node.id for node in others})
        leader.kill()
        wait_for(lambda: all(node.info("mako")["quiesced_groups"] for node in others), "it is silent again")
        assert cluster.wait_equal([node.id for node in others]) == {key.encode(): b"1" for key in KEYS}
