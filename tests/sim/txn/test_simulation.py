"""Transactions over several shards under faults. A failure names the command that repeats it."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.sim.txn.checkers import check
from tests.sim.txn.run import Simulation
from tests.sim.txn.workload import Event

FOUND = (
    1145,  # a checkpoint had the answer to a request that was lost with its leader
    400975,  # a leader that had not heard of its successor wrote a checkpoint of what was in nobody's log
)
"""Seeds of the model that failed once, when clients did not end their sessions."""
FOUND_ON_REAL_CORES = (
    20016,  # who waits less than voting takes never comes to an end: in the calm all have to be patient
    50002,  # a lease was void for a term after a hand-over that failed, and nothing else answered reads
)
"""The same of the clusters, when they had no checkpoints either."""


FOUND_WITH_CHECKPOINTS = (
    920000,  # after a snapshot of its leader, a shard showed less than the others of its node
    950142,  # so did one whose leader, started again, knew how far `W` was, and not which watermarks had made it
)
"""Of the clusters, since they have checkpoints."""


def run(seed: int, kind: str = "model", focus: Mapping[str, Any] | None = None) -> None:
    problems = Simulation(seed, is_cluster=kind == "cluster", focus=focus).run()
    repeat = f"repeat with: make sim SEED={seed} ARGS='--kind {kind}'\n"
    assert not problems, repeat + "\n".join(problems[:3])


@pytest.mark.parametrize("seed", range(50))
def test_faults(seed: int) -> None:
    run(seed)


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found(seed: int) -> None:
    run(seed, focus={"hang_up": 0.0})


@pytest.mark.parametrize("seed", FOUND_ON_REAL_CORES)
def test_what_was_found_on_real_cores(seed: int) -> None:
    run(seed, "cluster", {"hang_up": 0.0, "checkpoints": 0.0})


@pytest.mark.parametrize("seed", FOUND_WITH_CHECKPOINTS)
def test_what_was_found_with_checkpoints(seed: int) -> None:
    run(seed, "cluster")


@pytest.mark.parametrize("seed", range(15))
def test_faults_of_real_cores_and_disks(seed: int) -> None:
    run(seed, "cluster")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(15, 300))
def test_many_faults_of_real_cores_and_disks(seed: int) -> None:
    run(seed, "cluster")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(50, 1000))
def test_many_faults(seed: int) -> None:
    run(seed)


def test_the_same_seed_is_the_same_run() -> None:
    one, other = Simulation(3), Simulation(3)
    one.run()
    other.run()
    assert one.history.jsonl() == other.history.jsonl()


X, Y = "0:x", "1:y"


@pytest.mark.parametrize(
    ("name", "events"),
    [
        ("G1a", [Event(0, [["append", X, 1]], 1, 2, True), Event(1, [["r", X, [1]]], 3, 4)]),
        (
            "G1b",
            [
                Event(0, [["append", X, 1], ["append", X, 2]], 1, 9),
                Event(1, [["r", X, [1]]], 1, 9),
                Event(2, [["r", X, [1, 2]]], 1, 9),
            ],
        ),
        (
            "G0",
            [
                Event(0, [["append", X, 1], ["append", Y, 1]], 1, 9),
                Event(1, [["append", X, 2], ["append", Y, 2]], 1, 9),
                Event(2, [["r", X, [1, 2]]], 1, 9),
                Event(3, [["r", Y, [2, 1]]], 1, 9),
            ],
        ),
        (
            "G1c",
            [Event(0, [["append", X, 1], ["r", Y, [1]]], 1, 9), Event(1, [["append", Y, 1], ["r", X, [1]]], 1, 9)],
        ),
        (
            "G-single",
            [
                Event(0, [["append", X, 1], ["append", Y, 1]], 1, 9),
                Event(1, [["r", X, [1]], ["r", Y, []]], 1, 9),
                Event(2, [["r", Y, [1]]], 1, 9),
            ],
        ),
        (
            "G2-item",
            [
                Event(0, [["append", X, 1], ["r", Y, []]], 1, 9),
                Event(1, [["append", Y, 1], ["r", X, []]], 1, 9),
                Event(2, [["r", X, [1]], ["r", Y, [1]]], 10, 11),
            ],
        ),
        (
            "real-time",
            [Event(0, [["append", X, 1]], 1, 2), Event(1, [["r", X, []]], 3, 4), Event(2, [["r", X, [1]]], 5, 6)],
        ),
        ("lost", [Event(0, [["append", X, 1]], 1, 2), Event(1, [["r", X, []]], 3, 4)]),
        ("incompatible", [Event(0, [["r", X, [1, 2]]], 1, 2), Event(1, [["r", X, [2]]], 3, 4)]),
        ("duplicate", [Event(0, [["append", X, 1]], 1, 2), Event(1, [["r", X, [1, 1]]], 3, 4)]),
        ("garbage", [Event(1, [["r", X, [1]]], 3, 4)]),
    ],
)
def test_the_checker_names_each_anomaly(name: str, events: list[Event]) -> None:
    assert any(problem.startswith(name) for problem in check(events)), check(events)


def test_the_checker_accepts_a_serial_history() -> None:
    events = [Event(0, [["append", X, 1], ["r", Y, []]], 1, 2), Event(1, [["r", X, [1]], ["append", Y, 5]], 3, 4)]
    assert check([*events, Event(2, [["r", Y, [5]]], 3, 4)]) == []
