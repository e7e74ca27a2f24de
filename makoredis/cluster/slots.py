"""Which shard a key belongs to: the hash slots, divided evenly into as many runs as there are shards.

Shards are numbered from 1. 0 is the group that every cluster has: it keeps the members, libraries of functions and
published messages, and all keys where there is only one shard.
"""

from collections.abc import Sequence

from makoredis.base.ids import SLOT_COUNT, ShardId
from makoredis.data.slots import slot_of


class SlotMap:
    """Slots to shards."""

    def __init__(self, shard_count: int) -> None:
        self.shards: tuple[ShardId, ...] = tuple(ShardId(number) for number in range(1, shard_count + 1))
        self._by_slot: list[ShardId] = []
        for shard in self.shards:
            first, last = self.slots_of(shard)
            self._by_slot += [shard] * (last - first + 1)

    def slots_of(self, shard: int) -> tuple[int, int]:
        """The first and the last slot of a shard."""
        count = len(self.shards)
        return (shard - 1) * SLOT_COUNT // count, shard * SLOT_COUNT // count - 1

    def shard_of_slot(self, slot: int) -> ShardId:
        return self._by_slot[slot]

    def shard_of(self, key: bytes) -> ShardId:
        return self._by_slot[slot_of(key)]

    def divide(self, keys: Sequence[bytes]) -> dict[ShardId, list[bytes]]:
        """The keys of each shard that has any, each key once."""
        divided: dict[ShardId, list[bytes]] = {}
        for key in dict.fromkeys(keys):
            divided.setdefault(self.shard_of(key), []).append(key)
        return divided
