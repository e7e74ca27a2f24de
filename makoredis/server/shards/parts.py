"""Databases of a run over several shards (`scratch`): what is known of each, and what is missing.

There are two kinds. Of a `Part` only those keys are known that were fetched, perhaps also how many there are. Of a
`Whole` every key is known by name; those whose values were not fetched have an empty value of their type in its place,
which nobody but commands on all keys gets to see. Whatever asks for more than is known says so in `Missing`: the run is
void and has to be repeated with that. What looks for a key of a `Part` is told that there is none, so that the run goes
on and says what else it wants; everything else raises `Undeclared`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from makoredis.data.keyspace import Database, Slot
from makoredis.data.slots import slot_of
from makoredis.data.values import Value
from makoredis.server.shards.keys import Name


class Undeclared(Exception):
    """Something was touched that was not fetched. Whoever catches it: the run counts for nothing."""


@dataclass(slots=True)
class Missing:
    """What has to be fetched for the next run; if there is anything, this one counts for nothing."""

    names: dict[Name, None] = field(default_factory=dict)
    sizes: bool = False
    """How many keys each database has."""
    walks: set[int] = field(default_factory=set)
    """Databases of which all keys' names are wanted."""
    looks: int = 0
    """How often a key was looked for that was not fetched."""

    def __bool__(self) -> bool:
        return bool(self.names or self.sizes or self.walks)


class _Slots(dict[int, Slot]):
    """Slots that come into being when they are looked at."""

    def __missing__(self, number: int) -> Slot:
        slot: Slot = {}
        self[number] = slot
        return slot


class Part(Database):
    """A database of which only some keys are here."""

    __slots__ = ("_count", "missing", "origin")

    def __init__(self, id: int, missing: Missing) -> None:
        super().__init__(id)
        self.slots = _Slots()  # type: ignore[assignment]  # is only looked into by number
        self.missing = missing
        self.origin = id
        """Its number where it was fetched from: SWAPDB gives it another here."""
        self._count: int | None = None

    def put(self, key: bytes, value: Value) -> Value | None:
        slot = self.slots[slot_of(key)]
        old = slot.get(key)
        slot[key] = value
        if old is None and self._count is not None:
            self._count += 1
        return old

    def remove(self, key: bytes) -> tuple[Value, int] | None:
        value = self.slots[slot_of(key)].pop(key, None)
        if value is None:
            return None
        if self._count is not None:
            self._count -= 1
        return value, self.expires.pop(key, 0)

    @property
    def size(self) -> int:
        if self._count is None:
            self.missing.sizes = True
            raise Undeclared
        return self._count

    @size.setter
    def size(self, size: int) -> None:
        self._count = size

    def lacks_names(self) -> Undeclared:
        """Says that all keys are wanted; to be raised."""
        self.missing.walks.add(self.origin)
        return Undeclared()

    def keys(self) -> Iterator[bytes]:
        raise self.lacks_names()

    def key_at(self, position: int) -> bytes:
        raise self.lacks_names()

    def first_slot_used(self, start: int) -> int:
        raise self.lacks_names()


class Whole(Database):
    """A database of which every key is here by name."""

    __slots__ = ("is_emptied", "origin")

    def __init__(self, id: int, origin: int, *, is_emptied: bool = False) -> None:
        """
        Args:
            is_emptied: the run itself has emptied it. So there is nothing to be fetched of it any more.
        """
        super().__init__(id)
        self.origin = origin
        self.is_emptied = is_emptied
