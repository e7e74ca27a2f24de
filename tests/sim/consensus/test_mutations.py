"""Each rule of the protocol, broken on purpose, must be noticed: a checker that never fails proves nothing."""

import pytest

from makoredis.base.errors import Fatal
from tests.sim.consensus.chaos import Chaos
from tests.sim.consensus.mutations import CAUGHT_BY_SCENARIO, CAUGHT_BY_SIMULATION, Patch

SEEDS_MAX = 60
"""Runs within which a broken rule must show; most need fewer than ten."""


def _is_caught(seed: int) -> bool:
    try:
        Chaos(seed).run(1_500)
    except (AssertionError, Fatal):
        return True
    return False


@pytest.mark.parametrize("mutation", CAUGHT_BY_SIMULATION, ids=lambda mutation: mutation.__name__)
def test_random_faults_notice(mutation: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    assert any(_is_caught(seed) for seed in range(SEEDS_MAX))


@pytest.mark.parametrize("mutation", CAUGHT_BY_SCENARIO, ids=lambda mutation: mutation.__name__)
def test_a_staged_scenario_notices(mutation: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = CAUGHT_BY_SCENARIO[mutation]
    scenario()
    mutation(monkeypatch)
    try:
        scenario()
    except (AssertionError, Fatal, pytest.fail.Exception):
        return
    raise AssertionError(f"{scenario.__name__} passes although {mutation.__name__}")
