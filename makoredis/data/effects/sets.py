"""Effects on sets."""

from makoredis.base.record import Wire
from makoredis.data.effects.base import Forget, Undo, remove_key
from makoredis.data.keyspace import Keyspace
from makoredis.data.values import Set


class SetAdd(Wire, tag=40):
    """Adds members, none of which is there; creates the set."""

    db: int
    key: bytes
    members: list[bytes]

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        value = database.get(self.key)
        if value is None:
            database.put(self.key, Set(self.members))
            return Forget(self.db, self.key)
        assert isinstance(value, Set)
        for member in self.members:
            value.add(member)
        return SetRemove(self.db, self.key, self.members)


class SetRemove(Wire, tag=41):
    """Removes members, all of which are there."""

    db: int
    key: bytes
    members: list[bytes]

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        value = database.get(self.key)
        assert isinstance(value, Set)
        if len(self.members) == len(value):
            return remove_key(database, self.key)
        for member in self.members:
            value.discard(member)
        return SetAdd(self.db, self.key, self.members)
