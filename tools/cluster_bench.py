"""Three nodes against what Redis offers for the same promise: `python -m tools.bench --cluster`.

Three setups run at the same time and are measured in rounds that take turns between them:

* `makoredis`: conf/3replica.yml with free ports and fresh directories, load on the leader;
* `always`: one redis-server with `appendfsync always`;
* `replicas`: a redis-server with two replicas, all with `appendfsync always`, where each request or pipeline of them
  ends with a WAIT. redis-benchmark cannot send that, so a small client of our own compares these rows.

Processor time is that of the server processes, per request. On a machine that is too small for three nodes, or busy
with something else, it says more than the rates.
"""

import contextlib
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hiredis
import redis
import yaml

from tools.ports import free_ports

ROOT = Path(__file__).parents[1]
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
Measured = tuple[float, float]
"""Requests per second, and the 99th percentile in milliseconds."""


@dataclass
class Setup:
    """Something to be measured: where it takes requests, and which processes work for it."""

    name: str
    port: int
    pids: dict[str, int]
    """Role → process."""


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Polls until something is true. An error of the connection counts as "not yet"."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(redis.RedisError, OSError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"within a minute it did not happen that {what}")
        time.sleep(0.05)


@contextlib.contextmanager
def processes(words: list[list[str]], log: Path) -> Iterator[list[int]]:
    """Starts processes, and ends them with the block."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        with log.open("ab") as output:
            for each in words:
                running.append(subprocess.Popen(each, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT))
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(60)


@contextlib.contextmanager
def three_nodes(folder: Path) -> Iterator[Setup]:
    """The cluster of conf/3replica.yml, on ports and in directories of its own."""
    config = yaml.safe_load((ROOT / "conf" / "3replica.yml").read_text(encoding="utf-8"))
    names = list(config["nodes"])
    ports = free_ports(2 * len(names))
    for at, (name, facts) in enumerate(config["nodes"].items()):
        facts.update(port=ports[2 * at], peer_port=ports[2 * at + 1], dir=str(folder / name))
    path = folder / "cluster.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    words = [[sys.executable, "-m", "makoredis", "--config", str(path), "--node", name] for name in names]
    with processes(words, folder / "nodes.log") as pids:
        clients = [redis.Redis(port=port) for port in ports[::2]]
        for client in clients:
            wait_for(lambda client=client: client.set("up", "1"), "a node takes a write")  # type: ignore[misc]
        roles = [client.info("replication")["role"] for client in clients]
        leader = roles.index("master")
        followers = [at for at in range(len(names)) if at != leader]
        working = {"leader": pids[leader], **{f"follower {at + 1}": pids[which] for at, which in enumerate(followers)}}
        yield Setup("makoredis", ports[2 * leader], working)


def _redis_words(port: int, folder: Path, *more: str) -> list[str]:
    folder.mkdir()
    always = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    return ["redis-server", "--port", str(port), "--dir", str(folder), *always, *more]


@contextlib.contextmanager
def one_redis(folder: Path) -> Iterator[Setup]:
    """A redis-server that syncs every write."""
    [port] = free_ports(1)
    with processes([_redis_words(port, folder / "always")], folder / "always.log") as [pid]:
        wait_for(redis.Redis(port=port).ping, "redis-server answers")
        yield Setup("always", port, {"server": pid})


@contextlib.contextmanager
def three_redis(folder: Path) -> Iterator[Setup]:
    """A redis-server with two replicas, which all sync every write."""
    ports = free_ports(3)
    words = [_redis_words(ports[0], folder / "primary")]
    words += [_redis_words(port, folder / f"r{port}", "--replicaof", "127.0.0.1", str(ports[0])) for port in ports[1:]]
    with processes(words, folder / "replicas.log") as pids:
        client = redis.Redis(port=ports[0])
        wait_for(lambda: client.set("up", 1) and client.wait(2, 1000) == 2, "both replicas follow")
        yield Setup("replicas", ports[0], dict(zip(("primary", "replica 1", "replica 2"), pids)))


def cpu_seconds(pid: int) -> float:
    """Processor time of a process since its start, in both modes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


class WaitingClients:
    """Connections that each send a pipeline of SETs, then perhaps a WAIT, and do so again when all is answered."""

    def __init__(self, port: int, clients: int, depth: int, replicas: int) -> None:
        """
        Args:
            replicas: what WAIT waits for; 0: no WAIT.
        """
        value = b"xxx"
        self.depth = depth
        self.answers = depth + (1 if replicas else 0)
        self.frame = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:__rand_int__\r\n$3\r\n%s\r\n" % value * depth
        if replicas:
            self.frame += b"*3\r\n$4\r\nWAIT\r\n$1\r\n%d\r\n$1\r\n0\r\n" % replicas
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(clients)]

    def run(self, requests: int) -> Measured:
        """Sends so many SETs. Returns: the rate, and the percentile of the time that a pipeline takes."""
        selector = selectors.DefaultSelector()
        times: list[float] = []
        started = time.perf_counter()
        for each in self.sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(each, selectors.EVENT_READ, [hiredis.Reader(), time.perf_counter(), 0])
            each.sendall(self.frame)
        goal = requests // self.depth
        while len(times) < goal:
            for key, _ in selector.select():
                self._answered(key, times)
        seconds = time.perf_counter() - started
        selector.close()
        for each in self.sockets:
            each.close()
        return len(times) * self.depth / seconds, statistics.quantiles(times, n=100)[98] * 1000

    def _answered(self, key: selectors.SelectorKey, times: list[float]) -> None:
        sock, state = key.fileobj, key.data
        assert isinstance(sock, socket.socket)
        reader = state[0]
        reader.feed(sock.recv(65536))
        while (reply := reader.gets()) is not False:
            if isinstance(reply, hiredis.ReplyError):
                raise reply
            state[2] += 1
        if state[2] == self.answers:
            now = time.perf_counter()
            times.append(now - state[1])
            state[1], state[2] = now, 0
            sock.sendall(self.frame)


class Row:
    """One line of the table: what is sent, and to which setups."""

    def __init__(self, title: str, setups: list[Setup], measure: Callable[[Setup], Measured], requests: int) -> None:
        self.title, self.setups, self.measure, self.requests = title, setups, measure, requests
        self.figures: dict[str, list[Measured]] = {setup.name: [] for setup in setups}
        self.cpu: dict[str, dict[str, list[float]]] = {
            setup.name: {role: [] for role in setup.pids} for setup in setups
        }

    def round(self) -> None:
        for setup in self.setups:
            before = {role: cpu_seconds(pid) for role, pid in setup.pids.items()}
            self.figures[setup.name].append(self.measure(setup))
            for role, pid in setup.pids.items():
                self.cpu[setup.name][role].append((cpu_seconds(pid) - before[role]) / self.requests * 1e6)

    def print(self) -> None:
        mine = statistics.median(rate for rate, _ in self.figures["makoredis"])
        for setup in self.setups:
            rate = statistics.median(rate for rate, _ in self.figures[setup.name])
            p99 = statistics.median(p99 for _, p99 in self.figures[setup.name])
            cpu = ", ".join(f"{role} {statistics.median(each):.1f}" for role, each in self.cpu[setup.name].items())
            ratio = "" if setup.name == "makoredis" else f"{mine / rate:.2f}"
            print(f"{self.title:16}{setup.name:11}{rate:11,.0f}{ratio:>7}{p99:9.2f}   {cpu}", flush=True)


def compare(
    measure: Callable[[int, list[str]], dict[str, Measured]], rounds: int, requests: int, clients: int, only: str
) -> None:
    """Prints the table.

    Args:
        measure: runs redis-benchmark.
        only: a part of the titles of the rows that are wanted.
    """

    def benchmark(test: str, depth: int, count: int) -> Callable[[Setup], Measured]:
        words = ["-t", test, "-n", str(count), "-c", str(clients), "-P", str(depth)]
        return lambda setup: measure(setup.port, words)[test.upper()]

    def waiting(depth: int, replicas: int, count: int) -> Callable[[Setup], Measured]:
        def run(setup: Setup) -> Measured:
            wanted = replicas if setup.name == "replicas" else 0
            return WaitingClients(setup.port, clients, depth, wanted).run(count)

        return run

    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        mine = stack.enter_context(three_nodes(folder))
        always = stack.enter_context(one_redis(folder))
        replicas = stack.enter_context(three_redis(folder))
        many = requests * 5
        rows = [
            Row("SET", [mine, always], benchmark("set", 1, requests), requests),
            Row("SET -P 16", [mine, always], benchmark("set", 16, many), many),
            Row("GET", [mine, always], benchmark("get", 1, requests), requests),
            Row("SET, WAIT 1", [mine, replicas], waiting(1, 1, requests), requests),
            Row("SET, WAIT 2", [mine, replicas], waiting(1, 2, requests), requests),
            Row("16 SET, WAIT 1", [mine, replicas], waiting(16, 1, many), many),
            Row("16 SET, WAIT 2", [mine, replicas], waiting(16, 2, many), many),
        ]
        rows = [row for row in rows if only in row.title]
        print(f"\n{clients} clients, medians of {rounds} rounds taken in turn; µs of processor time per request\n")
        print(f"{'':27}{'requests/s':>11}{'ratio':>7}{'p99 ms':>9}   processor time")
        for row in rows:
            for _ in range(rounds):
                row.round()
            row.print()
