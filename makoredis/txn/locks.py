"""Shared and exclusive locks on the keys of one shard, for the time between prepare and commit.

A request gets all its locks at once or none, so nobody holds some and waits for others on the same shard. Who may wait
queues in order of arrival, and is passed by nobody that wants what it wants; over several shards only those wait that
go in shard order, so there is no cycle of waiters.
"""

from collections.abc import Hashable, Iterable, Sequence

from makoredis.base.record import Wire
from makoredis.data.slot_table import POSITION_MAX, SLOT_TABLE_DB, position_of


class KeyLock(Wire):
    """A key that a transaction touches. Keys stand for themselves per database; `key` None: all keys of a run of
    positions, by default the shard as a whole."""

    db: int
    key: bytes | None
    is_exclusive: bool
    first: int = 0
    last: int = POSITION_MAX

    def covers(self, db: int, key: bytes) -> bool:
        """Whether this key is meant too."""
        if self.key is not None:
            return self.key == key and self.db == db
        if self.first == 0 and self.last == POSITION_MAX:
            return True
        return db != SLOT_TABLE_DB and self.first <= position_of(key) <= self.last


class _Claim:
    """Who wants what, numbered in order of arrival."""

    __slots__ = ("number", "owner", "wanted")

    def __init__(self, number: int, owner: Hashable, wanted: Sequence[KeyLock]) -> None:
        self.number = number
        self.owner = owner
        self.wanted = wanted


class _Key:
    """One key, or a run of positions: who holds it and who waits for it, with how they want it."""

    __slots__ = ("exclusive_waiters", "holders", "waiters")

    def __init__(self) -> None:
        self.holders: dict[Hashable, bool] = {}
        self.waiters: dict[Hashable, bool] = {}
        """In order of arrival."""
        self.exclusive_waiters = 0

    def is_taken(self, is_exclusive: bool) -> bool:
        """Whether a holder is in the way."""
        holders = self.holders
        return bool(holders) and (is_exclusive or any(holders.values()))

    def has_queue(self, is_exclusive: bool) -> bool:
        """Whether somebody who waits would be passed."""
        return bool(self.waiters) if is_exclusive else self.exclusive_waiters > 0

    def is_first(self, owner: Hashable, is_exclusive: bool) -> bool:
        """Whether nobody is in the way of this one in the queue."""
        for other, other_exclusive in self.waiters.items():
            if other == owner:
                return True
            if is_exclusive or other_exclusive:
                return False
        return True

    def next_ones(self) -> list[Hashable]:
        """Those at the front of the queue: one that wants it alone, or all that share."""
        front: list[Hashable] = []
        for owner, is_exclusive in self.waiters.items():
            if front and is_exclusive:
                break
            front.append(owner)
            if is_exclusive:
                break
        return front


class LockTable:
    """Who holds what, and who waits.

    Invariant: two held claims never conflict, and no waiting claim could be granted (`release` returns those that
    have become grantable, and they hold their locks then).
    """

    def __init__(self) -> None:
        self._held: dict[Hashable, _Claim] = {}
        self._waiting: dict[Hashable, _Claim] = {}
        self._keys: dict[tuple[int, bytes], _Key] = {}
        self._areas: dict[tuple[int, int], _Key] = {}
        """Runs of positions; few, and most of the time none."""
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._held) + len(self._waiting)

    def __contains__(self, owner: Hashable) -> bool:
        """Whether somebody holds locks."""
        return owner in self._held

    def try_lock(self, owner: Hashable, wanted: Sequence[KeyLock]) -> bool:
        """Takes all locks if nobody holds or waits for a conflicting one."""
        if self.is_blocked(wanted):
            return False
        self._grant(self._claim(owner, wanted))
        return True

    def is_blocked(self, wanted: Sequence[KeyLock]) -> bool:
        """Whether `try_lock` would fail."""
        if not self._held and not self._waiting:
            return False
        return not self._is_free(wanted) or any(self._would_pass(lock) for lock in wanted)

    def wait(self, owner: Hashable, wanted: Sequence[KeyLock]) -> None:
        """Queues; a later `release` returns the owner when it has its locks."""
        self._waiting[owner] = self._claim(owner, wanted)
        for lock in wanted:
            key = self._key(lock)
            was_exclusive = key.waiters.get(owner, False)
            key.waiters[owner] = was_exclusive or lock.is_exclusive
            key.exclusive_waiters += lock.is_exclusive and not was_exclusive

    def waiting(self) -> list[Hashable]:
        """Who waits, in order."""
        return list(self._waiting)

    def release(self, owner: Hashable) -> list[Hashable]:
        """Gives up locks, or the place in the queue. Returns who has got its locks by that, in order."""
        claims = [self._held.pop(owner, None), self._waiting.pop(owner, None)]
        wanted = [lock for claim in claims if claim is not None for lock in claim.wanted]
        for lock in wanted:
            key = self._key(lock)
            key.holders.pop(owner, None)
            key.exclusive_waiters -= key.waiters.pop(owner, False)
        if not self._waiting:
            self._drop(wanted)
            return []
        granted = self._grant_waiting(wanted)
        self._drop(wanted)
        return granted

    def _claim(self, owner: Hashable, wanted: Sequence[KeyLock]) -> _Claim:
        self._arrivals += 1
        return _Claim(self._arrivals, owner, wanted)

    def _key(self, lock: KeyLock) -> _Key:
        if lock.key is None:
            return self._areas.setdefault((lock.first, lock.last), _Key())
        name = (lock.db, lock.key)
        key = self._keys.get(name)
        if key is None:
            key = self._keys[name] = _Key()
        return key

    def _drop(self, wanted: Iterable[KeyLock]) -> None:
        """Forgets keys that nobody wants any more."""
        for lock in wanted:
            if lock.key is not None:
                key = self._keys.get((lock.db, lock.key))
                if key is not None and not key.holders and not key.waiters:
                    del self._keys[lock.db, lock.key]
            else:
                area = self._areas.get((lock.first, lock.last))
                if area is not None and not area.holders and not area.waiters:
                    del self._areas[lock.first, lock.last]

    def _grant_waiting(self, released: Sequence[KeyLock]) -> list[Hashable]:
        granted: list[Hashable] = []
        for claim in self._candidates(released):
            if self._is_free(claim.wanted) and self._is_next(claim):
                del self._waiting[claim.owner]
                for lock in claim.wanted:
                    key = self._key(lock)
                    key.exclusive_waiters -= key.waiters.pop(claim.owner, False)
                self._grant(claim)
                granted.append(claim.owner)
        return granted

    def _candidates(self, released: Sequence[KeyLock]) -> list[_Claim]:
        """Who may have something from a release, in order of arrival."""
        is_wide = any(lock.key is None for lock in released)
        if is_wide or (self._areas and any(area.waiters for area in self._areas.values())):
            return list(self._waiting.values())
        owners = {owner for lock in released for owner in self._key(lock).next_ones()}
        return sorted((self._waiting[owner] for owner in owners), key=_number)

    def _is_next(self, claim: _Claim) -> bool:
        """Whether granting it passes nobody that has waited longer."""
        for lock in claim.wanted:
            if lock.key is None:
                if self._is_awaited_before(claim, lock):
                    return False
            elif not self._key(lock).is_first(claim.owner, lock.is_exclusive) or any(
                (lock.is_exclusive or is_exclusive) and self._waiting[owner].number < claim.number
                for area in self._areas_over(lock)
                for owner, is_exclusive in area.waiters.items()
            ):
                return False
        return True

    def _is_awaited_before(self, claim: _Claim, lock: KeyLock) -> bool:
        """Whether somebody who has waited longer wants something of a run of positions."""
        for earlier in self._waiting.values():
            if earlier is claim:
                break
            for other in earlier.wanted:
                if (lock.is_exclusive or other.is_exclusive) and _overlap(lock, other):
                    return True
        return False

    def _areas_over(self, lock: KeyLock) -> list[_Key]:
        """The runs of positions that share keys with a lock."""
        if not self._areas:
            return []
        if lock.key is None:
            return [area for (first, last), area in self._areas.items() if first <= lock.last and last >= lock.first]
        is_in_run = lock.db != SLOT_TABLE_DB
        position = position_of(lock.key)
        return [
            area
            for (first, last), area in self._areas.items()
            if (first == 0 and last == POSITION_MAX) or (is_in_run and first <= position <= last)
        ]

    def _would_pass(self, lock: KeyLock) -> bool:
        """Whether somebody waits that a newcomer with this lock would be in the way of."""
        if any(area.has_queue(lock.is_exclusive) for area in self._areas_over(lock)):
            return True
        if lock.key is None:
            return any(
                key.waiters and (lock.is_exclusive or key.exclusive_waiters) and lock.covers(*name)
                for name, key in self._keys.items()
            )
        key = self._keys.get((lock.db, lock.key))
        return key is not None and key.has_queue(lock.is_exclusive)

    def _grant(self, claim: _Claim) -> None:
        self._held[claim.owner] = claim
        for lock in claim.wanted:
            holders = self._key(lock).holders
            holders[claim.owner] = holders.get(claim.owner, False) or lock.is_exclusive

    def _is_free(self, wanted: Sequence[KeyLock]) -> bool:
        for lock in wanted:
            if any(area.is_taken(lock.is_exclusive) for area in self._areas_over(lock)):
                return False
            if lock.key is None:
                if any(key.is_taken(lock.is_exclusive) and lock.covers(*name) for name, key in self._keys.items()):
                    return False
            else:
                key = self._keys.get((lock.db, lock.key))
                if key is not None and key.is_taken(lock.is_exclusive):
                    return False
        return True


def _overlap(one: KeyLock, other: KeyLock) -> bool:
    """Whether a lock on a run of positions and another lock mean some key both."""
    if other.key is not None:
        return one.covers(other.db, other.key)
    return one.first <= other.last and other.first <= one.last


def _number(claim: _Claim) -> int:
    return claim.number
