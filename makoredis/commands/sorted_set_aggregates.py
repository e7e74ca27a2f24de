"""Sorted sets: union, intersection and difference, where sets count as sorted sets whose scores are all 1.

Inputs are combined from the smallest to the largest, as in Redis: it is what makes an intersection cheap, and the order
shows in the last digit of a sum of doubles. Not a number becomes 0, also as in Redis.
"""

import math
from collections.abc import Callable, Iterable

from makoredis.base.errors import ClientError
from makoredis.base.record import record
from makoredis.commands.arguments import INT64_MAX, SYNTAX_ERROR, double, int64, ranged
from makoredis.commands.registry import command
from makoredis.commands.sorted_set_arguments import pairs_reply
from makoredis.commands.sorted_set_changes import store_scores
from makoredis.data.access import WRONG_TYPE, Access
from makoredis.data.values import Set, SortedSet
from resp.replies import Reply

_WEIGHT_NOT_A_FLOAT = ClientError("ERR weight value is not a float")
_NEGATIVE_LIMIT = ClientError("ERR LIMIT can't be negative")

Aggregate = Callable[[float, float], float]


def _add(total: float, score: float) -> float:
    total += score
    return total if total == total else 0.0


def _lower(total: float, score: float) -> float:
    return score if score < total else total


def _higher(total: float, score: float) -> float:
    return score if score > total else total


_AGGREGATES: dict[bytes, Aggregate] = {b"SUM": _add, b"MIN": _lower, b"MAX": _higher}


class Source:
    """One input: a sorted set, a set, or nothing."""

    __slots__ = ("value", "weight")

    def __init__(self, value: SortedSet | Set | None) -> None:
        self.value = value
        self.weight = 1.0

    def __len__(self) -> int:
        return 0 if self.value is None else len(self.value)

    def pairs(self) -> Iterable[tuple[bytes, float]]:
        """Its members with their scores, unweighted."""
        value = self.value
        if isinstance(value, SortedSet):
            return value.items()
        return () if value is None else ((member, 1.0) for member in value)

    def get(self, member: bytes) -> float | None:
        """A member's score, unweighted; None if it is not there."""
        value = self.value
        if isinstance(value, SortedSet):
            return value.get(member)
        return 1.0 if value is not None and member in value else None


@record
class Combination:
    """What a command of this file asks for."""

    sources: list[Source]
    aggregate: Aggregate
    with_scores: bool


def _sources(access: Access, name: str, arguments: tuple[bytes, ...]) -> tuple[list[Source], tuple[bytes, ...]]:
    """The inputs of `numkeys key [key …]`, and the arguments that follow."""
    count = int64(arguments[0])
    if count < 1:
        raise ClientError(f"ERR at least 1 input key is needed for '{name}' command")
    if count > len(arguments) - 1:
        raise SYNTAX_ERROR
    sources = []
    for key in arguments[1 : count + 1]:
        value = access.get(key)
        if value is not None and not isinstance(value, SortedSet | Set):
            raise WRONG_TYPE
        sources.append(Source(value))
    return sources, arguments[count + 1 :]


def _parse(
    access: Access, name: str, arguments: tuple[bytes, ...], is_store: bool, is_difference: bool = False
) -> Combination:
    """Parses `numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]`."""
    sources, options = _sources(access, name, arguments)
    aggregate: Aggregate = _add
    with_scores = False
    at = 0
    while at < len(options):
        option = options[at].upper()
        following = options[at + 1 :]
        if option == b"WEIGHTS" and not is_difference and len(following) >= len(sources):
            for source, weight in zip(sources, following):
                source.weight = double(weight, _WEIGHT_NOT_A_FLOAT)
            at += len(sources)
        elif option == b"AGGREGATE" and not is_difference and following:
            chosen = _AGGREGATES.get(following[0].upper())
            if chosen is None:
                raise SYNTAX_ERROR
            aggregate = chosen
            at += 1
        elif option == b"WITHSCORES" and not is_store:
            with_scores = True
        else:
            raise SYNTAX_ERROR
        at += 1
    if not is_difference:
        sources.sort(key=len)
    return Combination(sources, aggregate, with_scores)


def _weighted(pairs: Iterable[tuple[bytes, float]], weight: float) -> Iterable[tuple[bytes, float]]:
    if weight == 1.0:
        return pairs
    return ((member, 0.0 if math.isnan(score * weight) else score * weight) for member, score in pairs)


def union(combination: Combination) -> dict[bytes, float]:
    """Members of any input, with the aggregate of their weighted scores."""
    totals: dict[bytes, float] = {}
    aggregate = combination.aggregate
    for source in combination.sources:
        for member, score in _weighted(source.pairs(), source.weight):
            total = totals.get(member)
            totals[member] = score if total is None else aggregate(total, score)
    return totals


def intersection(combination: Combination) -> dict[bytes, float]:
    """Members of all inputs, with the aggregate of their weighted scores."""
    first, *others = combination.sources
    aggregate = combination.aggregate
    totals: dict[bytes, float] = {}
    if not all(map(len, others)):
        return totals
    for member, total in _weighted(first.pairs(), first.weight):
        for other in others:
            score = other.get(member)
            if score is None:
                break
            total = aggregate(total, score * other.weight)
        else:
            totals[member] = total
    return totals


def difference(combination: Combination) -> dict[bytes, float]:
    """Members of the first input that are in no other one, with their scores.

    Each is looked up in the others, or they are taken away one after the other: whichever looks at fewer members.
    """
    first, *others = combination.sources
    others = [other for other in others if len(other)]
    if any(other.value is first.value for other in others):
        return {}
    if len(first) * len(others) <= sum(map(len, others)) + len(first):
        return {member: score for member, score in first.pairs() if all(other.get(member) is None for other in others)}
    left = dict(first.pairs())
    for other in others:
        for member, _ in other.pairs():
            left.pop(member, None)
    return left


def _answer(access: Access, scores: dict[bytes, float], with_scores: bool) -> Reply:
    ordered = sorted(zip(scores.values(), scores.keys()))
    members = [member for _, member in ordered]
    return pairs_reply(access, members, [score for score, _ in ordered]) if with_scores else members


@command("ZUNION", "Returns the union of multiple sorted sets.")
def zunion(access: Access, *arguments: bytes) -> Reply:
    combination = _parse(access, "zunion", arguments, is_store=False)
    return _answer(access, union(combination), combination.with_scores)


@command("ZINTER", "Returns the intersection of multiple sorted sets.")
def zinter(access: Access, *arguments: bytes) -> Reply:
    combination = _parse(access, "zinter", arguments, is_store=False)
    return _answer(access, intersection(combination), combination.with_scores)


@command("ZDIFF", "Returns the difference between multiple sorted sets.")
def zdiff(access: Access, *arguments: bytes) -> Reply:
    combination = _parse(access, "zdiff", arguments, is_store=False, is_difference=True)
    return _answer(access, difference(combination), combination.with_scores)


@command("ZUNIONSTORE", "Stores the union of multiple sorted sets in a key.")
def zunionstore(access: Access, destination: bytes, *arguments: bytes) -> Reply:
    combination = _parse(access, "zunionstore", arguments, is_store=True)
    return store_scores(access, destination, union(combination), b"zunionstore")


@command("ZINTERSTORE", "Stores the intersection of multiple sorted sets in a key.")
def zinterstore(access: Access, destination: bytes, *arguments: bytes) -> Reply:
    combination = _parse(access, "zinterstore", arguments, is_store=True)
    return store_scores(access, destination, intersection(combination), b"zinterstore")


@command("ZDIFFSTORE", "Stores the difference of multiple sorted sets in a key.")
def zdiffstore(access: Access, destination: bytes, *arguments: bytes) -> Reply:
    combination = _parse(access, "zdiffstore", arguments, is_store=True, is_difference=True)
    return store_scores(access, destination, difference(combination), b"zdiffstore")


@command("ZINTERCARD", "Returns the number of members of the intersection of multiple sorted sets.")
def zintercard(access: Access, *arguments: bytes) -> Reply:
    sources, options = _sources(access, "zintercard", arguments)
    limit = 0
    while options:
        if options[0].upper() != b"LIMIT" or len(options) < 2:
            raise SYNTAX_ERROR
        limit = ranged(options[1], 0, INT64_MAX, _NEGATIVE_LIMIT)
        options = options[2:]
    first, *others = sorted(sources, key=len)
    count = 0
    if not all(map(len, others)):
        return 0
    for member, _ in first.pairs():
        if all(other.get(member) is not None for other in others):
            count += 1
            if count == limit:
                break
    return count
