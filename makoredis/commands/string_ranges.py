"""Commands on parts of strings. A change carries only the bytes that it writes, however long the string is."""

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import int64
from makoredis.commands.registry import command
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import SetRange, SetString

OFFSET_OUT_OF_RANGE = ClientError("ERR offset is out of range")
STRING_TOO_LONG = ClientError("ERR string exceeds maximum allowed size (proto-max-bulk-len)")


@command("APPEND", "Appends a string to the value of a key. Creates the key if it doesn't exist.")
def append(access: Access, key: bytes, tail: bytes) -> int:
    value = access.string(key)
    if value is None:
        access.apply(SetString(access.database.id, key, tail))
        length = len(tail)
    else:
        length = len(value) + len(tail)
        check_length(access, length)
        access.apply(SetRange(access.database.id, key, len(value), tail))
    access.notify(events.STRING, b"append", key)
    return length


def check_length(access: Access, length: int) -> None:
    """Raises: ClientError when a string would become longer than a client may send one."""
    if length > access.space.config.proto_max_bulk_len:
        raise STRING_TOO_LONG


@command("SETRANGE", "Overwrites a part of a string value with another by an offset. Creates the key if needed.")
def setrange(access: Access, key: bytes, offset: bytes, part: bytes) -> int:
    start = int64(offset)
    if start < 0:
        raise OFFSET_OUT_OF_RANGE
    value = access.string(key)
    length = 0 if value is None else len(value)
    if not part:
        return length
    check_length(access, start + len(part))
    access.apply(SetRange(access.database.id, key, start, part))
    access.notify(events.STRING, b"setrange", key)
    return max(length, start + len(part))


@command("GETRANGE", "Returns a substring of the string stored at a key.")
def getrange(access: Access, key: bytes, start: bytes, end: bytes) -> bytes:
    first, last = int64(start), int64(end)
    value = access.string(key)
    if value is None:
        return b""
    chosen = resolve_range(first, last, len(value))
    return bytes(value[chosen.start : chosen.stop])


@command("SUBSTR", "Returns a substring from a string value.")
def substr(access: Access, key: bytes, start: bytes, end: bytes) -> bytes:
    return getrange(access, key, start, end)


def resolve_range(first: int, last: int, length: int) -> range:
    """The positions from `first` to `last`, both included, of something so long; negative ones count from the end."""
    if first < 0 and last < 0 and first > last:
        return range(0)
    first = max(first + length, 0) if first < 0 else first
    last = max(last + length, 0) if last < 0 else min(last, length - 1)
    return range(first, last + 1) if first <= last < length else range(0)
