"""Glob patterns as Redis matches them (KEYS, SCAN MATCH, PSUBSCRIBE, CONFIG GET, ACL), compiled to `re`.

`*` any bytes, `?` one byte, `[a-c]` and `[^a-c]` one of a class, `\\` takes the next byte literally. What stands
between two stars is matched at its first place only and never revisited (an atomic group, as in Python's `fnmatch`):
that is enough for globs, and keeps `a*a*a*a*b` from taking exponential time.
"""

import re
from collections.abc import Callable
from functools import lru_cache

_CACHE_MAX = 256
_NOTHING = rb"(?!)"


@lru_cache(maxsize=_CACHE_MAX)
def glob(pattern: bytes, ignore_case: bool = False) -> Callable[[bytes], object]:
    """A function that tells whether all of a byte string matches the pattern (by the truth of what it returns)."""
    pieces = _split(pattern)
    expression = pieces[0]
    if len(pieces) > 1:
        middle = b"".join(b"(?>.*?%b)" % piece for piece in pieces[1:-1] if piece)
        expression += middle + b".*" + pieces[-1]
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if ignore_case else 0)).fullmatch


def _split(pattern: bytes) -> list[bytes]:
    """The expressions between the stars."""
    pieces = [b""]
    at = 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        at += 1
        if char == b"*":
            pieces.append(b"")
        elif char == b"?":
            pieces[-1] += b"."
        elif char == b"[":
            expression, at = _character_class(pattern, at)
            pieces[-1] += expression
        else:
            if char == b"\\" and at < len(pattern):
                char = pattern[at : at + 1]
                at += 1
            pieces[-1] += re.escape(char)
    return pieces


def _character_class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The expression for a class whose first byte is at `at`, and where the pattern goes on behind it.

    One that is never closed ends with the pattern; a range may be given backwards.
    """
    is_negated = pattern[at : at + 1] == b"^"
    at += is_negated
    members = b""
    while at < len(pattern) and pattern[at : at + 1] != b"]":
        if pattern[at : at + 1] == b"\\" and at + 1 < len(pattern):
            members += re.escape(pattern[at + 1 : at + 2])
            at += 2
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            low, high = sorted((pattern[at : at + 1], pattern[at + 2 : at + 3]))
            members += re.escape(low) + b"-" + re.escape(high)
            at += 3
        else:
            members += re.escape(pattern[at : at + 1])
            at += 1
    if not members:
        return (b"." if is_negated else _NOTHING), at + 1
    return b"[%b%b]" % (b"^" if is_negated else b"", members), at + 1
