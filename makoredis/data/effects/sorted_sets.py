"""Effects on sorted sets."""

from makoredis.base.record import Wire
from makoredis.data.config import DataConfig
from makoredis.data.effects.base import Forget, Undo, remove_key
from makoredis.data.keyspace import Keyspace
from makoredis.data.values import SortedSet


class SortedSetPut(Wire, tag=50):
    """Sets members' scores; creates the sorted set."""

    db: int
    key: bytes
    members: list[tuple[bytes, float]]

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        value = database.get(self.key)
        if value is None:
            value = SortedSet(dict(self.members))
            value.settle_encoding(space.config)
            database.put(self.key, value)
            return Forget(self.db, self.key)
        assert isinstance(value, SortedSet)
        return self.change(value, space.config)

    def change(self, value: SortedSet, config: DataConfig) -> Undo:
        """`apply` to the key's value, for whoever has looked it up already."""
        members = self.members
        was_listpack = not (value.is_skiplist or value.settle_encoding(config))
        undo = _RestoreScores(
            self.db, self.key, [(member, value.put(member, score)) for member, score in members], was_listpack
        )
        if was_listpack:
            value.is_skiplist = not value.fits_listpack(config, [member for member, _ in members])
        return undo


class SortedSetRemove(Wire, tag=51):
    """Removes members, all of which are there."""

    db: int
    key: bytes
    members: list[bytes]

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        value = database.get(self.key)
        assert isinstance(value, SortedSet)
        if len(self.members) == len(value):
            return remove_key(database, self.key)
        was_listpack = not value.settle_encoding(space.config)
        removed = [(member, value.remove(member)) for member in self.members]
        return _RestoreScores(self.db, self.key, removed, was_listpack)


class SortedSetRemoveRange(Wire, tag=52):
    """Removes the members of ranks `start` ≤ rank < `stop`, both within the size."""

    db: int
    key: bytes
    start: int
    stop: int

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        value = database.get(self.key)
        assert isinstance(value, SortedSet)
        if self.stop - self.start == len(value):
            return remove_key(database, self.key)
        was_listpack = not value.settle_encoding(space.config)
        return _RestoreScores(self.db, self.key, value.remove_range(self.start, self.stop), was_listpack)


class _RestoreScores(Wire):
    """Inverse of a change of scores: what each member had before, None for not being there. Never encoded."""

    db: int
    key: bytes
    scores: list[tuple[bytes, float]] | list[tuple[bytes, float | None]]
    was_listpack: bool

    def apply(self, space: Keyspace) -> None:
        value = space.by_id[self.db].get(self.key)
        assert isinstance(value, SortedSet)
        for member, score in reversed(self.scores):
            if score is None:
                value.remove(member)
            else:
                value.put(member, score)
        if self.was_listpack:
            value.is_skiplist = False
