"""Which shard a key belongs to, as a node believes: where it sends requests.

Nothing depends on its being right. The truth is in the shards' own tables (`makoredis.data.slot_table`); a shard that
is asked for keys which it does not have says where they are, and the map learns it. It also follows the tables of the
shards' replicas on this node. It may be told old news, and then sends a request to a shard that sends it on.

Shards are numbered from 1. 0 is the group that every cluster has: it keeps the members, libraries of functions and
published messages, and all keys where there is only one shard.
"""

from collections.abc import Iterable, Sequence

from makoredis.base.ids import SLOT_COUNT, ShardId
from makoredis.data.keyspace import Keyspace
from makoredis.data.slot_table import HASH_BITS, POSITION_MAX, Run, SlotTable


class SlotMap:
    """Slots to shards."""

    def __init__(self, shard_count: int, divided_among: int = 0) -> None:
        """
        Args:
            divided_among: how many shards, from the first on, have slots in the beginning; 0: all.
        """
        self.shards: tuple[ShardId, ...] = tuple(ShardId(number) for number in range(1, shard_count + 1))
        self.first_table = SlotTable.divided(divided_among or shard_count)
        """How slots are divided as long as no shard says otherwise."""
        self.table = self.first_table
        self._seen: dict[ShardId, SlotTable] = dict.fromkeys(self.shards, self.first_table)
        self._is_fresh = dict.fromkeys(self.shards, True)

    # -- learning

    def follow(self, shard: ShardId, space: Keyspace) -> None:
        """Takes note of what has changed in the table of a shard's replica here."""
        now = space.slot_table
        if now is None or now is self._seen[shard]:
            return
        if self._is_fresh[shard]:
            self._is_fresh[shard] = False  # what it says of others may be long outdated
            self.learn(now.runs_of(shard))
        else:
            self.learn(now.differences(self._seen[shard]))
        self._seen[shard] = now

    def learn(self, runs: Iterable[Run]) -> None:
        """Somebody says whose these are."""
        for first, last, shard in runs:
            if 1 <= shard <= len(self.shards) and 0 <= first <= last <= POSITION_MAX:
                self.table = self.table.assign(first, last, shard)

    # -- looking

    def shard_of_slot(self, slot: int) -> ShardId:
        """The shard of a slot; of one that is on its way, where it comes from."""
        return ShardId(self.table.at((slot + 1 << HASH_BITS) - 1))

    def shard_of(self, key: bytes) -> ShardId:
        return ShardId(self.table.shard_of(key))

    def claims(self, shard: int, space: Keyspace, key: bytes) -> bool:
        """Whether a key belongs to a shard in this state of the shard."""
        return (space.slot_table or self.first_table).shard_of(key) == shard

    def slots_of(self, shard: int) -> list[tuple[int, int]]:
        """The runs of slots of a shard."""
        return [(first, last) for first, last, owner in self.table.slot_runs() if owner == shard]

    def divide(self, keys: Sequence[bytes]) -> dict[ShardId, list[bytes]]:
        """The keys of each shard that has any, each key once."""
        divided: dict[ShardId, list[bytes]] = {}
        for key in dict.fromkeys(keys):
            divided.setdefault(self.shard_of(key), []).append(key)
        return divided


def count_slots(runs: Iterable[tuple[int, int]]) -> int:
    """How many slots there are in runs of them."""
    return min(SLOT_COUNT, sum(last - first + 1 for first, last in runs))
