"""Sorted sets: taking the lowest or highest members away, also blocking until there are some."""

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import SYNTAX_ERROR, int64
from makoredis.commands.registry import command
from makoredis.commands.sorted_set_arguments import pairs_reply, score_reply
from makoredis.commands.sorted_set_changes import remove_ranks
from makoredis.data.access import Access
from makoredis.data.values import SortedSet
from resp.replies import Reply

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
