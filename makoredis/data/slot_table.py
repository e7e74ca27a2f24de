"""Which shard each key belongs to, as one shard knows it.

What is divided is not slots but *positions*: `slot << 32 | CRC32 of the key`, the order that SCAN goes in. So a slot of
any size can move in pieces, and everything that is moved at one moment is a run of positions.

Every shard has a table of its own in its replicated state (`Keyspace.slot_table`). What it says of the shard itself is
the truth. What it says of other shards is a pointer: where the shard gave that run when it had it last. Whoever follows
the pointers from any table arrives at the owner: giving a run from A to B turns A's word into a pointer to B and B's
into the end, so every way that ended at A now ends at B, and there is no circle.

A table never changes; changing it makes another one.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from zlib import crc32

from makoredis.base.ids import SLOT_COUNT
from makoredis.base.record import Wire, wire_decoder, wire_encode
from makoredis.data.slots import slot_of

HASH_BITS = 32
HASH_MAX = (1 << HASH_BITS) - 1
POSITION_MAX = (SLOT_COUNT << HASH_BITS) - 1

SLOT_TABLE_DB = 0xFFFF
"""The table is changed by effects on a key of its own, in a database that no client can name."""
SLOT_TABLE_KEY = b"slots"

Run = tuple[int, int, int]
"""First and last position, and a shard."""


class Goal(Wire):
    """Slots that are to be moved to a shard as far as they are still here."""

    first: int
    last: int
    shard: int


class _Stored(Wire):
    """A table's binary form: where runs begin, and whose they are. A file format: a new field goes last."""

    starts: list[int]
    shards: list[int]
    goals: list[Goal]


_decode: Callable[[bytes], _Stored] = wire_decoder(_Stored)


def position_of(key: bytes) -> int:
    """Where a key is in the order of all keys."""
    return slot_of(key) << HASH_BITS | crc32(key)


class SlotTable:
    """Runs of positions to shards, and what is to be moved."""

    __slots__ = ("_by_slot", "goals", "shards", "starts")

    def __init__(self, starts: Sequence[int], shards: Sequence[int], goals: Iterable[Goal] = ()) -> None:
        """
        Args:
            starts: where each run begins, ascending, the first at 0.
            shards: whose it is.
        """
        self.starts: list[int] = []
        self.shards: list[int] = []
        for start, shard in zip(starts, shards):
            if not self.shards or self.shards[-1] != shard:
                self.starts.append(start)
                self.shards.append(shard)
        self.goals = tuple(goals)
        self._by_slot: list[int] | None = None

    @classmethod
    def divided(cls, shard_count: int) -> "SlotTable":
        """All slots, divided evenly among the shards 1 … `shard_count`."""
        starts = [number * SLOT_COUNT // shard_count << HASH_BITS for number in range(shard_count)]
        return cls(starts, range(1, shard_count + 1))

    # -- looking

    def at(self, position: int) -> int:
        """The shard of a position."""
        return self.shards[bisect_right(self.starts, position) - 1]

    def shard_of(self, key: bytes) -> int:
        """The shard of a key."""
        by_slot = self._by_slot
        if by_slot is None:
            by_slot = self._by_slot = self._slots()
        slot = slot_of(key)
        return by_slot[slot] or self.at(slot << HASH_BITS | crc32(key))

    def _slots(self) -> list[int]:
        """The shard of each slot, 0 where there are several."""
        by_slot: list[int] = []
        for first, last, shard in self.runs():
            whole, following = -(-first >> HASH_BITS), last + 1 >> HASH_BITS
            by_slot += [0] * (whole - len(by_slot))
            by_slot += [shard] * (following - len(by_slot))
        return by_slot

    def run_at(self, position: int) -> Run:
        """The run that a position is in."""
        number = bisect_right(self.starts, position) - 1
        return self.starts[number], self._last(number), self.shards[number]

    def _last(self, number: int) -> int:
        return self.starts[number + 1] - 1 if number + 1 < len(self.starts) else POSITION_MAX

    def runs(self) -> Iterator[Run]:
        """All runs, in order."""
        for number, (start, shard) in enumerate(zip(self.starts, self.shards)):
            yield start, self._last(number), shard

    def runs_of(self, shard: int, first: int = 0, last: int = POSITION_MAX) -> Iterator[Run]:
        """The runs of one shard within limits."""
        for start, end, owner in self.runs():
            if owner == shard and start <= last and end >= first:
                yield max(start, first), min(end, last), owner

    def owns(self, shard: int, first: int, last: int) -> bool:
        """Whether all of a run is one shard's."""
        _start, end, owner = self.run_at(first)
        return owner == shard and end >= last

    def slot_runs(self) -> list[Run]:
        """Whole slots and their shards. A slot that is divided counts as that of its last key's: where it comes from,
        while it moves."""
        runs: list[Run] = []
        following = 0
        for _, last, shard in self.runs():
            end = (last + 1 >> HASH_BITS) - 1
            if end >= following:
                if runs and runs[-1][2] == shard:
                    runs[-1] = (runs[-1][0], end, shard)
                else:
                    runs.append((following, end, shard))
                following = end + 1
        return runs

    def differences(self, older: "SlotTable") -> list[Run]:
        """The runs, and whose they are now, that another table has otherwise."""
        found: list[Run] = []
        for first, last, shard in self.runs():
            while first <= last:
                _, end, was = older.run_at(first)
                if was != shard:
                    found.append((first, min(end, last), shard))
                first = end + 1
        return found

    # -- changing

    def assign(self, first: int, last: int, shard: int) -> "SlotTable":
        """The same with a run that belongs to this shard."""
        starts, shards = [], []
        for start, end, owner in self.runs():
            if start < first:
                starts.append(start)
                shards.append(owner)
            if start <= first <= end:
                starts.append(first)
                shards.append(shard)
            if end > last:
                starts.append(max(start, last + 1))
                shards.append(owner)
        return SlotTable(starts, shards, self.goals)

    def with_goals(self, goals: Iterable[Goal]) -> "SlotTable":
        """The same with other goals."""
        return SlotTable(self.starts, self.shards, goals)

    def without_goals_in(self, first: int, last: int) -> list[Goal]:
        """The goals, but for these slots."""
        left: list[Goal] = []
        for goal in self.goals:
            if goal.first < first:
                left.append(Goal(goal.first, min(goal.last, first - 1), goal.shard))
            if goal.last > last:
                left.append(Goal(max(goal.first, last + 1), goal.last, goal.shard))
        return left

    # -- the binary form

    def encode(self) -> bytes:
        return wire_encode(_Stored(self.starts, self.shards, list(self.goals)))

    @classmethod
    def decode(cls, encoded: bytes) -> "SlotTable":
        stored = _decode(encoded)
        return cls(stored.starts, stored.shards, stored.goals)
