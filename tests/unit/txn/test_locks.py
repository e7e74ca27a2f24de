"""Key locks of one shard."""

from random import Random

import pytest

from makoredis.data.slot_table import POSITION_MAX, position_of
from makoredis.txn.locks import KeyLock, LockTable

NAMES: list[bytes | None] = [b"a", b"b", b"c", b"d", None]


def shared(key: bytes | None) -> list[KeyLock]:
    return [KeyLock(0, key, False)]


def exclusive(key: bytes | None) -> list[KeyLock]:
    return [KeyLock(0, key, True)]


@pytest.mark.parametrize(
    ("held", "wanted", "is_free"),
    [
        (shared(b"a"), shared(b"a"), True),
        (shared(b"a"), exclusive(b"a"), False),
        (exclusive(b"a"), shared(b"a"), False),
        (exclusive(b"a"), exclusive(b"b"), True),
        (exclusive(b"a"), [KeyLock(1, b"a", True)], True),
        (shared(b"a"), shared(None), True),
        (exclusive(b"a"), shared(None), False),
        (shared(None), exclusive(b"a"), False),
        (exclusive(None), shared(b"a"), False),
        ([*shared(b"a"), *exclusive(b"a")], shared(b"a"), False),
    ],
)
def test_conflicts(held: list[KeyLock], wanted: list[KeyLock], is_free: bool) -> None:
    table = LockTable()
    assert table.try_lock(1, held)
    assert table.is_blocked(wanted) is not is_free
    assert table.try_lock(2, wanted) is is_free
    table.release(1)
    table.release(2)
    assert len(table) == 0 and table.try_lock(3, exclusive(None))


def test_waiters_get_their_locks_in_order_and_are_not_passed() -> None:
    table = LockTable()
    table.try_lock(1, [*shared(b"a"), *exclusive(b"b")])
    table.wait(2, exclusive(b"a"))
    assert not table.try_lock(3, shared(b"a"))
    table.wait(4, shared(b"a"))
    table.wait(5, shared(b"b"))
    assert table.release(1) == [2, 5]
    assert table.release(2) == [4]


def test_leaving_the_queue_lets_the_next_through() -> None:
    table = LockTable()
    table.try_lock(1, shared(b"a"))
    table.wait(2, exclusive(b"a"))
    table.wait(3, shared(b"a"))
    assert table.release(2) == [3]


@pytest.mark.parametrize("seed", range(20))
def test_random_claims_never_conflict_and_nobody_waits_for_nothing(seed: int) -> None:
    """Against the plain rule: a claim waits as long as one that is held, or came before and waits, conflicts."""
    rng = Random(seed)
    table = LockTable()
    held: dict[int, list[KeyLock]] = {}
    waiting: dict[int, list[KeyLock]] = {}
    for owner in range(400):
        if (held or waiting) and rng.random() < 0.55:
            gone = rng.choice([*held, *waiting])
            held.pop(gone, None)
            waiting.pop(gone, None)
            granted = table.release(gone)
            expected = [one for one in list(waiting) if _is_grantable(one, held, waiting)]
            assert granted == expected
            continue
        wanted = [_draw(rng) for _ in range(2)]
        blocked = any(_conflict(wanted, other) for other in [*held.values(), *waiting.values()])
        assert table.is_blocked(wanted) is blocked
        if table.try_lock(owner, wanted):
            assert not blocked
            held[owner] = wanted
        else:
            assert blocked
            table.wait(owner, wanted)
            waiting[owner] = wanted
    assert len(table) == len(held) + len(waiting) and table.waiting() == list(waiting)


def _is_grantable(owner: int, held: dict[int, list[KeyLock]], waiting: dict[int, list[KeyLock]]) -> bool:
    wanted = waiting[owner]
    before = [claim for other, claim in waiting.items() if other < owner]
    if any(_conflict(wanted, claim) for claim in [*held.values(), *before]):
        return False
    held[owner] = waiting.pop(owner)
    return True


def _draw(rng: Random) -> KeyLock:
    first = rng.choice([0, *(position_of(name) for name in NAMES if name is not None)])
    last = rng.choice([first, first + POSITION_MAX // 3, POSITION_MAX])
    key, is_exclusive = rng.choice(NAMES), rng.random() < 0.5
    return KeyLock(0, key, is_exclusive) if key is not None else KeyLock(0, None, is_exclusive, first, last)


def _conflict(one: list[KeyLock], other: list[KeyLock]) -> bool:
    return any((left.is_exclusive or right.is_exclusive) and _meet(left, right) for left in one for right in other)


def _meet(left: KeyLock, right: KeyLock) -> bool:
    spans = [
        (lock.first, lock.last) if lock.key is None else (position_of(lock.key), position_of(lock.key))
        for lock in (left, right)
    ]
    return spans[0][0] <= spans[1][1] and spans[1][0] <= spans[0][1]
