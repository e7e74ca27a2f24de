"""Three real nodes: any of them takes any command, and nothing acknowledged is lost or done twice."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import yaml

from tests.cluster.cluster_process import ClusterProcess, wait_until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path) as running:
        yield running


class Counter:
    """A client that counts up one key through one node, and notices a count that was lost or made twice."""

    def __init__(self, cluster: ClusterProcess, name: str) -> None:
        self.key = f"counter:{name}"
        self.count = 0
        self.wrong: list[str] = []
        self._cluster, self._name = cluster, name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        client = self._cluster.client(self._name)
        while not self._stop.is_set():
            try:
                count = int(client.incr(self.key))
            except redis.RedisError as error:
                self.wrong.append(repr(error))
                return
            if count != self.count + 1:
                self.wrong.append(f"{count} after {self.count}")
            self.count = count

    def wait_for(self, more: int) -> None:
        goal = self.count + more
        wait_until(lambda: self.count >= goal or self.wrong, f"{self.key} goes on")

    def stop(self) -> int:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert self.wrong == []
        return self.count


def test_every_node_takes_every_command(cluster: ClusterProcess) -> None:
    for name in cluster.names:
        client = cluster.client(name)
        client.set(f"from:{name}", name)
        client.rpush("list", name)
    for name in cluster.names:
        client = cluster.client(name)
        assert client.mget([f"from:{each}" for each in cluster.names]) == [each.encode() for each in cluster.names]
        assert client.lrange("list", 0, -1) == [each.encode() for each in cluster.names]
    cluster.wait_until_equal(lambda client: client.llen("list"), 3)


def test_transactions_and_guards_through_a_follower(cluster: ClusterProcess) -> None:
    follower, other = cluster.followers()
    client, rival = cluster.client(follower), cluster.client(other)
    client.set("balance", 10)
    with client.pipeline() as pipeline:
        pipeline.watch("balance")
        balance = int(pipeline.get("balance"))
        pipeline.multi()
        pipeline.set("balance", balance + 1)
        pipeline.get("balance")
        assert pipeline.execute() == [True, b"11"]
        pipeline.watch("balance")
        rival.set("balance", 50)
        pipeline.multi()
        pipeline.set("balance", 12)
        with pytest.raises(redis.WatchError):
            pipeline.execute()
    assert rival.get("balance") == b"50"


def test_blocked_clients_are_served_across_nodes(cluster: ClusterProcess) -> None:
    first, second = cluster.followers()
    got: list[object] = []
    waiting = cluster.client(first, socket_timeout=150)
    waiter = threading.Thread(target=lambda: got.append(waiting.blpop(["queue"], 120)))
    waiter.start()

    def is_parked() -> bool:
        leader = cluster.client(cluster.wait_for_leader())
        return leader.info("clients")["blocked_clients"] == 1

    wait_until(is_parked, "the request is parked")
    cluster.client(second).rpush("queue", "job")
    waiter.join(60)
    assert got == [(b"queue", b"job")]


def test_a_client_of_a_follower_that_asks_for_much_and_does_not_read(cluster: ClusterProcess) -> None:
    """What it asks for is fetched as fast as it reads, so that nobody else notices."""
    follower = cluster.followers()[0]
    client, size, count = cluster.client(follower), 512 * 1024, 1000
    client.set("big", bytes(size))
    reader = cluster.client(follower, single_connection_client=True, socket_timeout=150)
    id, sock = reader.client_id(), reader.connection._sock
    sock.sendall(b"GET big\r\n" * count)
    wait_until(lambda: int(client.client_list(client_id=[id])[0]["omem"]) > 100 << 20, "much waits for it")
    asked = client.info("mako")["forwarded_requests"]
    assert asked < 0.6 * count, "no more is asked for while it does not read"
    left = count * (len(b"$%d\r\n\r\n" % size) + size)
    while left:
        received = len(sock.recv(1 << 20))
        assert received, "the connection was closed"
        left -= received
    assert not any("does not keep up" in cluster.output(name) for name in cluster.names)


def test_messages_reach_subscribers_of_every_node(cluster: ClusterProcess) -> None:
    subscriptions = []
    for name in cluster.names:
        subscription = cluster.client(name).pubsub()
        subscription.subscribe("news")
        assert wait_until(lambda s=subscription: s.get_message(timeout=1.0), "it listens")["type"] == "subscribe"  # type: ignore[misc]
        subscriptions.append(subscription)
    for name in cluster.names:
        cluster.client(name).publish("news", name)
    for subscription in subscriptions:
        heard: list[bytes] = []
        while len(heard) < len(cluster.names):
            message = wait_until(lambda s=subscription: s.get_message(timeout=1.0), "a message arrives")  # type: ignore[misc]
            heard.append(message["data"])
        assert sorted(heard) == [name.encode() for name in cluster.names]


def test_killing_the_leader_loses_and_repeats_nothing(cluster: ClusterProcess) -> None:
    leader = cluster.wait_for_leader()
    counters = [Counter(cluster, name) for name in cluster.names if name != leader]
    for counter in counters:
        counter.wait_for(50)
    cluster.kill(leader)
    for counter in counters:
        counter.wait_for(50)
    cluster.start(leader)
    for counter in counters:
        counter.wait_for(50)
    expected = [str(counter.stop()).encode() for counter in counters]
    cluster.wait_until_equal(lambda client: client.mget([counter.key for counter in counters]), expected)


def test_a_leader_that_sleeps_through_an_election_serves_nothing_old(cluster: ClusterProcess) -> None:
    old = cluster.wait_for_leader()
    cluster.client(old).set("x", "before")
    cluster.pause(old)
    survivor = next(name for name in cluster.names if name != old)
    wait_until(lambda: cluster.client(survivor).set("x", "after"), "the others elect a leader")
    cluster.resume(old)
    assert cluster.client(old).get("x") == b"after"
    cluster.wait_until_equal(lambda client: client.get("x"), b"after")


def test_all_nodes_killed_at_once_lose_nothing(cluster: ClusterProcess) -> None:
    client = cluster.client(cluster.names[0])
    for number in range(200):
        client.set(f"key:{number}", number)
    client.rpush("list", *range(100))
    for name in list(cluster.processes):
        cluster.kill(name)
    for name in cluster.names:
        cluster.start(name)
    assert client.dbsize() == 201
    assert client.lrange("list", 0, -1) == [str(number).encode() for number in range(100)]
    cluster.wait_until_equal(lambda replica: replica.get("key:199"), b"199")


def test_a_minority_acknowledges_and_shows_nothing(cluster: ClusterProcess) -> None:
    leader = cluster.wait_for_leader()
    cluster.client(leader).set("x", "1")
    for name in cluster.names:
        if name != leader:
            cluster.kill(name)
    with pytest.raises(redis.TimeoutError):
        cluster.client(leader, socket_timeout=3, retry=None).set("x", "2")
    with pytest.raises(redis.TimeoutError):
        cluster.client(leader, socket_timeout=3, retry=None).get("x")


def test_an_orderly_stop_ends_with_status_zero(cluster: ClusterProcess) -> None:
    cluster.client(cluster.wait_for_leader()).set("x", "1")
    assert [cluster.terminate(name) for name in list(cluster.names)] == [0, 0, 0]


def test_a_witness_has_the_leader_answer_readonly_sessions(tmp_path: Path) -> None:
    cluster = ClusterProcess(tmp_path)
    for path in cluster.configs.values():
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        settings["nodes"]["n3"]["witness"] = True
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    with cluster:
        cluster.client("n1").set("x", "1")
        client = cluster.client("n3", single_connection_client=True)
        client.execute_command("READONLY")
        assert client.get("x") == b"1"
        assert client.dbsize() == 1
