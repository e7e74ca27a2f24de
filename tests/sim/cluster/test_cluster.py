"""Clusters under faults: what was acknowledged is there once and in order, and what was seen could be seen."""

from typing import Any

import pytest

from tests.sim.cluster.chaos import World
from tests.sim.cluster.checker import Inconsistent, Operation, check


@pytest.mark.parametrize("seed", range(6))
def test_chaos(seed: int) -> None:
    World(seed).run(4_000)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_much_chaos(seed: int) -> None:
    World(seed).run(20_000)


def _operation(name: str, session: int, begin: int, end: int | None, **seen: Any) -> Operation:
    return Operation(name, session, begin, end=end, **seen)


KEY = b"k"
HISTORIES: dict[str, tuple[list[Operation], list[bytes]]] = {
    "an acknowledged append is lost": ([_operation("a", 1, 0, 1, appends=[(KEY, b"1")])], []),
    "an element is there twice": ([_operation("a", 1, 0, 1, appends=[(KEY, b"1")])], [b"1", b"1"]),
    "a read is old": (
        [_operation("a", 1, 0, 1, appends=[(KEY, b"1")]), _operation("b", 2, 2, 3, reads=[(KEY, [])])],
        [b"1"],
    ),
    "a read saw what was taken back": (
        [_operation("a", 1, 0, None, appends=[(KEY, b"1")]), _operation("b", 2, 2, 3, reads=[(KEY, [b"1"])])],
        [],
    ),
    "an append went before an earlier one": (
        [_operation("a", 1, 0, 1, appends=[(KEY, b"1")]), _operation("b", 2, 2, 3, appends=[(KEY, b"2")])],
        [b"2", b"1"],
    ),
    "a session's read saw its next request": (
        [_operation("a", 1, 0, 9, reads=[(KEY, [b"1"])]), _operation("b", 1, 0, 9, appends=[(KEY, b"1")])],
        [b"1"],
    ),
    "an append was told another place": (
        [_operation("a", 1, 0, 1, appends=[(KEY, b"1")], lengths=[((KEY, b"1"), 2)])],
        [b"1"],
    ),
}


@pytest.mark.parametrize("fault", HISTORIES)
def test_the_checker_notices(fault: str) -> None:
    operations, final = HISTORIES[fault]
    with pytest.raises(Inconsistent):
        check(operations, {KEY: final})
