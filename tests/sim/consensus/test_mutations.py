"""Each rule of the protocol, broken on purpose, must be noticed: a checker that never fails proves nothing."""

import pytest

from makoredis.base.errors import Fatal
from makoredis.consensus.core import ElectionRule
from tests.sim.consensus.chaos import Chaos
from tests.sim.consensus.mutations import (
    CAUGHT_BY_SCENARIO,
    CAUGHT_BY_SIMULATION,
    CAUGHT_BY_SIMULATION_OF_PAXOS,
    Patch,
)

SEEDS_MAX = 60
"""Runs within which a broken rule must show; most need fewer than ten."""


def _is_caught(seed: int, rule: ElectionRule = ElectionRule.RAFT) -> bool:
    try:
        Chaos(seed, rule).run(1_500)
    except (AssertionError, Fatal):
        return True
    return False


@pytest.mark.parametrize("mutation", CAUGHT_BY_SIMULATION, ids=lambda mutation: mutation.__name__)
def test_random_faults_notice(mutation: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    assert any(_is_caught(seed) for seed in range(SEEDS_MAX))


@pytest.mark.parametrize("mutation", CAUGHT_BY_SIMULATION_OF_PAXOS, ids=lambda mutation: mutation.__name__)
def test_random_faults_notice_with_paxos(mutation: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    assert any(_is_caught(seed, ElectionRule.PAXOS) for seed in range(SEEDS_MAX))


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
