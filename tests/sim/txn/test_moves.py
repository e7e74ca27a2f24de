"""Slots that move while nodes die. A failure names the command that repeats it."""

import pytest

from tests.sim.txn.moves import Moves


def run(seed: int) -> None:
    problems = Moves(seed).run()
    assert not problems, f"repeat with: python -m tests.sim.txn.moves {seed}\n" + "\n".join(problems[:3])


@pytest.mark.parametrize("seed", range(5))
def test_slots_move_under_faults(seed: int) -> None:
    run(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5, 100))
def test_slots_move_under_many_faults(seed: int) -> None:
    run(seed)
