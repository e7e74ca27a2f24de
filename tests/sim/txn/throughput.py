"""`python -m tests.sim.txn.throughput [DELAY_MS …]`: speculative against synchronous execution, in simulated time.

The machines are the real ones, but time is counted, not taken: a message between nodes takes the delay, an entry is
chosen after a round trip and a synced write, and every request or message costs its node a fixed time of its processor.
So the figures compare protocols, not implementations. Clients send the next transaction when the last one is answered.
"""

import argparse
import json
import sys
from bisect import bisect
from collections.abc import Callable
from itertools import accumulate
from random import Random
from typing import Any

from makoredis.txn.coordinator import Coordinator, Verdict, _Phase
from makoredis.txn.requests import RequestRecord
from tests.sim.txn.workload import Operation, parts_of
from tests.sim.txn.world import Group, Machines, Node, Options, World

SHARDS = 3
CLIENTS = 300
KEYS = 1000
"""Per shard."""
CROSS_SHARD = 0.1
CROSS_SHARD_KEYS = 4
DISK_US = 300
COST_US = 200
"""Of a node's processor, per message between nodes or request."""
MEASURED_US = 200_000
"""And 20 delays; as long before it begins."""


class SteadyWorld(World):
    """No faults and no chance: fixed delays, leaders spread over the nodes, processors that take their time."""

    def __init__(self, options: Options, leaders_us: int) -> None:
        """
        Args:
            leaders_us: how far the leaders, and the clients, are from each other.
        """
        self.leaders_us = leaders_us
        self.busy_until_us = [0] * options.nodes
        super().__init__(1, options, Machines(coordinator=PatientCoordinator))

    def _delay(self) -> int:
        return 100 + self.leaders_us

    def transmit(self, sender: Node, receiver: Node, call: Callable[..., None], *arguments: Any) -> None:
        delay_us = 0 if sender is receiver else self._delay()
        self.at(delay_us, self._queue_up, receiver, call, arguments)

    def _queue_up(self, receiver: Node, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        begins_us = max(self.now_us, self.busy_until_us[receiver.id])
        self.busy_until_us[receiver.id] = begins_us + COST_US
        self.at(begins_us + COST_US - self.now_us, self._perform, receiver, call, arguments)

    def _perform(self, receiver: Node, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        call(*arguments)
        receiver.flush()

    def announce(self, sender: Node, watermark: Any) -> None:
        """Goes along with other frames: takes the delay, and no time."""
        for node in self.nodes:
            if node is not sender:
                self.at(self._delay(), self._perform, node, node.knowledge.hear, (watermark,))

    def propose(self, node: Node, shard: int, term: int, payload: bytes) -> int:
        group = self.groups[shard]
        group.log.append(payload)
        due_us = max(group.last_chosen_us, self.now_us + 2 * (100 + self.options.delay_us) + DISK_US)
        group.last_chosen_us = due_us
        self.at(due_us - self.now_us, self._choose, group, term, len(group.log))
        return len(group.log)

    def _choose(self, group: Group, term: int, index: int) -> None:
        group.chosen = index
        assert group.leader is not None
        node = self.nodes[group.leader]
        node.participants[group.shard].chosen(index)
        node.flush()

    def _elect(self, group: Group) -> None:
        group.term, group.leader = 1, group.shard % len(self.nodes)
        node = self.nodes[group.leader]
        node.lead(group.shard, 1, [])
        node.participants[group.shard].resolve_after_us = 1 << 40

    def check_snapshot(self, node: Node, before: int) -> None:
        """Followers are not fed here."""

    def answered(self, node: Node, reply: Any) -> None:
        if reply.ticket in self.tickets:
            self.at(self._delay(), self.tickets[reply.ticket], reply)


class PatientCoordinator(Coordinator):
    """Nothing is lost and nobody fails, so a slow answer is no reason to ask or to begin anew."""

    def _on_time(self, transaction: Any) -> None:
        if transaction.phase is _Phase.PAUSING:
            super()._on_time(transaction)


class Load:
    """Clients that never think."""

    def __init__(self, world: SteadyWorld, skew: float, begins_us: int) -> None:
        self.world = world
        self.begins_us = begins_us
        """When answers begin to count."""
        self.rng = Random(7)
        self.weights = list(accumulate(1 / (rank + 1) ** skew for rank in range(SHARDS * KEYS)))
        self.answered_count = 0
        self.latencies_us: list[int] = []
        for number in range(CLIENTS):
            world.at(10_000 + number, self.next, number, 1)

    def _draw(self) -> str:
        rank = bisect(self.weights, self.rng.random() * self.weights[-1])
        return f"{rank % SHARDS + 1}:k{rank // SHARDS}"

    def next(self, number: int, sequence: int) -> None:
        """One append, or, now and then, appends to keys on several shards."""
        world = self.world
        keys = {self._draw()}
        if self.rng.random() < CROSS_SHARD:
            while len(keys) < CROSS_SHARD_KEYS or len({key[0] for key in keys}) < 2:
                keys = {self._draw() for _ in range(CROSS_SHARD_KEYS)}
        operations: list[Operation] = [["append", key, sequence] for key in sorted(keys)]
        parts = parts_of(operations, {})
        node = world.nodes[number % len(world.nodes)]
        ticket = (number, sequence)
        begun_us = world.now_us

        def done(result: Any) -> None:
            assert getattr(result, "verdict", Verdict.DONE) is Verdict.DONE
            del world.tickets[ticket]
            if world.now_us > self.begins_us:
                self.answered_count += 1
                self.latencies_us.append(world.now_us - begun_us)
            world.at(0, self.next, number, sequence + 1)

        world.tickets[ticket] = done
        if len(parts) == 1:
            ((shard, part),) = parts.items()
            world.submit(node, ticket, shard, part, RequestRecord(1, number, sequence, sequence - 1, b""))
        else:
            node.coordinator.now_us = node.wall_us()
            node.coordinator.begin(ticket, parts, is_read_only=False)
            node.flush()


def measure(delay_ms: float, is_synchronous: bool, skew: float, *, are_leaders_near: bool) -> dict[str, float]:
    """Transactions per simulated second, and their median latency."""
    delay_us = int(delay_ms * 1000)
    options = Options(shards=SHARDS, delay_us=delay_us, is_synchronous=is_synchronous)
    world = SteadyWorld(options, 0 if are_leaders_near else delay_us)
    measured_us = MEASURED_US + int(20_000 * delay_ms)
    load = Load(world, skew, measured_us)
    world.run_until(2 * measured_us)
    latencies = sorted(load.latencies_us) or [0]
    return {
        "per_second": round(load.answered_count * 1e6 / measured_us),
        "median_ms": latencies[len(latencies) // 2] / 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] / 1000,
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("delays_ms", type=float, nargs="*", default=[0, 5, 20, 50])
    parser.add_argument("--skews", type=float, nargs="*", default=[0, 0.99])
    parser.add_argument("--near", action="store_true", help="the delay is between replicas only, not between leaders")
    arguments = parser.parse_args()
    for skew in arguments.skews:
        for delay_ms in arguments.delays_ms:
            speculative, synchronous = (
                measure(delay_ms, mode, skew, are_leaders_near=arguments.near) for mode in (False, True)
            )
            ratio = speculative["per_second"] / max(synchronous["per_second"], 1)
            row = {"zipf": skew, "delay_ms": delay_ms, "ratio": round(ratio, 2)}
            print(json.dumps(row | {"speculative": speculative, "synchronous": synchronous}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
