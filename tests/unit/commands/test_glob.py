"""Glob patterns: the cases in which Redis's matching is peculiar, and patterns made to hurt."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makoredis.commands import glob
from makoredis.data.slots import slot_of

CASES = [
    (b"*", b"", True),
    (b"**", b"", False),
    (b"", b"", True),
    (b"a*", b"a", True),
    (b"a**", b"abc", True),
    (b"*a", b"ba", True),
    (b"*a*b", b"xaxb", True),
    (b"*a*b", b"b", False),
    (b"?", b"", False),
    (b"?", b"\n", True),
    (b"h[ae]llo", b"hello", True),
    (b"h[^e]llo", b"hello", False),
    (b"[a-c]", b"b", True),
    (b"[c-a]", b"b", True),
    (b"[a-]", b"a", True),
    (b"[a", b"a", True),
    (b"[", b"a", False),
    (b"[^", b"a", True),
    (b"[]", b"]", False),
    (b"[^]", b"]", True),
    (b"[]a]", b"]a]", False),
    (b"[\\]]", b"]", True),
    (b"\\*", b"*", True),
    (b"\\*", b"a", False),
    (b"a\\", b"a\\", True),
    (b"[\x01-\xff]", b"\x00", True),
    (b"[\x01-\xff]", b"a", False),
    (b"*.py", b"a.py\n", False),
]


@pytest.mark.parametrize(("pattern", "text", "expected"), CASES)
def test_cases(pattern: bytes, text: bytes, expected: bool) -> None:
    assert glob.matches(pattern, text) is expected


def test_ignoring_case() -> None:
    assert glob.matches(b"MAX*", b"maxmemory", ignores_case=True)
    assert not glob.matches(b"MAX*", b"maxmemory")


_ALPHABET = st.sampled_from([b"a", b"b", b"*", b"?", b"[", b"]", b"^", b"-", b"\\", b"\xff"])


@given(
    pattern=st.lists(_ALPHABET, max_size=8).map(b"".join),
    text=st.lists(_ALPHABET, max_size=6).map(b"".join),
)
def test_compiled_and_stepwise_agree(pattern: bytes, text: bytes) -> None:
    stepwise = pattern == b"*" or glob._matches_stepwise(list(glob._tokens(pattern)), text)
    assert bool(glob.matcher(pattern)(text)) == stepwise


@pytest.mark.parametrize(
    "pattern",
    [b"a*" * 200 + b"b", b"*a" * 250 + b"b", b"*a" * 2000 + b"b", b"*?" * 200 + b"b", b"*" * 100_000 + b"b"],
    ids=["stars", "leading", "long", "questions", "only_stars"],
)
def test_hostile_patterns_take_no_time(pattern: bytes) -> None:
    start = time.process_time()
    assert not glob.matches(pattern, b"a" * 10_000)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("pattern", "key"),
    [(b"{user}:*", b"{user}:1"), (b"x{t}[ab]", b"x{t}a"), (b"plain", b"plain"), (b"{}x", b"{}x"), (b"a{b", b"a{b")],
)
def test_slot_of_pattern(pattern: bytes, key: bytes) -> None:
    assert glob.slot_of_pattern(pattern) == slot_of(key)


@pytest.mark.parametrize("pattern", [b"*", b"{us*}r", b"{}a*", b"?{t}", b"{t\\}"])
def test_patterns_without_a_slot(pattern: bytes) -> None:
    assert glob.slot_of_pattern(pattern) is None
