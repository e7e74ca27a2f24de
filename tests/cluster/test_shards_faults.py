"""Several shards under kill -9 of the nodes that lead them: transactions over shards stay serializable and atomic."""

import os
import time
from pathlib import Path
from random import Random

import pytest

from tests.cluster.cluster_process import ClusterProcess, wait_until
from tests.cluster.shards_workload import (
    ACCOUNTS,
    KEYS,
    TOTAL,
    Workload,
    append,
    look_at_sum,
    open_accounts,
    read_snapshot,
    transfer,
)
from tests.sim.txn.checkers import check

SETTINGS = {"shards": 3, "disk_free_bytes_min": 0, "disk_ballast_bytes": 0}
SHORT_LOGS = {"checkpoint_log_bytes": 16_384, "log_keep_bytes": 16_384}
"""They are cut all the time, so that a node that was away needs snapshots."""
ANSWER_SECONDS = 180.0
"""Longer than a transaction is tried; and then another time."""


def _run(folder: Path, seconds: float, seed: int, fault: str, **settings: object) -> Workload:
    rng = Random(seed)
    with ClusterProcess(folder, 3, **SETTINGS, **settings) as cluster:
        open_accounts(cluster)
        work = Workload(cluster, seed)
        for name in cluster.names:
            work.start(append, name)
            work.start(append, name)
            work.start(transfer, name)
            work.start(look_at_sum, name)
            work.start(look_at_sum, name, is_readonly=True)
            work.start(read_snapshot, name, is_readonly=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(rng.uniform(1.0, 2.0))
            name = rng.choice(cluster.names)
            if fault == "kill":
                cluster.kill(name)
                time.sleep(rng.uniform(0.2, 1.5))
                cluster.start(name)
            elif fault == "pause":
                cluster.pause(name)
                time.sleep(rng.uniform(0.2, 2.0))
                cluster.resume(name)
        work.stop()
        _check_end(cluster, work)
    return work


def _check_end(cluster: ClusterProcess, work: Workload) -> None:
    """All replicas are equal, and hold what was acknowledged."""
    client = cluster.client(cluster.names[0])
    event = work.invoke(0, [])

    def read_all() -> list[list[bytes]]:
        pipe = client.pipeline(transaction=True)
        for key in KEYS:
            pipe.lrange(key, 0, -1)
        lists: list[list[bytes]] = pipe.execute()
        return lists

    lists = wait_until(read_all, "all shards answer", ANSWER_SECONDS)
    event.operations = [("r", key, [int(item) for item in items]) for key, items in zip(KEYS, lists)]
    event.completed_us = time.monotonic_ns() // 1000
    assert sum(map(int, wait_until(lambda: client.mget(ACCOUNTS), "all shards answer", ANSWER_SECONDS))) == TOTAL
    for name in cluster.names:
        reader = cluster.client(name, single_connection_client=True)
        reader.execute_command("READONLY")

        def read(reader: object = reader) -> bool:
            pipe = reader.pipeline(transaction=True)  # type: ignore[attr-defined]
            for key in KEYS:
                pipe.lrange(key, 0, -1)
            return bool(pipe.execute() == lists)

        wait_until(read, f"{name} has what was acknowledged", 20)
    folder = os.environ.get("MAKOREDIS_HISTORIES")
    if folder:
        (Path(folder) / f"shards-{work.seed}.jsonl").write_text(work.history.jsonl(), encoding="utf-8")


def _assert_good(work: Workload) -> None:
    assert not work.wrong, work.wrong[:3]
    problems = check(work.history.events)
    assert not problems, problems[:3]
    print(work.done, work.errors, f"longest {work.longest_seconds:.1f} s")
    assert work.done["append"] > 20 and work.done["transfer"] > 5 and work.done["snapshot"] > 5, work.done


def test_transactions_over_shards_survive_kill_9(tmp_path: Path) -> None:
    _assert_good(_run(tmp_path, 8, 1, "kill"))


@pytest.mark.long
@pytest.mark.parametrize("fault", ["kill", "pause"])
@pytest.mark.parametrize("seed", range(2, 5))
def test_transactions_over_shards_survive_longer(tmp_path: Path, fault: str, seed: int) -> None:
    _assert_good(_run(tmp_path, 60, seed, fault, **SHORT_LOGS))
