"""A sorted set: member → score, ordered by (score, member).

Up to `FLAT_MAX` members are just two parallel lists in order, searched from the front for a member: 240 bytes plus 16
per member besides the objects themselves. A larger one has a dict by member and a `Ranking` by score, which share the
objects: 50 to 70 bytes per member. It never goes back, like Redis's own skip list.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from makoredis.data.config import DataConfig
from makoredis.data.values.ranking import Ranking
from makoredis.data.values.scan_dict import ScanDict

FLAT_MAX = 64
"""With more members than this a search from the front takes longer (1 µs) than the larger structure."""
_FORMS = (None, False, True)


class SortedSet:
    """Members with scores (never NaN). Ranks count from 0, lowest score first, ties by the members' bytes.

    `is_skiplist` is what OBJECT ENCODING shows: Redis keeps a sorted set in a skip list once it has been too large for
    a listpack, also when it shrinks again. None: not looked at since it was decoded.
    """

    __slots__ = ("_by_member", "_members", "_ranking", "_scores", "is_skiplist")

    def __init__(self, scores: dict[bytes, float] | None = None) -> None:
        pairs = sorted([(score, member) for member, score in scores.items()]) if scores else []
        self._scores: list[float] = [score for score, _ in pairs]
        self._members: list[bytes] = [member for _, member in pairs]
        self._by_member: ScanDict[float] | None = None
        self._ranking: Ranking | None = None
        self.is_skiplist: bool | None = None
        if len(pairs) > FLAT_MAX:
            self._grow()

    @staticmethod
    def in_order(members: list[bytes], scores: list[float]) -> "SortedSet":
        """A sorted set that takes over its members and their scores, already in order."""
        made = SortedSet()
        made._members, made._scores = members, scores
        if len(members) > FLAT_MAX:
            made._grow()
        return made

    def __len__(self) -> int:
        return len(self._members) if self._by_member is None else len(self._by_member)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SortedSet) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # mutable

    # -- changing; effects only

    def put(self, member: bytes, score: float) -> float | None:
        """Sets a member's score. Returns the score it had, None if it is new."""
        by_member = self._by_member
        if by_member is None:
            return self._put_flat(member, score)
        old = by_member.swap(member, score)
        ranking = self._ranking
        assert ranking is not None
        if old is not None:
            if old == score:
                by_member.swap(member, old)
                return old
            ranking.remove(old, member)
        ranking.add(score, member)
        return old

    def _put_flat(self, member: bytes, score: float) -> float | None:
        members, scores = self._members, self._scores
        old: float | None = None
        if member in members:
            at = members.index(member)
            old = scores[at]
            if old == score:
                return old
            del members[at]
            del scores[at]
        at = bisect_left(scores, score)
        if at < len(scores) and scores[at] == score:
            at = bisect_left(members, member, at, bisect_right(scores, score, at))
        scores.insert(at, score)
        members.insert(at, member)
        if len(members) > FLAT_MAX:
            self._grow()
        return old

    def _grow(self) -> None:
        """Changes to the structure for many members."""
        self._by_member = ScanDict(dict(zip(self._members, self._scores)))
        self._ranking = Ranking(self._scores, self._members)
        self._scores, self._members = [], []

    def remove(self, member: bytes) -> float | None:
        """Removes a member. Returns the score it had, None if it was not there."""
        by_member = self._by_member
        if by_member is None:
            if member not in self._members:
                return None
            at = self._members.index(member)
            del self._members[at]
            return self._scores.pop(at)
        old = by_member.pop(member)
        if old is not None:
            assert self._ranking is not None
            self._ranking.remove(old, member)
        return old

    def remove_range(self, start: int, stop: int) -> list[tuple[bytes, float]]:
        """Removes the ranks `start` ≤ rank < `stop`, both within the size. Returns what they held."""
        by_member = self._by_member
        if by_member is None:
            removed = list(zip(self._members[start:stop], self._scores[start:stop]))
            del self._members[start:stop]
            del self._scores[start:stop]
            return removed
        ranking = self._ranking
        assert ranking is not None
        removed = ranking.remove_range(start, stop)
        for member, _ in removed:
            by_member.pop(member)
        return removed

    # -- by member

    def get(self, member: bytes) -> float | None:
        """A member's score, None if it is not there."""
        if self._by_member is not None:
            return self._by_member.get(member)
        if member in self._members:
            return self._scores[self._members.index(member)]
        return None

    def __contains__(self, member: bytes) -> bool:
        return member in (self._members if self._by_member is None else self._by_member)

    def rank(self, member: bytes) -> int | None:
        """How many members come before this one, None if it is not there."""
        if self._by_member is None:
            return self._members.index(member) if member in self._members else None
        score = self._by_member.get(member)
        if score is None:
            return None
        assert self._ranking is not None
        return self._ranking.rank(score, member)

    # -- by rank and range

    def rank_of_score(self, score: float, is_after: bool) -> int:
        """How many members have a lower score; with `is_after`, a lower or equal one."""
        if self._ranking is not None:
            return self._ranking.rank_of_score(score, is_after)
        return bisect_right(self._scores, score) if is_after else bisect_left(self._scores, score)

    def rank_of_member(self, member: bytes, is_after: bool) -> int:
        """How many members sort before this one (or are it, with `is_after`), when all have the same score."""
        if self._ranking is not None:
            return self._ranking.rank_of_member(member, is_after)
        return bisect_right(self._members, member) if is_after else bisect_left(self._members, member)

    def members(self, start: int, stop: int) -> list[bytes]:
        """The members of ranks `start` ≤ rank < `stop`; both within the size."""
        if self._ranking is not None:
            return self._ranking.members(start, stop)
        return self._members[start:stop]

    def scores(self, start: int, stop: int) -> list[float]:
        """The scores of ranks `start` ≤ rank < `stop`; both within the size."""
        if self._ranking is not None:
            return self._ranking.scores(start, stop)
        return self._scores[start:stop]

    # -- all

    def items(self) -> Iterable[tuple[bytes, float]]:
        """All pairs in order."""
        size = len(self)
        return zip(self.members(0, size), self.scores(0, size))

    def __iter__(self) -> Iterator[bytes]:
        """All members in order."""
        return iter(self.members(0, len(self)))

    def to_dict(self) -> dict[bytes, float]:
        """Member → score, in order: what is stored of it."""
        return dict(self.items())

    def scan(self, cursor: int, count: int) -> tuple[int, list[tuple[bytes, float]]]:
        """Some pairs and the next cursor (0 = done), as `ScanDict.scan`; a small one all at once."""
        if self._by_member is None:
            return 0, list(self.items())
        return self._by_member.scan(cursor, count)

    # -- what Redis would keep it in

    def settle_encoding(self, config: DataConfig) -> bool:
        """Makes sure that `is_skiplist` is known, and returns it."""
        if self.is_skiplist is None:
            self.is_skiplist = not self.fits_listpack(config, self)
        return self.is_skiplist

    def fits_listpack(self, config: DataConfig, members: Iterable[bytes]) -> bool:
        """Whether Redis would keep it in a listpack as far as its length and these members go."""
        return len(self) <= config.zset_max_listpack_entries and all(
            len(member) <= config.zset_max_listpack_value for member in members
        )

    @property
    def form(self) -> int:
        """What `encoding` knows, for `keep_form` of a copy; 0 for nothing yet."""
        return _FORMS.index(self.is_skiplist)

    def keep_form(self, form: int) -> None:
        """Makes a copy that was just decoded answer `encoding` as its original did."""
        self.is_skiplist = _FORMS[form]

    def encoding(self, config: DataConfig) -> bytes:
        """What OBJECT ENCODING answers."""
        return b"skiplist" if self.settle_encoding(config) else b"listpack"
