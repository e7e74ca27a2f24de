"""Every rule of the protocol that is broken on purpose must be noticed; the tables are in docs/testing.md."""

import pytest

from tests.sim.txn.mutations import MUTATIONS, is_noticed

AT_ONCE = [
    "abort-alone",
    "answer-before-watermark",
    "final-too-high",
    "in-place-past-locks",
    "late-copy-of-gone",
    "pass-locks",
    "pass-undecided",
    "regress-watermark",
    "relabel-watermark",
    "serve-too-early",
    "skip-watch",
    "unlock-early",
]
"""Those that the first few seeds notice."""
OF_THE_MODEL = {
    "commit-in-newer-epoch": "elections take longer than a coordinator hopes",
    "serve-too-early": "a leader of Raft begins when all before its term is chosen, so it closes that alike",
}
"""What does not apply to real cores and disks, and why."""
RARE_ON_REAL_CORES = {"answer-before-chosen", "in-place-without-vector", "release-pending-read"}
"""Noticed by few seeds in a hundred or none: a leader has to die in the milliseconds between two events."""
AT_ONCE_ON_REAL_CORES = [
    "checkpoint-too-early",
    "forget-undo",
    "max-for-min",
    "never-void",
    "pass-locks",
    "step-down-as-is",
    "unlock-early",
]


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_broken_rule_is_noticed(name: str) -> None:
    assert any(is_noticed(name, seed) for seed in range(100))


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(MUTATIONS.keys() - OF_THE_MODEL.keys() - RARE_ON_REAL_CORES))
def test_a_broken_rule_is_noticed_on_real_cores(name: str) -> None:
    assert any(is_noticed(name, seed, is_cluster=True) for seed in range(100))


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_broken_rule_is_noticed_at_once(name: str) -> None:
    assert any(is_noticed(name, seed) for seed in range(12))


@pytest.mark.parametrize("name", AT_ONCE_ON_REAL_CORES)
def test_a_broken_rule_is_noticed_at_once_on_real_cores(name: str) -> None:
    assert any(is_noticed(name, seed, is_cluster=True) for seed in range(12))
