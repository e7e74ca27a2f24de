"""Node's clients: ioredis as applications use it, and BullMQ, whose queues are some fifty Lua scripts."""

from pathlib import Path

import pytest

from tests.compat.client_programs import node_packages, run_program, write
from tests.server_process import ServerProcess

JOBS = 1000

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return node_packages(tmp_path_factory.mktemp("node"), "ioredis@5", "bullmq@5")


def test_ioredis(makoredis_server: ServerProcess, node_folder: Path) -> None:
    """Pipelines, transactions, scripts as commands, pub/sub, streams, scans and blocking reads."""
    write(
        node_folder,
        "ioredis.js",
        """
        const assert = require("node:assert");
        const Redis = require("ioredis");
        const port = Number(process.argv[2]);

        async function main() {
          const redis = new Redis(port, { db: 2 });
          await redis.flushdb();
          assert.equal(await redis.set("key", "value", "EX", 100, "NX"), "OK");
          assert.equal(await redis.get("key"), "value");
          const pipeline = redis.pipeline();
          for (let i = 0; i < 500; i++) pipeline.incrby("counter", i);
          const replies = await pipeline.exec();
          assert.equal(replies.length, 500);
          assert.deepEqual(replies[499], [null, (499 * 500) / 2]);
          assert.deepEqual(await redis.multi().set("a", 1).incr("a").lpush("a", 1).exec().then((all) => all.length), 3);
          await redis.hset("hash", { name: "Zoë", size: 3 });
          assert.deepEqual(await redis.hgetall("hash"), { name: "Zoë", size: "3" });
          redis.defineCommand("echoAll", { numberOfKeys: 2, lua: "return {KEYS[1],KEYS[2],ARGV[1]}" });
          assert.deepEqual(await redis.echoAll("k1", "k2", "v"), ["k1", "k2", "v"]);
          assert.deepEqual(await redis.echoAll("k1", "k2", "w"), ["k1", "k2", "w"]);

          const listener = new Redis(port);
          const heard = new Promise((resolve) => listener.on("message", (...message) => resolve(message)));
          await listener.subscribe("news");
          await redis.publish("news", "hello");
          assert.deepEqual(await heard, ["news", "hello"]);
          listener.disconnect();

          const blocking = redis.duplicate();
          const popped = blocking.blpop("list", 10);
          await redis.rpush("list", "element");
          assert.deepEqual(await popped, ["list", "element"]);

          const read = blocking.xread("BLOCK", 10000, "STREAMS", "stream", "$");
          await new Promise((resolve) => setTimeout(resolve, 100));
          const id = await redis.xadd("stream", "*", "field", "value");
          assert.deepEqual(await read, [["stream", [[id, ["field", "value"]]]]]);

          const seen = new Set();
          for (let i = 0; i < 300; i++) await redis.sadd("members", `m${i}`);
          const scan = redis.sscanStream("members", { count: 20 });
          for await (const chunk of scan) chunk.forEach((each) => seen.add(each));
          assert.equal(seen.size, 300);
          const binary = Buffer.from([0, 255, 13, 10]);
          await redis.set("binary", binary);
          assert.ok((await redis.getBuffer("binary")).equals(binary));
          await assert.rejects(redis.incr("hash"), /WRONGTYPE/);
          blocking.disconnect();
          await redis.quit();
        }
        main().catch((error) => { console.error(error); process.exit(1); });
        """,
    )
    run_program(["node", "ioredis.js", str(makoredis_server.port)], node_folder)


def test_bullmq(makoredis_server: ServerProcess, node_folder: Path) -> None:
    """A thousand jobs, a part of which fail first, are delayed, have priorities, or are children of a flow."""
    write(
        node_folder,
        "bullmq.js",
        """
        const assert = require("node:assert");
        const { FlowProducer, Queue, QueueEvents, Worker } = require("bullmq");
        const connection = { host: "127.0.0.1", port: Number(process.argv[2]), db: 3 };
        const jobs = Number(process.argv[3]);

        async function main() {
          const queue = new Queue("jobs", { connection });
          await queue.obliterate({ force: true });
          const events = new QueueEvents("jobs", { connection });
          await events.waitUntilReady();
          const done = new Map();
          let completed = 0, failed = 0;
          const finished = new Promise((resolve) => {
            events.on("completed", () => { if (++completed === jobs) resolve(); });
          });
          const worker = new Worker("jobs", async (job) => {
            if (job.data.number % 50 === 0 && job.attemptsMade === 0) throw new Error("once");
            await job.updateProgress(50);
            done.set(job.data.number, (done.get(job.data.number) || 0) + 1);
            return job.data.number * 2;
          }, { connection, concurrency: 20 });
          worker.on("failed", () => failed++);

          const all = [];
          for (let number = 0; number < jobs; number++) {
            const opts = { attempts: 3, backoff: { type: "fixed", delay: 50 } };
            if (number % 7 === 0) opts.delay = 200;
            else if (number % 5 === 0) opts.priority = 1 + (number % 3);
            all.push({ name: "work", data: { number }, opts });
          }
          const added = await queue.addBulk(all);
          await finished;
          assert.equal(done.size, jobs);
          assert.ok([...done.values()].every((count) => count === 1), "a job ran twice");
          assert.equal(failed, jobs / 50);
          assert.equal(await queue.getCompletedCount(), jobs);
          const counts = await queue.getJobCounts("waiting", "active", "delayed", "failed", "prioritized");
          assert.ok(Object.values(counts).every((count) => count === 0), JSON.stringify(counts));
          assert.equal((await queue.getJob(added[21].id)).returnvalue, 42);

          const countChildren = async (job) => Object.values(await job.getChildrenValues()).length;
          const parents = new Worker("parents", countChildren, { connection });
          const parentEvents = new QueueEvents("parents", { connection });
          await parentEvents.waitUntilReady();
          const flow = new FlowProducer({ connection });
          const child = (number) => ({ name: "child", queueName: "jobs", data: { number } });
          const children = [10001, 10002, 10003].map(child);
          const tree = await flow.add({ name: "parent", queueName: "parents", data: {}, children });
          assert.equal(await tree.job.waitUntilFinished(parentEvents, 30000), 3);

          await queue.upsertJobScheduler("tick", { every: 100, limit: 3 }, { name: "work", data: { number: 20001 } });
          while ((done.get(20001) || 0) < 3) await new Promise((resolve) => setTimeout(resolve, 50));
          await queue.clean(0, 10000, "completed");
          await Promise.all([worker, parents, events, parentEvents, flow, queue].map((each) => each.close()));
        }
        main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
        """,
    )
    run_program(["node", "bullmq.js", str(makoredis_server.port), str(JOBS)], node_folder)
