"""A command on values of several shards: it runs on a keyspace that holds just the keys that were fetched.

What it changes comes out as effects, to be applied by the shards that the keys belong to; those on whole databases by
all shards. A key that was not fetched is not a missing key: touching one makes the run void, and it has to be repeated
with that key (`Scratch.missing`). It goes on with a guess, what the node's snapshot has there or else no such key, so
that one run finds many of them, even those whose names are read from others. The same goes for commands on all keys:
they have to know how many keys there are in all shards, or all their names (`makoredis.server.shards.parts`).
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import TYPE_CHECKING

from makoredis.commands.glob import matcher
from makoredis.data.access import Access
from makoredis.data.effects import Effect, ExchangeDatabases, FlushDatabase, Undo
from makoredis.data.keyspace import Keyspace
from makoredis.data.values import Value
from makoredis.server.shards.keys import Name
from makoredis.server.shards.operations import NAMED_VALUES, Ran, Run, Surveyed, run
from makoredis.server.shards.parts import Missing, Part, Undeclared, Whole

if TYPE_CHECKING:
    from makoredis.server.server import Server

NAMES_MAX = 30_000
"""How many keys a command may touch, about, if it does not name them all."""
LOOKS_MIN = 12_000
"""A run may look so often for keys that were not fetched, before it ends. What it does is true up to the first of them
only, so a loop may have no end that has one in truth."""
LOOKS_PER_KEY = 3
"""Or so often for every key that was fetched: what lacks many keys finds them in few runs."""
GUESS_LENGTH_MAX = 1_000_000
"""Bytes or elements of the values that a run may guess: copying them takes time."""
Guess = Callable[[Name], tuple[Value, int] | None]
"""A value of its own, and its deadline, for a key that was not fetched; None: nothing is known of it."""


class _ScratchAccess(Access):
    """Notes what is touched without having been fetched."""

    __slots__ = ("_applied", "_fetched", "_guess", "_guess_length_left", "_looks_max", "_missing", "_walked")

    def __init__(self, space: Keyspace, rng: Random, fetched: set[Name], missing: Missing, guess: Guess) -> None:
        super().__init__(space, rng)
        self.notes_new = True
        """Has commands go through `apply` that would put a value into the keyspace without having looked there."""
        self._applied: list[Effect] = []
        """Effects on keys that were looked for: all there are."""
        self._fetched = fetched
        self._guess = guess
        self._guess_length_left = GUESS_LENGTH_MAX
        self._missing = missing
        self._looks_max = max(LOOKS_MIN, LOOKS_PER_KEY * len(fetched))
        self._walked: list[tuple[int, bytes | None]] = []
        """Databases, and patterns of keys whose names the run was told there."""

    def _look(self, number: int, key: bytes) -> None:
        part = self.space.by_id[number]
        assert isinstance(part, Part | Whole)
        if (part.origin, key) in self._fetched:
            return
        if isinstance(part, Whole):
            if part.is_emptied:
                return
            if part.get(key) is None:  # and nobody can make it meanwhile
                self._fetched.add((part.origin, key))
                return
            self._miss_walked(part)
            part.remove(key)  # what stands for its value is for nobody to see
        name = part.origin, key
        if name not in self._missing.names:
            self._missing.names[name] = None
            if isinstance(part, Part):
                self._put_guess(part, name)
        self._missing.looks += 1
        if self._missing.looks > self._looks_max or len(self._missing.names) + len(self._fetched) > NAMES_MAX:
            raise Undeclared

    def _put_guess(self, part: Part, name: Name) -> None:
        guess = self._guess(name) if self._guess_length_left > 0 else None
        if guess is not None:
            value, deadline_ms = guess
            self._guess_length_left -= len(value)
            part.put(name[1], value)
            if deadline_ms:
                part.set_deadline(name[1], deadline_ms)

    def _miss_walked(self, part: Whole) -> None:
        """Whoever uses one of the keys that it was told will use the others, too."""
        for pattern in {pattern for origin, pattern in self._walked if origin == part.origin}:
            found = part.keys() if pattern is None else filter(matcher(pattern), part.keys())
            names = [(part.origin, key) for key in found]
            self._missing.names.update(dict.fromkeys(name for name in names if name not in self._fetched))

    def get(self, key: bytes) -> Value | None:
        self._look(self.database.id, key)
        return super().get(key)

    def peek(self, key: bytes) -> Value | None:
        self._look(self.database.id, key)
        return super().peek(key)

    def deadline(self, key: bytes) -> int:
        self._look(self.database.id, key)
        return super().deadline(key)

    def walk(self, pattern: bytes | None) -> None:
        if isinstance(self.database, Part):
            raise self.database.lacks_names()
        assert isinstance(self.database, Whole)
        self._walked.append((self.database.origin, pattern))

    def is_live(self, key: bytes) -> bool:
        database = self.database
        assert isinstance(database, Whole)
        if database.is_emptied or (database.origin, key) in self._fetched:
            return super().is_live(key)
        return not database.is_expired(key, self.now_ms)

    def apply(self, effect: Effect) -> None:
        if effect.key is not None:
            self._look(effect.db, effect.key)
            super().apply(effect)
            self._applied.append(effect)
            return
        databases = self.space.by_id
        if isinstance(effect, FlushDatabase):
            emptied = databases[effect.db]
            assert isinstance(emptied, Part | Whole)
            databases[effect.db] = Whole(effect.db, emptied.origin, is_emptied=True)
        else:
            assert isinstance(effect, ExchangeDatabases)
            first, second = effect.first, effect.second
            databases[first], databases[second] = databases[second], databases[first]
            databases[first].id, databases[second].id = first, second
        self.space.databases = list(databases)
        self.select(self.number)
        self.effects.append(effect)  # nothing of a run is ever taken back: it is void as a whole
        self._applied.append(effect)

    def note(self, effect: Effect, undo: Undo) -> None:
        super().note(effect, undo)
        self._applied.append(effect)

    def lacking(self) -> int:
        return len(self._missing.names)

    def has_looked(self) -> bool:
        """Whether no command has changed a key behind this view's back, perhaps one that was not fetched."""
        return len(self._applied) == len(self.effects)

    def swap(self, first: int, second: int) -> None:
        self.apply(ExchangeDatabases(first, second))

    def in_database(self, number: int) -> Access:
        other = _ScratchAccess(self.space, self.rng, self._fetched, self._missing, self._guess)
        other.select(number)
        other.now_ms, other.protocol, other.is_replica, other.origin = (
            self.now_ms,
            self.protocol,
            self.is_replica,
            self.origin,
        )
        other.effects, other.undo, other.notices, other.messages = self.effects, self.undo, self.notices, self.messages
        other._walked, other._applied = self._walked, self._applied
        return other


class Scratch:
    """One run of one transaction."""

    def __init__(
        self,
        server: "Server",
        names: Iterable[Name],
        values: Iterable[tuple[int, bytes, Value, int]],
        surveys: Iterable[Surveyed] = (),
        seed: int | None = None,
        guess: Guess = lambda name: None,
    ) -> None:
        """
        Args:
            names: all keys that were fetched, existing or not.
            values: database, key, value and deadline (0: none) of those that exist.
            surveys: what is known of all keys: every shard's, or nothing.
            seed: of chance, where one run has to be like the other; None: the node's.
            guess: what a run goes on with that is void already.
        """
        self.server = server
        config = server.node.host.space
        self.space = Keyspace(0, config.config)
        self.missing = Missing()
        self.space.by_id = [Part(id, self.missing) for id in range(len(config.by_id))]
        counts = self._survey(surveys)
        self.space.databases = list(self.space.by_id)
        self.space.libraries = config.libraries
        self.space.scripting = config.scripting
        rng = server.node.host.access.rng if seed is None else Random(seed)
        self.access = _ScratchAccess(self.space, rng, set(names), self.missing, guess)
        self.access.now_ms = server.now_ms
        self.access.count_receivers = server.pubsub.count_receivers
        for database, key, value, deadline_ms in values:
            part = self.space.by_id[database]
            part.put(key, value)
            if deadline_ms:
                part.set_deadline(key, deadline_ms)
        for database, count in counts.items():
            self.space.by_id[database].size = count

    def _survey(self, surveys: Iterable[Surveyed]) -> dict[int, int]:
        """Makes databases whole of which all names are known. Returns the sizes of the others, if they are known."""
        counts: dict[int, int] = {}
        for survey in surveys:
            for number, count in enumerate(survey.sizes):
                counts[number] = counts.get(number, 0) + count
            for names in survey.names:
                database = self.space.by_id[names.database]
                if not isinstance(database, Whole):
                    database = self.space.by_id[names.database] = Whole(names.database, names.database)
                for key, kind in zip(names.keys, names.kinds):
                    database.put(key, NAMED_VALUES[kind])
                for key, deadline_ms in names.deadlines:
                    database.set_deadline(key, deadline_ms)
        return {number: count for number, count in counts.items() if isinstance(self.space.by_id[number], Part)}

    def run(self, operation: Run, refusal: str | None = None) -> Ran:
        """Runs the commands. The results are of use only if nothing is `missing`.

        Args:
            refusal: the error for what writes, as a shard says that would have to write it.
        """
        scripting = self.server.scripting
        scripting.disk_refusal = lambda: refusal
        try:
            ran = run(self.server, self.access, operation, refusal)
            assert self.access.has_looked(), "a command has changed a key without looking at it"
            if self.access.effects:
                # What the shards log are the effects, so whoever asked says what else there is to hear.
                ran.messages.extend(self.server.pubsub.messages_of(self.access.notices))
            return ran
        except Undeclared:
            return Ran([])
        finally:
            scripting.disk_refusal = scripting.refusal_here

    def effects(self, owner: Callable[[bytes], int], everywhere: Iterable[int]) -> dict[int, list[Effect]]:
        """What was changed, by shard.

        Args:
            owner: says whose a key is.
            everywhere: the shards that take part, for what is done to whole databases.
        """
        divided: dict[int, list[Effect]] = {}
        for effect in self.access.effects:
            for shard in everywhere if effect.key is None else (owner(effect.key),):
                divided.setdefault(shard, []).append(effect)
        return divided
