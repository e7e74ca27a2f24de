"""Effects on hashes."""

from makoredis.base.record import Wire, record
from makoredis.data.config import DataConfig
from makoredis.data.effects.base import Forget, Undo, remove_key
from makoredis.data.keyspace import Keyspace
from makoredis.data.values import Hash
from makoredis.data.values.field_index import FieldIndex

_ORDERED_MAX = 128
"""Hashes up to this size get back their very order of fields when a removal is undone: clients can see it there.

A larger one is a hash table for Redis, without any order that lasts."""


def _hash_at(space: Keyspace, db: int, key: bytes) -> Hash:
    value = space.by_id[db].get(key)
    assert isinstance(value, Hash)
    return value


class HashSet(Wire, tag=30):
    """Sets fields; creates the hash. `pairs` is field, value, field, value … A field loses its deadline unless it is to
    keep it (HINCRBY)."""

    db: int
    key: bytes
    pairs: list[bytes]
    keep_deadlines: bool = False

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        value = database.get(self.key)
        pairs = self.pairs
        if value is None:
            value = Hash()
            value.fields.update(zip(pairs[::2], pairs[1::2]))
            value.convert(pairs, space.config)
            database.put(self.key, value)
            return Forget(self.db, self.key)
        assert isinstance(value, Hash)
        return self.change(value, space.config)

    def change(self, value: Hash, config: DataConfig) -> Undo:
        """`apply` to the key's value, for whoever has looked it up already."""
        pairs = self.pairs
        fields = value.fields
        if len(pairs) == 2 and value.deadlines is None:
            return self._change_field(value, config)
        names = pairs[::2]
        undo = _RestoreFields(self.db, self.key, [(field, fields.get(field)) for field in names])
        if value.index is not None or value.places is not None:
            for field in dict.fromkeys(names):
                if field not in fields:
                    value.note_new(field)
        fields.update(zip(names, pairs[1::2]))
        if value.may_convert:
            value.convert(pairs, config)
        if value.deadlines is None or self.keep_deadlines:
            return undo
        return _RestoreDeadlines(self.db, self.key, [(field, value.set_deadline(field, 0)) for field in names], undo)

    def _change_field(self, value: Hash, config: DataConfig) -> Undo:
        """The most frequent case: one field, and no deadlines."""
        field, content = self.pairs
        fields = value.fields
        old = fields.get(field)
        if old is None and (value.index is not None or value.places is not None):
            value.note_new(field)
        fields[field] = content
        if value.may_convert:
            value.convert(self.pairs, config)
        return _RestoreFields(self.db, self.key, [(field, old)])


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
        order = list(value.fields) if len(value.fields) <= _ORDERED_MAX else []
        removed = []
        for field in self.fields:
            was = value.remove(field)
            assert was is not None
            removed.append((field, *was))
        index = value.index
        if index is not None:
            value.index = index.compacted()
        return _PutBackFields(self.db, self.key, removed, order, index)


class HashExpire(Wire, tag=32):
    """Sets when fields, all of which exist, expire, in milliseconds since the Unix epoch; 0 clears it."""

    db: int
    key: bytes
    fields: list[bytes]
    deadline_ms: int

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        value = database.get(self.key)
        assert isinstance(value, Hash)
        deadline = self.deadline_ms
        old = [(field, value.set_deadline(field, deadline)) for field in self.fields]
        if deadline:
            database.schedule_fields(self.key, deadline)
        return _RestoreDeadlines(self.db, self.key, old, None)


class _RestoreFields(Wire):
    """Inverse of HashSet: what each field held before, None for nothing. Never encoded."""

    db: int
    key: bytes
    fields: list[tuple[bytes, bytes | None]]

    def apply(self, space: Keyspace) -> None:
        value = _hash_at(space, self.db, self.key)
        for field, old in reversed(self.fields):
            if old is None:
                value.remove(field)
            else:
                value.fields[field] = old


@record
class _RestoreDeadlines:
    """Inverse of a change of fields' deadlines (0 = none), and of what came with it."""

    db: int
    key: bytes
    deadlines: list[tuple[bytes, int]]
    rest: Undo | None

    def apply(self, space: Keyspace) -> None:
        database = space.by_id[self.db]
        value = _hash_at(space, self.db, self.key)
        for field, deadline in reversed(self.deadlines):
            value.set_deadline(field, deadline)
            if deadline:
                database.schedule_fields(self.key, deadline)
        if self.rest is not None:
            self.rest.apply(space)


@record
class _PutBackFields:
    """Inverse of HashDelete: (field, value, deadline), the order there was if it matters, and the index there was."""

    db: int
    key: bytes
    removed: list[tuple[bytes, bytes, int]]
    order: list[bytes]
    index: FieldIndex | None

    def apply(self, space: Keyspace) -> None:
        database = space.by_id[self.db]
        value = _hash_at(space, self.db, self.key)
        if self.index is not None:
            value.index = self.index
        for field, old, deadline in reversed(self.removed):
            value.put_back(field, old, deadline)
            if deadline:
                database.schedule_fields(self.key, deadline)
        if self.order:
            fields = value.fields.copy()
            value.fields.clear()
            value.fields.update((field, fields[field]) for field in self.order)
