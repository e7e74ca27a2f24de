"""Slots that move while nodes die, on real cores and disks: `python -m tests.sim.txn.moves SEED [SEED_END]`.

Clients append numbers to lists, each number once, asking again until they are answered; whoever is told that a list is
elsewhere goes there. Now and then all shards are told to have some slots elsewhere. In the end every list is in one
shard, has what was acknowledged, and nothing twice.
"""

import argparse
import json
import sys
from random import Random
from typing import Any

from makoredis.base.ids import SLOT_COUNT
from makoredis.data.slot_table import Goal
from makoredis.txn.handover import aim, decode_moved, is_moved
from makoredis.txn.locks import KeyLock
from makoredis.txn.messages import Part
from makoredis.txn.requests import RequestRecord
from tests.sim.txn.cluster import ClusterWorld, Process
from tests.sim.txn.workload import contents
from tests.sim.txn.world import Machines, Options, Violation

KEYS = [b"list:%d" % number for number in range(24)]
CLIENTS = 6
PATIENCE_US = 600_000
RUN_US = 1_500_000
CALM_US = 3_000_000


class Client:
    """Appends one number after the other."""

    def __init__(self, simulation: "Moves", number: int) -> None:
        self.simulation = simulation
        self.world = simulation.world
        self.rng = self.world.rng
        self.number = number
        self.session = number
        self.sequence = 0
        self.tickets = 0

    @property
    def node(self) -> Process:
        return self.world.nodes[self.number % len(self.world.nodes)]

    def next(self) -> None:
        if self.simulation.is_over:
            return
        if not self.node.is_up:
            self.world.at(20_000, self.next)
            return
        if self.world.now_us < self.simulation.lull_until_us:
            self.world.at(self.simulation.lull_until_us - self.world.now_us + 1000 * self.number, self.next)
            return
        self.simulation.last_value += 1
        self._append(self.rng.choice(KEYS), self.simulation.last_value)

    def _append(self, key: bytes, value: int) -> None:
        """Also after having been told that the key is elsewhere: under another name."""
        shard = int(self.node.shards.slots.shard_of(key))
        part = Part(json.dumps([["append", key.decode(), value]]).encode(), [KeyLock(0, key, True)])
        self.sequence += 1
        self.tickets += 1
        ticket = self.number * 1_000_000 + self.tickets
        tickets = self.world.tickets

        def answered(reply: Any) -> None:
            if tickets.pop(ticket, None) is None:
                return
            if is_moved(reply.results):
                self.world.count("sent on")
                self.node.shards.slots.learn(decode_moved(reply.results))
                self._append(key, value)
                return
            self.simulation.acknowledged.append((key, value))
            self.world.count("ok")
            self.world.at(1 + int(self.rng.expovariate(1 / 3000)), self.next)

        def silence() -> None:
            if tickets.pop(ticket, None) is not None:
                self.world.count("unknown")
                self.session += CLIENTS
                self.next()

        tickets[ticket] = answered
        self.world.at(PATIENCE_US, silence)
        request = RequestRecord(1, self.session, self.sequence, self.sequence - 1, b"")
        self._submit(ticket, shard, part, request)

    def _submit(self, ticket: int, shard: int, part: Part, request: RequestRecord) -> None:
        if ticket in self.world.tickets and self.node.is_up:
            self.world.submit(self.node, ticket, shard, part, request)
            self.world.at(60_000, self._submit, ticket, shard, part, request)


class Moves:
    """A cluster, clients, and moves, from one seed."""

    def __init__(self, seed: int) -> None:
        rng = Random(f"moves {seed}")
        options = Options(
            shards=rng.choice([2, 3, 4]),
            loss=rng.choice([0, 0, 0.05]),
            duplication=rng.choice([0, 0.1]),
            delay_us=rng.choice([300, 1000, 3000]),
            skew_us=rng.choice([0, 1000]),
            crash_every_us=rng.choice([0, 200_000, 400_000]),
            cut_every_us=rng.choice([0, 0, 400_000]),
            resolve_after_us=rng.choice([300_000, 60_000]),
            moves_slots=True,
            checkpoints=Random(f"checkpoints {seed}").choice([0.0, 0.02, 0.2]),
        )
        self.lulls = Random(f"lulls {seed}")
        options.quiesce_ticks = self.lulls.choice([0, 3, 8])
        options.skipped_ticks = self.lulls.choice([0, 4, 8])
        self.lull_until_us = 0
        """Clients rest for so long."""
        self.world = ClusterWorld(seed, options, Machines())
        self.acknowledged: list[tuple[bytes, int]] = []
        self.last_value = 0
        self.is_over = False
        for number in range(CLIENTS):
            self.world.at(100_000, Client(self, number).next)
        self.world.at(400_000, self._move)
        if options.quiesce_ticks:
            self.world.at(300_000, self._begin_lull)

    def _begin_lull(self) -> None:
        if not self.is_over:
            self.world.count("lull")
            self.lull_until_us = self.world.now_us + self.lulls.randint(50_000, 400_000)
            self.world.at(self.lulls.randint(400_000, 1_000_000), self._begin_lull)

    def _move(self) -> None:
        if self.is_over:
            return
        world = self.world
        node = world.rng.choice(world.nodes)
        if node.is_up:
            first, last = sorted(world.rng.sample(range(SLOT_COUNT), 2))
            goal = Goal(first, last, world.rng.choice(list(world.shards)))
            node.set_time()
            node.coordinator.begin("move", aim(world.shards, goal), is_read_only=False)
            node.flush()
            world.count("move")
        world.at(world.rng.randint(50_000, 300_000), self._move)

    def run(self) -> list[str]:
        """Returns what is wrong."""
        try:
            self.world.run_until(RUN_US)
            self.is_over = True
            self.world.calm()
            self.world.run_until(RUN_US + CALM_US)
            self.world.check_rest()
            return self._check()
        except (Violation, AssertionError) as error:
            return [str(error) or repr(error)]

    def _check(self) -> list[str]:
        found: dict[bytes, list[int]] = {}
        problems: list[str] = []
        for shard in self.world.shards:
            space = self.world.leader_of(shard).space
            table = space.slot_table
            assert table is not None and not table.goals, f"shard {shard}: not moved: {table and table.goals}"
            for key, elements in contents(space).items():
                if key in found:
                    problems.append(f"{key!r} is in two shards")
                if table.shard_of(key) != shard:
                    problems.append(f"{key!r} is in shard {shard}, which does not own it")
                found[key] = [int(element) for element in elements]
        problems += [f"{key!r}: twice in {values}" for key, values in found.items() if len(set(values)) < len(values)]
        lost = [(key, value) for key, value in self.acknowledged if value not in found.get(key, [])]
        return problems + [f"lost: {lost}"] * bool(lost)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int)
    parser.add_argument("end", type=int, nargs="?")
    arguments = parser.parse_args()
    failures = 0
    for seed in range(arguments.seed, arguments.end or arguments.seed + 1):
        simulation = Moves(seed)
        problems = simulation.run()
        failures += bool(problems)
        if problems or arguments.end is None:
            print(seed, simulation.world.options, simulation.world.statistics, *problems[:3], sep="\n  ")
    print(f"{failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
