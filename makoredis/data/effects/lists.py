"""Effects on lists. `left` says which end; elements are given in the order in which they are pushed or were popped."""

from makoredis.base.record import Wire, record
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
            undo: Undo = Forget(self.db, self.key)
        else:
            assert isinstance(value, List)
            undo = ListPop(self.db, self.key, self.left, len(self.elements))
        if self.left:
            value.items.extendleft(self.elements)
        else:
            value.items.extend(self.elements)
        return undo


class ListPop(Wire, tag=21):
    """Removes `count` elements from one end; the list must have as many."""

    db: int
    key: bytes
    left: bool
    count: int

    def apply(self, space: Keyspace) -> Undo:
        value = _list_at(space, self.db, self.key)
        if self.count == len(value.items):
            return remove_key(space.by_id[self.db], self.key)
        pop = value.items.popleft if self.left else value.items.pop
        removed = [pop() for _ in range(self.count)]
        removed.reverse()
        return ListPush(self.db, self.key, self.left, removed)


class ListSet(Wire, tag=22):
    """Replaces the element at an index (from 0)."""

    db: int
    key: bytes
    at: int
    element: bytes

    def apply(self, space: Keyspace) -> Undo:
        items = _list_at(space, self.db, self.key).items
        old = items[self.at]
        items[self.at] = self.element
        return ListSet(self.db, self.key, self.at, old)


class ListInsert(Wire, tag=23):
    """Inserts an element so that it stands at index `at` (from 0)."""

    db: int
    key: bytes
    at: int
    element: bytes

    def apply(self, space: Keyspace) -> Undo:
        _list_at(space, self.db, self.key).items.insert(self.at, self.element)
        return ListRemove(self.db, self.key, [self.at])


class ListRemove(Wire, tag=24):
    """Removes the elements at the given indexes, ascending, as they stand before the removal."""

    db: int
    key: bytes
    indexes: list[int]

    def apply(self, space: Keyspace) -> Undo:
        items = _list_at(space, self.db, self.key).items
        if len(self.indexes) == len(items):
            return remove_key(space.by_id[self.db], self.key)
        removed = []
        for at in reversed(self.indexes):
            removed.append((at, items[at]))
            del items[at]
        removed.reverse()
        return _Reinsert(self.db, self.key, removed)


@record
class _Reinsert:
    """Inverse of ListRemove: `(index, element)` ascending."""

    db: int
    key: bytes
    elements: list[tuple[int, bytes]]

    def apply(self, space: Keyspace) -> None:
        items = _list_at(space, self.db, self.key).items
        for at, element in self.elements:
            items.insert(at, element)
