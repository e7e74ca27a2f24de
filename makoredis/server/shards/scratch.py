"""A command on values of several shards: it runs on a keyspace that holds just the keys that were fetched.

What it changes comes out as effects, to be applied by the shards that the keys belong to. A key that was not fetched is
not a missing key: touching one makes the run void, and it has to be repeated with that key (`Scratch.missing`).
Commands on all keys cannot run here, and say so.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError
from makoredis.data.access import Access
from makoredis.data.effects import Effect
from makoredis.data.keyspace import Database, Keyspace, Slot
from makoredis.data.slots import slot_of
from makoredis.data.values import Value
from makoredis.server.shards.keys import Name
from makoredis.server.shards.operations import Ran, Run, run

if TYPE_CHECKING:
    from makoredis.server.server import Server

NOT_IN_PART = ClientError("ERR a command on all keys cannot be part of a transaction or script where there are shards")


class _Undeclared(Exception):
    """A key was touched that was not fetched. Whoever catches it: the run counts for nothing (`Scratch.missing`)."""


class _Slots(dict[int, Slot]):
    """Slots that come into being when they are looked at."""

    def __missing__(self, number: int) -> Slot:
        slot: Slot = {}
        self[number] = slot
        return slot


class _Part(Database):
    """A database of which only some keys are here."""

    __slots__ = ()

    def __init__(self, id: int) -> None:
        super().__init__(id)
        self.slots = _Slots()  # type: ignore[assignment]  # is only looked into by number

    def put(self, key: bytes, value: Value) -> Value | None:
        slot = self.slots[slot_of(key)]
        old = slot.get(key)
        slot[key] = value
        return old

    def remove(self, key: bytes) -> tuple[Value, int] | None:
        value = self.slots[slot_of(key)].pop(key, None)
        return None if value is None else (value, self.expires.pop(key, 0))

    @property
    def size(self) -> int:
        raise NOT_IN_PART

    @size.setter
    def size(self, size: int) -> None:
        assert size == 0

    def keys(self) -> Iterator[bytes]:
        raise NOT_IN_PART

    def key_at(self, position: int) -> bytes:
        raise NOT_IN_PART

    def first_slot_used(self, start: int) -> int:
        raise NOT_IN_PART


class _ScratchAccess(Access):
    """Notes what is touched without having been fetched."""

    __slots__ = ("_fetched", "_missing")

    def __init__(self, space: Keyspace, rng: Any, fetched: set[Name], missing: dict[Name, None]) -> None:
        super().__init__(space, rng)
        self._fetched = fetched
        self._missing = missing

    def _look(self, database: int, key: bytes) -> None:
        if (database, key) not in self._fetched:
            self._missing[database, key] = None
            raise _Undeclared

    def get(self, key: bytes) -> Value | None:
        self._look(self.database.id, key)
        return super().get(key)

    def peek(self, key: bytes) -> Value | None:
        self._look(self.database.id, key)
        return super().peek(key)

    def deadline(self, key: bytes) -> int:
        self._look(self.database.id, key)
        return super().deadline(key)

    def apply(self, effect: Effect) -> None:
        if effect.key is None:
            raise NOT_IN_PART
        self._look(effect.db, effect.key)
        super().apply(effect)

    def in_database(self, number: int) -> Access:
        other = _ScratchAccess(self.space, self.rng, self._fetched, self._missing)
        other.select(number)
        other.now_ms, other.protocol, other.is_replica, other.origin = (
            self.now_ms,
            self.protocol,
            self.is_replica,
            self.origin,
        )
        other.effects, other.undo, other.notices, other.messages = self.effects, self.undo, self.notices, self.messages
        return other


class Scratch:
    """One run of one transaction."""

    def __init__(
        self, server: "Server", names: Iterable[Name], values: Iterable[tuple[int, bytes, Value, int]]
    ) -> None:
        """
        Args:
            names: all keys that were fetched, existing or not.
            values: database, key, value and deadline (0: none) of those that exist.
        """
        self.server = server
        config = server.node.host.space
        self.space = Keyspace(0, config.config)
        self.space.by_id = [_Part(id) for id in range(len(config.by_id))]
        self.space.databases = list(self.space.by_id)
        self.space.libraries = config.libraries
        self.space.scripting = config.scripting
        self.missing: dict[Name, None] = {}
        """Keys to be fetched for the next run; if there are any, this one counts for nothing."""
        self.access = _ScratchAccess(self.space, server.node.host.access.rng, set(names), self.missing)
        self.access.now_ms = server.now_ms
        self.access.count_receivers = server.pubsub.count_receivers
        for database, key, value, deadline_ms in values:
            part = self.space.by_id[database]
            part.put(key, value)
            if deadline_ms:
                part.set_deadline(key, deadline_ms)

    def run(self, operation: Run) -> Ran:
        """Runs the commands. The results are of use only if nothing is `missing`."""
        try:
            ran = run(self.server, self.access, operation)
            if self.access.effects:
                # What the shards log are the effects, so whoever asked says what else there is to hear.
                ran.messages.extend(self.server.pubsub.messages_of(self.access.notices))
            return ran
        except _Undeclared:
            return Ran([])

    def effects(self, shards: Mapping[bytes, int]) -> dict[int, list[Effect]]:
        """What was changed, by shard.

        Args:
            shards: which one each key was fetched from, whatever is believed of it by now.
        """
        divided: dict[int, list[Effect]] = {}
        for effect in self.access.effects:
            assert effect.key is not None
            divided.setdefault(shards[effect.key], []).append(effect)
        return divided
