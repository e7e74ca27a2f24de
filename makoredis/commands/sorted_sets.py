"""Sorted sets: the commands on single members. Ranges, combinations and pops have files of their own."""

import math
from collections.abc import Sequence

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import INT64_MAX, SYNTAX_ERROR, ranged, wrong_arity
from makoredis.commands.registry import command, series, sole_key
from makoredis.commands.scan_options import parse_cursor, parse_scan_options
from makoredis.commands.sorted_set_arguments import pairs_reply, score_argument, score_reply
from makoredis.commands.sorted_set_changes import is_negative_zero, notify_removal, without_signs_of_zero
from makoredis.data import events
from makoredis.data.access import WRONG_TYPE, Access
from makoredis.data.effects import SortedSetPut, SortedSetRemove
from makoredis.data.values import SortedSet
from resp.numbers import format_double
from resp.replies import NULL_ARRAY, Reply

_ZADD_OPTIONS = frozenset((b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"))
_BOTH_XX_AND_NX = ClientError("ERR XX and NX options at the same time are not compatible")
_GT_LT_NX = ClientError("ERR GT, LT, and/or NX options at the same time are not compatible")
_INCR_ONE_PAIR = ClientError("ERR INCR option supports a single increment-element pair")
RANDOM_MEMBERS_MAX = 100_000_000
"""ZRANDMEMBER refuses to draw more with repetition; Redis would fill its memory."""
_OUT_OF_RANGE = ClientError("ERR value is out of range")
_NOT_A_NUMBER = ClientError("ERR resulting score is not a number (NaN)")


@command("ZADD", "Adds one or more members to a sorted set, or updates their scores.")
def zadd(access: Access, key: bytes, *rest: bytes) -> Reply:
    """Without options and with one pair this is a few calls; with either it takes `_zadd_many`."""
    if len(rest) != 2:
        return _zadd_many(access, key, rest)
    if rest[0].upper() in _ZADD_OPTIONS:
        raise SYNTAX_ERROR
    score = score_argument(rest[0])
    if score == 0.0 and is_negative_zero(score):
        return put_scores(access, key, rest[1:], [score], set())
    member = rest[1]
    value = access.get(key)
    if type(value) is SortedSet:
        old = value.get(member)
        if old != score:
            effect = SortedSetPut(access.database.id, key, [(member, score)])
            access.note(effect, effect.change(value, access.space.config))
            access.notify(events.ZSET, b"zadd", key)
        return 1 if old is None else 0
    if value is not None:
        raise WRONG_TYPE
    access.apply(SortedSetPut(access.database.id, key, [(member, score)]))
    access.notify(events.ZSET, b"zadd", key)
    return 1


@series("ZADD")
def _zadd_series(access: Access, keys: Sequence[bytes], *columns: Sequence[bytes]) -> list[int] | None:
    key = sole_key(keys)
    if key is None or len(columns) != 2:
        return None
    scores = list(map(score_argument, columns[0]))
    if any(map(is_negative_zero, scores)):
        return None
    value = access.sorted_set(key)
    changes: dict[bytes, float] = {}
    replies = []
    for score, member in zip(scores, columns[1]):
        old = changes.get(member)
        if old is None and value is not None:
            old = value.get(member)
        if old != score:
            changes[member] = score
        replies.append(1 if old is None else 0)
    if changes:
        access.apply(SortedSetPut(access.database.id, key, list(changes.items())))
        access.notify(events.ZSET, b"zadd", key)
    return replies


def _zadd_many(access: Access, key: bytes, rest: tuple[bytes, ...]) -> Reply:
    at = 0
    options = set()
    while at < len(rest) and (option := rest[at].upper()) in _ZADD_OPTIONS:
        options.add(option)
        at += 1
    pairs = rest[at:]
    if not pairs or len(pairs) % 2:
        raise SYNTAX_ERROR
    if b"NX" in options and b"XX" in options:
        raise _BOTH_XX_AND_NX
    if len(options & {b"NX", b"GT", b"LT"}) > 1:
        raise _GT_LT_NX
    if b"INCR" in options and len(pairs) > 2:
        raise _INCR_ONE_PAIR
    scores = [score_argument(raw) for raw in pairs[::2]]
    if b"INCR" in options:
        return _increment(access, key, pairs[1], scores[0], options)
    return put_scores(access, key, pairs[1::2], scores, options)


def _allows(options: set[bytes], old: float | None, score: float) -> bool:
    """Whether ZADD's conditions let a member go from its old score (None: it is new) to another."""
    if old is None:
        return b"XX" not in options
    if b"NX" in options or (b"GT" in options and score <= old):
        return False
    return not (b"LT" in options and score >= old)


def put_scores(access: Access, key: bytes, members: tuple[bytes, ...], scores: list[float], options: set[bytes]) -> int:
    """Sets scores as far as ZADD's options allow. Returns how many members are new (with CH: or have another score)."""
    value = access.sorted_set(key)
    if any(map(is_negative_zero, scores)):
        scores = without_signs_of_zero(access.space.config, value, members, scores)
    changes: dict[bytes, float] = {}
    added = updated = 0
    for member, score in zip(members, scores):
        old = changes.get(member)
        if old is None and value is not None:
            old = value.get(member)
        if old == score or (options and not _allows(options, old, score)):
            continue
        changes[member] = score
        if old is None:
            added += 1
        else:
            updated += 1
    if changes:
        access.apply(SortedSetPut(access.database.id, key, list(changes.items())))
        access.notify(events.ZSET, b"zadd", key)
    return added + updated if b"CH" in options else added


def _increment(access: Access, key: bytes, member: bytes, amount: float, options: set[bytes]) -> Reply:
    """Adds to a score. Returns the new one, null when the conditions forbid it."""
    value = access.sorted_set(key)
    old = None if value is None else value.get(member)
    if old is not None and b"NX" in options:
        return None
    score = amount if old is None else old + amount
    if math.isnan(score):
        raise _NOT_A_NUMBER
    if not _allows(options, old, score):
        return None
    if old is None or old != score:
        stored = without_signs_of_zero(access.space.config, value, [member], [score])[0] if score == 0.0 else score
        access.apply(SortedSetPut(access.database.id, key, [(member, stored)]))
        access.notify(events.ZSET, b"zincr", key)
    return score_reply(access, score)


@command("ZINCRBY", "Increments the score of a member in a sorted set.")
def zincrby(access: Access, key: bytes, amount: bytes, member: bytes) -> Reply:
    return _increment(access, key, member, score_argument(amount), set())


@command("ZREM", "Removes one or more members from a sorted set.")
def zrem(access: Access, key: bytes, *members: bytes) -> Reply:
    value = access.sorted_set(key)
    if value is None:
        return 0
    present = [member for member in dict.fromkeys(members) if member in value]
    if not present:
        return 0
    is_last = len(present) == len(value)
    access.apply(SortedSetRemove(access.database.id, key, present))
    notify_removal(access, key, b"zrem", is_last)
    return len(present)


@command("ZCARD", "Returns the number of members in a sorted set.")
def zcard(access: Access, key: bytes) -> Reply:
    value = access.sorted_set(key)
    return 0 if value is None else len(value)


@command("ZSCORE", "Returns the score of a member in a sorted set.")
def zscore(access: Access, key: bytes, member: bytes) -> Reply:
    value = access.sorted_set(key)
    score = None if value is None else value.get(member)
    return None if score is None else score_reply(access, score)


@command("ZMSCORE", "Returns the scores of one or more members in a sorted set.")
def zmscore(access: Access, key: bytes, *members: bytes) -> Reply:
    value = access.sorted_set(key) or SortedSet()
    scores = [value.get(member) for member in members]
    return [None if score is None else score_reply(access, score) for score in scores]


@command("ZRANK", "Returns the index of a member in a sorted set ordered by ascending scores.")
def zrank(access: Access, key: bytes, member: bytes, *options: bytes) -> Reply:
    return _rank(access, "zrank", key, member, options, is_reverse=False)


@command("ZREVRANK", "Returns the index of a member in a sorted set ordered by descending scores.")
def zrevrank(access: Access, key: bytes, member: bytes, *options: bytes) -> Reply:
    return _rank(access, "zrevrank", key, member, options, is_reverse=True)


def _rank(access: Access, name: str, key: bytes, member: bytes, options: tuple[bytes, ...], is_reverse: bool) -> Reply:
    if len(options) > 1:
        raise wrong_arity(name)
    if options and options[0].upper() != b"WITHSCORE":
        raise SYNTAX_ERROR
    value = access.sorted_set(key)
    rank = None if value is None else value.rank(member)
    if value is None or rank is None:
        return NULL_ARRAY if options else None
    if is_reverse:
        rank = len(value) - 1 - rank
    if not options:
        return rank
    score = value.get(member)
    assert score is not None
    return [rank, score_reply(access, score)]


@command("ZRANDMEMBER", "Returns one or more random members from a sorted set.")
def zrandmember(access: Access, key: bytes, *options: bytes) -> Reply:
    if not options:
        value = access.sorted_set(key)
        if value is None:
            return None
        at = access.rng.randrange(len(value))
        return value.members(at, at + 1)[0]
    count = ranged(options[0], -INT64_MAX, INT64_MAX)
    if len(options) > 2 or (len(options) == 2 and options[1].upper() != b"WITHSCORES"):
        raise SYNTAX_ERROR
    with_scores = len(options) == 2
    if count < -RANDOM_MEMBERS_MAX or (with_scores and count > INT64_MAX // 2):
        raise _OUT_OF_RANGE
    value = access.sorted_set(key)
    if value is None or count == 0:
        return []
    members = _random_members(access, value, count)
    if not with_scores:
        return members
    return pairs_reply(access, members, [score for member in members if (score := value.get(member)) is not None])


def _random_members(access: Access, value: SortedSet, count: int) -> list[bytes]:
    """Up to `count` different members, or -count of them, each drawn anew, when it is negative."""
    size = len(value)
    if count >= size:
        return list(value)
    if count < 0:
        draw = access.rng.randrange
        ranks = [draw(size) for _ in range(-count)]
    else:
        ranks = access.rng.sample(range(size), count)
    return [value.members(at, at + 1)[0] for at in ranks]


@command("ZSCAN", "Iterates over members and scores of a sorted set.")
def zscan(access: Access, key: bytes, position: bytes, *options: bytes) -> Reply:
    """Scores are strings in both protocols."""
    start = parse_cursor(position)
    value = access.sorted_set(key)
    if value is None:
        return [b"0", []]
    chosen = parse_scan_options(options)
    following, pairs = value.scan(start, chosen.count)
    found: list[bytes] = []
    for member, score in pairs:
        if chosen.matches is None or chosen.matches(member):
            found += (member, format_double(score))
    return [b"%d" % following, found]
