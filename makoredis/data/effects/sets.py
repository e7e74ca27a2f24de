"""Effects on sets."""

from makoredis.base.record import Wire, record
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
            value = Set(self.members)
            value.convert(self.members, space.config)
            database.put(self.key, value)
            return Forget(self.db, self.key)
        assert isinstance(value, Set)
        for member in self.members:
            value.add(member)
        if value.may_convert:
            value.convert(self.members, space.config)
        return _TakeOut(self.db, self.key, self.members)


class SetRemove(Wire, tag=41):
    """Removes members, all of which are there."""

    db: int
    key: bytes
    members: list[bytes]

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        value = database.get(self.key)
        assert isinstance(value, Set)
        if len(self.members) == len(value.members):
            return remove_key(database, self.key)
        if not value.form:
            value.convert(value.members, space.config)  # it stays what it is with all of them
        return _PutBackMembers(self.db, self.key, self.members, [value.discard(member) for member in self.members])


@record
class _TakeOut:
    """Inverse of SetAdd to a set that was there: the members are its last ones."""

    db: int
    key: bytes
    members: list[bytes]

    def apply(self, space: Keyspace) -> None:
        value = space.by_id[self.db].get(self.key)
        assert isinstance(value, Set)
        for member in reversed(self.members):
            value.discard(member)


@record
class _PutBackMembers:
    """Inverse of SetRemove: also the places are as before, because scans depend on them."""

    db: int
    key: bytes
    members: list[bytes]
    places: list[int]

    def apply(self, space: Keyspace) -> None:
        value = space.by_id[self.db].get(self.key)
        assert isinstance(value, Set)
        for member, at in zip(reversed(self.members), reversed(self.places)):
            value.put_back(member, at)
