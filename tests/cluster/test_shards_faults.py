"""Several shards under faults of every kind: transactions over shards stay serializable and atomic, nothing is lost,
and nothing is left unfinished."""

import os
from pathlib import Path

import pytest

from tests.cluster.shards_chaos import SHORT_LOGS, run


def _history(seed: int) -> Path | None:
    folder = os.environ.get("MAKOREDIS_HISTORIES")
    return Path(folder) / f"shards-{seed}.jsonl" if folder else None


def test_some_chaos_over_shards(tmp_path: Path) -> None:
    print(run(tmp_path, 20, 1, ("kill", "pause", "cut", "cut pair"), _history(1)))


@pytest.mark.long
@pytest.mark.parametrize("fault", ["kill", "pause", "cut"])
@pytest.mark.parametrize("seed", range(2, 5))
def test_transactions_over_shards_survive_longer(tmp_path: Path, fault: str, seed: int) -> None:
    print(run(tmp_path, 60, seed, (fault,), _history(seed), **SHORT_LOGS))


@pytest.mark.long
@pytest.mark.parametrize("execution", ["speculative", "synchronous"])
def test_ten_minutes_of_chaos_over_shards(tmp_path: Path, execution: str) -> None:
    print(run(tmp_path, 600, 5, (), _history(5), execution=execution))
