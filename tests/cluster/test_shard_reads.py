"""`reads: quorum` where there are several shards: a leader asks a majority before it answers what only reads."""

import socket
from collections.abc import Iterator

import pytest

from resp.encode import encode_command
from tests.cluster.cluster_process import ClusterProcess, wait_until

SETTINGS = {"shards": 3, "reads": "quorum", "disk_free_bytes_min": 0, "disk_ballast_bytes": 0}
A, B, C = "b", "c", "a"
"""Keys of the first, the second and the third shard; the nodes lead them in this order."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path_factory.mktemp("quorum"), 3, **SETTINGS) as cluster:
        wait_until(lambda: cluster.client("n1").mset({A: 1, B: 1, C: 1}), "the shards have leaders")
        yield cluster


def test_all_kinds_of_requests(cluster: ClusterProcess) -> None:
    one, two = cluster.client("n1"), cluster.client("n2")
    assert one.set(A, 5) and two.get(A) == b"5" and two.mget(A, B, C) == [b"5", b"1", b"1"]
    pipe = two.pipeline(transaction=True)
    assert pipe.incr(A).incr(B).mget(A, B, C).execute() == [6, 2, [b"6", b"2", b"1"]]
    assert pipe.get(A).get(C).execute() == [b"6", b"1"]
    assert one.eval("return redis.call('GET', KEYS[1])", 1, B) == b"2"
    assert one.dbsize() == 3 and sorted(two.keys()) == [b"a", b"b", b"c"]
    two.set(B, "lived", px=50)
    wait_until(lambda: one.dbsize() == 2, "it expires")
    assert [two.get(A) for _ in range(20)] == [b"6"] * 20


def test_a_leader_that_was_stopped_does_not_answer_from_the_past(cluster: ClusterProcess) -> None:
    wait_until(
        lambda: cluster.client("n2").execute_command("CLUSTER SLOTS")[0][2][1] == cluster.ports["n1"], "node 1 leads A"
    )
    cluster.client("n2").mset({A: "before", C: "before"})
    with socket.create_connection(("127.0.0.1", cluster.ports["n1"]), 60) as sock:
        sock.sendall(encode_command([b"PING"]))
        assert sock.recv(100) == b"+PONG\r\n"
        cluster.pause("n1")
        sock.sendall(encode_command([b"GET", A.encode()]) + encode_command([b"MGET", A.encode(), C.encode()]))
        wait_until(lambda: cluster.client("n2").mset({A: "after", C: "after"}), "the others elect a leader")
        cluster.resume("n1")
        expected = b"$5\r\nafter\r\n*2\r\n$5\r\nafter\r\n$5\r\nafter\r\n"
        answer = b""
        while len(answer) < len(expected):
            answer += sock.recv(100)
        assert answer == expected
