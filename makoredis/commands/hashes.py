"""Commands on hashes. Deadlines of fields are in `hashes_expiry`.

A field past its deadline is gone before a handler sees the hash: `Access.hash` deletes it by an effect (or hides it, on
a replica).
"""

from collections.abc import Sequence
from itertools import chain

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import (
    INT64_MAX,
    INT64_MIN,
    NAN_OR_INFINITY,
    NOT_A_FLOAT,
    SYNTAX_ERROR,
    int64,
    parse_int64,
    pick_count,
    wrong_arity,
)
from makoredis.commands.registry import command, series, sole_key
from makoredis.commands.scan_options import parse_cursor, parse_scan_options
from makoredis.data import events
from makoredis.data.access import WRONG_TYPE, Access
from makoredis.data.effects import HashDelete, HashSet
from makoredis.data.values import Hash
from resp.numbers import LongDouble
from resp.replies import OK, Map, Reply

_VALUE_NOT_AN_INTEGER = ClientError("ERR hash value is not an integer")
_VALUE_NOT_A_FLOAT = ClientError("ERR hash value is not a float")
_OVERFLOW = ClientError("ERR increment or decrement would overflow")
_AMOUNT_INFINITE = ClientError("ERR value is NaN or Infinity")
_OUT_OF_RANGE = ClientError("ERR value is out of range")
_NOVALUES = frozenset((b"NOVALUES",))
_LISTED_MAX = 128
"""Picking from a hash of so many fields lists them; a larger one gets an index."""


@command("HSET", "Creates or modifies the value of a field in a hash.")
def hset(access: Access, key: bytes, *pairs: bytes) -> Reply:
    return _set_fields(access, "hset", key, pairs)


@series("HSET")
def _hset_series(access: Access, keys: Sequence[bytes], *columns: Sequence[bytes]) -> list[int] | None:
    key = sole_key(keys)
    if key is None or len(columns) != 2:
        return None
    value = access.hash(key)
    present = {} if value is None else value.fields
    new: set[bytes] = set()
    replies = []
    for field in columns[0]:
        is_new = field not in present and field not in new
        if is_new:
            new.add(field)
        replies.append(1 if is_new else 0)
    _put(access, key, value, list(chain.from_iterable(zip(*columns))), b"hset")
    return replies


@command("HMSET", "Sets the values of multiple fields.")
def hmset(access: Access, key: bytes, *pairs: bytes) -> Reply:
    _set_fields(access, "hmset", key, pairs)
    return OK


def _set_fields(access: Access, name: str, key: bytes, pairs: tuple[bytes, ...]) -> int:
    if len(pairs) & 1:
        raise wrong_arity(name)
    value = access.get(key)
    if type(value) is Hash:
        before = len(value.fields)
        _put(access, key, value, list(pairs), b"hset")
        return len(value.fields) - before
    if value is not None:
        raise WRONG_TYPE
    _put(access, key, None, list(pairs), b"hset")
    return 1 if len(pairs) == 2 else len(set(pairs[::2]))


def _put(
    access: Access, key: bytes, value: Hash | None, pairs: list[bytes], event: bytes, keep_deadlines: bool = False
) -> None:
    effect = HashSet(access.database.id, key, pairs, keep_deadlines)
    if value is None or access.is_replica:
        access.apply(effect)  # a replica's value may be a copy
    else:
        access.note(effect, effect.change(value, access.space.config))
    if access.space.config.notify_events:
        access.notify(events.HASH, event, key)


@command("HSETNX", "Sets the value of a field in a hash only when the field doesn't exist.")
def hsetnx(access: Access, key: bytes, field: bytes, content: bytes) -> Reply:
    value = access.hash(key)
    if value is not None and field in value.fields:
        return 0
    _put(access, key, value, [field, content], b"hset")
    return 1


@command("HGET", "Returns the value of a field in a hash.")
def hget(access: Access, key: bytes, field: bytes) -> Reply:
    value = access.hash(key)
    return None if value is None else value.fields.get(field)


@series("HGET")
def _hget_series(access: Access, keys: Sequence[bytes], fields: Sequence[bytes]) -> list[bytes | None] | None:
    key = sole_key(keys)
    if key is None:
        return None
    value = access.hash(key)
    return [None] * len(fields) if value is None else list(map(value.fields.get, fields))


@command("HMGET", "Returns the values of all fields in a hash.")
def hmget(access: Access, key: bytes, *fields: bytes) -> Reply:
    value = access.hash(key)
    if value is None:
        return [None] * len(fields)
    get = value.fields.get
    return [get(field) for field in fields]


@command("HGETALL", "Returns all fields and values in a hash.")
def hgetall(access: Access, key: bytes) -> Reply:
    value = access.hash(key)
    if access.protocol == 2:
        return [] if value is None else _flat(value)
    return Map([] if value is None else list(value.fields.items()))


def _flat(value: Hash) -> list[bytes]:
    return list(chain.from_iterable(value.fields.items()))


@command("HKEYS", "Returns all fields in a hash.")
def hkeys(access: Access, key: bytes) -> Reply:
    value = access.hash(key)
    return [] if value is None else list(value.fields)


@command("HVALS", "Returns all values in a hash.")
def hvals(access: Access, key: bytes) -> Reply:
    value = access.hash(key)
    return [] if value is None else list(value.fields.values())


@command("HLEN", "Returns the number of fields in a hash.")
def hlen(access: Access, key: bytes) -> Reply:
    value = access.hash(key)
    return 0 if value is None else len(value.fields)


@command("HEXISTS", "Determines whether a field exists in a hash.")
def hexists(access: Access, key: bytes, field: bytes) -> Reply:
    value = access.hash(key)
    return 1 if value is not None and field in value.fields else 0


@command("HSTRLEN", "Returns the length of the value of a field.")
def hstrlen(access: Access, key: bytes, field: bytes) -> Reply:
    value = access.hash(key)
    return 0 if value is None else len(value.fields.get(field, b""))


@command("HDEL", "Deletes one or more fields and their values from a hash. Deletes the hash if no fields remain.")
def hdel(access: Access, key: bytes, *fields: bytes) -> Reply:
    value = access.hash(key)
    if value is None:
        return 0
    present = [field for field in dict.fromkeys(fields) if field in value.fields]
    if present:
        remove_fields(access, key, value, present)
    return len(present)


def remove_fields(access: Access, key: bytes, value: Hash, fields: list[bytes]) -> None:
    """Deletes fields, all of which are in the hash at `key`."""
    is_last = len(fields) == len(value.fields)
    access.apply(HashDelete(access.database.id, key, fields))
    access.notify(events.HASH, b"hdel", key)
    if is_last:
        access.notify(events.GENERIC, b"del", key)


@command("HINCRBY", "Increments the integer value of a field in a hash by a number. Uses 0 as initial value.")
def hincrby(access: Access, key: bytes, field: bytes, amount: bytes) -> Reply:
    increment = int64(amount)
    value = access.hash(key)
    old = b"0" if value is None else value.fields.get(field, b"0")
    number = parse_int64(old)
    if number is None:
        raise _VALUE_NOT_AN_INTEGER
    number += increment
    if not INT64_MIN <= number <= INT64_MAX:
        raise _OVERFLOW
    _put(access, key, value, [field, b"%d" % number], b"hincrby", keep_deadlines=True)
    return number


@command("HINCRBYFLOAT", "Increments the floating point value of a field by a number. Uses 0 as initial value.")
def hincrbyfloat(access: Access, key: bytes, field: bytes, amount: bytes) -> Reply:
    increment = LongDouble.parse(amount)
    if increment is None:
        raise NOT_A_FLOAT
    if not increment.is_finite:
        raise _AMOUNT_INFINITE
    value = access.hash(key)
    old = b"0" if value is None else value.fields.get(field, b"0")
    number = LongDouble.parse(old)
    if number is None:
        raise _VALUE_NOT_A_FLOAT
    total = number + increment
    if not total.is_finite:
        raise NAN_OR_INFINITY
    text = total.format()
    _put(access, key, value, [field, text], b"hincrbyfloat", keep_deadlines=True)
    return text


@command("HRANDFIELD", "Returns one or more random fields from a hash.")
def hrandfield(access: Access, key: bytes, *options: bytes) -> Reply:
    if not options:
        value = access.hash(key)
        return None if value is None else _pick(access, value, 1)[0]
    count = pick_count(options[0])
    with_values = len(options) > 1
    if len(options) > 2 or (with_values and options[1].upper() != b"WITHVALUES"):
        raise SYNTAX_ERROR
    if with_values and not -(INT64_MAX // 2) <= count <= INT64_MAX // 2:
        raise _OUT_OF_RANGE
    value = access.hash(key)
    if value is None or count == 0:
        return []
    fields = _pick(access, value, count)
    if not with_values:
        return fields
    get = value.fields
    if access.protocol == 2:
        return list(chain.from_iterable((field, get[field]) for field in fields))
    return [[field, get[field]] for field in fields]


def _pick(access: Access, value: Hash, count: int) -> list[bytes]:
    """Different fields; with a negative count, as many as it says, with repetitions."""
    size = len(value.fields)
    if count >= size:
        return list(value.fields)
    rng = access.rng
    if size <= _LISTED_MAX:
        fields = list(value.fields)
        return rng.choices(fields, k=-count) if count < 0 else rng.sample(fields, count)
    index = value.indexed()
    return [index.pick(rng) for _ in range(-count)] if count < 0 else index.sample(rng, count)


@command("HSCAN", "Iterates over fields and values of a hash.")
def hscan(access: Access, key: bytes, cursor: bytes, *options: bytes) -> Reply:
    position = parse_cursor(cursor)
    value = access.hash(key)
    if value is None:
        return [b"0", []]
    chosen = parse_scan_options(options, _NOVALUES)
    is_whole = position == 0 and len(value.fields) <= chosen.count
    if is_whole or value.encoding(access.space.config) != b"hashtable":
        position, fields = 0, list(value.fields)
    else:
        position, fields = value.scan(position, chosen.count)
    if chosen.matches is not None:
        fields = [field for field in fields if chosen.matches(field)]
    if chosen.has_values:
        get = value.fields
        fields = list(chain.from_iterable((field, get[field]) for field in fields))
    return [b"%d" % position, fields]
