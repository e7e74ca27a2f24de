"""Which clients' sessions are over: nobody waits for their answers, and what still comes of them is a late copy.

A node numbers its sessions one after the other, so those that are over are few *intervals* of numbers, at most one
between any two that were open at a time. Whoever logs that a session is over says it of the whole interval around it:
so what a shard remembers stays as small as that, also if most sessions never wrote there, and a copy of a request is
told to be late however long after.

That a session is over is said by its node, when it sends no more of its requests, or by the node's next process. It is
true for ever, and so it may be told twice, and take effect as soon as it is chosen, whatever is void by then.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from makoredis.txn.participant import Participant

Interval = tuple[int, int]
"""First and last number."""
SessionRange = tuple[int, int, int]
"""Incarnation of a node, and an interval of its sessions."""
ALL_SESSIONS: Interval = (0, (1 << 62) - 1)
"""Those of a process that has ended."""
INCARNATIONS_MAX = 1000
"""So many nodes' lives are remembered; beyond that, those that have ended, oldest first."""


class Intervals:
    """A set of numbers that come in runs."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in intervals:
            self.add(first, last)

    def __iter__(self) -> Iterator[Interval]:
        return iter(list(zip(self._firsts, self._lasts)))

    def __len__(self) -> int:
        """How many intervals."""
        return len(self._firsts)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    def around(self, number: int) -> Interval:
        """The interval that a number is in."""
        at = bisect_right(self._firsts, number) - 1
        return self._firsts[at], self._lasts[at]

    def add(self, first: int, last: int) -> list[Interval]:
        """Adds all from first to last. Returns what was not there yet."""
        start, end = bisect_left(self._lasts, first - 1), bisect_right(self._firsts, last + 1)
        missing, next_one = [], first
        for at in range(start, end):
            if next_one < self._firsts[at]:
                missing.append((next_one, self._firsts[at] - 1))
            next_one = max(next_one, self._lasts[at] + 1)
        if next_one <= last:
            missing.append((next_one, last))
        if start < end:
            first, last = min(first, self._firsts[start]), max(last, self._lasts[end - 1])
        self._firsts[start:end], self._lasts[start:end] = [first], [last]
        return missing

    def remove(self, first: int, last: int) -> None:
        """Removes all from first to last."""
        start, end = bisect_left(self._lasts, first), bisect_right(self._firsts, last)
        if start >= end:
            return
        left, right = self._firsts[start], self._lasts[end - 1]
        rest = [(low, high) for low, high in ((left, first - 1), (last + 1, right)) if low <= high]
        self._firsts[start:end] = [low for low, _ in rest]
        self._lasts[start:end] = [high for _, high in rest]


class GoneSessions:
    """The sessions of all nodes that a shard knows to be over."""

    __slots__ = ("_by_incarnation",)

    def __init__(self, ranges: Iterable[SessionRange] = ()) -> None:
        self._by_incarnation: dict[int, Intervals] = {}
        for incarnation, first, last in ranges:
            self.add(incarnation, first, last)

    def __contains__(self, origin: tuple[int, int]) -> bool:
        intervals = self._by_incarnation.get(origin[0])
        return intervals is not None and origin[1] in intervals

    def add(self, incarnation: int, first: int, last: int) -> list[Interval]:
        """Notes that these are over. Returns those of which it was not known."""
        intervals = self._by_incarnation.get(incarnation)
        if intervals is None:
            intervals = self._by_incarnation[incarnation] = Intervals()
            if len(self._by_incarnation) > INCARNATIONS_MAX:
                self._forget_one()
        return intervals.add(first, last)

    def _forget_one(self) -> None:
        ended = (each for each, known in self._by_incarnation.items() if list(known) == [ALL_SESSIONS])
        del self._by_incarnation[next(ended, next(iter(self._by_incarnation)))]

    def dump(self) -> list[SessionRange]:
        """Everything, for a checkpoint."""
        return [(each, *interval) for each, known in self._by_incarnation.items() for interval in known]


def close_sessions(
    participant: "Participant", incarnation: int, sessions: Sequence[Interval], around: Sequence[Interval]
) -> list[Interval]:
    """A node tells a shard's leader that sessions of it are over. What is kept of them will be dropped by an entry of
    the log, so the node has to tell again until there is nothing to be dropped.

    Args:
        around: for each of the intervals, all sessions next to it that are over, whether that was told or not.
    Returns: the intervals of which nothing is kept here.
    """
    in_progress = participant.sessions_in_progress(incarnation)
    done: list[Interval] = []
    for interval, whole in zip(sessions, around):
        if any(interval[0] <= session <= interval[1] for session in in_progress):
            continue
        if participant.requests.keeps(incarnation, *interval):
            participant.proposals.closed_sessions.append((incarnation, *whole))
        else:
            done.append(interval)
    return done
