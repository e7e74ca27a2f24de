"""Random faults against consensus alone, one seed per test; then peace, in which everything must end well.

A failure names its seed: `python -m tests.sim.consensus.run SEED` repeats it and prints every step.
"""

import pytest

from makoredis.consensus.core import ElectionRule
from tests.sim.consensus.chaos import Chaos

MILLISECONDS = 2_000


@pytest.mark.parametrize("seed", range(24))
def test_random_faults(seed: int) -> None:
    Chaos(seed).run(MILLISECONDS)


@pytest.mark.parametrize("seed", range(16))
def test_random_faults_with_paxos(seed: int) -> None:
    Chaos(seed, ElectionRule.PAXOS).run(MILLISECONDS)


@pytest.mark.long
@pytest.mark.parametrize("rule", ElectionRule)
@pytest.mark.parametrize("first", range(1_000, 3_000, 100))
def test_random_faults_at_length(first: int, rule: ElectionRule) -> None:
    for seed in range(first, first + 100):
        Chaos(seed, rule).run(5_000)


def test_a_seed_decides_everything() -> None:
    runs = []
    for _ in range(2):
        chaos = Chaos(7)
        chaos.run(500)
        observer = chaos.cluster.observer
        runs.append((chaos.cluster.clock.now, chaos.cluster.network.sent, observer.acknowledged, observer.chosen_terms))
    assert runs[0] == runs[1]


def test_the_faults_are_real() -> None:
    """The runs above exercise what they claim to: snapshots, many leaders, reads and leases."""
    installs = leaders = reads = leases = acknowledged = 0
    for seed in range(12):
        chaos = Chaos(seed)
        chaos.run(MILLISECONDS)
        observer = chaos.cluster.observer
        installs += observer.installs
        leaders += len(observer.leaders)
        reads += observer.reads_served
        leases += observer.lease_steps
        acknowledged += len(observer.acknowledged)
    assert installs > 10 and leaders > 24 and reads > 60 and leases > 1_000 and acknowledged > 600
