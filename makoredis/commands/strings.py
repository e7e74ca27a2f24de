"""Commands on whole strings: reading, setting, counting.

The most frequent commands of all are here, so they are written to cost few calls: SET without options and GET do no
more than one lookup each. Parts of strings are in `string_ranges`, single bits in `bits`.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import (
    INT64_MAX,
    INT64_MIN,
    NAN_OR_INFINITY,
    NOT_A_FLOAT,
    SYNTAX_ERROR,
    int64,
    wrong_arity,
)
from makoredis.commands.deadlines import KEYWORDS, deadline_from
from makoredis.commands.registry import command, series, sole_key
from makoredis.data import events
from makoredis.data.access import WRONG_TYPE, Access
from makoredis.data.effects import Delete, SetDeadline, SetString
from makoredis.data.effects.strings import KEEP_DEADLINE, put_strings
from resp.numbers import LongDouble
from resp.replies import OK, Reply

OVERFLOW = ClientError("ERR increment or decrement would overflow")
_PLAIN = frozenset((bytes, type(None)))
DECREMENT_OVERFLOW = ClientError("ERR decrement would overflow")


@command("GET", "Returns the string value of a key.")
def get(access: Access, key: bytes) -> bytes | None:
    value = access.get(key)
    if value is None or type(value) is bytes:
        return value
    if type(value) is bytearray:
        return bytes(value)
    raise WRONG_TYPE


@series("GET")
def _get_series(access: Access, keys: Sequence[bytes]) -> Sequence[Any] | None:
    values = access.get_all(keys)
    return values if set(map(type, values)) <= _PLAIN else None


@command("SET", "Sets the string value of a key, ignoring its type. The key is created if it doesn't exist.")
def set_(access: Access, key: bytes, value: bytes, *options: bytes) -> Reply:
    if options:
        return _set_with_options(access, key, value, options)
    _put(access, key, value)
    return OK


def _put(access: Access, key: bytes, value: bytes, deadline_ms: int = 0) -> None:
    """Sets a string whatever was there before, as SET does."""
    database = access.database
    if database.expires:
        access.peek(key)
    touched = database.touched
    touched[key] = access.now_ms
    if len(touched) > database.touched_max:
        database.forget_oldest_uses(access.now_ms)
    effect = SetString(database.id, key, value, deadline_ms)
    if access.notes_new:
        access.apply(effect)
    else:
        access.undo.append(effect.apply(access.space))  # access.apply, without the call
        access.effects.append(effect)
    if access.space.config.notify_events:
        access.notify(events.STRING, b"set", key)


@series("SET")
def _set_series(access: Access, keys: Sequence[bytes], values: Sequence[bytes], *options: object) -> list[Reply] | None:
    if options:
        return None
    _put_all(access, keys, values)
    return [OK] * len(keys)


def _put_all(access: Access, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
    """`_put` for many keys."""
    database, space = access.database, access.space
    have_deadlines = bool(database.expires) and not database.expires.keys().isdisjoint(keys)
    if have_deadlines or access.notes_new or space.config.notify_events:
        for key, value in zip(keys, values):
            _put(access, key, value)
        return
    latest = dict(zip(keys, values))  # nobody sees a value that is set again in the same transaction
    access.use_all(latest)
    if access.unlogged is not None:
        put_strings(database, latest)
        access.unlogged += latest
        return
    number = database.id
    effects = [SetString(number, key, value) for key, value in latest.items()]
    access.undo += [effect.apply(space) for effect in effects]
    access.effects += effects


def _set_with_options(access: Access, key: bytes, value: bytes, options: tuple[bytes, ...]) -> Reply:
    chosen, keyword, expiry = _parse_set_options(options)
    deadline_ms = KEEP_DEADLINE if b"KEEPTTL" in chosen else 0
    if keyword:
        deadline_ms = deadline_from(access, keyword, expiry, "set")
    wants_old = b"GET" in chosen
    old = access.string(key) if wants_old else None
    if b"NX" in chosen or b"XX" in chosen:
        exists = access.get(key) is not None
        if exists is (b"NX" in chosen):
            return None if old is None else bytes(old)
    _put(access, key, value, deadline_ms)
    if keyword:
        access.notify(events.GENERIC, b"expire", key)
    if wants_old:
        return None if old is None else bytes(old)
    return OK


def _parse_set_options(options: tuple[bytes, ...]) -> tuple[set[bytes], bytes, bytes]:
    """Returns the flags given, and the deadline's keyword (empty = none) with its argument."""
    chosen: set[bytes] = set()
    keyword = expiry = b""
    at = 0
    while at < len(options):
        option = options[at].upper()
        at += 1
        if option in (b"NX", b"XX", b"GET", b"KEEPTTL"):
            chosen.add(option)
        elif option in KEYWORDS and keyword in (b"", option) and at < len(options):
            keyword, expiry = option, options[at]
            at += 1
        else:
            raise SYNTAX_ERROR
    if {b"NX", b"XX"} <= chosen or (keyword and b"KEEPTTL" in chosen):
        raise SYNTAX_ERROR
    return chosen, keyword, expiry


@command("SETEX", "Sets the string value and expiration time of a key. Creates the key if it doesn't exist.")
def setex(access: Access, key: bytes, seconds: bytes, value: bytes) -> Reply:
    return _set_expiring(access, key, value, b"EX", seconds, "setex")


@command("PSETEX", "Sets both string value and expiration time in milliseconds of a key.")
def psetex(access: Access, key: bytes, milliseconds: bytes, value: bytes) -> Reply:
    return _set_expiring(access, key, value, b"PX", milliseconds, "psetex")


def _set_expiring(access: Access, key: bytes, value: bytes, keyword: bytes, expiry: bytes, name: str) -> Reply:
    _put(access, key, value, deadline_from(access, keyword, expiry, name))
    access.notify(events.GENERIC, b"expire", key)
    return OK


@command("SETNX", "Set the string value of a key only when the key doesn't exist.")
def setnx(access: Access, key: bytes, value: bytes) -> int:
    if access.get(key) is not None:
        return 0
    _put(access, key, value)
    return 1


@command("GETSET", "Returns the previous string value of a key after setting it to a new value.")
def getset(access: Access, key: bytes, value: bytes) -> bytes | None:
    old = get(access, key)
    _put(access, key, value)
    return old


@command("GETDEL", "Returns the string value of a key after deleting the key.")
def getdel(access: Access, key: bytes) -> bytes | None:
    value = get(access, key)
    if value is not None:
        access.apply(Delete(access.database.id, key))
        access.notify(events.GENERIC, b"del", key)
    return value


@command("GETEX", "Returns the string value of a key after setting its expiration time.")
def getex(access: Access, key: bytes, *options: bytes) -> bytes | None:
    keyword, expiry = _parse_getex_options(options)
    value = get(access, key)
    if value is None or not keyword:
        return value
    if keyword == b"PERSIST":
        if access.deadline(key):
            access.apply(SetDeadline(access.database.id, key, 0))
            access.notify(events.GENERIC, b"persist", key)
        return value
    deadline_ms = deadline_from(access, keyword, expiry, "getex")
    if deadline_ms <= access.now_ms and not access.is_replica:
        access.apply(Delete(access.database.id, key))
        access.notify(events.GENERIC, b"del", key)
    else:
        access.apply(SetDeadline(access.database.id, key, deadline_ms))
        access.notify(events.GENERIC, b"expire", key)
    return value


def _parse_getex_options(options: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """Returns the keyword (empty = none; given twice, the last counts) and its argument."""
    keyword = expiry = b""
    at = 0
    while at < len(options):
        option = options[at].upper()
        at += 1
        if keyword not in (b"", option):
            raise SYNTAX_ERROR
        if option in KEYWORDS and at < len(options):
            expiry = options[at]
            at += 1
        elif option != b"PERSIST":
            raise SYNTAX_ERROR
        keyword = option
    return keyword, expiry


@command("MGET", "Atomically returns the string values of one or more keys.")
def mget(access: Access, *keys: bytes) -> list[Any]:
    read = access.get
    values: list[Any] = []
    for key in keys:
        value = read(key)
        if type(value) is bytearray:
            values.append(bytes(value))
        else:
            values.append(value if type(value) is bytes else None)
    return values


@command("MSET", "Atomically creates or modifies the string values of one or more keys.")
def mset(access: Access, *pairs: bytes) -> Reply:
    if len(pairs) % 2:
        raise wrong_arity("MSET")
    _put_all(access, pairs[::2], pairs[1::2])
    return OK


@series("MSET")
def _mset_series(access: Access, *columns: Sequence[bytes]) -> list[Reply] | None:
    if len(columns) % 2:
        return None
    _put_all(access, list(chain.from_iterable(zip(*columns[::2]))), list(chain.from_iterable(zip(*columns[1::2]))))
    return [OK] * len(columns[0])


@command("MSETNX", "Atomically modifies the string values of one or more keys only when all keys don't exist.")
def msetnx(access: Access, *pairs: bytes) -> int:
    if len(pairs) % 2:
        raise wrong_arity("MSETNX")
    if any(access.get(key) is not None for key in pairs[::2]):
        return 0
    _put_all(access, pairs[::2], pairs[1::2])
    return 1


@command("STRLEN", "Returns the length of a string value.")
def strlen(access: Access, key: bytes) -> int:
    value = access.string(key)
    return 0 if value is None else len(value)


def _add(access: Access, key: bytes, amount: int) -> int:
    """Adds to the integer of a string; a missing key counts as 0. The deadline stays."""
    value = access.get(key)
    if value is None:
        total = amount
    elif type(value) is bytes or type(value) is bytearray:
        total = int64(value) + amount
    else:
        raise WRONG_TYPE
    if not INT64_MIN <= total <= INT64_MAX:
        raise OVERFLOW
    access.apply(SetString(access.database.id, key, b"%d" % total, KEEP_DEADLINE))
    if access.space.config.notify_events:
        access.notify(events.STRING, b"incrby", key)
    return total


@command("INCR", "Increments the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.")
def incr(access: Access, key: bytes) -> int:
    return _add(access, key, 1)


@series("INCR")
def _incr_series(access: Access, keys: Sequence[bytes]) -> Sequence[int] | None:
    key, count = sole_key(keys), len(keys)
    if key is None:
        return None
    total = _add(access, key, count)
    return range(total - count + 1, total + 1)


@command("DECR", "Decrements the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.")
def decr(access: Access, key: bytes) -> int:
    return _add(access, key, -1)


@command("INCRBY", "Increments the integer value of a key by a number. Uses 0 as initial value if it doesn't exist.")
def incrby(access: Access, key: bytes, amount: bytes) -> int:
    return _add(access, key, int64(amount))


@command("DECRBY", "Decrements a number from the integer value of a key. Uses 0 as initial value if it doesn't exist.")
def decrby(access: Access, key: bytes, amount: bytes) -> int:
    decrement = int64(amount)
    if decrement == INT64_MIN:
        raise DECREMENT_OVERFLOW
    return _add(access, key, -decrement)


@command("INCRBYFLOAT", "Increment the floating point value of a key by a number. Uses 0 as initial value.")
def incrbyfloat(access: Access, key: bytes, amount: bytes) -> bytes:
    value = access.string(key)
    number, increment = LongDouble.parse(b"0" if value is None else bytes(value)), LongDouble.parse(amount)
    if number is None or increment is None:
        raise NOT_A_FLOAT
    if not (number.is_finite and increment.is_finite and (total := number + increment).is_finite):
        raise NAN_OR_INFINITY
    text = total.format()
    access.apply(SetString(access.database.id, key, text, KEEP_DEADLINE))
    access.notify(events.STRING, b"incrbyfloat", key)
    return text
