"""What several sorted set commands do to a key: remove a range of ranks, store a result; with the notifications."""

import math
from collections.abc import Sequence

from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.config import DataConfig
from makoredis.data.effects import PutValue, SortedSetRemoveRange
from makoredis.data.encoding import encode_scores
from makoredis.data.values import SortedSet


def without_signs_of_zero(
    config: DataConfig, value: SortedSet | None, members: Sequence[bytes], scores: list[float]
) -> list[float]:
    """The scores as Redis would store them one after the other: a listpack holds zero as an integer, without a sign.

    A skip list keeps the sign, and clients see it.
    """
    size = 0 if value is None else len(value)
    is_listpack = value is None or not value.settle_encoding(config)
    stored = []
    added = set()
    for member, score in zip(members, scores):
        if member not in added and (value is None or member not in value):
            added.add(member)
            is_listpack = (
                is_listpack
                and size + len(added) <= config.zset_max_listpack_entries
                and len(member) <= config.zset_max_listpack_value
            )
        stored.append(score + 0.0 if is_listpack else score)
    return stored


def is_negative_zero(score: float) -> bool:
    """Whether a score is -0.0."""
    return score == 0.0 and math.copysign(1.0, score) < 0


def notify_removal(access: Access, key: bytes, event: bytes, is_last: bool) -> None:
    """Notes that members were removed, and the key with the last of them."""
    access.notify(events.ZSET, event, key)
    if is_last:
        access.notify(events.GENERIC, b"del", key)


def remove_ranks(access: Access, key: bytes, value: SortedSet, start: int, stop: int, event: bytes) -> None:
    """Removes the members of ranks `start` ≤ rank < `stop`, which is at least one."""
    is_last = stop - start == len(value)
    access.apply(SortedSetRemoveRange(access.database.id, key, start, stop))
    notify_removal(access, key, event, is_last)


def store_scores(access: Access, key: bytes, scores: dict[bytes, float], event: bytes) -> int:
    """Replaces whatever a key holds by a sorted set, or deletes it when there is nothing to store.

    Returns: how many members were stored.
    """
    if scores:
        config = access.space.config
        if len(scores) <= config.zset_max_listpack_entries and any(map(is_negative_zero, scores.values())):
            longest = max(scores, key=len)
            if len(longest) <= config.zset_max_listpack_value:
                scores = {member: score + 0.0 for member, score in scores.items()}
        access.apply(PutValue(access.database.id, key, encode_scores(scores)))
        access.notify(events.ZSET, event, key)
    elif access.delete(key):
        access.notify(events.GENERIC, b"del", key)
    return len(scores)
