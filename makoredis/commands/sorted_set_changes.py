"""What several sorted set commands do to a key: remove a range of ranks, store a result; with the notifications."""

from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import PutValue, SortedSetRemoveRange
from makoredis.data.encoding import encode_scores
from makoredis.data.values import SortedSet


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
        access.apply(PutValue(access.database.id, key, encode_scores(scores)))
        access.notify(events.ZSET, event, key)
    elif access.delete(key):
        access.notify(events.GENERIC, b"del", key)
    return len(scores)
