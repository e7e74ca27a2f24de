"""Arithmetic of INCRBYFLOAT and HINCRBYFLOAT: the x87 extended format that Redis calls `long double`, done exactly.

Redis adds in 80 bits and prints 17 decimals, so 0.1 + 0.2 is 0.3. Python has no such type, hence integers: a number is
`mantissa * 2**exponent` with at most 64 bits of mantissa, rounded half to even after parsing and after adding, as the
processor does. Every replica computes the same on any machine.
"""

import math
import re

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import NOT_A_FLOAT

NAN_OR_INFINITY = ClientError("ERR increment would produce NaN or Infinity")

_MANTISSA_BITS = 64
_EXPONENT_MAX = 16384
"""Values reach up to just below 2 ** this."""
_EXPONENT_MIN = -16445
"""The smallest (subnormal) value is 2 ** this."""
_TEXT_MAX = 5 * 1024
_DECIMALS = 17
_DECIMAL_EXPONENT_MAX = 12_000
"""A decimal exponent beyond this, with a text of at most `_TEXT_MAX`, is certainly out of range."""
_EXPONENT_DIGITS_MAX = 7
_DIGITS_AT_ONCE = 4000
"""Python refuses to read and print longer integers in one go; `_TEXT_MAX` is less than twice that."""

_DECIMAL = re.compile(rb"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:e([+-]?[0-9]+))?\Z", re.IGNORECASE)
_HEXADECIMAL = re.compile(rb"([+-]?)0x([0-9a-f]*)(?:\.([0-9a-f]*))?(?:p([+-]?[0-9]+))?\Z", re.IGNORECASE)
_INFINITY = re.compile(rb"([+-]?)inf(?:inity)?\Z", re.IGNORECASE)

LongDouble = tuple[int, int]
"""`(mantissa, exponent)`: mantissa * 2 ** exponent."""


def parse_long_double(raw: bytes | bytearray) -> LongDouble | float | None:
    """What strtold reads from a text, as `string2ld` restricts it. A float is ±infinity; None: not a valid float."""
    if not 0 < len(raw) < _TEXT_MAX:
        return None
    match = _DECIMAL.match(raw)
    if match:
        return _from_decimal(*match.groups(b""))
    match = _HEXADECIMAL.match(raw)
    if match:
        return _from_hexadecimal(*match.groups(b""))
    match = _INFINITY.match(raw)
    if match:
        return -math.inf if match[1] == b"-" else math.inf
    return None


def _from_decimal(sign: bytes, whole: bytes, fraction: bytes, exponent: bytes) -> LongDouble | None:
    if not whole and not fraction:
        return None
    digits = _integer(whole + fraction)
    if digits == 0:
        return 0, 0
    if len(exponent) > _EXPONENT_DIGITS_MAX:
        return None
    power = int(exponent or 0) - len(fraction)
    if abs(power) > _DECIMAL_EXPONENT_MAX:
        return None
    if sign == b"-":
        digits = -digits
    value = _round(digits * 10**power, 1, 0) if power >= 0 else _round(digits, 10**-power, 0)
    return _in_range(value)


def _integer(digits: bytes) -> int:
    if len(digits) <= _DIGITS_AT_ONCE:
        return int(digits)
    high, low = digits[:_DIGITS_AT_ONCE], digits[_DIGITS_AT_ONCE:]
    shifted: int = int(high) * 10 ** len(low)
    return shifted + int(low)


def _from_hexadecimal(sign: bytes, whole: bytes, fraction: bytes, exponent: bytes) -> LongDouble | None:
    if not whole and not fraction:
        return None
    digits = int(whole + fraction, 16)
    if digits == 0:
        return 0, 0
    if len(exponent) > _EXPONENT_DIGITS_MAX:
        return None
    return _in_range(_round(-digits if sign == b"-" else digits, 1, int(exponent or 0) - 4 * len(fraction)))


def _in_range(value: LongDouble) -> LongDouble | None:
    """None for what strtold reports as a range error: too large, or rounded to zero."""
    mantissa, exponent = value
    if mantissa == 0 or mantissa.bit_length() + exponent > _EXPONENT_MAX:
        return None
    return value


def _round(numerator: int, denominator: int, exponent: int) -> LongDouble:
    """`numerator / denominator * 2 ** exponent`, rounded to a mantissa of 64 bits, half to even."""
    magnitude = abs(numerator)
    shift = magnitude.bit_length() - denominator.bit_length() - _MANTISSA_BITS
    if denominator.bit_length() == 1 and shift < 0:
        shift = 0
    shift = max(shift, _EXPONENT_MIN - exponent)
    if shift >= 0:
        denominator <<= shift
    else:
        magnitude <<= -shift
    mantissa = _divide_half_even(magnitude, denominator)
    if mantissa.bit_length() > _MANTISSA_BITS:
        # One bit too many: the first estimate of the size was low by one. Divide again rather than round twice.
        mantissa = _divide_half_even(magnitude, denominator << 1)
        shift += 1
    return (-mantissa if numerator < 0 else mantissa), exponent + shift


def _divide_half_even(numerator: int, denominator: int) -> int:
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient & 1):
        quotient += 1
    return quotient


def add_long_doubles(left: LongDouble, right: LongDouble) -> LongDouble | None:
    """The sum, rounded; None when it is too large."""
    exponent = min(left[1], right[1])
    total = (left[0] << (left[1] - exponent)) + (right[0] << (right[1] - exponent))
    if total == 0:
        return 0, 0
    return _in_range(_round(total, 1, exponent))


def format_long_double(value: LongDouble) -> bytes:
    """As `%.17Lf` without trailing zeros: how Redis prints for humans."""
    mantissa, exponent = value
    magnitude = abs(mantissa) * 10**_DECIMALS
    scaled = magnitude << exponent if exponent >= 0 else _divide_half_even(magnitude, 1 << -exponent)
    whole, fraction = divmod(scaled, 10**_DECIMALS)
    text = _decimal_text(whole)
    if fraction:
        text += (b".%017d" % fraction).rstrip(b"0")
    return b"-" + text if mantissa < 0 and scaled else text


def _decimal_text(value: int) -> bytes:
    if value < 10**_DIGITS_AT_ONCE:
        return b"%d" % value
    high, low = divmod(value, 10**_DIGITS_AT_ONCE)
    return b"%d%04000d" % (high, low)


def add_to_float(current: bytes | bytearray | None, amount: bytes) -> bytes:
    """The text of `current + amount`; a missing current value counts as 0.

    Raises: ClientError when one of them is no float, or the sum is infinite or not a number.
    """
    left = (0, 0) if current is None else parse_long_double(current)
    if left is None:
        raise NOT_A_FLOAT
    right = parse_long_double(amount)
    if right is None:
        raise NOT_A_FLOAT
    if isinstance(left, float) or isinstance(right, float):
        raise NAN_OR_INFINITY
    total = add_long_doubles(left, right)
    if total is None:
        raise NAN_OR_INFINITY
    return format_long_double(total)
