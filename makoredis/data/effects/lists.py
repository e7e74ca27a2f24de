"""Effects on lists. `left` says which end; elements are given in the order in which they are pushed or were popped."""

from makoredis.base.record import Wire, record
from makoredis.data.config import DataConfig
from makoredis.data.effects.base import Forget, Undo, remove_key
from makoredis.data.keyspace import Keyspace
from makoredis.data.values import List


def _list_at(space: Keyspace, db: int, key: bytes) -> List:
    value = space.by_id[db].get(key)
    assert isinstance(value, List)
    return value


class ListPush(Wire, tag=20):
    """Pushes elements one after the other to one end; creates the list."""

    db: int
    key: bytes
    left: bool
    elements: list[bytes]

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        value = database.get(self.key)
        if value is None:
            value = List()
            database.put(self.key, value)
            value.push(self.left, self.elements, space.config)
            return Forget(self.db, self.key)
        assert isinstance(value, List)
        return self.change(value, space.config)

    def change(self, value: List, config: DataConfig) -> Undo:
        """`apply` to the key's value, for whoever has looked it up already."""
        elements = self.elements
        value.push(self.left, elements, config)
        return ListPop(self.db, self.key, self.left, len(elements))


class ListPop(Wire, tag=21):
    """Removes `count` elements from one end; the list must have as many."""

    db: int
    key: bytes
    left: bool
    count: int

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        value = database.get(self.key)
        assert isinstance(value, List)
        if self.count == value.length:
            return remove_key(database, self.key)
        return self.change(value, space.config)

    def change(self, value: List, config: DataConfig) -> Undo:
        """`apply` to the key's value, for whoever has looked it up already. More must be left in it."""
        left, count = self.left, self.count
        if count == 1:
            return ListPush(self.db, self.key, left, [value.pop(left, config)])
        removed = value.pop_many(left, count, config)
        removed.reverse()
        return ListPush(self.db, self.key, left, removed)


class ListSet(Wire, tag=22):
    """Replaces the element at an index (from 0)."""

    db: int
    key: bytes
    at: int
    element: bytes

    def apply(self, space: Keyspace) -> Undo:
        old = _list_at(space, self.db, self.key).set(self.at, self.element, space.config)
        return ListSet(self.db, self.key, self.at, old)


class ListInsert(Wire, tag=23):
    """Inserts an element so that it stands at index `at` (from 0)."""

    db: int
    key: bytes
    at: int
    element: bytes

    def apply(self, space: Keyspace) -> Undo:
        _list_at(space, self.db, self.key).insert(self.at, self.element, space.config)
        return ListRemove(self.db, self.key, [self.at])


class ListRemove(Wire, tag=24):
    """Removes the elements at the given indexes, ascending, as they stand before the removal."""

    db: int
    key: bytes
    indexes: list[int]

    def apply(self, space: Keyspace) -> Undo:
        value = _list_at(space, self.db, self.key)
        if len(self.indexes) == len(value):
            return remove_key(space.by_id[self.db], self.key)
        removed = value.remove(self.indexes, space.config)
        return _Reinsert(self.db, self.key, list(zip(self.indexes, removed)))


@record
class _Reinsert:
    """Inverse of ListRemove: `(index, element)` ascending."""

    db: int
    key: bytes
    elements: list[tuple[int, bytes]]

    def apply(self, space: Keyspace) -> None:
        _list_at(space, self.db, self.key).reinsert(self.elements, space.config)
