"""Real nodes, real faults: clients append, read and transfer while nodes are killed, stopped and cut off.

    python -m tools.chaos [--seconds N] [--seed S] [--history FILE]      for N seconds, then checks everything
    python -m tools.chaos shards [--seconds N] [--seed S] [--history F]  the same with three shards (conf/3shard.yml)
    python -m tools.chaos failover [--count N]                           from kill -9 of the leader to the next write

With `--quiesce-ms N` clients rest now and then, until the cluster is silent, and faults happen then too.

The history goes to FILE as JSON lines, for checkers other than ours.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.cluster import shards_chaos
from tests.cluster.cluster_process import ClusterProcess, wait_until
from tests.cluster.workload import Appender, Banker, Client, check_appends, open_accounts, write_history

SECONDS = 600


class Faults:
    """Does something bad to a cluster, and repairs it after a while."""

    def __init__(self, cluster: ClusterProcess, rng: Random) -> None:
        self.cluster = cluster
        self.rng = rng

    def one(self) -> str:
        """Returns: what was done."""
        faults = (self.kill_leader, self.kill_one, self.kill_all, self.pause, self.cut, self.slow_down, self.restart)
        return self.rng.choice(faults)()

    def _wait(self, least: float, most: float) -> None:
        time.sleep(self.rng.uniform(least, most))

    def _kill(self, name: str) -> str:
        self.cluster.kill(name)
        self._wait(0.1, 3)
        self.cluster.start(name)
        return f"killed {name}"

    def kill_leader(self) -> str:
        return self._kill(self.cluster.wait_for_leader())

    def kill_one(self) -> str:
        return self._kill(self.rng.choice(self.cluster.names))

    def kill_all(self) -> str:
        for name in self.cluster.names:
            self.cluster.kill(name)
        for name in self.cluster.names:
            self.cluster.start(name, wait=False)
        for name in self.cluster.names:
            self.cluster.wait_until_up(name)
        return "killed all"

    def pause(self) -> str:
        """Longer than a lease, and than an election."""
        name = self.rng.choice(self.cluster.names)
        self.cluster.pause(name)
        self._wait(0.2, 3)
        self.cluster.resume(name)
        return f"paused {name}"

    def cut(self) -> str:
        name = self.rng.choice(self.cluster.names)
        self.cluster.cut(name)
        self._wait(0.2, 4)
        self.cluster.heal()
        return f"cut {name} off"

    def slow_down(self) -> str:
        name = self.rng.choice(self.cluster.names)
        self.cluster.slow_down(name, self.rng.choice((0.005, 0.05, 0.3)))
        self._wait(0.5, 3)
        self.cluster.heal()
        return f"slowed {name} down"

    def restart(self) -> str:
        name = self.rng.choice(self.cluster.names)
        status = self.cluster.terminate(name)
        assert status == 0, f"{name} ended with status {status}"
        self.cluster.start(name)
        return f"restarted {name}"


def run(seconds: float, seed: int, history: Path | None, *, is_quiet: bool = False, quiesce_ms: int = 0) -> str:
    """One run. Returns: what there is to say about it.

    Args:
        quiesce_ms: if not 0, clients rest for so long, and a moment more, before every other fault.

    Raises: AssertionError when anything was lost, done twice, or seen that could not be.
    """
    rng = Random(seed)
    settings: dict[str, object] = {"quiesce_ms": quiesce_ms} if quiesce_ms else {}
    with tempfile.TemporaryDirectory() as folder, ClusterProcess(Path(folder), proxied=True, **settings) as cluster:
        open_accounts(cluster)
        appenders = [Appender(cluster, name, rng.getrandbits(32)) for name in cluster.names for _ in range(2)]
        bankers = [Banker(cluster, name, rng.getrandbits(32)) for name in cluster.names]
        clients: list[Client] = [*appenders, *bankers]
        for client in clients:
            client.start()
        faults, count, end = Faults(cluster, rng), 0, time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(rng.uniform(0.2, 2))
            if quiesce_ms and rng.random() < 0.5:
                for client in clients:
                    client.rests_until = time.monotonic() + quiesce_ms / 1000 + rng.uniform(0, 4)
                time.sleep(quiesce_ms / 1000 + rng.uniform(0, 1))
            what = faults.one()
            count += 1
            if not is_quiet:
                answers = sum(client.done for client in clients)
                print(f"{time.strftime('%H:%M:%S')} {what}; {answers} answers", flush=True)
        for client in clients:
            client.stop()
        if history is not None:
            write_history(history, appenders)
        operations = check_appends(cluster, appenders)
        answers = sum(client.done for client in clients)
        return f"{count} faults, {operations} transactions, {answers} answers: all is well"


def failover(count: int, quiesce_ms: int = 0) -> list[float]:
    """Kills the leader again and again. Returns the seconds until the next acknowledged write through a survivor.

    Args:
        quiesce_ms: if not 0, the cluster is silent by then.
    """
    times: list[float] = []
    settings: dict[str, object] = {"quiesce_ms": quiesce_ms} if quiesce_ms else {}
    with tempfile.TemporaryDirectory() as folder, ClusterProcess(Path(folder), **settings) as cluster:
        for number in range(count):
            leader = cluster.wait_for_leader()
            survivor = next(name for name in cluster.names if name != leader)
            client = cluster.client(survivor)
            client.set("before", number)
            if quiesce_ms:
                wait_until(lambda client=client: client.info("mako")["quiesced_groups"], "the cluster is silent")
            cluster.kill(leader)
            started = time.monotonic()
            client.set("after", number)
            times.append(time.monotonic() - started)
            cluster.start(leader)
            time.sleep(1)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description="Faults against a real cluster")
    parser.add_argument("what", nargs="?", choices=("faults", "shards", "failover"), default="faults")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--history", type=Path)
    parser.add_argument("--execution", choices=("speculative", "synchronous"), help="with shards")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--quiesce-ms", type=int, default=0, help="clients rest for so long, now and then")
    options = parser.parse_args()
    if options.what == "failover":
        times = failover(options.count, options.quiesce_ms)
        print(f"{len(times)} kills: median {statistics.median(times):.2f} s, worst {max(times):.2f} s")
        return 0
    print(f"seed {options.seed}")
    if options.what == "shards":
        settings: dict[str, object] = {} if options.execution is None else {"execution": options.execution}
        if options.quiesce_ms:
            settings |= {"quiesce_ms": options.quiesce_ms, "lull_seconds": options.quiesce_ms / 1000}
        with tempfile.TemporaryDirectory() as folder:
            print(
                shards_chaos.run(
                    Path(folder),
                    options.seconds,
                    options.seed,
                    (),
                    options.history,
                    is_quiet=False,
                    **settings,  # type: ignore[arg-type]
                )
            )
        return 0
    print(run(options.seconds, options.seed, options.history, quiesce_ms=options.quiesce_ms))
    return 0


if __name__ == "__main__":
    sys.exit(main())
