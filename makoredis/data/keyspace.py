"""The keyspace of one shard: databases of 16384 slots of `dict`, with deadlines beside them.

Invariants:
* A key with a deadline is in `expires`; `expires` holds no key that is not in its slot.
* `size` is the number of keys over all slots, `block_sizes` that of each run of `BLOCK_SLOTS` slots.
* A collection in a slot is never empty, unless it is a stream.
* A hash with deadlines of fields is in `hash_deadlines`, not later than with its earliest one; what else is in there
  does no harm.
* Only effects change a database (`makoredis.data.effects`); `put` and `remove` are theirs.

A database is addressed in two ways: clients say its *number* (SELECT 3), effects and the disk say its *id*. SWAPDB only
exchanges which id two numbers stand for, so it costs the same for any size.

A slot is a plain dict until it holds `SLOT_KEYS_MAX` keys, which takes 16 million keys or one well-used `{tag}`. Then
it becomes a `ScanDict`, so that SCAN can return its keys a few at a time.
"""

from binascii import crc_hqx
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import islice
from random import Random
from types import MappingProxyType

from makoredis.base.ids import SLOT_COUNT
from makoredis.data.config import DataConfig
from makoredis.data.deadlines import Deadlines
from makoredis.data.slot_table import SlotTable
from makoredis.data.slots import slot_of
from makoredis.data.uses import UseCounts
from makoredis.data.values import Hash, Value
from makoredis.data.values.scan_dict import ScanDict

DATABASE_COUNT_DEFAULT = 16

BLOCK_SLOTS = 128
SLOT_KEYS_MAX = 1024
TOUCHED_MAX = 1 << 16
"""Keys per generation of the record of last uses: some 6 MB."""
TOUCHED_SHARE = 4
"""While keys are evicted by their last use, a generation holds one in so many keys if that is more: the last quarter to
half of all keys in use are told from the others."""
_HEAP_FILL_MIN = 4
"""A heap of deadlines with fewer than one in so many that count is rebuilt before it is sampled."""
_VOLATILE_TRIES = 8
"""Deadlines that are looked at for each key of a sample, as some of them are outdated."""

Slot = dict[bytes, Value] | ScanDict[Value]

_NO_KEYS: dict[bytes, Value] = MappingProxyType({})  # type: ignore[assignment]  # the place of every empty slot
_OPENING_BRACE = ord("{")
_SLOT_MASK = SLOT_COUNT - 1
_BLANK: list[Slot] = [_NO_KEYS] * SLOT_COUNT
_HEAP_SLACK = 64
"""Outdated deadlines that the heap may hold, beyond as many as there are live ones, before it is rebuilt."""


class Database:
    """One numbered database. All empty slots share one mapping."""

    __slots__ = (
        "_deadlines",
        "_is_blank",
        "_touched_before",
        "_touched_before_since_ms",
        "_touched_since_ms",
        "block_sizes",
        "expires",
        "hash_deadlines",
        "id",
        "ranks_uses",
        "size",
        "slots",
        "touched",
        "touched_max",
    )

    def __init__(self, id: int) -> None:
        self.id = id
        self.slots: list[Slot] = _BLANK
        """Shared and not to be changed while `_is_blank`."""
        self.expires: dict[bytes, int] = {}
        self.hash_deadlines = Deadlines()
        self.size = 0
        self.block_sizes = [0] * (SLOT_COUNT // BLOCK_SLOTS)
        self.touched: dict[bytes, int] = {}
        """When keys were last used, Unix milliseconds; see `last_use`. Not part of the replicated state."""
        self.touched_max = TOUCHED_MAX
        """Entries of `touched` from which `forget_oldest_uses` is to be called."""
        self.ranks_uses = False
        """Whether keys are evicted by their last use, which is worth more memory."""
        self._touched_since_ms = 0
        self._touched_before: dict[bytes, int] = {}
        self._touched_before_since_ms = 0
        self._is_blank = True
        self._deadlines: list[tuple[int, bytes]] = []

    def exchange(self, other: "Database") -> None:
        """Exchanges all content with another database; the ids stay, and what is noted of uses. Costs the same for any
        size."""
        for name in self.__slots__:
            if name not in ("id", "ranks_uses"):
                mine, theirs = getattr(self, name), getattr(other, name)
                setattr(self, name, theirs)
                setattr(other, name, mine)
        if isinstance(other.touched, UseCounts) and not isinstance(self.touched, UseCounts):
            self.touched = UseCounts(other.touched.rng)

    def get(self, key: bytes) -> Value | None:
        """The value of a key, whether past its deadline or not."""
        return self.slots[slot_of(key)].get(key)

    def is_expired(self, key: bytes, now_ms: int) -> bool:
        """Whether a key's deadline has passed."""
        deadline = self.expires.get(key)
        return deadline is not None and deadline <= now_ms

    def make_room(self) -> None:
        """Takes the memory that any number of keys needs, 128 KiB, before the first key does."""
        if self._is_blank:
            self.slots = _BLANK.copy()
            self._is_blank = False

    def put(self, key: bytes, value: Value) -> Value | None:
        """Stores a value, leaving the deadline as it is. Returns the value that was there."""
        if self._is_blank:
            self.make_room()
        number = slot_of(key) if _OPENING_BRACE in key else crc_hqx(key, 0) & _SLOT_MASK  # slot_of, without the call
        slot = self.slots[number]
        if slot is _NO_KEYS:
            slot = self.slots[number] = {}
        old = slot.get(key)
        slot[key] = value
        if old is None:
            self.size += 1
            self.block_sizes[number // BLOCK_SLOTS] += 1
            if len(slot) > SLOT_KEYS_MAX and type(slot) is dict:
                self.slots[number] = ScanDict(slot)
        if value.__class__ is Hash and value.deadlines is not None:
            self.schedule_fields(key, value.deadlines.next() or 0)
        return old

    def remove(self, key: bytes) -> tuple[Value, int] | None:
        """Removes a key and its deadline. Returns both (deadline 0 = none), None if there was no such key."""
        if self._is_blank:
            return None
        number = slot_of(key)
        slot = self.slots[number]
        if slot is _NO_KEYS:
            return None
        value = slot.pop(key, None)
        if value is None:
            return None
        if not slot:
            self.slots[number] = _NO_KEYS  # a dict does not shrink
        self.size -= 1
        self.block_sizes[number // BLOCK_SLOTS] -= 1
        return value, self.expires.pop(key, 0) if self.expires else 0

    def set_deadline(self, key: bytes, deadline_ms: int) -> int:
        """Sets (0: clears) the deadline of an existing key. Returns the one it had, 0 for none."""
        if deadline_ms == 0:
            return self.expires.pop(key, 0)
        old = self.expires.get(key, 0)
        self.expires[key] = deadline_ms
        heappush(self._deadlines, (deadline_ms, key))
        if len(self._deadlines) > 2 * len(self.expires) + _HEAP_SLACK:
            self._rebuild_deadlines()
        return old

    def take_due(self, now_ms: int, count_max: int) -> list[bytes]:
        """Up to `count_max` keys whose deadline has passed, earliest first. They stay in the database; a key is
        handed out once per deadline."""
        due: list[bytes] = []
        heap = self._deadlines
        while heap and heap[0][0] <= now_ms and len(due) < count_max:
            deadline, key = heappop(heap)
            if self.expires.get(key) == deadline:
                due.append(key)
        return due

    def next_deadline(self) -> int | None:
        """No key expires before this; None when nothing is scheduled."""
        return self._deadlines[0][0] if self._deadlines else None

    def next_due(self) -> int | None:
        """Neither a key nor a field of a hash expires before this; None when nothing is scheduled."""
        deadlines = [self.next_deadline() if self.expires else None]
        if self.hash_deadlines.by_name:
            deadlines.append(self.hash_deadlines.next())
        return min((each for each in deadlines if each is not None), default=None)

    def put_back_due(self, key: bytes) -> None:
        """Schedules a key again that `take_due` handed out and that was not deleted after all."""
        deadline = self.expires.get(key)
        if deadline is not None:
            heappush(self._deadlines, (deadline, key))

    def schedule_fields(self, key: bytes, deadline_ms: int) -> None:
        """Notes that a field of this hash expires then (0: none does)."""
        old = self.hash_deadlines.by_name.get(key)
        if deadline_ms and (old is None or deadline_ms < old):
            self.hash_deadlines.put(key, deadline_ms)

    def take_due_hashes(self, now_ms: int, count_max: int) -> list[bytes]:
        """Up to `count_max` keys of hashes that hold fields past their deadline. `Access.get` on the leader deletes
        those fields; until then the keys are handed out again."""
        due: list[bytes] = []
        for key in self.hash_deadlines.due(now_ms, count_max):
            value = self.get(key)
            deadline = value.deadlines.next() if isinstance(value, Hash) and value.deadlines is not None else None
            if deadline is not None and deadline <= now_ms:
                due.append(key)
            else:
                self.hash_deadlines.put(key, deadline or 0)
        return due

    def forget_oldest_uses(self, now_ms: int) -> None:
        """Starts a new generation of `touched` if this one is full; the one before the last is forgotten."""
        touched = self.touched
        self.touched_max = max(TOUCHED_MAX, self.size // TOUCHED_SHARE if self.ranks_uses else 0)
        if len(touched) <= self.touched_max:
            return
        self._touched_before = touched
        self.touched = touched.renewed() if isinstance(touched, UseCounts) else {}
        self._touched_before_since_ms, self._touched_since_ms = self._touched_since_ms, now_ms

    def count_uses(self, rng: Random | None) -> None:
        """Begins to count uses, with this source of chance; None: ends it."""
        if isinstance(self.touched, UseCounts) != (rng is not None):
            self.touched = dict(self.touched) if rng is None else UseCounts(rng)

    def note_use(self, key: bytes, now_ms: int, idle_ms: int, count: int | None) -> None:
        """Notes that a key was last used so long ago, and how often, as whoever restores it says."""
        touched = self.touched
        if not isinstance(touched, UseCounts):
            touched[key] = now_ms - idle_ms
        elif count is not None:
            touched.put(key, now_ms, count)

    def use_count(self, key: bytes, now_ms: int) -> int:
        """How often a key is used, from 0 to 255; 0 also if that is not known."""
        for touched in (self.touched, self._touched_before):
            if isinstance(touched, UseCounts) and key in touched:
                return touched.count(key, now_ms) or 0
        return 0

    def last_use(self, key: bytes, now_ms: int) -> int:
        """When a key was last used, Unix milliseconds: exact for the most recently used ones (`TOUCHED_MAX` to twice
        as many), for all others the latest time that it can have been."""
        used = self.touched.get(key) or self._touched_before.get(key)
        if used is not None:
            return used
        return self._touched_before_since_ms or min(self.touched.values(), default=now_ms)

    def known_use(self, key: bytes) -> int:
        """When a key was last used, Unix milliseconds; 0 if that was too long ago to be known."""
        return self.touched.get(key) or self._touched_before.get(key, 0)

    def forget_use(self, key: bytes) -> None:
        """A key that was evicted is not told from others if it comes again."""
        for touched in (self.touched, self._touched_before):
            if isinstance(touched, UseCounts):
                touched.discard(key)
            else:
                touched.pop(key, None)

    def sample(self, rng: Random, count: int) -> list[bytes]:
        """Some different keys, at most all: from a place of chance on, like Redis's `dictGetSomeKeys`."""
        if self.size <= count:
            return list(self.keys())
        found: list[bytes] = []
        number = self.first_slot_used(rng.randrange(SLOT_COUNT))
        while len(found) < count:
            if number == SLOT_COUNT:
                number = self.first_slot_used(0)
            slot, missing = self.slots[number], count - len(found)
            start = rng.randrange(len(slot) - missing + 1) if len(slot) > missing else 0
            found += islice(iter(slot), start, start + missing)
            number = self.first_slot_used(number + 1)
        return found

    def sample_volatile(self, rng: Random, count: int) -> list[bytes]:
        """Some keys with a deadline, at least one if there is any. The same one may be in it twice."""
        expires = self.expires
        if len(expires) <= count:
            return list(expires)
        if len(self._deadlines) > _HEAP_FILL_MIN * len(expires):
            self._rebuild_deadlines()
        heap, found = self._deadlines, []
        for _ in range(_VOLATILE_TRIES * count if heap else 0):
            deadline, key = heap[rng.randrange(len(heap))]
            if expires.get(key) == deadline:
                found.append(key)
                if len(found) == count:
                    break
        return found or list(islice(expires, count))

    def earliest_deadline(self) -> tuple[int, bytes] | None:
        """The earliest deadline and its key; None if there is none."""
        heap, expires = self._deadlines, self.expires
        while heap and expires.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        if not heap and expires:
            self._rebuild_deadlines()  # they were handed out by `take_due`
        return self._deadlines[0] if self._deadlines else None

    def _rebuild_deadlines(self) -> None:
        self._deadlines = [(deadline, key) for key, deadline in self.expires.items()]
        heapify(self._deadlines)

    def first_slot_used(self, start: int) -> int:
        """The first slot from `start` on that holds keys; SLOT_COUNT if there is none."""
        slots = self.slots
        number = start
        while number < SLOT_COUNT:
            if self.block_sizes[number // BLOCK_SLOTS] == 0:
                number = (number // BLOCK_SLOTS + 1) * BLOCK_SLOTS
            elif slots[number]:
                return number
            else:
                number += 1
        return number

    def key_at(self, position: int) -> bytes:
        """The key at a position below `size`, when all are counted in slot order."""
        number = 0
        for size in self.block_sizes:
            if position < size:
                break
            position -= size
            number += BLOCK_SLOTS
        while position >= len(self.slots[number]):
            position -= len(self.slots[number])
            number += 1
        return next(islice(iter(self.slots[number]), position, None))

    def keys(self) -> Iterator[bytes]:
        """All keys in slot order, including those past their deadline."""
        slots = self.slots
        for number, size in enumerate(self.block_sizes):
            if size:
                for slot in slots[number * BLOCK_SLOTS : (number + 1) * BLOCK_SLOTS]:
                    yield from slot


class Keyspace:
    """All databases of one shard."""

    __slots__ = (
        "by_id",
        "config",
        "databases",
        "exchanged_count",
        "expired_count",
        "libraries",
        "scripting",
        "slot_table",
    )

    def __init__(self, database_count: int = DATABASE_COUNT_DEFAULT, config: DataConfig | None = None) -> None:
        self.by_id: list[Database] = [Database(id) for id in range(database_count)]
        for first in self.by_id[:1]:
            first.make_room()
        self.databases: list[Database] = list(self.by_id)
        """By number, as clients say it."""
        self.config = DataConfig() if config is None else config
        self.exchanged_count = 0
        """How often databases have exchanged their content, or taken that back; for who reads them bit by bit."""
        self.expired_count = 0
        """Keys that were deleted here because their deadline had passed: a statistic."""
        self.libraries: dict[bytes, bytes] = {}
        """FUNCTION LOADed libraries: name → source."""
        self.scripting: object | None = None
        """What this node has compiled of scripts and libraries (a `ScriptEngine`); no part of the state."""
        self.slot_table: SlotTable | None = None
        """Which keys belong here and where others went, where there are several shards."""

    def numbers(self) -> list[int]:
        """By database id, the number that clients know it by."""
        numbers = [0] * len(self.by_id)
        for number, database in enumerate(self.databases):
            numbers[database.id] = number
        return numbers

    def next_due(self) -> int | None:
        """Nothing expires before this, in any database; None when nothing is scheduled."""
        return min((due for each in self.by_id if (due := each.next_due()) is not None), default=None)

    def take(self, other: "Keyspace") -> None:
        """Takes another keyspace's content in place of its own."""
        for mine, theirs in zip(self.by_id, other.by_id):
            mine.exchange(theirs)
        self.databases[:] = [self.by_id[database.id] for database in other.databases]
        self.libraries.clear()
        self.libraries.update(other.libraries)
        self.slot_table = other.slot_table

    def note_uses_like(self, other: "Keyspace") -> None:
        """Notes the same of uses as another keyspace does."""
        for mine, theirs in zip(self.by_id, other.by_id):
            mine.ranks_uses = theirs.ranks_uses
            mine.count_uses(theirs.touched.rng if isinstance(theirs.touched, UseCounts) else None)

    def is_empty(self) -> bool:
        return not any(database.size for database in self.by_id)
