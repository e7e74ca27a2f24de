"""Which keys are chosen to be evicted."""

from collections import Counter
from collections.abc import Iterable
from random import Random

import pytest

from makoredis.data.access import Access
from makoredis.data.effects import Delete, FlushDatabase
from makoredis.data.eviction import POLICIES, Chooser, footprint
from makoredis.data.keyspace import TOUCHED_MAX, Database, Keyspace
from makoredis.data.uses import UseCounts
from makoredis.data.values import Hash, List, Set, SortedSet

SAMPLES = 5
DAY_MS = 86_400_000


def keyspace(count: int, *, volatile: Iterable[int] = ()) -> Keyspace:
    space = Keyspace()
    for number in range(count):
        space.by_id[0].put(b"key:%d" % number, b"x")
    for number in volatile:
        space.by_id[0].set_deadline(b"key:%d" % number, DAY_MS + number)
    return space


def evict(space: Keyspace, policy: str, count: int, *, now_ms: int = 0, seed: int = 1) -> list[bytes]:
    """Deletes so many keys, and returns them."""
    chooser = Chooser(space, Random(seed))
    gone = []
    for _ in range(count):
        chosen = POLICIES[policy] and chooser.choose(POLICIES[policy], SAMPLES, now_ms)
        if chosen is None:
            break
        Delete(*chosen).apply(space)
        gone.append(chosen[1])
    return gone


def number_of(key: bytes) -> int:
    return int(key.split(b":")[1])


@pytest.mark.parametrize("policy", [name for name in POLICIES if name != "noeviction"])
def test_everything_goes_that_may_go_and_nothing_else(policy: str) -> None:
    space = keyspace(200, volatile=range(0, 200, 2))
    space.by_id[3].put(b"elsewhere:1", b"x")
    gone = evict(space, policy, 1000)
    if policy.startswith("volatile"):
        assert sorted(map(number_of, gone)) == list(range(0, 200, 2))
        assert space.by_id[0].size == 100
    else:
        assert len(gone) == 201 and space.is_empty()


def test_the_same_seed_chooses_the_same_keys() -> None:
    assert evict(keyspace(300), "allkeys-random", 50) == evict(keyspace(300), "allkeys-random", 50)
    assert evict(keyspace(300), "allkeys-random", 50) != evict(keyspace(300), "allkeys-random", 50, seed=2)


def test_the_next_deadline_goes_first() -> None:
    gone = evict(keyspace(100, volatile=range(99, 0, -3)), "volatile-ttl", 10)
    assert [number_of(key) for key in gone] == list(range(3, 31, 3))


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru"])
def test_keys_used_long_ago_go_before_those_used_lately(policy: str) -> None:
    space = keyspace(2000, volatile=range(2000))
    access = Access(space, Random(1))
    for number in range(2000):
        access.now_ms = number + 1
        access.get(b"key:%d" % number)
    gone = [number_of(key) for key in evict(space, policy, 500, now_ms=2001)]
    assert sum(number < 1000 for number in gone) > 450
    assert not any(number >= 1900 for number in gone)


@pytest.mark.parametrize("policy", ["allkeys-lfu", "volatile-lfu"])
def test_keys_used_seldom_go_before_those_used_often(policy: str) -> None:
    space = keyspace(1000, volatile=range(1000))
    space.by_id[0].count_uses(Random(1))
    access = Access(space, Random(1), now_ms=1)
    for number in range(1000):
        for _ in range(30 if number % 4 == 0 else 1):
            access.get(b"key:%d" % number)
    gone = [number_of(key) for key in evict(space, policy, 300, now_ms=2)]
    assert sum(number % 4 == 0 for number in gone) < 10


def test_what_was_used_after_it_was_looked_at_stays() -> None:
    space = keyspace(30)
    chooser, policy = Chooser(space, Random(1)), POLICIES["allkeys-lru"]
    access = Access(space, Random(1))
    assert policy is not None
    chosen = chooser.choose(policy, 30, 0)
    assert chosen is not None
    for number in range(30):
        if number != 7:
            access.now_ms = 10
            access.get(b"key:%d" % number)
    assert chooser.choose(policy, 30, 10) == (0, b"key:7")


def test_chance_is_even() -> None:
    space = Keyspace()
    for number in range(10):
        space.by_id[0].put(b"{a}%d" % number if number < 5 else b"%d" % number, b"x")
    chooser, policy = Chooser(space, Random(1)), POLICIES["allkeys-random"]
    assert policy is not None
    counts = Counter(chooser.choose(policy, SAMPLES, 0) for _ in range(5000))
    assert len(counts) == 10 and all(350 < count < 650 for count in counts.values())


def test_outdated_deadlines_are_no_candidates() -> None:
    space = keyspace(3, volatile=[1])
    database = space.by_id[0]
    for moment in range(500):
        database.set_deadline(b"key:1", DAY_MS + moment)
        database.set_deadline(b"key:2", DAY_MS + moment)
    database.set_deadline(b"key:2", 0)
    assert database.sample_volatile(Random(1), 5) == [b"key:1"]
    assert database.take_due(2 * DAY_MS, 10) == [b"key:1"]
    assert database.earliest_deadline() == (DAY_MS + 499, b"key:1"), "handed out, but still there"
    assert evict(space, "volatile-ttl", 5) == [b"key:1"]


def test_samples_are_different_keys() -> None:
    database = keyspace(3000).by_id[0]
    for seed in range(20):
        sample = database.sample(Random(seed), 50)
        assert len(set(sample)) == 50
    assert sorted(keyspace(4).by_id[0].sample(Random(1), 10)) == [b"key:%d" % number for number in range(4)]


def test_more_uses_are_remembered_while_they_decide() -> None:
    database = Database(0)
    database.ranks_uses = True
    database.size = 8 * TOUCHED_MAX
    database.touched = dict.fromkeys(map(str, range(TOUCHED_MAX + 1)), 5)  # type: ignore[arg-type]
    database.forget_oldest_uses(6)
    assert len(database.touched) == TOUCHED_MAX + 1 and database.touched_max == 2 * TOUCHED_MAX
    database.ranks_uses = False
    database.forget_oldest_uses(6)
    assert not database.touched and database.touched_max == TOUCHED_MAX


def test_counting_goes_on_after_everything_was_emptied() -> None:
    space = keyspace(1)
    space.by_id[0].count_uses(Random(1))
    space.by_id[0].note_use(b"key:0", 0, 0, 99)
    undo = FlushDatabase(0).apply(space)
    assert isinstance(space.by_id[0].touched, UseCounts) and space.by_id[0].use_count(b"key:0", 0) == 0
    undo.apply(space)
    assert space.by_id[0].use_count(b"key:0", 0) == 99


def test_counters_outlast_a_generation() -> None:
    database = keyspace(1).by_id[0]
    database.count_uses(Random(1))
    database.note_use(b"key:0", 0, 0, 200)
    database.touched_max = 0
    database.touched.update({b"other %d" % number: 0 for number in range(TOUCHED_MAX)})
    database.forget_oldest_uses(0)
    database.touched[b"key:0"] = 0
    assert database.use_count(b"key:0", 0) >= 200


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (b"x", 100, 200),
        (bytearray(100_000), 100_000, 101_000),
        (List([b"x" * 50] * 1000), 60_000, 200_000),
        (Hash({b"%d" % number: b"x" for number in range(1000)}), 150_000, 400_000),
        (Set(b"%d" % number for number in range(1000)), 75_000, 300_000),
        (SortedSet({b"%d" % number: 1.0 for number in range(1000)}), 75_000, 400_000),
    ],
    ids=["string", "large", "list", "hash", "set", "sorted set"],
)
def test_footprint(value: bytes | bytearray | List | Hash | Set | SortedSet, low: int, high: int) -> None:
    assert low < footprint(b"key", value) < high
