"""What clients are told of others' changes where there are several shards: invalidations and keyspace notifications."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from resp.decode import ReplyParser
from resp.replies import Push
from tests.cluster.cluster_process import ClusterProcess, wait_until

SETTINGS = {"shards": 3, "disk_free_bytes_min": 0, "disk_ballast_bytes": 0}
KEYS = ("b", "c", "a")
"""Keys of the first, the second and the third shard."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path_factory.mktemp("shards"), 3, **SETTINGS) as cluster:
        wait_until(lambda: cluster.client("n1").mset(dict.fromkeys(KEYS, 1)), "the shards have leaders")
        yield cluster


class Caching:
    """A client that keeps what it has read until it is told to forget it."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 60)
        self.sock.settimeout(60)
        self.parser = ReplyParser()
        self.waiting: list[Any] = []
        self.cache: dict[bytes, Any] = {}
        self.told: list[bytes] = []
        self.emptied = 0
        """How often it was told to forget everything."""
        self.call("HELLO", "3")

    def _receive(self) -> None:
        self.waiting += self.parser.parse(self.sock.recv(65536))

    def call(self, *words: str) -> Any:
        data = b"*%d\r\n" % len(words)
        self.sock.sendall(data + b"".join(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words))
        while True:
            while self.waiting:
                reply = self.waiting.pop(0)
                if not isinstance(reply, Push):
                    return reply
                self._forget(reply)
            self._receive()

    def _forget(self, push: Any) -> None:
        kind, keys = push.items
        assert kind == b"invalidate"
        self.emptied += keys is None
        for key in list(self.cache) if keys is None else keys:
            self.told.append(key)
            self.cache.pop(key, None)

    def get(self, key: str) -> Any:
        """From the cache if it is there."""
        if key.encode() not in self.cache:
            value = self.call("GET", key)
            self.cache[key.encode()] = value
        return self.cache[key.encode()]

    def listen(self) -> None:
        """Takes in what has come."""
        self.call("PING")


@pytest.fixture
def caching(cluster: ClusterProcess) -> Iterator[list[Caching]]:
    clients = [Caching(cluster.ports[name]) for name in cluster.names]
    yield clients
    for client in clients:
        client.sock.close()


def test_who_has_read_a_key_is_told_when_it_changes(cluster: ClusterProcess, caching: list[Caching]) -> None:
    for client in caching:
        client.call("CLIENT", "TRACKING", "ON")
    for number, name in enumerate(cluster.names):
        writer = cluster.client(name)
        for key in KEYS:
            writer.set(key, f"old {number}")
            wait_until(
                lambda key=key, number=number: (
                    [client.listen() for client in caching]
                    and all(client.get(key) == b"old %d" % number for client in caching)
                ),
                "all have the present value",
            )
            writer.mset(dict.fromkeys(KEYS, f"new {number}"))
            for client in caching:
                wait_until(
                    lambda client=client, key=key: client.listen() or key.encode() not in client.cache,
                    "the key is forgotten",
                )
                assert client.get(key) == b"new %d" % number


def test_a_transaction_that_changes_what_it_reads(cluster: ClusterProcess, caching: list[Caching]) -> None:
    """Its client is told to forget what it had read before, and of the next change again."""
    for client, name in zip(caching, cluster.names):
        client.call("CLIENT", "TRACKING", "ON")
        for between in (("GET", "a"), ("EVAL", "return redis.call('GET', KEYS[1])", "1", "a")):
            assert client.get("a") is not None
            client.call("MULTI")
            client.call("SET", "a", "own")
            client.call(*between)
            assert client.call("EXEC")[1] == b"own"
            wait_until(lambda client=client: client.listen() or not client.cache, "the old value is forgotten")
            client.cache[b"a"] = b"own"
            cluster.client(name).set("a", "another's")
            wait_until(lambda client=client: client.listen() or not client.cache, "the own value is forgotten")


def test_all_are_told_once_that_everything_is_gone(cluster: ClusterProcess, caching: list[Caching]) -> None:
    """Though each shard says so."""
    for client in caching:
        client.call("CLIENT", "TRACKING", "ON", "BCAST")
    writer = cluster.client("n2")
    for count, flush in enumerate((writer.flushall, writer.flushdb), 1):
        flush()
        writer.mset(dict.fromkeys(KEYS, count))
        for client in caching:
            wait_until(lambda client=client: client.listen() or b"a" in client.told, "what came behind it is told")
            client.told.clear()
            assert client.emptied == count


def test_who_does_not_want_to_hear_of_its_own_changes_does_not(cluster: ClusterProcess, caching: list[Caching]) -> None:
    """Neither of those over several shards, nor of scripts; but of all others' behind them."""
    for client, name in zip(caching, cluster.names):
        client.call("CLIENT", "TRACKING", "ON", "NOLOOP")
        for change in (
            ("PING",),  # so that what was changed before is over
            ("MSET", *(word for key in KEYS for word in (key, "own"))),
            ("EVAL", "for _, key in ipairs(KEYS) do redis.call('SET', key, 'own') end", "3", *KEYS),
        ):
            client.cache.clear()
            client.told.clear()
            assert all(client.get(key) for key in KEYS)
            client.call(*change)
            client.cache.clear()
            assert [client.get(key) == b"own" for key in KEYS] == [change[0] != "PING"] * 3
            cluster.client(name).mset(dict.fromkeys(KEYS, "another's"))
            wait_until(lambda client=client: client.listen() or not client.cache, "the others' changes are told")
            if change[0] != "PING":
                assert sorted(client.told) == sorted(key.encode() for key in KEYS), (name, change[0])
        client.call("CLIENT", "TRACKING", "OFF")


def test_broadcasts_tell_of_all_keys_with_a_prefix(cluster: ClusterProcess, caching: list[Caching]) -> None:
    for client in caching:
        client.call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "{b}:", "PREFIX", "{c}:")
    cluster.client("n1").mset({"{a}:1": 1, "{b}:1": 1, "{c}:1": 1})
    cluster.client("n2").set("{b}:2", 1)
    for client in caching:
        wait_until(
            lambda client=client: client.listen() or {b"{b}:1", b"{b}:2", b"{c}:1"} <= set(client.told),
            "all changes are heard of",
        )
        assert b"{a}:1" not in client.told


def test_a_cache_is_never_left_with_an_old_value(cluster: ClusterProcess, caching: list[Caching]) -> None:
    """Clients read through their caches while others write; when all is quiet, every cache is right."""
    keys = [f"{{{key}}}cached{number}" for key in KEYS for number in range(3)]
    over = threading.Event()

    def write(name: str, step: int) -> None:
        client = cluster.client(name)
        count = 0
        while not over.is_set():
            count += 1
            if count % 3:
                client.incr(keys[count * step % len(keys)])
            else:
                client.mset(dict.fromkeys(keys[:: step + 1], count))

    def read(client: Caching) -> None:
        client.call("CLIENT", "TRACKING", "ON")
        count = 0
        while not over.is_set():
            count += 1
            client.get(keys[count % len(keys)])
            client.listen()

    threads = [threading.Thread(target=read, args=(client,)) for client in caching]
    threads += [threading.Thread(target=write, args=(name, at)) for at, name in enumerate(cluster.names, 1)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    over.set()
    for thread in threads:
        thread.join(60)
    plain = cluster.client("n1")
    truth = dict(zip(keys, plain.mget(keys)))
    for client in caching:
        wait_until(
            lambda client=client: client.listen() or all(client.get(key) == value for key, value in truth.items()),
            "the cache is right",
        )


def test_keyspace_notifications_reach_every_node(cluster: ClusterProcess) -> None:
    listeners = []
    clients = [cluster.client(name) for name in cluster.names]
    for client in clients:
        client.config_set("notify-keyspace-events", "KEA")
        listener = client.pubsub()
        listener.psubscribe("__keyevent@0__:*")
        assert wait_until(lambda listener=listener: listener.get_message(timeout=1), "subscribed")
        listeners.append(listener)
    heard: list[list[tuple[bytes, bytes]]] = [[] for _ in listeners]

    def has_heard(wanted: set[tuple[bytes, bytes]]) -> bool:
        for listener, events in zip(listeners, heard):
            while message := listener.get_message(timeout=0.05):
                if message["type"] == "pmessage":
                    events.append((message["channel"].split(b":")[1], message["data"]))
        return all(wanted <= set(events) for events in heard)

    one, two, _ = clients
    for key in KEYS:
        one.set(f"{{{key}}}alone", 1)
    two.mset({f"{{{key}}}many": 1 for key in KEYS})
    two.rename("{b}many", "{c}moved")
    one.pipeline(transaction=True).lpush("{b}list", 1).sadd("{c}set", 1).execute()
    pipe = two.pipeline(transaction=False)
    for key in KEYS:
        pipe.incr(f"{{{key}}}piped")
    pipe.execute()
    one.set("{a}short", 1, px=50)
    wanted = {(b"set", b"{%b}alone" % key.encode()) for key in KEYS}
    wanted |= {(b"set", b"{%b}many" % key.encode()) for key in KEYS}
    wanted |= {(b"incrby", b"{%b}piped" % key.encode()) for key in KEYS}
    wanted |= {(b"rename_from", b"{b}many"), (b"rename_to", b"{c}moved"), (b"expired", b"{a}short")}
    wanted |= {(b"lpush", b"{b}list"), (b"sadd", b"{c}set")}
    wait_until(lambda: has_heard(wanted), "all events are heard on all nodes")
    for events in heard:
        assert all(events.count(each) == 1 for each in wanted), sorted(events)
    for listener in listeners:
        listener.close()
