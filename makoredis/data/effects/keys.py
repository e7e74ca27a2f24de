"""Effects on a key of any type."""

from makoredis.base.record import Wire
from makoredis.data.effects.base import Forget, PutBack, Undo, remove_key
from makoredis.data.encoding import decode_value
from makoredis.data.keyspace import Keyspace


class Delete(Wire, tag=1):
    """Removes a key, whatever it holds."""

    db: int
    key: bytes

    def apply(self, space: Keyspace) -> Undo:
        return remove_key(space.by_id[self.db], self.key)


class SetDeadline(Wire, tag=2):
    """Sets when a key expires, in milliseconds since the Unix epoch; 0 clears it."""

    db: int
    key: bytes
    deadline_ms: int

    def apply(self, space: Keyspace) -> Undo:
        old = space.by_id[self.db].set_deadline(self.key, self.deadline_ms)
        return SetDeadline(self.db, self.key, old)


class PutValue(Wire, tag=3):
    """Replaces a key's value by a whole new one (RESTORE, COPY, RENAME, …STORE). Deadline 0 = none."""

    db: int
    key: bytes
    encoded: bytes
    """As `encode_value` or `encode_moved` of `makoredis.data.encoding` gives it."""
    deadline_ms: int = 0

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        deadline = database.expires.get(self.key, 0)
        old = database.put(self.key, decode_value(self.encoded))
        database.set_deadline(self.key, self.deadline_ms)
        if old is None:
            return Forget(self.db, self.key)
        return PutBack(self.db, self.key, old, deadline)
