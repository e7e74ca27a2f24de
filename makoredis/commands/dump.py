"""DUMP and RESTORE: a value as bytes that Redis understands, and back."""

from makoredis.base.errors import ClientError
from makoredis.base.record import record
from makoredis.commands.arguments import SYNTAX_ERROR, int64
from makoredis.commands.registry import command
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import Delete, PutValue
from makoredis.data.encoding import encode_value
from makoredis.data.rdb.errors import BadFormat
from makoredis.data.rdb.payload import dump as dump_value
from makoredis.data.rdb.payload import is_intact
from makoredis.data.rdb.payload import restore as restore_value
from makoredis.data.uses import USE_COUNT_MAX
from resp.replies import OK, Reply

KEY_EXISTS = ClientError("BUSYKEY Target key name already exists.")
NOT_INTACT = ClientError("ERR DUMP payload version or checksum are wrong")
BAD_FORMAT = ClientError("ERR Bad data format")


@record
class _Options:
    replaces: bool
    is_absolute: bool
    """Whether the time to live is a point in time."""
    idle_ms: int
    """How long ago the key counts as used."""
    use_count: int | None
    """For an LFU policy."""


@command("DUMP", "Returns a serialized representation of the value stored at a key.")
def dump(access: Access, key: bytes) -> bytes | None:
    value = access.get(key)
    return None if value is None else dump_value(value, access.space.config)


@command("RESTORE", "Creates a key from the serialized representation of a value.")
def restore(access: Access, key: bytes, time_to_live: bytes, payload: bytes, *words: bytes) -> Reply:
    options = _options(words)
    exists = access.get(key) is not None
    if exists and not options.replaces:
        raise KEY_EXISTS
    ttl_ms = int64(time_to_live)
    if ttl_ms < 0:
        raise ClientError("ERR Invalid TTL value, must be >= 0")
    if not is_intact(payload):
        raise NOT_INTACT
    try:
        value = restore_value(payload)
    except BadFormat:
        raise BAD_FORMAT from None
    db = access.database.id
    deadline_ms = ttl_ms if options.is_absolute or not ttl_ms else access.now_ms + ttl_ms
    if deadline_ms and deadline_ms <= access.now_ms:
        if exists:
            access.apply(Delete(db, key))
            access.notify(events.GENERIC, b"del", key)
        return OK
    access.apply(PutValue(db, key, encode_value(value), deadline_ms))
    access.database.note_use(key, access.now_ms, options.idle_ms, options.use_count)
    access.notify(events.NEW, b"new", key)
    access.notify(events.GENERIC, b"restore", key)
    return OK


def _options(words: tuple[bytes, ...]) -> _Options:
    """Raises: ClientError when one is malformed."""
    idle_seconds, frequency = 0, None
    replaces = is_absolute = has_idle_time = has_frequency = False
    at = 0
    while at < len(words):
        option = words[at].upper()
        has_value = at + 1 < len(words)
        if option == b"REPLACE":
            replaces = True
        elif option == b"ABSTTL":
            is_absolute = True
        elif option == b"IDLETIME" and has_value and not has_frequency:
            at += 1
            has_idle_time = True
            idle_seconds = int64(words[at])
            if idle_seconds < 0:
                raise ClientError("ERR Invalid IDLETIME value, must be >= 0")
        elif option == b"FREQ" and has_value and not has_idle_time:
            at += 1
            has_frequency = True
            frequency = int64(words[at])
            if not 0 <= frequency <= USE_COUNT_MAX:
                raise ClientError("ERR Invalid FREQ value, must be >= 0 and <= 255")
        else:
            raise SYNTAX_ERROR
        at += 1
    return _Options(replaces, is_absolute, idle_seconds * 1000, frequency)
