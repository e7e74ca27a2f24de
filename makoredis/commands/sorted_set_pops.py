"""Sorted sets: taking the lowest or highest members away, also blocking until there are some.

A request that waits is run again when one of its keys may hold a sorted set, so the blocking commands are the plain
ones with another answer for "nothing there".
"""

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import INT64_MAX, SYNTAX_ERROR, int64, ranged, timeout_ms
from makoredis.commands.registry import WouldBlock, command
from makoredis.commands.sorted_set_arguments import nested_pairs_reply, pairs_reply, score_reply
from makoredis.commands.sorted_set_changes import remove_ranks
from makoredis.data.access import Access
from makoredis.data.values import SortedSet
from resp.replies import NULL_ARRAY, Reply

_NOT_POSITIVE = ClientError("ERR value is out of range, must be positive")
_NO_KEYS = ClientError("ERR numkeys should be greater than 0")
_NO_COUNT = ClientError("ERR count should be greater than 0")


def pop(access: Access, key: bytes, value: SortedSet, count: int, is_max: bool) -> tuple[list[bytes], list[float]]:
    """Removes up to `count` members from one end. Returns them with their scores, the outermost first."""
    size = len(value)
    count = min(count, size)
    start, stop = (size - count, size) if is_max else (0, count)
    members, scores = value.members(start, stop), value.scores(start, stop)
    remove_ranks(access, key, value, start, stop, b"zpopmax" if is_max else b"zpopmin")
    if is_max:
        members.reverse()
        scores.reverse()
    return members, scores


@command("ZPOPMIN", "Returns the lowest-scoring members from a sorted set after removing them.")
def zpopmin(access: Access, key: bytes, *count: bytes) -> Reply:
    return _zpop(access, key, count, is_max=False)


@command("ZPOPMAX", "Returns the highest-scoring members from a sorted set after removing them.")
def zpopmax(access: Access, key: bytes, *count: bytes) -> Reply:
    return _zpop(access, key, count, is_max=True)


def _zpop(access: Access, key: bytes, count: tuple[bytes, ...], is_max: bool) -> Reply:
    if len(count) > 1:
        raise SYNTAX_ERROR
    wanted = int64(count[0], _NOT_POSITIVE) if count else 1
    if wanted < 0:
        raise _NOT_POSITIVE
    value = access.sorted_set(key)
    if value is None or wanted == 0:
        return []
    members, scores = pop(access, key, value, wanted, is_max)
    if count:
        return pairs_reply(access, members, scores)
    return [members[0], score_reply(access, scores[0])]


@command("ZMPOP", "Returns the highest- or lowest-scoring members from one or more sorted sets after removing them.")
def zmpop(access: Access, *arguments: bytes) -> Reply:
    keys, count, is_max = _mpop_arguments(arguments)
    return _pop_first_nested(access, keys, count, is_max)


def _mpop_arguments(arguments: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], int, bool]:
    """Parses `numkeys key [key …] MIN|MAX [COUNT count]` into keys, count, and whether MAX."""
    key_count = ranged(arguments[0], 1, INT64_MAX, _NO_KEYS)
    keys, options = arguments[1 : key_count + 1], arguments[key_count + 1 :]
    if not options or options[0].upper() not in (b"MIN", b"MAX"):
        raise SYNTAX_ERROR
    is_max = options[0].upper() == b"MAX"
    if len(options) == 1:
        return keys, 1, is_max
    if len(options) == 2 or options[1].upper() != b"COUNT":
        raise SYNTAX_ERROR
    count = ranged(options[2], 1, INT64_MAX, _NO_COUNT)
    if len(options) > 3:
        raise SYNTAX_ERROR
    return keys, count, is_max


def _pop_first_nested(access: Access, keys: tuple[bytes, ...], count: int, is_max: bool) -> Reply:
    """Pops from the first key that exists. Returns the key and pairs, a null array when there is none."""
    for key in keys:
        value = access.sorted_set(key)
        if value is not None:
            return [key, nested_pairs_reply(access, *pop(access, key, value, count, is_max))]
    return NULL_ARRAY


@command("BZMPOP", "Removes and returns members from one or more sorted sets. Blocks until there are some otherwise.")
def bzmpop(access: Access, timeout: bytes, *arguments: bytes) -> Reply | WouldBlock:
    keys, count, is_max = _mpop_arguments(arguments)
    wait_ms = timeout_ms(timeout)
    reply = _pop_first_nested(access, keys, count, is_max)
    return _wait(keys, wait_ms) if reply is NULL_ARRAY and access.may_block else reply


@command("BZPOPMIN", "Removes and returns the lowest-scoring member. Blocks until there is one otherwise.")
def bzpopmin(access: Access, *arguments: bytes) -> Reply | WouldBlock:
    return _bzpop(access, arguments[:-1], timeout_ms(arguments[-1]), is_max=False)


@command("BZPOPMAX", "Removes and returns the highest-scoring member. Blocks until there is one otherwise.")
def bzpopmax(access: Access, *arguments: bytes) -> Reply | WouldBlock:
    return _bzpop(access, arguments[:-1], timeout_ms(arguments[-1]), is_max=True)


def _bzpop(access: Access, keys: tuple[bytes, ...], wait_ms: int, is_max: bool) -> Reply | WouldBlock:
    for key in keys:
        value = access.sorted_set(key)
        if value is not None:
            members, scores = pop(access, key, value, 1, is_max)
            return [key, members[0], score_reply(access, scores[0])]
    return _wait(keys, wait_ms) if access.may_block else NULL_ARRAY


def _wait(keys: tuple[bytes, ...], wait_ms: int) -> WouldBlock:
    return WouldBlock(keys, wait_ms, NULL_ARRAY, None, (SortedSet,))
