"""Every rule of the protocol that is broken on purpose must be noticed; the table is in docs/testing.md."""

import pytest

from tests.sim.txn.mutations import MUTATIONS, is_noticed

AT_ONCE = [
    "abort-alone",
    "answer-before-watermark",
    "final-too-high",
    "in-place-past-locks",
    "pass-locks",
    "pass-undecided",
    "regress-watermark",
    "relabel-watermark",
    "serve-too-early",
    "skip-watch",
    "unlock-early",
]
"""Those that the first few seeds notice."""


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_broken_rule_is_noticed(name: str) -> None:
    assert any(is_noticed(name, seed) for seed in range(100))


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_broken_rule_is_noticed_at_once(name: str) -> None:
    assert any(is_noticed(name, seed) for seed in range(8))
