"""Plans of which slots go where."""

from itertools import combinations
from random import Random

import pytest

from makoredis.admin.resharding import Move, bar, plan, plan_of
from makoredis.base.ids import SLOT_COUNT
from makoredis.data.slot_table import HASH_BITS, SlotTable

THREE = [(0, 5460, 1), (5461, 10921, 2), (10922, 16383, 3)]


def test_a_new_shard_gets_its_share_from_all() -> None:
    assert plan(THREE, [1, 2, 3, 4]) == [
        Move(4096, 5460, 1, 4),
        Move(9557, 10921, 2, 4),
        Move(15018, 16383, 3, 4),
    ]


def test_a_shard_that_is_to_have_none_gives_all() -> None:
    moves = plan(THREE, [1, 3])
    assert [(move.source, move.count) for move in moves] == [(2, 2730), (2, 2731)]
    assert {move.target for move in moves} == {1, 3}


def test_what_is_balanced_stays() -> None:
    assert plan([(0, 8191, 1), (8192, 16383, 2)], [1, 2]) == []
    assert plan(THREE, [1, 2, 3]) == []


@pytest.mark.parametrize("seed", range(10))
def test_every_plan_balances_with_as_few_slots_as_possible(seed: int) -> None:
    rng = Random(seed)
    shards = rng.randint(2, 6)
    table = SlotTable.divided(shards)
    for _ in range(5):
        first, last = sorted(rng.sample(range(SLOT_COUNT), 2))
        table = table.assign(first << HASH_BITS, (last + 1 << HASH_BITS) - 1, rng.randint(1, shards))
    chosen = sorted(rng.sample(range(1, shards + 1), rng.randint(1, shards)))
    counts = _counts(table, shards)
    moves = plan(table.slot_runs(), chosen)
    assert sum(move.count for move in moves) == _fewest(counts, chosen)
    for move in moves:
        table = table.assign(move.first << HASH_BITS, (move.last + 1 << HASH_BITS) - 1, move.target)
    counts = _counts(table, shards)
    assert {counts[shard] for shard in chosen} <= {SLOT_COUNT // len(chosen), -(-SLOT_COUNT // len(chosen))}
    assert sum(counts[shard] for shard in chosen) == SLOT_COUNT


def _fewest(counts: dict[int, int], chosen: list[int]) -> int:
    """How many slots have to move, whichever shards have those that are left over of an equal division."""
    share, left = divmod(SLOT_COUNT, len(chosen))
    return min(
        sum(max(0, count - (share + (shard in more) if shard in chosen else 0)) for shard, count in counts.items())
        for more in combinations(chosen, left)
    )


def _counts(table: SlotTable, shards: int) -> dict[int, int]:
    runs = table.slot_runs()
    return {
        shard: sum(last - first + 1 for first, last, owner in runs if owner == shard)
        for shard in range(1, shards + 1)
    }


def test_a_run_is_taken_from_whoever_has_it() -> None:
    assert plan_of(THREE, 5000, 11000, 2) == [Move(5000, 5460, 1, 2), Move(10922, 11000, 3, 2)]


def test_the_bar_says_how_far_it_is() -> None:
    assert bar(5, 10) == "[####################....................] 5 of 10 slots"
