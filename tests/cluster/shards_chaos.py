"""Faults against a cluster with several shards under load, and everything that has to be true afterwards."""

import time
from pathlib import Path
from random import Random

from tests.cluster.cluster_process import ClusterProcess, wait_until
from tests.cluster.shards_workload import (
    ACCOUNTS,
    TOTAL,
    Workload,
    append,
    look_at_sum,
    open_accounts,
    read_snapshot,
    transfer,
)
from tests.sim.txn.checkers import check

SETTINGS: dict[str, object] = {"shards": 3, "disk_free_bytes_min": 0, "disk_ballast_bytes": 0}
SHORT_LOGS: dict[str, object] = {"checkpoint_log_bytes": 16_384, "log_keep_bytes": 16_384}
"""They are cut all the time, so that a node that was away needs snapshots."""
ANSWER_SECONDS = 180.0
"""Longer than a transaction is tried; and then another time."""


class Faults:
    """Does something bad to nodes of a cluster with proxies, and repairs it after a while."""

    def __init__(self, cluster: ClusterProcess, rng: Random) -> None:
        self.cluster = cluster
        self.rng = rng
        self.count = 0

    def one(self, kinds: tuple[str, ...] = ()) -> str:
        """Returns: what was done."""
        faults = {
            "kill": self.kill,
            "kill two": self.kill_two,
            "kill all": self.kill_all,
            "pause": self.pause,
            "cut": self.cut,
            "cut pair": self.cut_pair,
            "deafen": self.deafen,
            "slow": self.slow_down,
            "restart": self.restart,
        }
        self.count += 1
        return faults[self.rng.choice(kinds or tuple(faults))]()

    def _one(self) -> str:
        return self.rng.choice(self.cluster.names)

    def _wait(self, least: float, most: float) -> None:
        time.sleep(self.rng.uniform(least, most))

    def kill(self) -> str:
        """A second failure may come while the first is being recovered from: see the pauses between faults."""
        name = self._one()
        self.cluster.kill(name)
        self._wait(0.1, 2)
        self.cluster.start(name)
        return f"killed {name}"

    def kill_two(self) -> str:
        """The second while the shards of the first elect new leaders."""
        names = self.rng.sample(self.cluster.names, 2)
        for name in names:
            self.cluster.kill(name)
            self._wait(0, 1.2)
        self._start(names)
        return f"killed {' and '.join(names)}"

    def kill_all(self) -> str:
        for name in self.cluster.names:
            self.cluster.kill(name)
        self._start(self.cluster.names)
        return "killed all"

    def _start(self, names: list[str]) -> None:
        for name in names:
            self.cluster.start(name, wait=False)
        for name in names:
            self.cluster.wait_until_up(name)

    def pause(self) -> str:
        """Longer than a lease, and than an election."""
        name = self._one()
        self.cluster.pause(name)
        self._wait(0.2, 3)
        self.cluster.resume(name)
        return f"paused {name}"

    def cut(self) -> str:
        name = self._one()
        self.cluster.cut(name)
        self._wait(0.2, 3)
        self.cluster.heal()
        return f"cut {name} off"

    def cut_pair(self) -> str:
        """Two leaders do not reach each other; the third node reaches both."""
        pair = self.rng.sample(self.cluster.names, 2)
        for caller, called in (pair, pair[::-1]):
            self.cluster.proxies[caller, called].is_cut = True
        self._wait(0.2, 3)
        self.cluster.heal()
        return f"cut {pair[0]} from {pair[1]}"

    def deafen(self) -> str:
        """One node does not hear another, which hears it."""
        caller, called = self.rng.sample(self.cluster.names, 2)
        self.cluster.proxies[caller, called].is_cut = True
        self._wait(0.2, 3)
        self.cluster.heal()
        return f"deafened {called} to {caller}"

    def slow_down(self) -> str:
        name = self._one()
        self.cluster.slow_down(name, self.rng.choice((0.005, 0.05, 0.3)))
        self._wait(0.5, 3)
        self.cluster.heal()
        return f"slowed {name} down"

    def restart(self) -> str:
        name = self._one()
        status = self.cluster.terminate(name)
        assert status == 0, f"{name} ended with status {status}"
        self.cluster.start(name)
        return f"restarted {name}"


def start_clients(work: Workload, *, per_node: int = 2) -> None:
    """Everything that clients of several shards do, on each node."""
    for name in work.cluster.names:
        for _ in range(per_node):
            work.start(append, name)
        work.start(transfer, name)
        work.start(look_at_sum, name)
        work.start(look_at_sum, name, is_readonly=True)
        work.start(read_snapshot, name, is_readonly=True)


def run(
    folder: Path,
    seconds: float,
    seed: int,
    kinds: tuple[str, ...] = (),
    history: Path | None = None,
    *,
    is_quiet: bool = True,
    lull_seconds: float = 0.0,
    **settings: object,
) -> str:
    """One run. Returns: what there is to say about it.

    Args:
        kinds: of faults; all if there are none.
        history: where to write what clients did and saw.
        lull_seconds: clients rest for so long, and a moment more, before every other fault; it happens in silence if
            `quiesce_ms` is less.

    Raises: AssertionError when anything was lost, done twice, or seen that could not be.
    """
    rng = Random(seed)
    with ClusterProcess(folder, 3, proxied=True, **SETTINGS, **settings) as cluster:
        open_accounts(cluster)
        work = Workload(cluster, seed)
        start_clients(work)
        faults, end = Faults(cluster, rng), time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(rng.uniform(0.2, 2))
            if lull_seconds and rng.random() < 0.5:
                work.rests_until = time.monotonic() + lull_seconds + rng.uniform(0, 4)
                time.sleep(lull_seconds + rng.uniform(0, 1))
            what = faults.one(kinds)
            if not is_quiet:
                print(f"{time.strftime('%H:%M:%S')} {what}; {work.done}", flush=True)
            assert not work.wrong, work.wrong[:3]
        wait_until(lambda: work.wrong or has_done_enough(work), "there is something to be checked", ANSWER_SECONDS)
        work.stop()
        check_end(cluster, work)
        if history is not None:
            history.write_text(work.history.jsonl(), encoding="utf-8")
    check_history(work)
    return (
        f"{faults.count} faults, {work.done}, errors {work.errors}, longest {work.longest_seconds:.1f} s: all is well"
    )


def check_end(cluster: ClusterProcess, work: Workload) -> None:
    """All replicas are equal, and hold what was acknowledged; nothing is unfinished."""
    client = cluster.client(cluster.names[0])
    keys = work.keys_used()
    lists: dict[str, list[bytes]] = {}
    for at in range(0, len(keys), 30):
        some = keys[at : at + 30]
        event = work.invoke(0, [("r", key, None) for key in some])
        answers = wait_until(lambda some=some: _read(client, some), "all shards answer", ANSWER_SECONDS)
        event.operations = [("r", key, [int(item) for item in items]) for key, items in zip(some, answers)]
        event.completed_us = time.monotonic_ns() // 1000
        lists.update(zip(some, answers))
    assert sum(map(int, wait_until(lambda: client.mget(ACCOUNTS), "all shards answer", ANSWER_SECONDS))) == TOTAL
    for name in cluster.names:
        reader = cluster.client(name, single_connection_client=True)
        reader.execute_command("READONLY")
        wait_until(
            lambda reader=reader: dict(zip(keys, _read(reader, keys))) == lists,
            f"{name} has what was acknowledged",
            ANSWER_SECONDS,
        )
        wait_until(lambda name=name: _is_at_rest(cluster, name), f"nothing is unfinished on {name}", ANSWER_SECONDS)


def _read(client: object, keys: list[str]) -> list[list[bytes]]:
    pipe = client.pipeline(transaction=True)  # type: ignore[attr-defined]
    for key in keys:
        pipe.lrange(key, 0, -1)
    answers: list[list[bytes]] = pipe.execute()
    return answers


def _is_at_rest(cluster: ClusterProcess, name: str) -> bool:
    """No vote without a decision, and nothing chosen or executed that the snapshot does not show."""
    info = cluster.client(name).info("mako")
    prepared = [info[f"shard{shard}"]["prepared"] for shard in range(1, info["shards"] + 1)]
    return not any(prepared) and not info["snapshot_waiting_transactions"]


def check_history(work: Workload) -> None:
    """Strict serializability, and that there was something to be checked."""
    assert not work.wrong, work.wrong[:3]
    problems = check(work.history.events)
    assert not problems, problems[:3]
    assert has_done_enough(work), work.done


def has_done_enough(work: Workload) -> bool:
    least = {"append": 20, "transfer": 5, "snapshot": 5}
    return all(work.done.get(what, 0) > count for what, count in least.items())
