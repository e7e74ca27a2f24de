"""`python -m tests.sim.txn.run SEED [SEED_END] [--mutation NAME] [--history FILE]`: one run, or a range of them."""

import argparse
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from makoredis.txn.coordinator import Finished, Verdict
from makoredis.txn.in_hand import Reply
from makoredis.txn.requests import RequestRecord
from tests.sim.txn.checkers import check
from tests.sim.txn.cluster import ClusterWorld
from tests.sim.txn.workload import (
    Event,
    History,
    Operation,
    accounts,
    lists,
    parts_of,
    shard_of,
    transfer,
)
from tests.sim.txn.world import Machines, Node, Options, Violation, World

CLIENTS = 8
PATIENCE_US = 400_000


class Client:
    """Sends one transaction after the other; with no answer it goes on under another name."""

    def __init__(self, simulation: "Simulation", number: int) -> None:
        self.simulation = simulation
        self.world = simulation.world
        self.rng = self.world.rng
        self.number = number
        self.process = number
        self.session = self.world.next_session()
        self.sequence = 0
        self.ticket = 0
        self.seen_ts = 0
        """The session's: what a snapshot has to show."""
        self.home = number
        self.hangs_up = Random(f"client {number} of {simulation.seed}")

    @property
    def node(self) -> Node:
        return self.world.nodes[self.home % len(self.world.nodes)]

    def next(self) -> None:
        """Begins a transaction, unless it is over."""
        if self.simulation.is_over:
            return
        if not self.node.is_up:
            self.world.at(20_000, self.next)
            return
        if self.world.now_us < self.simulation.lull_until_us:
            self.world.at(self.simulation.lull_until_us - self.world.now_us + 1000 * self.number, self.next)
            return
        draw = self.rng.random()
        if draw < 0.05:
            self.home = self.rng.randrange(len(self.world.nodes))
        if draw < 0.15 and self.node.is_up and self._read_here():
            self.world.at(1000, self.next)
        elif draw < 0.2:
            self._transfer()
        elif draw < 0.3:
            self._watch()
        else:
            self._lists()

    def _expect(self, event: Event | None, call: Any) -> int:
        """Registers a ticket; exactly one of the answer and the time-out is acted on."""
        self.ticket += 1
        ticket = self.number * 1_000_000 + self.ticket

        def answer(result: Any) -> None:
            if self.world.tickets.pop(ticket, None) is not None:
                call(result)

        def silence() -> None:
            if self.world.tickets.pop(ticket, None) is not None:
                self._lose()

        self.world.tickets[ticket] = answer
        self.world.at(PATIENCE_US, silence)
        return ticket

    def _lose(self) -> None:
        self.process += CLIENTS
        self.world.count("unknown")
        self._hang_up(5 * self.simulation.options.hang_up)
        self.next()

    def _hang_up(self, chance: float) -> None:
        """The connection ends, perhaps, and another one begins."""
        if self.hangs_up.random() < chance:
            self.world.end_session(self.node, self.session)
            self.session, self.sequence = self.world.next_session(), 0

    def _read_here(self) -> bool:
        """A read of the node's snapshot, as of READONLY sessions. Returns whether it was possible."""
        snapshot = self.node.snapshot
        keys = self.rng.sample(self.simulation.key_names(), 2)
        readable = all(snapshot.may_read_key(shard_of(key), 0, key.encode()) for key in keys)
        if not snapshot.may_read(self.seen_ts) or not readable:
            return False
        self.seen_ts = snapshot.ts
        event = self.simulation.history.invoke(self.process, read_snapshot(self.node, keys), self.world.now_us)
        event.completed_us, event.is_stale = self.world.now_us + 1, True
        self.world.count("snapshot read")
        return True

    def _lists(self) -> None:
        led_here = list(self.node.participants) if self.rng.random() < 0.4 else []
        operations = self.simulation.draw_operations(self.rng, led_here)
        event = self.simulation.history.invoke(self.process, operations, self.world.now_us)
        self._send(operations, {}, event)

    def _send(self, operations: list[Operation], watches: dict[str, int], event: Event) -> None:
        parts = parts_of(operations, watches)
        ticket = self._expect(event, lambda result: self._done(event, result))
        if len(parts) == 1:
            ((shard, part),) = parts.items()
            self.sequence += 1
            self._submit(ticket, shard, part, self._request())
        else:
            is_read_only = all(kind == "r" for kind, _, _ in operations)
            self.node.begin(ticket, parts, is_read_only=is_read_only)

    def _submit(self, ticket: int, shard: int, part: Any, request: Any) -> None:
        """Sends, and sends again: the same request must not be executed twice."""
        if ticket in self.world.tickets:
            self.world.submit(self.node, ticket, shard, part, request)
            self.world.at(120_000, self._submit, ticket, shard, part, request)

    def _request(self) -> RequestRecord:
        """The next request's name. All before it are answered, or not asked for again."""
        return RequestRecord(1, self.session, self.sequence, self.sequence - 1, b"")

    def _done(self, event: Event, result: Reply | Finished) -> None:
        if isinstance(result, Finished) and result.verdict is Verdict.UNKNOWN:
            self._lose()
            return
        self.seen_ts = max(self.seen_ts, result.ts)
        raw = [result.results] if isinstance(result, Reply) else list(result.results.values())
        event.completed_us = self.world.now_us
        if (isinstance(result, Finished) and result.verdict is not Verdict.DONE) or not all(raw):
            event.is_failed = True
            self.world.count("failed")
        else:
            by_shard = {shard_of(rows[0][1]): iter(rows) for rows in map(json.loads, raw) if rows}
            event.operations[:] = [next(by_shard[shard_of(key)]) for _, key, _ in event.operations]
            self.world.count("ok")
        self._hang_up(self.simulation.options.hang_up)
        self.world.at(1 + int(self.rng.expovariate(1 / 5000)), self.next)

    def _transfer(self) -> None:
        source, target = self.rng.sample(accounts(self.world.options.shards), 2)
        if shard_of(source) == shard_of(target):
            self.next()
            return
        amount = self.rng.randint(1, 60)
        parts = parts_of([["get", source, None], ["get", target, None]], {}, exclusive=True)
        ticket = self._expect(None, lambda result: self.world.at(2000, self.next))
        self.node.begin(
            ticket,
            parts,
            is_read_only=False,
            combine=lambda results: transfer(results, source, target, amount),
        )

    def _watch(self) -> None:
        """WATCH key, read it, then append if it is unchanged: one atomic transaction if it succeeds."""
        key = self.rng.choice(self.simulation.key_names())
        begun_us = self.world.now_us

        def read(reply: Reply) -> None:
            before = json.loads(reply.results)[0]
            self._append_if_unchanged(key, before, reply.ts, begun_us)

        ((shard, part),) = parts_of([["r", key, None]], {}).items()
        self.sequence += 1
        self._submit(self._expect(None, read), shard, part, self._request())

    def _append_if_unchanged(self, key: str, before: Operation, as_of: int, begun_us: int) -> None:
        operations = [["append", key, self.simulation.next_value(key)]]
        others = [other for other in self.simulation.key_names() if shard_of(other) != shard_of(key)]
        if others and self.rng.random() < 0.5:
            operations.append(["r", self.rng.choice(others), None])
        event = self.simulation.history.invoke(self.process, operations, begun_us)

        def done(result: Any) -> None:
            self._done(event, result)
            if event.completed_us and not event.is_failed:
                event.operations.insert(0, before)

        parts = parts_of(operations, {key: as_of})
        ticket = self._expect(event, done)
        if len(parts) == 1:
            ((shard, part),) = parts.items()
            self.sequence += 1
            self._submit(ticket, shard, part, self._request())
        else:
            self.node.begin(ticket, parts, is_read_only=False)


class Simulation:
    """A world with clients, from one seed."""

    def __init__(
        self,
        seed: int,
        machines: Machines | None = None,
        *,
        is_cluster: bool = False,
        focus: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            focus: options that are not left to chance.
        """
        self.seed = seed
        rng = Random(f"options {seed}")
        self.options = Options(
            shards=rng.choice([1, 2, 3, 3, 4]),
            loss=rng.choice([0, 0, 0.02, 0.1]),
            duplication=rng.choice([0, 0.05, 0.2]),
            delay_us=rng.choice([300, 1000, 5000]),
            skew_us=rng.choice([0, 1000, 20_000]),
            crash_every_us=rng.choice([0, 150_000, 400_000]),
            cut_every_us=rng.choice([0, 200_000, 500_000]),
            chosen_us=rng.choice([1000, 5000, 20_000]),
            checkpoints=rng.choice([0.0, 0.02, 0.2]),
            deafen_every_us=rng.choice([0, 0, 100_000]),
            jump_every_us=rng.choice([0, 0, 200_000]),
            slow_us=rng.choice([0, 0, 30_000]),
            is_synchronous=rng.random() < 0.2,
            resolve_after_us=rng.choice([300_000, 60_000, 15_000]),
        )
        if is_cluster:
            self.options.nodes = rng.choice([3, 3, 5])
            self.options.run_us = 2_500_000
            members = Random(f"members {seed}")
            self.options.reconfigure_every_us = members.choice([0, 0, 100_000, 300_000])
            self.options.hand_over_every_us = members.choice([0, 0, 200_000])
            self.options.stop_every_us = members.choice([0, 0, 150_000])
            self.options.calm_us += 2_000_000 * bool(self.options.reconfigure_every_us)
            self.lulls = Random(f"lulls {seed}")
            self.options.quiesce_ticks = self.lulls.choice([0, 3, 8, 15])
            self.options.lull_every_us = self.lulls.choice([200_000, 600_000]) * bool(self.options.quiesce_ticks)
            self.options.skipped_ticks = self.lulls.choice([0, 4, 8])
        self.options.hang_up = Random(f"sessions {seed}").choice([0.0, 0.02, 0.2])
        for name, value in (focus or {}).items():
            setattr(self.options, name, value)
        self.world: World = (ClusterWorld if is_cluster else World)(seed, self.options, machines or Machines())
        self.history = History()
        self.is_over = False
        self.lull_until_us = 0
        if self.options.lull_every_us:
            self.world.at(self.options.lull_every_us, self._begin_lull)
        self._values: dict[str, int] = {}
        self._generation = 0
        for number in range(CLIENTS):
            self.world.at(100_000, Client(self, number).next)
        for node in self.world.nodes:
            self.world.at(150_000, self._read_snapshot, node)

    def _begin_lull(self) -> None:
        if not self.is_over:
            self.world.count("lull")
            self.lull_until_us = self.world.now_us + self.lulls.randint(50_000, 700_000)
            pause_us = self.lulls.randint(0, 2 * self.options.lull_every_us)
            self.world.at(self.lull_until_us - self.world.now_us + pause_us, self._begin_lull)

    def key_names(self) -> list[str]:
        return lists(self.options.shards, self._generation)

    def next_value(self, key: str) -> int:
        self._values[key] = self._values.get(key, 0) + 1
        if self._values[key] > 40:
            self._generation += 1
        return self._values[key]

    def draw_operations(self, rng: Random, shards: Sequence[int]) -> list[Operation]:
        """
        Args:
            shards: one of them alone; if there are none, any.
        """
        names = self.key_names()
        if shards:
            shard = rng.choice(shards)
            names = [name for name in names if shard_of(name) == shard]
        writes = rng.choice([0.0, 0.5, 0.8])
        operations: list[Operation] = []
        for _ in range(rng.randint(1, 4)):
            key = rng.choice(names)
            is_write = rng.random() < writes
            operations.append(["append", key, self.next_value(key)] if is_write else ["r", key, None])
        return operations

    def _read_snapshot(self, node: Node) -> None:
        if self.is_over:
            return
        if node.is_up and node.snapshot.is_whole:
            keys = self.world.rng.sample(self.key_names(), 3)
            readable = [key for key in keys if node.snapshot.may_read_key(shard_of(key), 0, key.encode())]
            process = 100_000 + node.id + 10 * node.incarnation
            event = self.history.invoke(process, read_snapshot(node, readable), self.world.now_us)
            event.completed_us, event.is_stale = self.world.now_us + 1, True
        self.world.at(17_000, self._read_snapshot, node)

    def run(self) -> list[str]:
        """Faults, then calm. Returns what is wrong."""
        world = self.world
        try:
            world.run_until(self.options.run_us)
            self.is_over = True
            world.calm()
            world.run_until(self.options.run_us + self.options.calm_us)
            self._read_everything()
            world.check_rest()
        except Violation as error:
            return [str(error), *self._check()[:1]]
        except AssertionError as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            return [f"failed assertion in {place.name}: {error or place.line}", *self._check()[:1]]
        return self._check()

    def _check(self) -> list[str]:
        return check(self.history.events, 2 * self.options.skew_us)

    def _read_everything(self) -> None:
        for shard in self.world.shards:
            space = self.world.leader_of(shard).space
            for key in sorted(self._values):
                if shard_of(key) == shard:
                    value = space.by_id[0].get(key.encode())
                    seen = [] if value is None else [int(item) for item in value]  # type: ignore[union-attr]
                    event = self.history.invoke(999, [["r", key, seen]], self.world.now_us)
                    event.completed_us = self.world.now_us
                    self.world.now_us += 1


def read_snapshot(node: Node, keys: list[str]) -> list[Operation]:
    """What these lists are in a node's snapshot."""
    operations: list[Operation] = []
    for key in keys:
        value = node.snapshot.local[shard_of(key)].space.by_id[0].get(key.encode())
        operations.append(["r", key, [] if value is None else [int(item) for item in value]])  # type: ignore[union-attr]
    return operations


def main() -> int:
    from tests.sim.txn.mutations import MUTATIONS, focus_of

    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int)
    parser.add_argument("end", type=int, nargs="?")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS))
    parser.add_argument("--history")
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--synchronous", action="store_true")
    arguments = parser.parse_args()
    failures = 0
    for seed in range(arguments.seed, arguments.end or arguments.seed + 1):
        machines = MUTATIONS[arguments.mutation]() if arguments.mutation else None
        focus = focus_of(arguments.mutation, is_cluster=arguments.cluster) if arguments.mutation else {}
        if arguments.synchronous:
            focus["is_synchronous"] = True
        simulation = Simulation(seed, machines, is_cluster=arguments.cluster, focus=focus)
        problems = simulation.run()
        failures += bool(problems)
        if arguments.history:
            with open(arguments.history, "w") as file:
                file.write(simulation.history.jsonl())
        if problems or arguments.end is None:
            print(seed, simulation.options, simulation.world.statistics, *problems[:3], sep="\n  ")
    print(f"{failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
