"""What all effects share: the shape of an inverse, and the inverses that hold on to a whole value."""

from typing import Protocol

from makoredis.base.record import Wire
from makoredis.data.keyspace import Database, Keyspace
from makoredis.data.values import Value


class Undo(Protocol):
    """Takes one effect back. Exact only when every later effect has been taken back before."""

    def apply(self, space: Keyspace) -> object: ...


class NothingToUndo:
    """The inverse of an effect that changed nothing."""

    __slots__ = ()

    def apply(self, space: Keyspace) -> None:
        return None


NOTHING = NothingToUndo()


class Forget(Wire):
    """Inverse of creating a key. Never encoded; a `Wire` because nothing else is built as fast."""

    db: int
    key: bytes

    def apply(self, space: Keyspace) -> None:
        space.by_id[self.db].remove(self.key)


class PutBack(Wire):
    """Inverse of removing or replacing a key: the very object that was there, and its deadline (0 = none)."""

    db: int
    key: bytes
    value: Value
    deadline_ms: int

    def apply(self, space: Keyspace) -> None:
        database = space.by_id[self.db]
        database.put(self.key, self.value)
        database.set_deadline(self.key, self.deadline_ms)


def remove_key(database: Database, key: bytes) -> Undo:
    """Removes a key with its deadline, and returns what puts both back."""
    removed = database.remove(key)
    if removed is None:
        return NOTHING
    return PutBack(database.id, key, removed[0], removed[1])
