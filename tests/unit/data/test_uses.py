"""Counting uses as Redis's LFU policies do."""

from random import Random

from makoredis.data.keyspace import Database
from makoredis.data.uses import INITIAL, UseCounts

MINUTE_MS = 60_000


def test_a_counter_grows_more_slowly_the_higher_it_is() -> None:
    uses = UseCounts(Random(1))
    counts = []
    for _ in range(10_000):
        uses[b"k"] = 0
        counts.append(uses.count(b"k", 0))
    assert counts[:2] == [INITIAL, INITIAL + 1]
    assert 10 < counts[100] < 20 < counts[-1] < 70


def test_a_counter_goes_down_by_the_minute() -> None:
    uses = UseCounts(Random(1))
    uses.put(b"k", 0, 9)
    assert uses.count(b"k", MINUTE_MS - 1) == 9
    assert uses.count(b"k", 3 * MINUTE_MS) == 6
    assert uses.count(b"k", 99 * MINUTE_MS) == 0
    assert uses.count(b"other", 0) is None


def test_counting_begins_and_ends_with_the_policy() -> None:
    database = Database(0)
    database.touched[b"k"] = 5
    assert database.use_count(b"k", 5) == 0
    database.count_uses(Random(1))
    database.touched[b"k"] = 5
    database.note_use(b"often", 5, 0, 200)
    assert (database.use_count(b"k", 5), database.use_count(b"often", 5)) == (INITIAL, 200)
    database.forget_oldest_uses(6)
    assert database.use_count(b"often", 6) == 200, "the generation before counts as well"
    database.count_uses(None)
    database.note_use(b"k", 5000, 3000, None)
    assert database.last_use(b"k", 6000) == 2000
