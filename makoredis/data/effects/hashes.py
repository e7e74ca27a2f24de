"""Effects on hashes."""

from makoredis.base.record import Wire, record
from makoredis.data.effects.base import Forget, Undo, remove_key
from makoredis.data.keyspace import Keyspace
from makoredis.data.values import Hash


class HashSet(Wire, tag=30):
    """Sets fields; creates the hash. `pairs` is field, value, field, value …"""

    db: int
    key: bytes
    pairs: list[bytes]

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        value = database.get(self.key)
        if value is None:
            value = Hash()
            database.put(self.key, value)
            undo: Undo = Forget(self.db, self.key)
        else:
            assert isinstance(value, Hash)
            undo = _RestoreFields(self.db, self.key, [(field, value.fields.get(field)) for field in self.pairs[::2]])
        value.fields.update(zip(self.pairs[::2], self.pairs[1::2]))
        return undo


class HashDelete(Wire, tag=31):
    """Removes fields, all of which exist."""

    db: int
    key: bytes
    fields: list[bytes]

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        value = database.get(self.key)
        assert isinstance(value, Hash)
        if len(self.fields) == len(value.fields):
            return remove_key(database, self.key)
        return _RestoreFields(self.db, self.key, [(field, value.fields.pop(field)) for field in self.fields])


@record
class _RestoreFields:
    """Inverse of a change of fields: what each held before, None for nothing."""

    db: int
    key: bytes
    fields: list[tuple[bytes, bytes | None]]

    def apply(self, space: Keyspace) -> None:
        value = space.by_id[self.db].get(self.key)
        assert isinstance(value, Hash)
        for field, old in self.fields:
            if old is None:
                value.fields.pop(field, None)
            else:
                value.fields[field] = old
