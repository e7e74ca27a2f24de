"""Clients made for Redis Cluster against nodes that redirect: redis-py's RedisCluster, ioredis, `redis-cli -c`."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import ExponentialBackoff
from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster
from redis.retry import Retry

from makoredis.data.rdb.file import Entry, read_file
from tests.cluster.cluster_process import ClusterProcess, wait_until
from tests.compat.client_programs import node_packages, write


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterProcess]:
    """Patient: a busy machine must not make for another leader than the one that a test knows."""
    with ClusterProcess(tmp_path, redirect="moved", heartbeat_ms=200, election_ms=2000) as running:
        for name in running.names:
            client = running.client(name)
            wait_until(lambda client=client: b"state:ok" in info(client), f"{name} knows the leader")  # type: ignore[misc]
        yield running


def info(client: "redis.Redis[bytes]") -> bytes:
    sock = client.connection_pool.get_connection()
    sock.send_command("CLUSTER", "INFO")
    text: bytes = sock.read_response()
    client.connection_pool.release(sock)
    return text


def follower(cluster: ClusterProcess) -> str:
    return cluster.followers()[0]


def test_a_follower_names_the_leader(cluster: ClusterProcess) -> None:
    leader = cluster.wait_for_leader()
    with pytest.raises(redis.exceptions.MovedError) as caught:
        cluster.client(follower(cluster)).set("x", "1")
    assert caught.value.port == cluster.ports[leader]
    assert cluster.client(leader).set("x", "1")


def test_redis_py_finds_the_leader_and_follows_it(cluster: ClusterProcess) -> None:
    client = RedisCluster(
        startup_nodes=[ClusterNode("127.0.0.1", cluster.ports[follower(cluster)])],
        socket_timeout=20,
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), 20),
    )
    assert len(client.get_nodes()) == 3
    assert [node.port for node in client.get_primaries()] == [cluster.ports[cluster.wait_for_leader()]]
    for number in range(200):
        assert client.set(f"key:{number}", number)
    assert [client.get(f"key:{number}") for number in range(200)] == [b"%d" % number for number in range(200)]
    with client.pipeline() as pipeline:
        pipeline.incr("{t}a").incr("{t}a").get("{t}a")
        assert pipeline.execute() == [1, 2, b"2"]
    assert client.mset_nonatomic({"one": 1, "two": 2}) == [True, True]
    leader = cluster.wait_for_leader()
    cluster.kill(leader)
    for survivor in cluster.processes:
        slots = cluster.client(survivor).execute_command("CLUSTER SLOTS")
        assert slots[0][:2] == [0, 16383], "all slots are covered while a leader is elected"
    assert wait_until(lambda: client.set("after", "1"), "the client finds the new leader")
    wait_until(lambda: client.get("key:199") == b"199", "nothing is lost")
    cluster.start(leader)
    wait_until(lambda: client.get("after") == b"1", "the client goes on")
    client.close()


def test_redis_py_reads_from_replicas(cluster: ClusterProcess) -> None:
    node = ClusterNode("127.0.0.1", cluster.ports[follower(cluster)])
    with RedisCluster(startup_nodes=[node], load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN) as client:
        client.set("x", "1")
        wait_until(lambda: all(client.get("x") == b"1" for _ in range(6)), "all replicas have it")


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli is not on the PATH")
def test_redis_cli_follows_a_redirection(cluster: ClusterProcess) -> None:
    command = ["redis-cli", "-c", "-p", str(cluster.ports[follower(cluster)])]
    run = subprocess.run([*command, "set", "x", "1"], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "OK\n"
    typed = "set y 2\nget x\nincr y\n"
    run = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60, check=True)
    assert [line for line in run.stdout.splitlines() if not line.startswith("->")] == ["OK", "1", "3"]
    without = [word for word in command if word != "-c"]
    run = subprocess.run([*without, "get", "x"], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout.startswith("MOVED ")


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli is not on the PATH")
def test_redis_cli_knows_the_nodes_and_fetches_a_file_from_any(cluster: ClusterProcess, tmp_path: Path) -> None:
    port = str(cluster.ports[follower(cluster)])
    subprocess.run(["redis-cli", "-c", "-p", port, "set", "x", "1"], timeout=60, check=True, capture_output=True)
    check = ["redis-cli", "--cluster", "check", f"127.0.0.1:{port}"]
    told = subprocess.run(check, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "All 16384 slots covered" in told and "2 additional replica(s)" in told
    file = tmp_path / "dump.rdb"
    subprocess.run(["redis-cli", "-p", port, "--rdb", str(file)], timeout=60, check=True, capture_output=True)
    with file.open("rb") as source:
        assert [item.key for item in read_file(source) if isinstance(item, Entry)] == [b"x"]


@pytest.mark.long
def test_ioredis_finds_the_leader_and_follows_it(cluster: ClusterProcess, tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    folder = node_packages(tmp_path / "node", "ioredis@5")
    write(
        folder,
        "cluster.js",
        """
        const assert = require("node:assert");
        const { Cluster } = require("ioredis");

        async function main() {
          const cluster = new Cluster([{ host: "127.0.0.1", port: Number(process.argv[2]) }]);
          for (let i = 0; i < 200; i++) assert.equal(await cluster.set(`key:${i}`, i), "OK");
          const pipeline = cluster.pipeline();
          for (let i = 0; i < 200; i++) pipeline.get(`key:${i}`);
          assert.deepEqual((await pipeline.exec()).map((each) => each[1]), [...Array(200).keys()].map(String));
          assert.equal(cluster.nodes("master").length, 1);
          assert.equal(cluster.nodes("slave").length, 2);
          console.log("ready");
          await new Promise((resolve) => process.stdin.once("data", resolve));
          for (let i = 0; i < 50; i++) assert.equal(await cluster.incr("counter"), i + 1);
          assert.equal(await cluster.get("key:199"), "199");
          cluster.disconnect();
          process.exit(0);
        }
        main().catch((error) => { console.error(error); process.exit(1); });
        """,
    )
    node = subprocess.Popen(
        ["node", "cluster.js", str(cluster.ports[follower(cluster)])],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert node.stdin is not None and node.stdout is not None
    try:
        assert node.stdout.readline() == "ready\n", node.stdout.read()
        cluster.kill(cluster.wait_for_leader())
        output = node.communicate("go on\n", timeout=90)[0]
        assert node.returncode == 0, output
    finally:
        node.kill()
        node.wait()
