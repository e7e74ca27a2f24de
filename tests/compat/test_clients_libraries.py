"""Libraries on top of clients, as applications use them: rate limits, locks, sessions, caches, collections."""

import sys
from pathlib import Path

import pytest
import redis

from tests.compat.client_programs import node_packages, python_packages, run_program, write
from tests.server_process import ServerProcess

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def _no_keys(makoredis_server: ServerProcess) -> None:
    redis.Redis(port=makoredis_server.port).flushall()


_PYTHON = {
    "limits": """
        from limits import parse, storage, strategies
        store = storage.storage_from_string(f"redis://127.0.0.1:{port}")
        item = parse("5/minute")
        for kind in ("FixedWindowRateLimiter", "MovingWindowRateLimiter"):
            limiter = getattr(strategies, kind)(store)
            assert [limiter.hit(item, "user", kind) for _ in range(7)] == [True] * 5 + [False] * 2, kind
            assert limiter.get_window_stats(item, "user", kind).remaining == 0
        """,
    "aiocache": """
        import asyncio
        import aiocache

        async def main():
            cache = aiocache.Cache(aiocache.Cache.REDIS, endpoint="127.0.0.1", port=port, namespace="n")
            await cache.set("key", "value", ttl=10)
            await cache.multi_set([("a", "1"), ("b", "2")])
            assert await cache.multi_get(["key", "a", "b", "c"]) == ["value", "1", "2", None]
            assert await cache.increment("count", 3) == 3 and await cache.expire("a", 5)
            async with aiocache.lock.RedLock(cache, "lock", lease=2):
                pass
            await cache.clear(namespace="n")
            assert not await cache.exists("a")

        asyncio.run(main())
        """,
    "walrus": """
        import walrus
        db = walrus.Database(port=port)

        class User(walrus.Model):
            __database__ = db
            name = walrus.TextField(primary_key=True)
            age = walrus.IntegerField(index=True)
            text = walrus.TextField(fts=True)

        for number in range(10):
            User.create(name=f"u{number}", age=number, text=f"likes redis {number}")
        assert [user.name for user in User.query(User.age > 7, order_by=User.age)] == ["u8", "u9"]
        assert len(list(User.query(User.text.match("redis")))) == 10
        limit = db.rate_limit("limit", limit=2, per=60)
        assert [limit.limit("user") for _ in range(3)] == [False, False, True]
        lock = db.lock("lock", ttl=5000)
        assert lock.acquire() and lock.release()
        words = db.autocomplete("words")
        words.store("1", "testing python")
        words.store("2", "test redis")
        assert len(list(words.search("test"))) == 2
        group = db.consumer_group("group", ["stream"])
        group.create()
        group.stream.add({"field": "1"})
        assert len(group.stream.read()) == 1
        graph = db.graph("graph")
        graph.store("a", "b", "c")
        assert list(graph.query(s="a"))
        """,
    "pottery": """
        import pottery
        import redis
        client = redis.Redis(port=port)
        lock = pottery.Redlock(key="lock", masters={client}, auto_release_time=20)
        assert lock.acquire() and lock.locked() > 0
        lock.extend()
        lock.release()
        words = pottery.RedisDict({"a": 1}, redis=client, key="dict")
        words["b"] = [1, 2]
        assert dict(words) == {"a": 1, "b": [1, 2]}
        assert pottery.RedisCounter("abca", redis=client, key="counter")["a"] == 2
        queue = pottery.RedisDeque([1, 2, 3], redis=client, key="deque", maxlen=3)
        queue.append(4)
        assert list(queue) == [2, 3, 4]
        numbers = pottery.RedisList([1, 2, 3], redis=client, key="list")
        numbers.insert(1, 9)
        del numbers[0]
        assert list(numbers) == [9, 2, 3]
        bloom = pottery.BloomFilter(num_elements=100, false_positives=0.01, redis=client, key="bloom")
        bloom.add("x")
        assert "x" in bloom
        """,
    "rq-scheduler": """
        import datetime
        import redis
        from rq import SimpleWorker
        from rq_scheduler import Scheduler
        client = redis.Redis(port=port)
        scheduler = Scheduler("default", connection=client, interval=1)
        job = scheduler.enqueue_in(datetime.timedelta(seconds=0), print, "hello")
        assert len(list(scheduler.get_jobs())) == 1
        scheduler.run(burst=True)
        SimpleWorker(["default"], connection=client).work(burst=True)
        assert job.get_status(refresh=True) == "finished"
        """,
}  # fmt: skip
"""Programs by the name of the package."""


@pytest.mark.parametrize("package", _PYTHON)
def test_python(makoredis_server: ServerProcess, tmp_path: Path, package: str) -> None:
    environment = python_packages(tmp_path, package, "redis")
    write(tmp_path, "program.py", "        import sys\n        port = int(sys.argv[1])" + _PYTHON[package])
    run_program([sys.executable, "program.py", str(makoredis_server.port)], tmp_path, environment)


_NODE = {
    "redis": """
        const { createClient } = require("redis");
        const client = createClient({ url });
        await client.connect();
        assert.equal(await client.set("key", "value", { EX: 10, NX: true }), "OK");
        assert.deepEqual(await client.multi().set("a", "1").incr("a").get("a").exec(), ["OK", 2, "2"]);
        await client.hSet("hash", { a: 1, b: "2" });
        assert.deepEqual({ ...(await client.hGetAll("hash")) }, { a: "1", b: "2" });
        await client.zAdd("zset", [{ score: 1, value: "x" }, { score: 2, value: "y" }]);
        assert.deepEqual(await client.zRange("zset", 0, -1), ["x", "y"]);
        await client.xAdd("stream", "*", { field: "value" });
        await client.xGroupCreate("stream", "group", "0");
        const read = await client.xReadGroup("group", "me", [{ key: "stream", id: ">" }], { COUNT: 1 });
        assert.equal(read[0].messages[0].message.field, "value");
        const listener = client.duplicate();
        await listener.connect();
        const heard = [];
        await listener.subscribe("channel", (message) => heard.push(message));
        await listener.pSubscribe("p*", (message) => heard.push(message));
        await listener.sSubscribe("shard", (message) => heard.push(message));
        await client.publish("channel", "1");
        await client.publish("pattern", "2");
        await client.sPublish("shard", "3");
        while (heard.length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
        assert.deepEqual(heard.sort(), ["1", "2", "3"]);
        const found = [];
        for await (const key of client.scanIterator({ MATCH: "*" })) found.push(key);
        assert.equal(found.length, 5);
        await Promise.all([...Array(500).keys()].map(() => client.incr("many")));
        assert.equal(await client.get("many"), "500");
        await listener.quit();
        await client.quit();
        """,
    "rate-limiter-flexible": """
        const { RateLimiterRedis } = require("rate-limiter-flexible");
        const Redis = require("ioredis");
        const client = new Redis(port);
        const limiter = new RateLimiterRedis({ storeClient: client, points: 3, duration: 60, blockDuration: 1 });
        const allowed = [];
        for (let i = 0; i < 5; i++) {
          allowed.push(await limiter.consume("user").then(() => true, (refusal) => {
            if (refusal instanceof Error) throw refusal;
            return false;
          }));
        }
        assert.deepEqual(allowed, [true, true, true, false, false]);
        await client.quit();
        """,
    "redlock": """
        const { default: Redlock } = require("redlock");
        const Redis = require("ioredis");
        const client = new Redis(port);
        const redlock = new Redlock([client], { retryCount: 2 });
        const lock = await redlock.acquire(["a", "b"], 60000);
        await assert.rejects(redlock.acquire(["a"], 100));
        await (await lock.extend(60000)).release();
        await redlock.using(["a"], 60000, async () => {});
        await client.quit();
        """,
    "connect-redis": """
        const { createClient } = require("redis");
        const { default: RedisStore } = require("connect-redis");
        const client = createClient({ url });
        await client.connect();
        const store = new RedisStore({ client, prefix: "session:" });
        const call = (method, ...words) =>
          new Promise((resolve, reject) => {
            store[method](...words, (error, value) => (error ? reject(error) : resolve(value)));
          });
        await call("set", "1", { cookie: { originalMaxAge: 100000 }, x: 1 });
        assert.equal((await call("get", "1")).x, 1);
        await call("touch", "1", { cookie: {} });
        assert.deepEqual([await call("length"), await call("ids")], [1, ["1"]]);
        await call("destroy", "1");
        assert.equal((await call("get", "1")) ?? null, null);
        await client.quit();
        """,
}  # fmt: skip


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clients = "redis@4", "ioredis@5"
    names = "connect-redis@7", "express-session@1", "rate-limiter-flexible@5", "redlock@5.0.0-beta.2"
    return node_packages(tmp_path_factory.mktemp("node"), *clients, *names)


@pytest.mark.parametrize("package", _NODE)
def test_node(makoredis_server: ServerProcess, node_folder: Path, package: str) -> None:
    program = f"""
        const assert = require("node:assert");
        const port = Number(process.argv[2]);
        const url = `redis://127.0.0.1:${{port}}`;
        async function main() {{{_NODE[package]}}}
        main().then(() => process.exit(0), (error) => {{ console.error(error); process.exit(1); }});
        """
    write(node_folder, f"{package}.js", program)
    run_program(["node", f"{package}.js", str(makoredis_server.port)], node_folder)
