"""`maxmemory` and its policies on a running server; with a real redis-server beside it where one is there."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.compat.conftest import redis_server as redis_server
from tests.conftest import ServerFactory
from tests.server_process import ServerProcess

ROOM = 400 * 1024
"""Between what is used at first and the limit."""
SLACK = 48 * 1024
"""What a turn and the measuring itself may go beyond it."""
KEYS = 4000
"""Ten times as much as there is room for."""

Client = "redis.Redis[bytes]"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("eviction"), durability="memory") as process:
        yield process


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with redis.Redis(port=server.port, socket_timeout=60) as client:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
        client.flushall()
        client.config_resetstat()
        yield client


def limit(client: Client, policy: str, room: int = ROOM) -> int:
    """Sets a limit a little above what is used. Returns it."""
    bytes_max = counted(client) + room
    client.config_set("maxmemory-policy", policy)
    client.config_set("maxmemory", bytes_max)
    return bytes_max


def counted(client: Client) -> int:
    memory = client.info("memory")
    return int(memory["used_memory"]) - int(memory["mem_not_counted_for_evict"])


def evicted_keys(client: Client) -> int:
    """How many were, with an end to it."""
    client.config_set("maxmemory", 0)
    return int(client.info("stats")["evicted_keys"])


def fill(client: Client, count: int, prefix: str = "key", **options: object) -> int:
    """Sets keys one by one. Returns how many were refused for want of memory."""
    refused = 0
    for number in range(count):
        try:
            client.set(f"{prefix}:{number}", "x" * 300, **options)  # type: ignore[arg-type]
        except redis.exceptions.OutOfMemoryError as error:
            assert str(error) == "command not allowed when used memory > 'maxmemory'."
            refused += 1
    return refused


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_any_key_goes(client: Client, policy: str) -> None:
    bytes_max = limit(client, policy)
    assert fill(client, KEYS) == 0
    assert counted(client) < bytes_max + SLACK
    evicted = evicted_keys(client)
    assert evicted == KEYS - client.dbsize() and evicted > KEYS // 4


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"])
def test_only_keys_with_a_deadline_go(client: Client, policy: str) -> None:
    fill(client, 500, "stays")
    bytes_max = limit(client, policy)
    assert fill(client, KEYS, "volatile", ex=10_000) == 0
    assert counted(client) < bytes_max + SLACK
    assert client.exists(*(f"stays:{number}" for number in range(500))) == 500
    assert evicted_keys(client) == KEYS + 500 - client.dbsize()


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru", "volatile-ttl"])
def test_writes_are_refused_when_nothing_may_go(client: Client, policy: str) -> None:
    bytes_max = limit(client, policy)
    assert 0 < fill(client, KEYS) < KEYS
    assert counted(client) < bytes_max + SLACK
    assert client.get("key:0") == b"x" * 300, "reads go on"
    assert client.info("stats")["evicted_keys"] == 0
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        client.eval("return redis.call('SET', KEYS[1], 'x')", 1, "key")
    assert client.delete(*(f"key:{number}" for number in range(KEYS))) > 0
    deadline = time.monotonic() + 30
    while fill(client, 10):
        assert time.monotonic() < deadline, "there is room again"


def test_a_lower_limit_is_reached_without_further_requests(client: Client) -> None:
    fill(client, 2000)
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", 1)
    while client.dbsize():
        continue
    stats = client.info("stats")
    assert stats["evicted_keys"] == 2000
    assert stats["current_eviction_exceeded_time"] > 0


def test_it_is_announced(client: Client) -> None:
    client.config_set("notify-keyspace-events", "Ee")
    subscriber = client.pubsub(ignore_subscribe_messages=True)
    subscriber.subscribe("__keyevent@0__:evicted")
    assert subscriber.get_message(timeout=10) is None
    fill(client, 20)
    client.config_set("maxmemory-policy", "allkeys-random")
    client.config_set("maxmemory", 1)
    heard = set()
    while len(heard) < 20:
        message = subscriber.get_message(timeout=30)
        assert message is not None
        heard.add(message["data"])
    assert heard == {b"key:%d" % number for number in range(20)}
    client.config_set("notify-keyspace-events", "")


def test_a_watched_key_that_is_evicted_fails_the_transaction(client: Client) -> None:
    client.set("key", "x")
    with client.pipeline() as pipeline:
        pipeline.watch("key")
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", 1)
        while client.exists("key"):
            continue
        client.config_set("maxmemory", 0)
        pipeline.multi()
        pipeline.get("other")
        with pytest.raises(redis.WatchError):
            pipeline.execute()


def test_buffers_count(client: Client) -> None:
    """Clients that do not read what they are sent take memory, for which keys go."""
    for number in range(50):
        client.setrange(f"key:{number}", 100_000, "x")
    limit(client, "allkeys-lru", 10 << 20)
    idle = [client.connection_pool.get_connection() for _ in range(20)]
    for _ in range(40):
        for connection in idle:
            connection.send_command("MGET", *(f"key:{number}" for number in range(50)))
        if client.info("stats")["evicted_keys"]:
            break
    assert client.info("stats")["evicted_keys"] > 0
    for connection in idle:
        connection.disconnect()


def test_integers_are_not_shared_while_uses_decide(client: Client) -> None:
    client.set("number", 7)
    assert client.object("refcount", "number") > 1
    client.config_set("maxmemory", 1 << 40)
    assert client.object("refcount", "number") > 1
    for policy in ("allkeys-lru", "volatile-lfu"):
        client.config_set("maxmemory-policy", policy)
        assert client.object("refcount", "number") == 1


def survivors(client: Client, policy: str) -> tuple[float, float]:
    """What share of keys that are used all the time, and of the others, is left under pressure."""
    client.flushall()
    keys = 3000
    client.config_set("maxmemory-policy", policy)
    fill(client, keys)
    hot = [f"key:{number}" for number in range(0, keys, 10)]
    for _ in range(20):
        client.mget(hot)
    client.config_set("maxmemory", int(client.info("memory")["used_memory"]) - 100_000)
    for start in range(0, 1500, 100):
        for number in range(start, start + 100):
            client.set(f"new:{number}", "x" * 300)
        client.mget(hot)
    left = client.exists(*hot)
    others = client.exists(*(f"key:{number}" for number in range(keys) if number % 10))
    client.config_set("maxmemory", 0)
    return left / len(hot), others / (keys - len(hot))


@pytest.mark.redis
@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu"])
def test_what_is_used_stays_as_well_as_in_redis(client: Client, redis_server: Path, policy: str) -> None:
    with redis.Redis(unix_socket_path=str(redis_server)) as theirs:
        their_hot, their_others = survivors(theirs, policy)
        theirs.config_set("maxmemory-policy", "noeviction")
    our_hot, our_others = survivors(client, policy)
    assert our_others < 0.95 and their_others < 0.95, "there was no pressure"
    assert our_hot >= their_hot - 0.05


def test_what_was_evicted_stays_away_after_a_crash(new_server: ServerFactory) -> None:
    """With a log, in which evictions are deletions like any other; several clients write at once."""
    server = new_server(durability="sync").start()
    client = server.client()
    bytes_max = limit(client, "allkeys-lru", 10 << 20)
    client.config_set("maxmemory-eviction-tenacity", 50)

    def write(prefix: str) -> None:
        with server.client() as own:
            for start in range(0, 330, 10):
                with own.pipeline(transaction=False) as pipeline:
                    for number in range(start, start + 10):
                        pipeline.set(f"{prefix}:{number}", "x" * 20_000)
                    pipeline.execute()

    threads = [threading.Thread(target=write, args=(prefix,)) for prefix in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + 30
    while counted(client) > bytes_max + SLACK:
        assert time.monotonic() < deadline, "the limit is not reached"
        time.sleep(0.02)
    evicted, keys = evicted_keys(client), sorted(client.keys())
    assert evicted == 990 - len(keys) and 0 < len(keys) < 600
    server.kill()
    server.start()
    with server.client() as client:
        assert sorted(client.keys()) == keys


def test_clients_hear_of_it_before_the_next_reply(server: ServerProcess, client: Client) -> None:
    """Of a key that they track, when nothing has to become final first."""
    with server.connect() as connection:
        connection.sendall(b"HELLO 3\r\nCLIENT TRACKING on\r\nSET volatile x EX 1000\r\nGET volatile\r\n")
        heard = b""
        while not heard.endswith(b"$1\r\nx\r\n"):
            heard += connection.recv(65536)
        limit(client, "volatile-random", 100_000)
        connection.sendall(b"SETBIT large 1600000 0\r\n")
        heard = b""
        while len(heard) < 4:
            heard += connection.recv(100)
        assert heard.startswith(b":0\r\n")
        heard = heard[4:]  # what has to go goes whenever the server gets to it, perhaps already
        connection.sendall(b"PING\r\n")
        while not heard.endswith(b"+PONG\r\n"):
            data = connection.recv(65536)
            assert data, "the connection is closed"
            heard += data
        assert heard == b">2\r\n$10\r\ninvalidate\r\n*1\r\n$8\r\nvolatile\r\n+PONG\r\n"
