"""Sorted sets: what is read, stored or removed by ranges of rank, score or member."""

from makoredis.base.errors import ClientError
from makoredis.base.record import record
from makoredis.commands.arguments import SYNTAX_ERROR, int64
from makoredis.commands.registry import command
from makoredis.commands.sorted_set_arguments import (
    LexRange,
    ScoreRange,
    lex_range,
    pairs_reply,
    rank_range,
    score_range,
)
from makoredis.commands.sorted_set_changes import remove_ranks, store_scores
from makoredis.data.access import Access
from makoredis.data.values import SortedSet
from resp.replies import Reply

_LIMIT_BY_RANK = ClientError("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
_SCORES_BY_LEX = ClientError("ERR syntax error, WITHSCORES not supported in combination with BYLEX")

RANK, SCORE, LEX = b"BYRANK", b"BYSCORE", b"BYLEX"


@record
class RankRange:
    """Ranks from a start to an end that is part of it; negative ones count from the end."""

    start: int
    stop: int
    is_reverse: bool

    def ranks(self, value: SortedSet) -> tuple[int, int]:
        """The first rank within and the first behind, in ascending order; the same when there is none."""
        start, stop = rank_range(self.start, self.stop, len(value))
        return (len(value) - stop, len(value) - start) if self.is_reverse else (start, stop)


@record
class RangeQuery:
    """What a command of the ZRANGE family asks for, apart from the key."""

    range: RankRange | ScoreRange | LexRange
    is_reverse: bool
    with_scores: bool
    offset: int
    count: int
    """Negative: all."""

    def ranks(self, value: SortedSet) -> tuple[int, int]:
        """The first rank of the answer and the first behind it, ascending, LIMIT included."""
        start, stop = self.range.ranks(value)
        if self.offset < 0:
            return start, start
        length = stop - start - self.offset
        if self.count >= 0:
            length = min(length, self.count)
        if length <= 0:
            return start, start
        if self.is_reverse:
            return stop - self.offset - length, stop - self.offset
        return start + self.offset, start + self.offset + length


def parse_query(
    first: bytes,
    last: bytes,
    options: tuple[bytes, ...],
    by: bytes = b"",
    is_reverse: bool | None = None,
    is_store: bool = False,
) -> RangeQuery:
    """Parses `min max [BYSCORE|BYLEX] [REV] [WITHSCORES] [LIMIT offset count]`.

    Args:
        by, is_reverse: what the command's name says already; then it is no option.
        is_store: WITHSCORES is no option.
    """
    with_scores = False
    offset, count = 0, -1
    at = 0
    while at < len(options):
        option = options[at].upper()
        at += 1
        if option == b"WITHSCORES" and not is_store:
            with_scores = True
        elif option == b"LIMIT" and at + 1 < len(options):
            offset, count = int64(options[at]), int64(options[at + 1])
            at += 2
        elif option == b"REV" and is_reverse is None:
            is_reverse = True
        elif option in (SCORE, LEX) and not by:
            by = option
        else:
            raise SYNTAX_ERROR
    if by in (SCORE, LEX):
        if with_scores and by == LEX:
            raise _SCORES_BY_LEX
        minimum, maximum = (last, first) if is_reverse else (first, last)
        limits = score_range(minimum, maximum) if by == SCORE else lex_range(minimum, maximum)
        return RangeQuery(limits, bool(is_reverse), with_scores, offset, count)
    if count != -1:
        raise _LIMIT_BY_RANK
    ranks = RankRange(int64(first), int64(last), bool(is_reverse))
    return RangeQuery(ranks, bool(is_reverse), with_scores, 0, -1)


def _answer(access: Access, key: bytes, query: RangeQuery) -> Reply:
    value = access.sorted_set(key)
    if value is None:
        return []
    start, stop = query.ranks(value)
    members = value.members(start, stop)
    if query.is_reverse:
        members.reverse()
    if not query.with_scores:
        return members
    scores = value.scores(start, stop)
    if query.is_reverse:
        scores.reverse()
    return pairs_reply(access, members, scores)


@command("ZRANGE", "Returns members in a sorted set within a range of indexes.")
def zrange(access: Access, key: bytes, first: bytes, last: bytes, *options: bytes) -> Reply:
    if options:
        return _answer(access, key, parse_query(first, last, options))
    start, stop = int64(first), int64(last)
    value = access.sorted_set(key)
    return [] if value is None else value.members(*rank_range(start, stop, len(value)))


@command("ZREVRANGE", "Returns members in a sorted set within a range of indexes in reverse order.")
def zrevrange(access: Access, key: bytes, first: bytes, last: bytes, *options: bytes) -> Reply:
    return _answer(access, key, parse_query(first, last, options, RANK, is_reverse=True))


@command("ZRANGEBYSCORE", "Returns members in a sorted set within a range of scores.")
def zrangebyscore(access: Access, key: bytes, first: bytes, last: bytes, *options: bytes) -> Reply:
    return _answer(access, key, parse_query(first, last, options, SCORE, is_reverse=False))


@command("ZREVRANGEBYSCORE", "Returns members in a sorted set within a range of scores in reverse order.")
def zrevrangebyscore(access: Access, key: bytes, first: bytes, last: bytes, *options: bytes) -> Reply:
    return _answer(access, key, parse_query(first, last, options, SCORE, is_reverse=True))


@command("ZRANGEBYLEX", "Returns members in a sorted set within a lexicographical range.")
def zrangebylex(access: Access, key: bytes, first: bytes, last: bytes, *options: bytes) -> Reply:
    return _answer(access, key, parse_query(first, last, options, LEX, is_reverse=False))


@command("ZREVRANGEBYLEX", "Returns members in a sorted set within a lexicographical range in reverse order.")
def zrevrangebylex(access: Access, key: bytes, first: bytes, last: bytes, *options: bytes) -> Reply:
    return _answer(access, key, parse_query(first, last, options, LEX, is_reverse=True))


@command("ZRANGESTORE", "Stores a range of members from a sorted set in a key.")
def zrangestore(access: Access, destination: bytes, source: bytes, first: bytes, last: bytes, *options: bytes) -> Reply:
    query = parse_query(first, last, options, is_store=True)
    value = access.sorted_set(source)
    scores: dict[bytes, float] = {}
    if value is not None:
        start, stop = query.ranks(value)
        scores = dict(zip(value.members(start, stop), value.scores(start, stop)))
    return store_scores(access, destination, scores, b"zrangestore")


@command("ZCOUNT", "Returns the count of members in a sorted set that have scores within a range.")
def zcount(access: Access, key: bytes, minimum: bytes, maximum: bytes) -> Reply:
    return _count(access, key, score_range(minimum, maximum))


@command("ZLEXCOUNT", "Returns the number of members in a sorted set within a lexicographical range.")
def zlexcount(access: Access, key: bytes, minimum: bytes, maximum: bytes) -> Reply:
    return _count(access, key, lex_range(minimum, maximum))


def _count(access: Access, key: bytes, limits: ScoreRange | LexRange) -> int:
    value = access.sorted_set(key)
    if value is None:
        return 0
    start, stop = limits.ranks(value)
    return stop - start


@command("ZREMRANGEBYRANK", "Removes members in a sorted set within a range of indexes.")
def zremrangebyrank(access: Access, key: bytes, first: bytes, last: bytes) -> Reply:
    return _remove(access, key, RankRange(int64(first), int64(last), False), b"zremrangebyrank")


@command("ZREMRANGEBYSCORE", "Removes members in a sorted set within a range of scores.")
def zremrangebyscore(access: Access, key: bytes, minimum: bytes, maximum: bytes) -> Reply:
    return _remove(access, key, score_range(minimum, maximum), b"zremrangebyscore")


@command("ZREMRANGEBYLEX", "Removes members in a sorted set within a lexicographical range.")
def zremrangebylex(access: Access, key: bytes, minimum: bytes, maximum: bytes) -> Reply:
    return _remove(access, key, lex_range(minimum, maximum), b"zremrangebylex")


def _remove(access: Access, key: bytes, limits: RankRange | ScoreRange | LexRange, event: bytes) -> int:
    value = access.sorted_set(key)
    if value is None:
        return 0
    start, stop = limits.ranks(value)
    if start < stop:
        remove_ranks(access, key, value, start, stop, event)
    return stop - start
