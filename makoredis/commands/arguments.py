"""Bytes → typed arguments, each with the error text that Redis gives.

Redis's integers are strict: no white space, no plus sign, no leading zeros, 64 bit.
"""

import math
import re

from makoredis.base.errors import ClientError

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1

SYNTAX_ERROR = ClientError("ERR syntax error")
NOT_AN_INTEGER = ClientError("ERR value is not an integer or out of range")
NOT_A_FLOAT = ClientError("ERR value is not a valid float")
NAN_OR_INFINITY = ClientError("ERR increment would produce NaN or Infinity")

_FLOAT = re.compile(
    rb"[+-]?(?:inf(?:inity)?|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?"
    rb"|(0x)(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?[0-9]+)?)\Z",
    re.IGNORECASE,
)
_NONZERO_DIGITS = re.compile(rb"[+-]?(?:0x)?[0.]*[1-9a-f]", re.IGNORECASE)

_DIGITS_SAFE = 19
"""A number of fewer digits fits into 64 bits."""
_ZERO = ord("0")


def parse_int64(raw: bytes | bytearray) -> int | None:
    """A 64-bit integer in Redis's strict form, None if it is not one."""
    try:
        value = int(raw)
    except ValueError:
        return None
    # Whatever else int() takes (white space, +, _, leading zeros) isn't how it would be printed.
    return value if INT64_MIN <= value <= INT64_MAX and b"%d" % value == raw else None


def int64(raw: bytes | bytearray, error: ClientError = NOT_AN_INTEGER) -> int:
    """Raises: ClientError `ERR value is not an integer or out of range`, or the one given."""
    if raw.isdigit() and len(raw) < _DIGITS_SAFE and (raw[0] != _ZERO or len(raw) == 1):
        return int(raw)
    value = parse_int64(raw)
    if value is None:
        raise error
    return value


def natural(raw: bytes, name: str) -> int:
    """An integer ≥ 0. Raises: ClientError `ERR <name> is out of range, must be positive`, or that it is no integer."""
    value = int64(raw)
    if value < 0:
        raise ClientError(f"ERR {name} is out of range, must be positive")
    return value


def parse_float(raw: bytes) -> float | None:
    """A double in the forms that strtod takes, without white space and NaN; None if it is not one."""
    match = _FLOAT.match(raw)
    if not match:
        return None
    if not match[1]:
        return float(raw)
    try:
        return float.fromhex(raw.decode())
    except OverflowError:
        return -math.inf if raw[:1] == b"-" else math.inf


def double(raw: bytes, error: ClientError = NOT_A_FLOAT) -> float:
    """A double that is in range: `inf` is, 1e400 and 1e-400 are not.

    Raises: ClientError `ERR value is not a valid float`, or the one given.
    """
    value = parse_float(raw)
    if value is None:
        raise error
    if math.isinf(value):
        if not raw.lstrip(b"+-")[:1].isalpha():
            raise error
    elif value == 0 and _NONZERO_DIGITS.match(raw):
        raise error
    return value


def database_number(raw: bytes, count: int) -> int:
    """Raises: ClientError when it is no number of 32 bits, or that of no database."""
    number = ranged(raw, -(2**31), 2**31 - 1)
    if not 0 <= number < count:
        raise ClientError("ERR DB index is out of range")
    return number


def wrong_arity(name: str) -> ClientError:
    """`name` as in the table."""
    return ClientError(f"ERR wrong number of arguments for '{name.lower()}' command")


def ranged(raw: bytes, minimum: int, maximum: int, error: ClientError | None = None) -> int:
    """An integer within bounds. Raises: `error` if given, for any fault; else Redis's two texts."""
    value = int64(raw, error or NOT_AN_INTEGER)
    if not minimum <= value <= maximum:
        raise error or ClientError(f"ERR value is out of range, value must between {minimum} and {maximum}")
    return value


def timeout_ms(raw: bytes) -> int:
    """Seconds as a decimal fraction → milliseconds, rounded up; 0 = for ever. Raises: ClientError with its fault."""
    seconds = parse_float(raw)
    if seconds is None or math.isnan(seconds):
        raise ClientError("ERR timeout is not a float or out of range")
    if seconds * 1000 > INT64_MAX:
        raise ClientError("ERR timeout is out of range")
    if seconds < 0:
        raise ClientError("ERR timeout is negative")
    return math.ceil(seconds * 1000)


_PICKS_MAX = 10_000_000


def pick_count(raw: bytes) -> int:
    """How many random elements to return; negative: with repetitions, so this alone bounds the reply.

    Redis would go on until memory is used up; here a count below -10,000,000 is refused.
    """
    count = ranged(raw, INT64_MIN + 1, INT64_MAX)
    if count < -_PICKS_MAX:
        raise ClientError("ERR value is out of range")
    return count
