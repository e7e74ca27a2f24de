"""What the sorted set commands share: their arguments' forms and the shapes of their replies."""

import math
from collections.abc import Sequence

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import double, parse_float
from makoredis.data.access import Access
from makoredis.data.values import SortedSet
from resp.numbers import format_double
from resp.replies import Double

NOT_A_SCORE_RANGE = ClientError("ERR min or max is not a float")
NOT_A_LEX_RANGE = ClientError("ERR min or max not valid string range item")


def score_argument(raw: bytes) -> float:
    """A member's score. Raises: ClientError `ERR value is not a valid float`, also for NaN."""
    if raw.isdigit() and len(raw) < 300:
        return float(raw)
    return double(raw)


def _score_bound(raw: bytes) -> tuple[float, bool]:
    """One end of a range by score, and whether it is exclusive. As for strtod, nothing is 0."""
    is_exclusive = raw[:1] == b"("
    digits = (raw[1:] if is_exclusive else raw).lstrip(b" \t\n\v\f\r").partition(b"\0")[0]
    value = parse_float(digits) if digits else 0.0
    if value is None or math.isnan(value):
        raise NOT_A_SCORE_RANGE
    return value, is_exclusive


def score_range(minimum: bytes, maximum: bytes) -> "ScoreRange":
    """The range between two scores. Raises: ClientError `ERR min or max is not a float`."""
    return ScoreRange(*_score_bound(minimum), *_score_bound(maximum))


class ScoreRange:
    """Scores from a minimum to a maximum."""

    __slots__ = ("is_above", "is_below", "maximum", "minimum")

    def __init__(self, minimum: float, is_above: bool, maximum: float, is_below: bool) -> None:
        self.minimum, self.is_above = minimum, is_above
        self.maximum, self.is_below = maximum, is_below

    def ranks(self, value: SortedSet) -> tuple[int, int]:
        """The first rank within and the first behind; the same when there is none."""
        start = value.rank_of_score(self.minimum, self.is_above)
        return start, max(start, value.rank_of_score(self.maximum, not self.is_below))


def lex_range(minimum: bytes, maximum: bytes) -> "LexRange":
    """The range between two members. Raises: ClientError `ERR min or max not valid string range item`."""
    for raw in (minimum, maximum):
        if raw not in (b"-", b"+") and raw[:1] not in (b"[", b"("):
            raise NOT_A_LEX_RANGE
    return LexRange(minimum, maximum)


class LexRange:
    """Members from a minimum to a maximum, each `-`, `+`, `[member` or `(member`; for members of one score."""

    __slots__ = ("maximum", "minimum")

    def __init__(self, minimum: bytes, maximum: bytes) -> None:
        self.minimum, self.maximum = minimum, maximum

    def ranks(self, value: SortedSet) -> tuple[int, int]:
        """The first rank within and the first behind; the same when there is none."""
        start = _lex_rank(value, self.minimum, is_after=b"(")
        return start, max(start, _lex_rank(value, self.maximum, is_after=b"["))


def _lex_rank(value: SortedSet, bound: bytes, is_after: bytes) -> int:
    if bound == b"-":
        return 0
    if bound == b"+":
        return len(value)
    return value.rank_of_member(bound[1:], bound[:1] == is_after)


def rank_range(start: int, stop: int, size: int) -> tuple[int, int]:
    """Redis's inclusive and possibly negative indexes as the first rank within and the first behind."""
    if start < 0:
        start = max(start + size, 0)
    stop = (stop + size if stop < 0 else min(stop, size - 1)) + 1
    return (start, stop) if start < stop else (0, 0)


def score_reply(access: Access, score: float) -> bytes | Double:
    """One score, as a reply."""
    return format_double(score) if access.protocol == 2 else Double(score)


def pairs_reply(access: Access, members: Sequence[bytes], scores: Sequence[float]) -> list[object]:
    """Members with scores: flat in RESP2, an array of pairs in RESP3."""
    if access.protocol == 2:
        flat: list[object] = [None] * (2 * len(members))
        flat[::2] = members
        flat[1::2] = map(format_double, scores)
        return flat
    return nested_pairs_reply(access, members, scores)


def nested_pairs_reply(access: Access, members: Sequence[bytes], scores: Sequence[float]) -> list[object]:
    """Members with scores as an array of pairs in both protocols."""
    return [[member, score_reply(access, score)] for member, score in zip(members, scores)]
