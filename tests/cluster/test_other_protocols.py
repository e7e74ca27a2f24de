"""Clusters that elect by Paxos's rule, or whose answers rest on a quorum instead of the leader's lease."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from resp.encode import encode_command
from tests.cluster.cluster_process import ClusterProcess, wait_until
from tests.cluster.test_three_replicas import Counter

SETTINGS = {"paxos": {"consensus": "paxos"}, "quorum": {"reads": "quorum"}}


@pytest.fixture(params=SETTINGS)
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path, **SETTINGS[request.param]) as running:
        yield running


def test_leaders_come_and_go_and_nothing_is_lost_repeated_or_old(cluster: ClusterProcess) -> None:
    counters = [Counter(cluster, name) for name in cluster.names]
    for counter in counters:
        counter.wait_for(50)
    _leader_sleeps(cluster)
    for counter in counters:
        counter.wait_for(20)
    leader = cluster.wait_for_leader()
    surviving = [each for each, name in zip(counters, cluster.names) if name != leader]
    cluster.kill(leader)
    for counter in surviving:
        counter.wait_for(20)
    cluster.start(leader)
    _all_kinds_of_requests(cluster)
    expected = [str(counter.stop()).encode() for counter in surviving]
    cluster.wait_until_equal(lambda client: client.mget([counter.key for counter in surviving]), expected)


def _leader_sleeps(cluster: ClusterProcess) -> None:
    """A read that waits in the socket of a leader which sleeps through an election must see what came meanwhile."""
    old = cluster.wait_for_leader()
    cluster.client(old).set("x", "before")
    with socket.create_connection(("127.0.0.1", cluster.ports[old]), 30) as sock:
        sock.sendall(encode_command([b"PING"]))
        assert sock.recv(100) == b"+PONG\r\n"
        cluster.pause(old)
        survivor = next(name for name in cluster.names if name != old)
        sock.sendall(encode_command([b"GET", b"x"]))
        wait_until(lambda: cluster.client(survivor).set("x", "after"), "the others elect a leader")
        cluster.resume(old)
        assert sock.recv(100) == b"$5\r\nafter\r\n"


def _all_kinds_of_requests(cluster: ClusterProcess) -> None:
    leader = cluster.client(cluster.wait_for_leader())
    pipeline = leader.pipeline(transaction=True)
    assert pipeline.set("a", 1).incr("a").get("a").execute() == [True, 2, b"2"]
    assert leader.transaction(_count_a, "a") == [3]
    assert leader.eval("return redis.call('INCR', KEYS[1])", 1, "a") == 4
    leader.rpush("queue", "item")
    assert leader.blpop("queue", 1) == (b"queue", b"item")
    leader.set("short", "lived", px=50)
    wait_until(lambda: leader.dbsize() == len(leader.keys()) and not leader.exists("short"), "it expires")
    deadline = time.monotonic() + 60
    while not any(cluster.client(name).info("stats")["expired_keys"] for name in cluster.names):
        assert time.monotonic() < deadline, "nothing deletes expired keys"
        time.sleep(0.05)


def _count_a(transaction: "redis.client.Pipeline") -> None:
    transaction.multi()
    transaction.incr("a")
