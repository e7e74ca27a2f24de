"""Numbers in Redis's spelling; every expectation here was given by redis-server 7.0.15."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resp.numbers import LongDouble, format_double, format_human_double, parse_double, parse_integer


@pytest.mark.parametrize("text", [b"0", b"1", b"-1", b"9223372036854775807", b"-9223372036854775808"])
def test_integers(text: bytes) -> None:
    assert parse_integer(text) == int(text)


@pytest.mark.parametrize(
    "text",
    [b"", b"-", b"-0", b"+1", b"01", b" 1", b"1 ", b"1\n", b"1_0", b"9223372036854775808", b"-9223372036854775809"],
)
def test_what_is_no_integer(text: bytes) -> None:
    assert parse_integer(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((b"1", 1.0), (b"+.5e1", 5.0), (b"1.", 1.0), (b"0x1.8p1", 3.0), (b"-0x10", -16.0)),
        *((b"INF", math.inf), (b"-infinity", -math.inf), (b"0e99999", 0.0), (b"5e-324", 5e-324)),
    ],
)
def test_doubles(text: bytes, value: float) -> None:
    assert parse_double(text) == value


WRONG = [b"", b".", b"1e", b" 1", b"1 ", b"1_0", b"nan", b"0x", b"0x1p", b"1d", b"infin", b"--1"]


@pytest.mark.parametrize("text", [*WRONG, b"1e400", b"-1e-400", b"0x1p1024", b"0x1p-1100"])
def test_what_is_no_double(text: bytes) -> None:
    assert parse_double(text) is None


@given(st.floats(allow_nan=False))
def test_a_double_survives_its_text(value: float) -> None:
    assert parse_double(format_double(value)) == value


def test_doubles_are_written_with_17_digits() -> None:
    numbers = (0.1, 3.0, 1e17, 1e20, -0.0, math.inf)
    expected = [b"0.10000000000000001", b"3", b"1e+17", b"1e+20", b"-0", b"inf"]
    assert [format_double(value) for value in numbers] == expected


def test_coordinates_are_written_with_17_decimals() -> None:
    numbers = (13.361389338970184, 0.5, 100.0, -1e-20, -math.inf)
    expected = [b"13.36138933897018433", b"0.5", b"100", b"0", b"-inf"]
    assert [format_human_double(value) for value in numbers] == expected


@pytest.mark.parametrize(
    ("current", "increment", "total"),
    [
        (b"10.50", b"0.1", b"10.6"),
        (b"5.0e3", b"2.0e2", b"5200"),
        (b"0.1", b"0.2", b"0.3"),
        (b"1e10", b"0.1", b"10000000000.09999999962747097"),
        (b"3", b"-3", b"0"),
        (b"-1e-18", b"0", b"0"),
        (b"1e20", b"1", b"100000000000000000000"),
        (b"1e18", b"1", b"1000000000000000001"),
        (b"18446744073709551615", b"0.5", b"18446744073709551616"),
        (b"36893488147419103232", b"2", b"36893488147419103232"),
        (b"36893488147419103232", b"6", b"36893488147419103240"),
        (b"18446744073709551617", b"0", b"18446744073709551616"),
        (b"18446744073709551617.00000000000000000000001", b"0", b"18446744073709551618"),
        (b"0x1.8p1", b"0x.8", b"3.5"),
    ],
)
def test_long_doubles_round_as_the_hardware_does(current: bytes, increment: bytes, total: bytes) -> None:
    left, right = LongDouble.parse(current), LongDouble.parse(increment)
    assert left is not None and right is not None
    assert (left + right).format() == (right + left).format() == total


@pytest.mark.parametrize("text", [*WRONG, b"1e4933", b"1e-4960", b"1e99999999999", b"0x1p-16446", b"1" * 5120])
def test_what_is_no_long_double(text: bytes) -> None:
    assert LongDouble.parse(text) is None


def test_long_doubles_at_the_edges() -> None:
    largest = LongDouble.parse(b"0x1p16383")
    smallest = LongDouble.parse(b"0x1p-16445")
    infinite = LongDouble.parse(b"-inf")
    assert largest is not None and smallest is not None and infinite is not None
    assert largest.is_finite and len(largest.format()) == 4932
    assert not (largest + largest).is_finite
    assert smallest.mantissa and smallest.format() == b"0"
    assert (infinite + largest).format() == (largest + infinite).format() == b"-inf"


@given(st.integers(-(2**63), 2**63), st.integers(-(2**60), 2**60))
def test_sums_of_integers_within_the_mantissa_are_exact(left: int, right: int) -> None:
    total = LongDouble(left, 0) + LongDouble(right, 0)
    assert abs(left + right) >= 2**64 or total.format() == b"%d" % (left + right)
