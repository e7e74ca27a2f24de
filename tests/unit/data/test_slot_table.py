"""Which shard a key belongs to."""

from random import Random

import pytest

from makoredis.base.ids import SLOT_COUNT
from makoredis.data.effects import AssignSlots, PutSlotTable
from makoredis.data.keyspace import Keyspace
from makoredis.data.slot_table import HASH_BITS, POSITION_MAX, Goal, SlotTable, position_of

KEYS = [b"key:%d" % number for number in range(200)] + [b"{tag}%d" % number for number in range(50)]


def test_the_first_table_divides_slots_evenly() -> None:
    table = SlotTable.divided(3)
    assert table.slot_runs() == [(0, 5460, 1), (5461, 10921, 2), (10922, 16383, 3)]
    assert [table.shard_of(key) for key in (b"b", b"c", b"a")] == [1, 2, 3]


@pytest.mark.parametrize("seed", range(10))
def test_runs_of_any_kind_can_change_hands(seed: int) -> None:
    """Against a list of all assignments, of which the last that covers a key counts."""
    rng = Random(seed)
    table, older = SlotTable.divided(2), SlotTable.divided(2)
    places = [position_of(key) for key in KEYS] + [0, POSITION_MAX]
    made: list[tuple[int, int, int]] = [(*run[:2], run[2]) for run in table.runs()]
    for _ in range(60):
        first, last = sorted(rng.sample(places, 2))
        if rng.random() < 0.5:
            first, last = first >> HASH_BITS << HASH_BITS, ((last >> HASH_BITS) + 1 << HASH_BITS) - 1
        made.append((first, last, rng.randint(1, 4)))
        table = table.assign(*made[-1])
    for key in KEYS:
        place = position_of(key)
        expected = next(shard for first, last, shard in reversed(made) if first <= place <= last)
        assert table.shard_of(key) == table.at(place) == expected
        first, last, shard = table.run_at(place)
        assert first <= place <= last and shard == expected and table.owns(shard, first, last)
    assert list(SlotTable.decode(table.encode()).runs()) == list(table.runs())
    for run in table.differences(older):
        older = older.assign(*run)
    assert list(older.runs()) == list(table.runs())
    assert sum(last - first + 1 for first, last, _ in table.slot_runs()) == SLOT_COUNT


def test_a_slot_on_its_way_is_shown_where_it_comes_from() -> None:
    table = SlotTable.divided(2).assign(7 << HASH_BITS, (7 << HASH_BITS) + 5, 2)
    assert table.slot_runs() == [(0, 8191, 1), (8192, 16383, 2)]
    assert table.assign(7 << HASH_BITS, (8 << HASH_BITS) - 1, 2).slot_runs()[:2] == [(0, 6, 1), (7, 7, 2)]


def test_goals_can_be_taken_away_in_part() -> None:
    table = SlotTable.divided(2).with_goals([Goal(10, 20, 2)])
    assert table.without_goals_in(12, 14) == [Goal(10, 11, 2), Goal(15, 20, 2)]
    assert table.without_goals_in(0, 15) == [Goal(16, 20, 2)]
    assert table.assign(0, 5, 2).goals == table.goals


def test_changes_of_the_table_are_effects() -> None:
    space = Keyspace()
    first = SlotTable.divided(2)
    undo = [effect.apply(space) for effect in (PutSlotTable(first.encode()), AssignSlots(0, 99, 2))]
    assert space.slot_table is not None and space.slot_table.at(50) == 2
    undo[1].apply(space)
    assert list(space.slot_table.runs()) == list(first.runs())
    undo[0].apply(space)
    assert space.slot_table is None
