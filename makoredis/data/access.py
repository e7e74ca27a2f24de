"""What a command sees of the world: one transaction's view of the keyspace, the time, and chance.

A command reads through `Access`, and changes only by `apply`, which performs an effect at once and keeps it together
with its inverse. Whoever runs the transaction then takes `effects` for the log and `undo` for a roll-back. What should
happen outside the keyspace (notifications, published messages) is noted here too, and is performed when the
transaction is final, not before.
"""

from binascii import crc_hqx
from collections.abc import Callable, Iterable, Sequence
from random import Random

from makoredis.base.errors import ClientError
from makoredis.base.ids import SLOT_COUNT
from makoredis.data import events
from makoredis.data.effects import Delete, Effect, ExchangeDatabases, HashDelete, SwapDatabases, Undo
from makoredis.data.effects.base import Forget
from makoredis.data.keyspace import Database, Keyspace
from makoredis.data.slots import slot_of
from makoredis.data.values import Hash, List, Set, SortedSet, Stream, Value

_OPENING_BRACE = ord("{")
_SLOT_MASK = SLOT_COUNT - 1
WRONG_TYPE = ClientError("WRONGTYPE Operation against a key holding the wrong kind of value")


class Access:
    """One transaction's reads and effects on one keyspace.

    Attributes:
        now_ms: the transaction's time, Unix milliseconds; the same for all its commands.
        rng: the only source of chance.
        database: the selected database.
        protocol: 2 or 3, for the few commands whose reply's shape depends on it.
        effects, undo: what was changed, in order.
        notices: keyspace notifications to send when final: (class, event, key, database number).
        messages: published messages to deliver when final: (channel, message, is_sharded, how many notices go first).
        origin: the client whose transaction this is; 0 = the server's own (active expiry).
        leaves_no_trace: whether using keys is not to count as a use (CLIENT NO-TOUCH).
        script_reads: whether a script has run a reading command in this transaction.
        notes_new: whether a key that comes into being is worth a notification (the class is wanted).
        notes_misses: whether a read of a missing key is worth a notification (a reading command; the class is wanted).
        unlogged: where what is executed is final, so that nobody needs effects or inverses: keys that were changed
            without. A handler may do that if nothing can fail any more. None: they are needed.
        may_block: whether a blocking command may wait (not inside MULTI or a script).
        is_replica: reads on a follower: expired keys are hidden, but never deleted from here.
    """

    __slots__ = (
        "count_receivers",
        "database",
        "effects",
        "in_script",
        "is_replica",
        "leaves_no_trace",
        "may_block",
        "messages",
        "notes_misses",
        "notes_new",
        "notices",
        "now_ms",
        "number",
        "origin",
        "protocol",
        "rng",
        "script_reads",
        "space",
        "undo",
        "unlogged",
    )

    def __init__(self, space: Keyspace, rng: Random, number: int = 0, now_ms: int = 0, protocol: int = 2) -> None:
        self.space = space
        self.rng = rng
        self.number = number
        self.database: Database = space.databases[number]
        self.now_ms = now_ms
        self.protocol = protocol
        self.effects: list[Effect] = []
        self.undo: list[Undo] = []
        self.notices: list[tuple[int, bytes, bytes, int]] = []
        self.messages: list[tuple[bytes, bytes, bool, int]] = []
        self.origin = 0
        self.notes_new = bool(space.config.notify_events & events.NEW)
        self.notes_misses = False
        self.leaves_no_trace = False
        self.script_reads = False
        self.may_block = False
        self.in_script = False
        self.is_replica = False
        self.unlogged: list[bytes] | None = None
        self.count_receivers: Callable[[bytes, bool], int] = _nobody

    # -- reading

    def get(self, key: bytes) -> Value | None:
        """The value of a key, None when missing or past its deadline (then its deletion becomes an effect)."""
        database = self.database
        touched = database.touched
        touched[key] = self.now_ms
        if len(touched) > database.touched_max:
            database.forget_oldest_uses(self.now_ms)
        if _OPENING_BRACE in key:
            value = database.slots[slot_of(key)].get(key)
        else:
            value = database.slots[crc_hqx(key, 0) & _SLOT_MASK].get(key)  # slot_of, without the call
        if value is not None and (database.expires or database.hash_deadlines.by_name):
            value = self._live(key, value)
        if value is None and self.notes_misses:
            self.notify(events.KEY_MISS, b"keymiss", key)
        return value

    def note_uses(self, names: Iterable[tuple[int, bytes]]) -> None:
        """Counts as using keys, by database number and name, whose values are read elsewhere."""
        for number, key in names:
            database = self.space.databases[number]
            database.touched[key] = self.now_ms
            if len(database.touched) > database.touched_max:
                database.forget_oldest_uses(self.now_ms)

    def get_all(self, keys: Sequence[bytes]) -> Sequence[Value | None]:
        """The values of several keys, as `get` returns them."""
        database = self.database
        expires = database.expires
        if self.notes_misses or database.hash_deadlines.by_name or (expires and not expires.keys().isdisjoint(keys)):
            return [self.get(key) for key in keys]
        distinct = self.use_all(keys)
        slots = database.slots
        found = [
            slots[slot_of(key) if _OPENING_BRACE in key else crc_hqx(key, 0) & _SLOT_MASK].get(key) for key in distinct
        ]
        return found if len(found) == len(keys) else list(map(dict(zip(distinct, found)).__getitem__, keys))

    def use_all(self, keys: Iterable[bytes]) -> Iterable[bytes]:
        """Notes that keys are used. Returns each of them once, in the order of their first use."""
        database = self.database
        distinct = dict.fromkeys(keys, self.now_ms)
        database.touched.update(distinct)
        if len(database.touched) > database.touched_max:
            database.forget_oldest_uses(self.now_ms)
        return distinct

    def peek(self, key: bytes) -> Value | None:
        """The same as `get`, but doesn't count as using the key (TTL, TYPE, EXISTS, OBJECT)."""
        value = self.database.get(key)
        if value is not None:
            value = self._live(key, value)
        if value is None and self.notes_misses:
            self.notify(events.KEY_MISS, b"keymiss", key)
        return value

    def _live(self, key: bytes, value: Value) -> Value | None:
        """A value as it is now, after what has expired."""
        database = self.database
        if database.is_expired(key, self.now_ms):
            self.expire(key)
            return None
        if type(value) is Hash:
            return self._live_fields(key, value)
        return value

    def _live_fields(self, key: bytes, value: Hash) -> Hash | None:
        """A hash without the fields past their deadline (whose deletion becomes an effect), None if no field is left.

        A replica may not delete, and reads a copy until the leader's deletion arrives.
        """
        deadlines = value.deadlines
        if deadlines is None or (deadlines.next() or self.now_ms + 1) > self.now_ms:
            return value
        due = deadlines.due(self.now_ms, len(value.fields))
        if self.is_replica:
            return None if len(due) == len(value.fields) else value.without(due)
        is_last = len(due) == len(value.fields)
        self.apply(HashDelete(self.database.id, key, due))
        self.notify(events.HASH, b"hexpired", key)
        if is_last:
            self.notify(events.GENERIC, b"del", key)
            return None
        return value

    def string(self, key: bytes) -> bytes | bytearray | None:
        """Raises (as all typed reads): ClientError WRONGTYPE when the key holds something else."""
        value = self.get(key)
        if value is None or isinstance(value, bytes | bytearray):
            return value
        raise WRONG_TYPE

    def list(self, key: bytes) -> List | None:
        value = self.get(key)
        if value is None or isinstance(value, List):
            return value
        raise WRONG_TYPE

    def hash(self, key: bytes) -> Hash | None:
        value = self.get(key)
        if value is None or isinstance(value, Hash):
            return value
        raise WRONG_TYPE

    def set(self, key: bytes) -> Set | None:
        value = self.get(key)
        if value is None or isinstance(value, Set):
            return value
        raise WRONG_TYPE

    def sorted_set(self, key: bytes) -> SortedSet | None:
        value = self.get(key)
        if value is None or isinstance(value, SortedSet):
            return value
        raise WRONG_TYPE

    def stream(self, key: bytes) -> Stream | None:
        value = self.get(key)
        if value is None or isinstance(value, Stream):
            return value
        raise WRONG_TYPE

    def deadline(self, key: bytes) -> int:
        """When a key expires, Unix milliseconds; 0 = never."""
        return self.database.expires.get(key, 0)

    def walk(self, pattern: bytes | None) -> None:
        """A walk over all keys of the database begins or goes on, or over those that match. Not every view has them."""

    def lacking(self) -> int:
        """How many keys were touched that are not in this view; if any, the transaction will have to be repeated."""
        return 0

    def is_live(self, key: bytes) -> bool:
        """Whether a key that was met on such a walk is not past its deadline."""
        return self.peek(key) is not None

    # -- changing

    def apply(self, effect: Effect) -> None:
        """Performs an effect now, as part of this transaction."""
        undo = effect.apply(self.space)
        self.undo.append(undo)
        self.effects.append(effect)
        if self.notes_new and isinstance(undo, Forget):
            self.notify(events.NEW, b"new", undo.key)

    def note(self, effect: Effect, undo: Undo) -> None:
        """Takes over an effect on an existing key that was just performed on the very value this transaction has read,
        which saves `apply`'s second look-up of the key."""
        self.undo.append(undo)
        self.effects.append(effect)

    def delete(self, key: bytes) -> bool:
        """Deletes a key; False if it did not exist."""
        if self.get(key) is None:
            return False
        self.apply(Delete(self.database.id, key))
        return True

    def expire(self, key: bytes) -> None:
        """Deletes a key because its deadline has passed. On a replica only the leader's log may do that."""
        if not self.is_replica:
            self.apply(Delete(self.database.id, key))
            self.database.forget_use(key)
            self.space.expired_count += 1
            self.notify(events.EXPIRED, b"expired", key)

    def swap(self, first: int, second: int) -> None:
        """Exchanges two databases (SWAPDB)."""
        is_shard = self.space.slot_table is not None
        self.apply(ExchangeDatabases(first, second) if is_shard else SwapDatabases(first, second))
        self.select(self.number)

    def select(self, number: int) -> None:
        """Goes to another database for the commands that follow in this transaction."""
        self.number = number
        self.database = self.space.databases[number]

    def in_database(self, number: int) -> "Access":
        """The same transaction, seen from another database (COPY … DB, MOVE)."""
        other = Access(self.space, self.rng, number, self.now_ms, self.protocol)
        other.effects, other.undo, other.notices, other.messages = self.effects, self.undo, self.notices, self.messages
        other.is_replica = self.is_replica
        other.origin, other.notes_misses = self.origin, self.notes_misses
        return other

    def rollback(self) -> None:
        """Takes back every effect so far."""
        for undo in reversed(self.undo):
            undo.apply(self.space)
        self.effects, self.undo, self.notices, self.messages = [], [], [], []

    # -- for when the transaction is final

    def notify(self, event_class: int, event: bytes, key: bytes) -> None:
        """Notes a keyspace notification, if anybody wants its class."""
        if self.space.config.notify_events & event_class:
            self.notices.append((event_class, event, key, self.number))

    def publish(self, channel: bytes, message: bytes, is_sharded: bool = False) -> int:
        """Notes a message for a channel. Returns how many clients would get it now."""
        self.messages.append((channel, message, is_sharded, len(self.notices)))
        return self.count_receivers(channel, is_sharded)


def _nobody(channel: bytes, is_sharded: bool) -> int:
    return 0
