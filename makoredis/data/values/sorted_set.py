"""A sorted set: member → score, ordered by (score, member)."""

from sortedcontainers import SortedList


class SortedSet:
    """`scores` answers by member in O(1), `order` by rank and by range in O(log n)."""

    __slots__ = ("order", "scores")

    def __init__(self, scores: dict[bytes, float] | None = None) -> None:
        self.scores: dict[bytes, float] = {} if scores is None else scores
        self.order: SortedList = SortedList((score, member) for member, score in self.scores.items())

    def __len__(self) -> int:
        return len(self.scores)

    def put(self, member: bytes, score: float) -> float | None:
        """Sets a member's score. Returns the score it had, None if it is new."""
        old = self.scores.get(member)
        if old is not None:
            if old == score:
                return old
            self.order.remove((old, member))
        self.scores[member] = score
        self.order.add((score, member))
        return old

    def remove(self, member: bytes) -> float | None:
        """Removes a member. Returns the score it had, None if it was not there."""
        old = self.scores.pop(member, None)
        if old is not None:
            self.order.remove((old, member))
        return old
