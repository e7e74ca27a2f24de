"""Versions of watched keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from makoredis.data.effects import Effect, FlushDatabase, SwapDatabases
from makoredis.data.keyspace import Keyspace
from makoredis.server.session import Session

if TYPE_CHECKING:
    from makoredis.server.server import Server


@dataclass(slots=True)
class _Watched:
    """`version` counts the changes of the key since somebody began to watch it."""

    version: int
    watchers: int
    exists: bool
    """As of the last change: emptying a database changes only keys that exist."""


class WatchTable:
    """Counts effects on watched keys, by database number and key. Holds nothing for keys that nobody watches."""

    def __init__(self) -> None:
        self.keys: dict[tuple[int, bytes], _Watched] = {}

    def watch(self, server: "Server", session: Session, key: bytes) -> None:
        """Remembers the key's present version for this session; again is the same as once."""
        database = server.node.host.space.databases[session.database]
        name = (session.database, key)
        if name in session.watched:
            return
        entry = self.keys.get(name)
        if entry is None:
            entry = self.keys[name] = _Watched(0, 0, database.get(key) is not None)
        entry.watchers += 1
        # A key that is past its deadline already, but not deleted yet, may be deleted without failing EXEC.
        expired = database.is_expired(key, server.now_ms)
        session.watched[name] = -1 if expired else entry.version
        server.refresh_observers()

    def is_current(self, server: "Server", session: Session) -> bool:
        """Whether none of the session's watched keys has changed or expired."""
        databases = server.node.host.space.databases
        for (number, key), version in session.watched.items():
            if version >= 0:
                if self.keys[number, key].version != version:
                    return False
                if databases[number].is_expired(key, server.now_ms):
                    return False
            elif databases[number].get(key) is not None and self.keys[number, key].version > 0:
                return False
        return True

    def forget(self, session: Session) -> None:
        """Ends the session's watching."""
        for name in session.watched:
            entry = self.keys[name]
            entry.watchers -= 1
            if entry.watchers == 0:
                del self.keys[name]
        session.watched.clear()

    def note(self, effects: Sequence[Effect], space: Keyspace) -> None:
        """Counts what a transaction has just changed. One on a whole database counts for its watched keys."""
        numbers = space.numbers()
        for effect in effects:
            key = effect.key
            if key is None:
                self._note_databases(effect, space, numbers)
            else:
                name = (numbers[effect.db], key)
                entry = self.keys.get(name)
                if entry is not None:
                    entry.version += 1
                    entry.exists = space.databases[name[0]].get(key) is not None

    def _note_databases(self, effect: Effect, space: Keyspace, numbers: list[int]) -> None:
        """A key that exists neither before nor after has not changed. The other database of an exchange may have it."""
        if isinstance(effect, SwapDatabases):
            touched: tuple[int, ...] = (effect.first, effect.second)
        elif isinstance(effect, FlushDatabase):
            touched = (numbers[effect.db],)
        else:
            return
        for (number, key), entry in self.keys.items():
            if number in touched:
                exists = space.databases[number].get(key) is not None
                if entry.exists or exists:
                    entry.version += 1
                entry.exists = exists
