"""OBJECT: what is known of a value beside its content.

makoredis has one representation per type; ENCODING answers which one Redis 7.2 would have chosen, since clients and
their tests look at it. IDLETIME is exact for recently used keys and an upper bound of the truth for others (see
`Database.last_use`). FREQ counts while `maxmemory-policy` is one for LFU.
"""

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import parse_int64
from makoredis.commands.registry import command
from makoredis.data.access import Access
from makoredis.data.config import DataConfig
from makoredis.data.values import Stream, Value
from resp.replies import Reply, Simple

FREQUENCY_NOT_TRACKED = ClientError(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching "
    "between policies at runtime LRU and LFU data will take some time to adjust."
)

_IDLE_TIME_NOT_TRACKED = ClientError(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies "
    "at runtime LRU and LFU data will take some time to adjust."
)

_EMBEDDED_STRING_MAX = 44
_INTEGER_DIGITS_MAX = 20
_SHARED_INTEGERS = 10_000
_SHARED_REFERENCES = 2**31 - 1

_HELP = """\
OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
ENCODING <key>
    Return the kind of internal representation used in order to store the value
    associated with a <key>.
FREQ <key>
    Return the access frequency index of the <key>. The returned integer is
    proportional to the logarithm of the recent access frequency of the key.
IDLETIME <key>
    Return the idle time of the <key>, that is the approximated number of
    seconds elapsed since the last access to the key.
REFCOUNT <key>
    Return the number of references of the value associated with the specified
    <key>.
HELP
    Prints this help."""


def encoding_of(value: Value, config: DataConfig) -> bytes:
    """The name of the representation that Redis would use."""
    if isinstance(value, bytes):
        return string_encoding(value)
    if isinstance(value, bytearray):
        return b"raw"
    return b"stream" if isinstance(value, Stream) else value.encoding(config)


def string_encoding(value: bytes) -> bytes:
    """`int`, `embstr` or `raw`: that of a string set as a whole. One that was changed in place is always `raw`."""
    if len(value) <= _INTEGER_DIGITS_MAX and parse_int64(value) is not None:
        return b"int"
    return b"embstr" if len(value) <= _EMBEDDED_STRING_MAX else b"raw"


@command("OBJECT|ENCODING", "Returns the internal encoding of an object.")
def object_encoding(access: Access, key: bytes) -> bytes | None:
    value = access.peek(key)
    return None if value is None else encoding_of(value, access.space.config)


@command("OBJECT|REFCOUNT", "Returns the reference count of a value of a key.")
def object_refcount(access: Access, key: bytes) -> int | None:
    value = access.peek(key)
    if value is None:
        return None
    number = parse_int64(value) if isinstance(value, bytes) else None
    is_shared = number is not None and 0 <= number < _SHARED_INTEGERS and access.space.config.shares_integers
    return _SHARED_REFERENCES if is_shared else 1


@command("OBJECT|IDLETIME", "Returns the time since the last access to an object.")
def object_idletime(access: Access, key: bytes) -> int | None:
    if access.peek(key) is None:
        return None
    if access.space.config.counts_uses:
        raise _IDLE_TIME_NOT_TRACKED
    return max(access.now_ms - access.database.last_use(key, access.now_ms), 0) // 1000


@command("OBJECT|FREQ", "Returns the logarithmic access frequency counter of an object.")
def object_freq(access: Access, key: bytes) -> int | None:
    if access.peek(key) is None:
        return None
    if not access.space.config.counts_uses:
        raise FREQUENCY_NOT_TRACKED
    return access.database.use_count(key, access.now_ms)


@command("OBJECT|HELP", "Returns helpful text about the different subcommands.")
def object_help(access: Access) -> Reply:
    return [Simple(line) for line in _HELP.split("\n")]
