"""Shared and exclusive locks on the keys of one shard, for the time between prepare and commit.

A request gets all its locks at once or none, so nobody holds some and waits for others on the same shard. Who may wait
queues in order of arrival, and is passed by nobody that wants what it wants; over several shards only those wait that
go in shard order, so there is no cycle of waiters.
"""

from collections.abc import Hashable, Sequence

from makoredis.base.record import Wire, record


class KeyLock(Wire):
    """A key that a transaction touches. Keys stand for themselves per database; `key` None: the shard as a whole."""

    db: int
    key: bytes | None
    is_exclusive: bool


@record
class _Claim:
    owner: Hashable
    wanted: Sequence[KeyLock]


class LockTable:
    """Who holds what, and who waits.

    Invariant: two held claims never conflict, and no waiting claim could be granted (`release` returns those that
    have become grantable, and they hold their locks then).
    """

    def __init__(self) -> None:
        self._held: dict[Hashable, _Claim] = {}
        self._by_key: dict[tuple[int, bytes], dict[Hashable, bool]] = {}
        self._whole: dict[Hashable, bool] = {}
        self._waiting: list[_Claim] = []

    def __len__(self) -> int:
        return len(self._held) + len(self._waiting)

    def try_lock(self, owner: Hashable, wanted: Sequence[KeyLock]) -> bool:
        """Takes all locks if nobody holds or waits for a conflicting one."""
        if not self._is_free(wanted) or any(_conflict(wanted, claim.wanted) for claim in self._waiting):
            return False
        self._grant(_Claim(owner, wanted))
        return True

    def is_blocked(self, wanted: Sequence[KeyLock]) -> bool:
        """Whether `try_lock` would fail."""
        if not self._held and not self._waiting:
            return False
        return not self._is_free(wanted) or any(_conflict(wanted, claim.wanted) for claim in self._waiting)

    def wait(self, owner: Hashable, wanted: Sequence[KeyLock]) -> None:
        """Queues; a later `release` returns the owner when it has its locks."""
        self._waiting.append(_Claim(owner, wanted))

    def waiting(self) -> list[Hashable]:
        """Who waits, in order."""
        return [claim.owner for claim in self._waiting]

    def release(self, owner: Hashable) -> list[Hashable]:
        """Gives up locks, or the place in the queue. Returns who has got its locks by that, in order."""
        claim = self._held.pop(owner, None)
        if claim is not None:
            for lock in claim.wanted:
                self._forget(owner, lock)
        self._waiting = [claim for claim in self._waiting if claim.owner != owner]
        return self._grant_waiting()

    def _forget(self, owner: Hashable, lock: KeyLock) -> None:
        if lock.key is None:
            self._whole.pop(owner, None)
            return
        name = (lock.db, lock.key)
        holders = self._by_key.get(name)
        if holders is not None:
            holders.pop(owner, None)
            if not holders:
                del self._by_key[name]

    def _grant_waiting(self) -> list[Hashable]:
        granted: list[Hashable] = []
        still: list[_Claim] = []
        for claim in self._waiting:
            if self._is_free(claim.wanted) and not any(_conflict(claim.wanted, earlier.wanted) for earlier in still):
                self._grant(claim)
                granted.append(claim.owner)
            else:
                still.append(claim)
        self._waiting = still
        return granted

    def _grant(self, claim: _Claim) -> None:
        self._held[claim.owner] = claim
        for lock in claim.wanted:
            if lock.key is None:
                self._whole[claim.owner] = self._whole.get(claim.owner, False) or lock.is_exclusive
            else:
                holders = self._by_key.setdefault((lock.db, lock.key), {})
                holders[claim.owner] = holders.get(claim.owner, False) or lock.is_exclusive

    def _is_free(self, wanted: Sequence[KeyLock]) -> bool:
        for lock in wanted:
            if any(lock.is_exclusive or is_exclusive for is_exclusive in self._whole.values()):
                return False
            if lock.key is None:
                if any(lock.is_exclusive or max(holders.values()) for holders in self._by_key.values()):
                    return False
            elif any(
                lock.is_exclusive or is_exclusive for is_exclusive in self._by_key.get((lock.db, lock.key), {}).values()
            ):
                return False
        return True


def _conflict(one: Sequence[KeyLock], other: Sequence[KeyLock]) -> bool:
    return any(
        (left.is_exclusive or right.is_exclusive)
        and (left.key is None or right.key is None or (left.db, left.key) == (right.db, right.key))
        for left in one
        for right in other
    )
