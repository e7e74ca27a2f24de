"""Numbers as Redis 7.0 writes and reads them.

* An integer (`string2ll`): 64 bits, no sign but a minus, no leading zeros, no spaces.
* A double, such as a score: read as C's `strtod` does, but whole, without spaces, over- or underflow, and no NaN;
  written with `%.17g`, so 0.1 comes back as `0.10000000000000001`.
* A long double, the number of INCRBYFLOAT and HINCRBYFLOAT: x87's 80 bits on the machines that Redis is used on, 64 of
  them mantissa; written with 17 decimals less the zeros at the end. Python has no such type, so `LongDouble` computes
  with integers, rounding (half to even) where the hardware does. So 10.1 + 0.1 is `10.2`, and 1e10 + 0.1 is
  `10000000000.09999999962747097`, digit for digit what Redis answers.

Left out: a negative zero of a long double, since Redis never shows it.
"""

from __future__ import annotations

import math
import re
from typing import Final

_INTEGER: Final = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_DECIMAL: Final = re.compile(rb"([+-]?)(?:([0-9]+)\.?([0-9]*)|\.([0-9]+))(?:[eE]([+-]?[0-9]+))?")
_HEXADECIMAL: Final = re.compile(
    rb"([+-]?)0[xX](?:([0-9a-fA-F]+)\.?([0-9a-fA-F]*)|\.([0-9a-fA-F]+))(?:[pP]([+-]?[0-9]+))?"
)
_INFINITY: Final = re.compile(rb"[+-]?inf(?:inity)?", re.IGNORECASE)

LONG_DOUBLE_TEXT_BYTES_MAX: Final = 5 * 1024 - 1
_MANTISSA_BITS: Final = 64
_EXPONENT_MIN: Final = -16445
"""Of the last bit: the smallest positive number is 2**-16445."""
_MAGNITUDE_BITS_MAX: Final = 16384
"""Numbers from 2**16384 on are infinite."""
_DECIMAL_EXPONENT_LIMIT: Final = 20_000
"""Beyond this, either way, a number of at most 5,119 digits is infinite or zero without a computation."""
_DECIMALS: Final = 17
_DIGITS_AT_ONCE: Final = 4000
"""Python converts at most 4,300 digits between text and integer; a long double may have 4,950."""
_POWER_AT_ONCE: Final[int] = 10**_DIGITS_AT_ONCE


def parse_integer(text: bytes) -> int | None:
    """Reads a 64-bit signed integer in its one spelling; None if it is not one."""
    if not _INTEGER.fullmatch(text):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


def parse_double(text: bytes) -> float | None:
    """Reads a double; None if Redis would call it no valid float. Infinities are valid, if they are spelled out."""
    if found := _DECIMAL.fullmatch(text):
        value = float(text)
    elif found := _HEXADECIMAL.fullmatch(text):
        try:
            value = float.fromhex(text.decode())
        except OverflowError:
            return None
    elif _INFINITY.fullmatch(text):
        return float(text)
    else:
        return None
    if math.isinf(value) or (value == 0 and _has_magnitude(found)):
        return None
    return value


def format_double(value: float) -> bytes:
    """Writes a double with 17 significant digits; the infinities as `inf` and `-inf`."""
    return b"%.17g" % value


def format_human_double(value: float) -> bytes:
    """Writes a double with 17 decimals less the zeros at the end, as coordinates are."""
    if math.isinf(value):
        return b"inf" if value > 0 else b"-inf"
    return _without_trailing_zeros(b"%.17f" % value)


class LongDouble:
    """An 80-bit floating-point number: `mantissa * 2**exponent`, or infinite (then the mantissa is its sign)."""

    __slots__ = ("exponent", "is_finite", "mantissa")

    def __init__(self, mantissa: int, exponent: int, is_finite: bool = True) -> None:
        """Rounds to the nearest representable number."""
        self.mantissa, self.exponent = _round(mantissa, exponent)
        self.is_finite = is_finite and self.mantissa.bit_length() + self.exponent <= _MAGNITUDE_BITS_MAX

    @staticmethod
    def parse(text: bytes) -> LongDouble | None:
        """Reads a long double; None if Redis would call it no valid float. Infinities are valid, if spelled out."""
        if len(text) > LONG_DOUBLE_TEXT_BYTES_MAX:
            return None
        if _INFINITY.fullmatch(text):
            return LongDouble(-1 if text.startswith(b"-") else 1, 0, is_finite=False)
        if found := _DECIMAL.fullmatch(text):
            base, exponent_base, digit_bits = 10, 10, 0
        elif found := _HEXADECIMAL.fullmatch(text):
            base, exponent_base, digit_bits = 16, 2, 4
        else:
            return None
        sign, whole, fraction, only_fraction, exponent_text = found.groups(default=b"")
        fraction = only_fraction or fraction
        digits = _digits_to_integer(whole + fraction, base)
        if not digits:
            return LongDouble(0, 0)
        if len(exponent_text) > _DIGITS_AT_ONCE:
            return None
        exponent = int(exponent_text or b"0") - len(fraction) * (digit_bits or 1)
        if abs(exponent) > (_DECIMAL_EXPONENT_LIMIT if base == 10 else 4 * _DECIMAL_EXPONENT_LIMIT):
            return None
        value = _scaled(-digits if sign == b"-" else digits, exponent_base, exponent)
        return value if value.is_finite and value.mantissa else None

    def __add__(self, other: LongDouble) -> LongDouble:
        """The sum, rounded once. Not to be used on two infinities of opposite sign: check `is_finite` first."""
        if not (self.is_finite and other.is_finite):
            return other if self.is_finite else self
        exponent = min(self.exponent, other.exponent)
        mantissa = (self.mantissa << (self.exponent - exponent)) + (other.mantissa << (other.exponent - exponent))
        return LongDouble(mantissa, exponent)

    def format(self) -> bytes:
        """Writes it with 17 decimals less the zeros at the end, never in scientific notation."""
        if not self.is_finite:
            return b"inf" if self.mantissa > 0 else b"-inf"
        scaled = abs(self.mantissa) * 10**_DECIMALS
        scaled = scaled << self.exponent if self.exponent >= 0 else _shift_right(scaled, -self.exponent)
        digits = _integer_to_digits(scaled).rjust(_DECIMALS + 1, b"0")
        text = _without_trailing_zeros(digits[:-_DECIMALS] + b"." + digits[-_DECIMALS:])
        return b"-" + text if self.mantissa < 0 and text != b"0" else text

    def __repr__(self) -> str:
        return f"LongDouble({self.format().decode()})"


def _has_magnitude(found: re.Match[bytes]) -> bool:
    """Whether a digit other than zero stands before the exponent, so that the number is not zero as written."""
    digits = b"".join(part for part in found.group(2, 3, 4) if part)
    return bool(digits.strip(b"0"))


def _round(mantissa: int, exponent: int) -> tuple[int, int]:
    """Rounds to 64 bits, half to even; fewer for numbers below the normal range."""
    excess = max(mantissa.bit_length() - _MANTISSA_BITS, _EXPONENT_MIN - exponent)
    if excess <= 0:
        return mantissa, exponent
    rounded = _shift_right(abs(mantissa), excess)
    return (-rounded if mantissa < 0 else rounded), exponent + excess


def _shift_right(value: int, bits: int) -> int:
    """Divides by a power of two and rounds half to even."""
    quotient = value >> bits
    remainder = value & ((1 << bits) - 1)
    half = 1 << (bits - 1)
    if remainder > half or (remainder == half and quotient & 1):
        quotient += 1
    return quotient


def _scaled(digits: int, base: int, exponent: int) -> LongDouble:
    """`digits * base**exponent`, correctly rounded."""
    if base == 2:
        return LongDouble(digits, exponent)
    if exponent >= 0:
        return LongDouble(digits * 10**exponent, 0)
    divisor = 10**-exponent
    # Enough bits that one more for "there is a remainder" decides the rounding.
    shift = max(_MANTISSA_BITS + 2 + divisor.bit_length() - digits.bit_length(), 0)
    quotient, remainder = divmod(abs(digits) << shift, divisor)
    quotient = quotient << 1 | (remainder != 0)
    return LongDouble(-quotient if digits < 0 else quotient, -shift - 1)


def _digits_to_integer(digits: bytes, base: int) -> int:
    if base == 16 or len(digits) <= _DIGITS_AT_ONCE:
        return int(digits, base)
    head, tail = digits[:-_DIGITS_AT_ONCE], digits[-_DIGITS_AT_ONCE:]
    return int(head) * _POWER_AT_ONCE + int(tail)


def _integer_to_digits(value: int) -> bytes:
    head, tail = divmod(value, _POWER_AT_ONCE)
    return b"%d%0*d" % (head, _DIGITS_AT_ONCE, tail) if head else b"%d" % tail


def _without_trailing_zeros(text: bytes) -> bytes:
    text = text.rstrip(b"0").removesuffix(b".")
    return b"0" if text in (b"-0", b"", b"-") else text
