"""Speculative against synchronous execution on real nodes: `python -m tools.execution_bench [SWEEP …]`.

For each network two clusters of three nodes with three shards run at the same time, one with either `execution`, and
take turns at being measured under the same load: clients that send the next transaction when the last one is answered,
an INCR of one key, or, now and then, MULTI with an INCR of each of four keys on at least two shards. `peer_delay_ms`
holds up everything that goes from node to node.

* `delay`: 0, 5, 20 and 50 ms, with keys drawn alike and by Zipf's law; leaders spread over the nodes, or all on one
  (then the delay is between replicas only, as between data centres whose leaders are together).
* `share`: from none to all of the transactions go over several shards.
* `skew`: how much some keys are preferred to others.

Prints a line of JSON per pair of measurements. Retries are attempts beyond the first, per transaction over several
shards.
"""

import argparse
import json
import os
import selectors
import socket
import sys
import tempfile
import time
from bisect import bisect
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import hiredis

from makoredis.base.ids import SLOT_COUNT
from makoredis.data.slots import slot_of
from tests.cluster.cluster_process import ClusterProcess, wait_until

SHARDS = 3
KEYS = 1000
"""Per shard."""
CROSS_SHARD_KEYS = 4
Names = list[list[bytes]]
EXECUTIONS = ("speculative", "synchronous")
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Case:
    """One load on one network."""

    delay_ms: int = 0
    are_leaders_near: bool = False
    share: float = 0.1
    skew: float = 0.0


def cases(sweeps: list[str], delays: list[int]) -> Iterator[Case]:
    """What is to be measured; those of one network together."""
    for delay_ms in delays if "delay" in sweeps else ():
        for are_leaders_near in (False, True):
            for skew in (0.0, 0.99):
                yield Case(delay_ms, are_leaders_near, skew=skew)
    for delay_ms in (0, 20):
        near = delay_ms > 0
        for share in (0.0, 0.01, 0.05, 0.1, 0.5, 1.0) if "share" in sweeps else ():
            yield Case(delay_ms, near, share)
        for skew in (0.0, 0.4, 0.8, 0.99, 1.2) if "skew" in sweeps else ():
            yield Case(delay_ms, near, skew=skew)


def keys_by_shard() -> Names:
    """Names of keys, as many in each shard."""
    found: Names = [[] for _ in range(SHARDS)]
    number = 0
    while any(len(names) < KEYS for names in found):
        name = b"k%d" % number
        names = found[slot_of(name) * SHARDS // SLOT_COUNT]
        if len(names) < KEYS:
            names.append(name)
        number += 1
    return found


class Draw:
    """Transactions, drawn from a seed. The most wanted keys take turns over the shards."""

    def __init__(self, case: Case, names: Names) -> None:
        self.rng = Random(7)
        self.share = case.share
        self.names = names
        self.weights = list(accumulate(1 / (rank + 1) ** case.skew for rank in range(SHARDS * KEYS)))

    def _rank(self) -> int:
        return bisect(self.weights, self.rng.random() * self.weights[-1])

    def next(self) -> tuple[bytes, int]:
        """A request and how many replies it has."""
        if self.rng.random() >= self.share:
            return self._increment(self._rank()), 1
        ranks: set[int] = set()
        while len(ranks) < CROSS_SHARD_KEYS or len({rank % SHARDS for rank in ranks}) < 2:
            ranks = {self._rank() for _ in range(CROSS_SHARD_KEYS)}
        commands = [self._increment(rank) for rank in ranks]
        return b"".join([b"*1\r\n$5\r\nMULTI\r\n", *commands, b"*1\r\n$4\r\nEXEC\r\n"]), len(commands) + 2

    def _increment(self, rank: int) -> bytes:
        name = self.names[rank % SHARDS][rank // SHARDS]
        return b"*2\r\n$4\r\nINCR\r\n$%d\r\n%s\r\n" % (len(name), name)


class Client:
    """One connection, one transaction under way."""

    def __init__(self, port: int, draw: Draw) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = hiredis.Reader()
        self.draw = draw
        self.missing = 0
        self.sent_at = 0.0
        self.is_across = False
        self.has_failed = False

    def send(self) -> None:
        request, self.missing = self.draw.next()
        self.is_across = self.missing > 1
        self.has_failed = False
        self.sent_at = time.monotonic()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Whether the transaction is answered."""
        self.reader.feed(self.socket.recv(65_536))
        while self.missing:
            reply = self.reader.gets()
            if reply is False:
                return False
            self.missing -= 1
            self.has_failed |= isinstance(reply, hiredis.ReplyError)
        return True


class Load:
    """Many clients in one thread."""

    def __init__(self, ports: list[int], count: int, draw: Draw) -> None:
        self.selector = selectors.DefaultSelector()
        self.clients = [Client(ports[number % len(ports)], draw) for number in range(count)]
        for client in self.clients:
            self.selector.register(client.socket, selectors.EVENT_READ, client)
            client.send()
        self.single: list[float] = []
        self.across: list[float] = []
        self.failed = 0

    def run(self, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            for key, _ in self.selector.select(0.1):
                client: Client = key.data
                if client.receive():
                    (self.across if client.is_across else self.single).append(time.monotonic() - client.sent_at)
                    self.failed += client.has_failed
                    client.send()

    def forget(self) -> None:
        """Begins to count anew."""
        self.single, self.across, self.failed = [], [], 0

    def close(self) -> None:
        self.selector.close()
        for client in self.clients:
            client.socket.close()


def counters(cluster: ClusterProcess) -> dict[str, float]:
    """What the nodes have counted so far, and their processor time in seconds."""
    found = dict.fromkeys(("coordinated_transactions", "coordinated_attempts", "coordinated_conflicts", "cpu"), 0.0)
    for name in cluster.names:
        info = cluster.client(name).info("mako")
        for field in list(found)[:3]:
            found[field] += info[field]
        times = Path(f"/proc/{cluster.processes[name].pid}/stat").read_text().rsplit(")", 1)[1].split()
        found["cpu"] += (int(times[11]) + int(times[12])) / CLOCK_TICKS
    return found


def measure(cluster: ClusterProcess, case: Case, clients: int, seconds: float, names: Names) -> dict[str, Any]:
    """Transactions per second and their latency under one load."""
    nodes = cluster.names[:1] if case.are_leaders_near else cluster.names
    load = Load([cluster.ports[name] for name in nodes], clients, Draw(case, names))
    try:
        load.run(1 + 0.02 * case.delay_ms)
        load.forget()
        before, started = counters(cluster), time.monotonic()
        load.run(seconds + 0.05 * case.delay_ms)
        taken = time.monotonic() - started
        after = counters(cluster)
    finally:
        load.close()
    used = {field: after[field] - before[field] for field in after}
    begun = max(1.0, used["coordinated_transactions"])
    latencies = sorted(load.single + load.across) or [0.0]
    across = sorted(load.across) or [0.0]
    return {
        "per_second": round(len(latencies) / taken),
        "median_ms": round(1000 * latencies[len(latencies) // 2], 1),
        "p99_ms": round(1000 * latencies[len(latencies) * 99 // 100], 1),
        "across_median_ms": round(1000 * across[len(across) // 2], 1),
        "conflicts": round(used["coordinated_conflicts"] / begun, 3),
        "retries": round(max(0.0, used["coordinated_attempts"] / begun - 1), 3),
        "failed": load.failed,
        "cpu_us": round(1e6 * used["cpu"] / len(latencies)),
    }


def start(stack: ExitStack, folder: Path, execution: str, case: Case) -> ClusterProcess:
    """A cluster on one network, with its leaders where they are to be."""
    cluster = ClusterProcess(
        folder / execution,
        SHARDS,
        shards=SHARDS,
        execution=execution,
        peer_delay_ms=case.delay_ms,
        heartbeat_ms=100,
        election_ms=4000,
        prefer_spread_leaders=not case.are_leaders_near,
        disk_free_bytes_min=0,
        disk_ballast_bytes=0,
    )
    stack.enter_context(cluster)
    wanted = 1 if case.are_leaders_near else SHARDS

    def are_leaders_there() -> bool:
        led = [cluster.client(name).info("mako")["shards_led"] for name in cluster.names]
        return led[0] == SHARDS if wanted == 1 else led == [1] * SHARDS

    wait_until(are_leaders_there, "the leaders are where they are wanted", 120)
    return cluster


def main() -> int:
    parser = argparse.ArgumentParser(description="Speculative against synchronous execution")
    parser.add_argument("sweeps", nargs="*", default=["delay", "share", "skew"])
    parser.add_argument("--clients", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--delays", type=int, nargs="*", default=[0, 5, 20, 50])
    options = parser.parse_args()
    names = keys_by_shard()
    network: Case | None = None
    with ExitStack() as outer:
        stack = outer.enter_context(ExitStack())
        clusters: dict[str, ClusterProcess] = {}
        for case in cases(options.sweeps, options.delays):
            if network != (network := Case(case.delay_ms, case.are_leaders_near)):
                stack.close()
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                clusters = {execution: start(stack, folder, execution, case) for execution in EXECUTIONS}
            rows = {
                execution: measure(clusters[execution], replace(case), options.clients, options.seconds, names)
                for execution in EXECUTIONS
            }
            ratio = rows["speculative"]["per_second"] / max(1, rows["synchronous"]["per_second"])
            print(json.dumps({**case.__dict__, "ratio": round(ratio, 2), **rows}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
