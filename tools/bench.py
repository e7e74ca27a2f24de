"""Side by side with a real redis-server: `python -m tools.bench` (or `make bench`).

Both servers run at the same time on this machine; each row is measured in rounds that take turns between them, and the
medians are compared. Only the ratios mean something: machines differ, and noise hits both.

    python -m tools.bench                       the standard rows for all durabilities
    python -m tools.bench --only memory --rounds 5 --requests 200000
    python -m tools.bench --memory              bytes per small key
    python -m tools.bench --big                 cost per command at 10, 10 k and 1 M elements
    python -m tools.bench --cluster             three nodes against redis-server with one disk, and with replicas
"""

import argparse
import csv
import io
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tools import cluster_bench
from tools.ports import free_ports

ROOT = Path(__file__).parents[1]
ROWS = (
    "ping_inline,ping_mbulk,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,"
    "lrange_100,lrange_300,lrange_500,lrange_600,mset"
)
PEERS = {
    "memory": ["--appendonly", "no"],
    "sync": ["--appendonly", "yes", "--appendfsync", "always"],
    "interval": ["--appendonly", "yes", "--appendfsync", "everysec"],
}
"""Durability of makoredis → how redis-server runs to compare."""


@contextmanager
def running(words: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server process, from when it answers until the end of the block."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                redis.Redis(port=port).ping()
                break
            except redis.ConnectionError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def both(durability: str) -> Iterator[dict[str, tuple[int, int]]]:
    """makoredis and redis-server, as name → port and process id."""
    with tempfile.TemporaryDirectory() as folder:
        mine, theirs = free_ports(2)
        words = [sys.executable, "-m", "makoredis", "--port", str(mine), "--dir", f"{folder}/mako"]
        peer = ["redis-server", "--port", str(theirs), "--dir", folder, "--save", "", *PEERS[durability]]
        with running([*words, "--durability", durability], mine) as first, running(peer, theirs) as second:
            yield {"makoredis": (mine, first.pid), "redis": (theirs, second.pid)}


def measure(port: int, arguments: list[str]) -> dict[str, tuple[float, float]]:
    """One run of redis-benchmark: row → requests per second and 99th percentile in milliseconds."""
    command = ["redis-benchmark", "-p", str(port), "--csv", *arguments]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = csv.DictReader(io.StringIO(text))
    return {row["test"].split(" (")[0]: (float(row["rps"]), float(row["p99_latency_ms"])) for row in rows}


def compare(durability: str, arguments: list[str], rounds: int) -> None:
    """Prints a table of medians and ratios."""
    results: dict[str, dict[str, list[tuple[float, float]]]] = {}
    with both(durability) as servers:
        for _ in range(rounds):
            for name, (port, _) in servers.items():
                for row, figures in measure(port, arguments).items():
                    results.setdefault(row, {}).setdefault(name, []).append(figures)
    print(f"\n{durability} against redis-server {' '.join(PEERS[durability])}")
    print(f"redis-benchmark {' '.join(arguments)}, medians of {rounds} rounds taken in turn\n")
    print(f"{'':14}{'makoredis/s':>12}{'redis/s':>12}{'ratio':>8}{'p99 ms':>9}{'redis':>9}")
    for row, by_name in results.items():
        mine, theirs = (_medians(by_name[name]) for name in ("makoredis", "redis"))
        print(
            f"{row[:13]:14}{mine[0]:12,.0f}{theirs[0]:12,.0f}{mine[0] / theirs[0]:8.2f}{mine[1]:9.2f}{theirs[1]:9.2f}",
            flush=True,
        )


def _medians(figures: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(rate for rate, _ in figures), statistics.median(p99 for _, p99 in figures)


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def memory_per_key(count: int) -> None:
    """Prints what a small key costs: 16 bytes of key, 3 of value."""
    print(f"\nresident memory per key, {count:,} keys of 16 bytes with values of 3 bytes")
    costs = {}
    with both("memory") as servers:
        for name, (port, pid) in servers.items():
            before = resident_bytes(pid)
            client = redis.Redis(port=port)
            for start in range(0, count, 10_000):
                client.mset({f"key:{number:012}": "xxx" for number in range(start, start + 10_000)})
            costs[name] = (resident_bytes(pid) - before) / count
            print(f"{name:12}{costs[name]:8.0f} bytes")
    print(f"{'ratio':12}{costs['makoredis'] / costs['redis']:8.2f}")


BIG = {
    "list": (
        "RPUSH big, v{v}",
        ("LPUSH big x", "RPUSH big x", "LPOP big", "RPOP big", "LINDEX big {i}", "LRANGE big 0 9", "LSET big {i} y",
         "LMOVE big big LEFT RIGHT", "LLEN big"),
    ),
    "hash": (
        "HSET big, f{v} x",
        ("HSET big f{i} y", "HSET big n{i} y", "HGET big f{i}", "HDEL big n{i}", "HINCRBY big c{i} 1", "HLEN big",
         "HRANDFIELD big", "HRANDFIELD big 10", "HSCAN big 0"),
    ),
    "set": (
        "SADD big, m{v}",
        ("SADD big m{i}", "SADD big n{i}", "SREM big n{i}", "SISMEMBER big m{i}", "SRANDMEMBER big",
         "SRANDMEMBER big 10", "SPOP big", "SSCAN big 0", "SCARD big"),
    ),
    "zset": (
        "ZADD big, {v} m{v}",
        ("ZADD big {i} m{i}", "ZADD big {i} n{i}", "ZINCRBY big 1 m{i}", "ZREM big n{i}", "ZRANK big m{i}",
         "ZSCORE big m{i}", "ZRANGE big {i} {j}", "ZRANGE big {i} {j} BYSCORE", "ZCOUNT big {i} {j}", "ZPOPMIN big",
         "ZRANDMEMBER big", "ZSCAN big 0"),
    ),
    "stream": (
        "XADD big {v}-1 f x,",
        ("XADD big * f x", "XADD big MAXLEN ~ {size} * f x", "XRANGE big {i} + COUNT 10",
         "XREVRANGE big {i} - COUNT 10", "XREAD COUNT 10 STREAMS big {i}", "XDEL big {i}-1", "XLEN big",
         "XREADGROUP GROUP g c STREAMS big >", "XACK big g {i}-1", "XPENDING big g", "XPENDING big g {i} + 10 c",
         "XCLAIM big g d 0 {i}-1", "XAUTOCLAIM big g d 0 {i} COUNT 10"),
    ),
    "bits": ("SETBIT big {size} 1", ("SETBIT big {i} 1", "GETBIT big {i}", "BITFIELD big INCRBY u8 {i} 1")),
    "string": ("SETBIT big {size}0 1", ("SETRANGE big {i} x", "GETRANGE big {i} {j}", "APPEND big x", "STRLEN big")),
    "geo": ("GEOADD big, 13.{v:07} 38.1 m{v}", ("GEOADD big 13.{i:07} 38.1 m{i}", "GEOPOS big m{i}",
            "GEOSEARCH big FROMMEMBER m{i} BYRADIUS 1 m COUNT 10")),
}  # fmt: skip
"""By type: what fills the key `big` (what follows the comma repeated for each `{v}`, as many at a time as the command
takes), and the commands to measure, on a random `{i}`, with `{j}` = i + 9."""


def big_values(sizes: list[int], commands_each: int) -> None:
    """Prints microseconds of the server's CPU time per command, pipelined by 50, on collections of several sizes."""
    with both("memory") as servers:
        clients = {name: redis.Redis(port=port, socket_timeout=600) for name, (port, _) in servers.items()}
        for client in clients.values():
            client.response_callbacks.clear()
        print(f"\n{'':45}{'size':>10}{'makoredis':>12}{'redis':>12}{'ratio':>8}")
        for fill, commands in BIG.values():
            costs: dict[tuple[str, int, str], float] = {}
            for size in sizes:
                for name, client in clients.items():
                    _fill(client, fill, size)
                    rng = random.Random(1)
                    for command in commands:
                        costs[command, size, name] = _cost(client, servers[name][1], command, size, commands_each, rng)
            for command in commands:
                for size in sizes:
                    mine, theirs = (costs[command, size, name] for name in ("makoredis", "redis"))
                    print(f"{command:45}{size:10,}{mine:9.2f} µs{theirs:9.2f} µs{theirs / mine:8.2f}", flush=True)


def _fill(client: "redis.Redis", template: str, size: int) -> None:
    client.delete("big")
    start, comma, item = template.partition(",")
    if not comma:
        client.execute_command(*start.format(size=size).split())
        return
    for first in range(0, size, 5_000):
        pipeline = client.pipeline(transaction=False)
        numbers = range(first, min(first + 5_000, size))
        if item:
            words = [word for number in numbers for word in item.format(v=number).split()]
            pipeline.execute_command(*start.split(), *words)
        else:
            for number in numbers:
                pipeline.execute_command(*start.format(v=number).split())
        pipeline.execute()
    if start.startswith("XADD"):
        client.xgroup_create("big", "g", "0")
        client.xreadgroup("g", "c", {"big": ">"}, count=size // 2)


def cpu_nanoseconds(pid: int) -> int:
    """CPU time of all threads of a process."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def _cost(client: "redis.Redis", pid: int, template: str, size: int, count: int, rng: random.Random) -> float:
    """Microseconds of CPU time per command, with everything around it: other processes may use the machine as well."""
    before = cpu_nanoseconds(pid)
    for _ in range(count // 50):
        pipeline = client.pipeline(transaction=False)
        for _ in range(50):
            at = rng.randrange(size)
            pipeline.execute_command(*template.format(i=at, j=at + 9, size=size).split())
        pipeline.execute(raise_on_error=False)
    return (cpu_nanoseconds(pid) - before) / 1000 / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(PEERS))
    parser.add_argument("--rows", default=ROWS, help="redis-benchmark's tests")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--pipeline", type=int, help="only this depth, instead of 1 and 16")
    parser.add_argument("--memory", action="store_true", help="bytes per small key")
    parser.add_argument("--keys", type=int, default=1_000_000, help="for --memory")
    parser.add_argument("--big", action="store_true", help="cost per command by size of the collection")
    parser.add_argument("--cluster", action="store_true", help="three nodes, durability sync")
    parser.add_argument("--row", default="", help="for --cluster: only rows with this in their title")
    options = parser.parse_args()
    if shutil.which("redis-server") is None or shutil.which("redis-benchmark") is None:
        sys.exit("redis-server and redis-benchmark must be on the PATH (Debian: redis-server, redis-tools)")
    if options.memory:
        memory_per_key(options.keys)
    if options.big:
        big_values([10, 10_000, 1_000_000], 5_000)
    if options.cluster:
        cluster_bench.compare(measure, options.rounds, options.requests, options.clients, options.row)
    if options.memory or options.big or options.cluster:
        return
    for durability in [options.only] if options.only else list(PEERS):
        for depth in [options.pipeline] if options.pipeline else (1, 16):
            rows = options.rows if durability == "memory" else "set,get,incr,lpush,hset"
            arguments = ["-t", rows, "-n", str(options.requests), "-c", str(options.clients), "-P", str(depth)]
            compare(durability, arguments, options.rounds)


if __name__ == "__main__":
    main()
