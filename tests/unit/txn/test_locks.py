"""Key locks of one shard."""

import pytest

from makoredis.txn.locks import KeyLock, LockTable


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
    table.try_lock(1, shared(b"a"))
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
