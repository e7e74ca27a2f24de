"""Effects on whole databases and on the function libraries. Their `key` is None, which tells them from all others."""

from typing import ClassVar

from makoredis.base.record import Wire, record
from makoredis.data.effects.base import Undo
from makoredis.data.keyspace import Database, Keyspace

EVERY_DATABASE = -1


class FlushDatabase(Wire, tag=70):
    """Empties the database with this id."""

    key: ClassVar[None] = None
    db: int

    def apply(self, space: Keyspace) -> Undo:
        old = Database(self.db)
        old.make_room()
        space.by_id[self.db].exchange(old)
        return _PutBackDatabase(old)


@record
class _PutBackDatabase:
    """Inverse of FlushDatabase: the database as it was."""

    database: Database

    def apply(self, space: Keyspace) -> None:
        space.by_id[self.database.id].exchange(self.database)


class SwapDatabases(Wire, tag=71):
    """Exchanges which databases two numbers stand for."""

    key: ClassVar[None] = None
    db: ClassVar[int] = EVERY_DATABASE
    first: int
    second: int

    def apply(self, space: Keyspace) -> Undo:
        numbered = space.databases
        numbered[self.first], numbered[self.second] = numbered[self.second], numbered[self.first]
        return self


class ExchangeDatabases(Wire, tag=74):
    """Exchanges the content of two databases, where there are several shards. There a database's number is its id, so
    that shards and those who have their keys locked mean the same by it at any moment."""

    key: ClassVar[None] = None
    db: ClassVar[int] = EVERY_DATABASE
    first: int
    second: int

    def apply(self, space: Keyspace) -> Undo:
        space.by_id[self.first].exchange(space.by_id[self.second])
        space.exchanged_count += 1
        return self


class PutLibrary(Wire, tag=72):
    """Stores the source of a function library under its name."""

    key: ClassVar[None] = None
    db: ClassVar[int] = EVERY_DATABASE
    name: bytes
    source: bytes

    def apply(self, space: Keyspace) -> Undo:
        old = space.libraries.get(self.name)
        space.libraries[self.name] = self.source
        return DeleteLibrary(self.name) if old is None else PutLibrary(self.name, old)


class DeleteLibrary(Wire, tag=73):
    """Removes a function library, which exists."""

    key: ClassVar[None] = None
    db: ClassVar[int] = EVERY_DATABASE
    name: bytes

    def apply(self, space: Keyspace) -> Undo:
        return PutLibrary(self.name, space.libraries.pop(self.name))
