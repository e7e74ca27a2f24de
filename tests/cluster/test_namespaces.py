"""Faults of a real network: cables that are pulled, packets lost in one direction or at random."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.cluster.namespaces import Network, NetworkedCluster, Unavailable
from tests.cluster.processes import Node, wait_for


@pytest.fixture
def network() -> Iterator[Network]:
    try:
        with Network(3) as made:
            yield made
    except Unavailable as reason:
        pytest.skip(f"no network namespaces: {reason}")


@pytest.fixture
def cluster(tmp_path: Path, network: Network) -> Iterator[NetworkedCluster]:
    # Patient: a term is compared below, and a busy machine must not make for more elections.
    with NetworkedCluster(tmp_path, network, heartbeat_ms=200, election_ms=2000) as running:
        running.start()
        yield running


class Counters:
    """Clients, one per node, that count up a key each: what was acknowledged must be there, nothing twice."""

    def __init__(self, nodes: list[Node]) -> None:
        self.acknowledged = dict.fromkeys((node.name for node in nodes), 0)
        self.unknown = dict.fromkeys((node.name for node in nodes), 0)
        """Sent, and the connection ended before the answer."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._count, args=(node,), daemon=True) for node in nodes]
        for thread in self._threads:
            thread.start()

    def _count(self, node: Node) -> None:
        while not self._stop.is_set():
            try:
                with node.client(single_connection_client=True, socket_timeout=20) as client:
                    while not self._stop.is_set():
                        self.unknown[node.name] += 1
                        client.incr(f"count:{node.name}")
                        self.unknown[node.name] -= 1
                        self.acknowledged[node.name] += 1
            except redis.RedisError:
                time.sleep(0.1)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def wait_progress(self, nodes: list[Node], what: str) -> None:
        """Waits until the clients of these nodes have got ten more answers each."""
        before = dict(self.acknowledged)
        wait_for(lambda: all(self.acknowledged[node.name] >= before[node.name] + 10 for node in nodes), what)

    def check(self, cluster: NetworkedCluster) -> None:
        found = cluster.wait_equal()
        for name, acknowledged in self.acknowledged.items():
            count = int(found.get(f"count:{name}".encode(), 0))
            assert acknowledged <= count <= acknowledged + self.unknown[name], (name, count, self.acknowledged)


def test_the_leader_whose_cable_is_pulled(cluster: NetworkedCluster, network: Network) -> None:
    leader = cluster.leader()
    others = cluster.followers()
    counters = Counters(list(cluster.nodes.values()))
    counters.wait_progress(list(cluster.nodes.values()), "all count")
    network.unplug(leader.id)
    counters.wait_progress(others, "the others go on with a new leader")
    network.plug(leader.id)
    counters.wait_progress(list(cluster.nodes.values()), "all count again")
    counters.stop()
    counters.check(cluster)


@pytest.mark.parametrize("is_heard", [False, True])
def test_a_leader_with_one_direction_left(cluster: NetworkedCluster, network: Network, is_heard: bool) -> None:
    """Not heard, its followers elect another one, it hears of that, and follows. Heard, nobody stands against it, and
    without a majority's answers it must step down by itself."""
    leader = cluster.leader()
    others = cluster.followers()
    ways = [(other.id, leader.id) if is_heard else (leader.id, other.id) for other in others]
    counters = Counters(others)
    for way in ways:
        network.lose(*way)
    counters.wait_progress(others, "the others go on with a new leader")
    for way in ways:
        network.find(*way)
    counters.wait_progress(others, "all goes on")
    counters.stop()
    counters.check(cluster)


def test_a_way_that_only_two_nodes_have_lost(cluster: NetworkedCluster, network: Network) -> None:
    """Leader and one follower do not see each other, both see the third: there must be no end of elections."""
    leader = cluster.leader()
    cut, third = cluster.followers()
    counters = Counters([leader, third])
    network.lose(leader.id, cut.id)
    network.lose(cut.id, leader.id)
    counters.wait_progress([leader, third], "leader and third go on")
    term = int(third.info("raft")["raft_term"])
    wait_for(lambda: cut.info("raft")["raft_role"] != "follower", "the one that hears nothing stands for election")
    counters.wait_progress([leader, third], "they go on")
    assert int(third.info("raft")["raft_term"]) <= term + 1, "it is elected, or disturbs, again and again"
    network.find(leader.id, cut.id)
    network.find(cut.id, leader.id)
    counters.wait_progress([leader, third], "all goes on")
    counters.stop()
    counters.check(cluster)


@pytest.mark.parametrize("percent", [3, 10])
def test_packets_that_are_lost_at_random(cluster: NetworkedCluster, network: Network, percent: int) -> None:
    """TCP sends them again, after 0.2 s and more: everything is slower, nothing stops, is lost or done twice."""
    nodes = list(cluster.nodes.values())
    counters = Counters(nodes)
    counters.wait_progress(nodes, "all count")
    try:
        for node in nodes:
            network.make_lossy(node.id, percent)
    except Unavailable as reason:
        counters.stop()
        pytest.skip(f"no loss at random: {reason}")
    wait_for(lambda: all(network.lost_count(node.id) >= 10 for node in nodes), "packets are lost everywhere")
    counters.wait_progress(nodes, "all go on though packets are lost")
    for node in nodes:
        network.make_lossy(node.id, 0)
    counters.wait_progress(nodes, "all goes on")
    counters.stop()
    counters.check(cluster)
