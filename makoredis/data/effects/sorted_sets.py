"""Effects on sorted sets."""

from makoredis.base.record import Wire, record
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
            database.put(self.key, SortedSet(dict(self.members)))
            return Forget(self.db, self.key)
        assert isinstance(value, SortedSet)
        return _RestoreScores(self.db, self.key, [(member, value.put(member, score)) for member, score in self.members])


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
        return _RestoreScores(self.db, self.key, [(member, value.remove(member)) for member in self.members])


@record
class _RestoreScores:
    """Inverse of a change of scores: what each member had before, None for not being there."""

    db: int
    key: bytes
    scores: list[tuple[bytes, float | None]]

    def apply(self, space: Keyspace) -> None:
        value = space.by_id[self.db].get(self.key)
        assert isinstance(value, SortedSet)
        for member, score in reversed(self.scores):
            if score is None:
                value.remove(member)
            else:
                value.put(member, score)
