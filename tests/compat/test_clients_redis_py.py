"""redis-py as applications use it: locks, pipelines, transactions, pub/sub, consumer groups, in RESP2 and RESP3."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from redis.backoff import NoBackoff
from redis.cache import CacheConfig
from redis.retry import Retry

from tests.conftest import ServerFactory
from tests.server_process import ServerProcess

WORKERS = 4


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(makoredis_server: ServerProcess, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    connection = redis.Redis(
        port=makoredis_server.port, protocol=request.param, decode_responses=True, socket_timeout=60
    )
    connection.flushall()
    yield connection
    connection.close()


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Runs `work(number)` at the same time, and raises what one of them raised."""
    with ThreadPoolExecutor(count) as pool:
        for _ in pool.map(work, range(count), timeout=60):
            continue


def test_a_lock_excludes(client: redis.Redis) -> None:
    client.set("balance", 0)

    def work(number: int) -> None:
        for _ in range(10):
            with client.lock("lock", timeout=20, sleep=0.005):
                client.set("balance", int(client.get("balance")) + 1)

    in_threads(WORKERS, work)
    assert client.get("balance") == str(10 * WORKERS)


def test_a_lock_is_extended_reacquired_and_lost(client: redis.Redis) -> None:
    lock = client.lock("lock", timeout=50)
    assert lock.acquire(blocking=False)
    assert not client.lock("lock", timeout=50).acquire(blocking=False)
    lock.extend(200)
    assert 200_000 < client.pttl("lock") <= 250_000
    lock.reacquire()
    assert client.pttl("lock") <= 50_000
    client.delete("lock")
    with pytest.raises(redis.exceptions.LockNotOwnedError):
        lock.release()


def test_pipelines_answer_in_order(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipe:
        for number in range(1000):
            pipe.set(f"key:{number}", number)
            pipe.incr(f"key:{number}")
        replies = pipe.execute()
    assert replies[::2] == [True] * 1000
    assert replies[1::2] == list(range(1, 1001))
    with client.pipeline() as pipe:
        pipe.set("text", "abc").lpush("text", 1).get("text")
        assert [type(reply) for reply in pipe.execute(raise_on_error=False)] == [bool, redis.ResponseError, str]


def test_a_transaction_is_repeated_until_it_fits(client: redis.Redis) -> None:
    client.set("counter", 0)

    def increment(pipe: redis.client.Pipeline) -> None:
        present = int(pipe.get("counter"))
        pipe.multi()
        pipe.set("counter", present + 1)

    def work(number: int) -> None:
        for _ in range(15):
            client.transaction(increment, "counter")

    in_threads(WORKERS, work)
    assert client.get("counter") == str(15 * WORKERS)


def test_messages_reach_those_who_listen(client: redis.Redis) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("news")
        listener.psubscribe("w*")
        while client.publish("weather", "ready") < 1:
            time.sleep(0.01)
        for number in range(100):
            client.publish("news" if number % 2 else "weather", number)
        heard: list[str] = []
        deadline = time.monotonic() + 30
        while heard[-1:] != ["99"]:
            assert time.monotonic() < deadline
            message = listener.get_message(timeout=1)
            if message is not None and message["data"] != "ready":
                heard.append(message["data"])
        assert heard == [str(number) for number in range(100)]
        assert client.pubsub_numsub("news") == [("news", 1)]


def test_a_consumer_group_shares_the_work(client: redis.Redis) -> None:
    client.xgroup_create("jobs", "workers", id="0", mkstream=True)
    seen: dict[str, str] = {}

    def work(number: int) -> None:
        idle = 0
        while idle < 3:
            found = client.xreadgroup("workers", f"w{number}", {"jobs": ">"}, count=10, block=200)
            batches = found.values() if isinstance(found, dict) else [entries for _, entries in found]
            entries = [entry for batch in batches for entry in (batch[0] if isinstance(found, dict) else batch)]
            idle = 0 if entries else idle + 1
            for id, fields in entries:
                assert id not in seen
                seen[id] = fields["number"]
                if int(fields["number"]) % 10:
                    client.xack("jobs", "workers", id)

    for number in range(300):
        client.xadd("jobs", {"number": number})
    in_threads(WORKERS, work)
    assert sorted(map(int, seen.values())) == list(range(300))
    assert client.xpending("jobs", "workers")["pending"] == 30
    claimed = client.xautoclaim("jobs", "workers", "heir", min_idle_time=0, count=100)
    assert len(claimed[1]) == 30
    assert client.xinfo_groups("jobs")[0]["lag"] == 0


def test_values_come_back_as_they_went(client: redis.Redis) -> None:
    client.hset("hash", mapping={"name": "Zoë", "n": 1})
    client.zadd("board", {"ann": 1.5, "bob": 2})
    client.sadd("tags", "a", "b")
    assert client.hgetall("hash") == {"name": "Zoë", "n": "1"}
    ranked = client.zrange("board", 0, -1, withscores=True)
    assert [tuple(pair) for pair in ranked] == [("ann", 1.5), ("bob", 2.0)]
    assert client.smembers("tags") == {"a", "b"}
    assert client.getex("hash2") is None
    assert sorted(client.scan_iter(count=1)) == ["board", "hash", "tags"]
    assert client.register_script("return {KEYS[1], ARGV[1], 3}")(keys=["k"], args=["v"]) == ["k", "v", 3]


def test_a_lost_connection_is_made_again(client: redis.Redis, makoredis_server: ServerProcess) -> None:
    fragile = redis.Redis(port=makoredis_server.port, retry=Retry(NoBackoff(), 3), client_name="fragile")
    fragile.ping()
    assert client.client_kill_filter(_id=fragile.client_id()) == 1
    assert fragile.ping()
    assert fragile.client_getname() == "fragile"


def test_invalidations_keep_a_local_cache_true(new_server: ServerFactory) -> None:
    """redis-py caches only for servers that call themselves 7.4 or later."""
    server = new_server(durability="memory", parameters={"redis-version": "7.4.0"}).start()
    caching = redis.Redis(port=server.port, protocol=3, decode_responses=True, cache_config=CacheConfig())
    other = redis.Redis(port=server.port)
    other.set("cached", "one")
    assert caching.get("cached") == "one"
    assert caching.get_cache().size == 1
    other.set("cached", "two")
    deadline = time.monotonic() + 60
    while caching.get("cached") != "two":
        assert time.monotonic() < deadline
        time.sleep(0.01)
