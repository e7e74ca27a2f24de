"""Glob patterns as Redis matches them: `*`, `?`, `[abc]`, `[^a-z]`, and `\\` before anything that is meant literally.

A pattern becomes a regular expression that cannot backtrack badly: what stands between two stars is matched once, at
the leftmost place where it fits, in an atomic group. That is enough for a glob, and bounds the work by the length of
the text times that of the pattern, where naive matching of `a*a*a*a*b` explodes.

What differs from the usual globs, and is kept:
* A class that isn't closed ends with the pattern; `[]` matches nothing and `[^]` any byte; a `]` can't be the first.
* `[z-a]` means `[a-z]`, and bounds are compared as signed bytes.
* An empty text matches the empty pattern only. The commands treat a lone `*` before they come here: it takes any text.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from makoredis.data.slots import slot_of

Matcher = Callable[[bytes], object]
"""Whether a text matches, as a truth value."""

_COMPILED_LENGTH_MAX = 512
"""Longer patterns are matched step by step: compiling takes some 3 µs per byte."""
_CACHE_SIZE = 256

_ANY = frozenset(range(256))
_Token = frozenset[int] | None
"""The bytes that one place in the text may have; None is a star."""

_STAR, _QUESTION, _OPEN, _CLOSE, _ESCAPE, _CARET, _DASH = b"*?[]\\^-"


def matcher(pattern: bytes) -> Matcher:
    """A function that says whether a text matches the pattern; a lone `*` takes any."""
    if pattern == b"*":
        return _matches_any
    if len(pattern) > _COMPILED_LENGTH_MAX:
        tokens = list(_tokens(pattern))
        return lambda text: _matches_stepwise(tokens, text)
    return _compile(pattern).match


def matches(pattern: bytes, text: bytes, ignores_case: bool = False) -> bool:
    """Whether a text matches. Ignoring the case is for ASCII names (CONFIG GET)."""
    if ignores_case:
        pattern, text = pattern.lower(), text.lower()
    return bool(matcher(pattern)(text))


def slot_of_pattern(pattern: bytes) -> int | None:
    """The only slot whose keys can match, None when there may be several: `{user1}:*` or a pattern without specials."""
    start = end = -1
    for at, byte in enumerate(pattern):
        if byte in b"*?[\\":
            return None
        if start < 0 and byte == 0x7B:
            start = at
        elif start >= 0 and end < 0 and byte == 0x7D:
            end = at
            if end > start + 1:
                return slot_of(pattern[: end + 1])
    return slot_of(pattern)


def _matches_any(text: bytes) -> bool:
    return True


@lru_cache(maxsize=_CACHE_SIZE)
def _compile(pattern: bytes) -> re.Pattern[bytes]:
    segments: list[bytes] = [b""]
    for token in _tokens(pattern):
        if token is None:
            segments.append(b"")
        else:
            segments[-1] += _expression(token)
    first, *rest = segments
    expression = first
    if rest:
        *middle, last = rest
        expression += b"".join(b"(?>.*?%b)" % segment for segment in middle if segment) + b".*" + last
        if pattern[:1] == b"*":
            # An empty text matches no pattern but the empty one.
            expression = b"(?=.)" + expression
    return re.compile(expression + rb"\Z", re.DOTALL)


def _expression(token: frozenset[int]) -> bytes:
    if len(token) == 1:
        return b"\\x%02x" % next(iter(token))
    if token == _ANY:
        return b"."
    return b"[%b]" % b"".join(b"\\x%02x" % byte for byte in sorted(token)) if token else b"(?!)"


def _tokens(pattern: bytes) -> Iterator[_Token]:
    """What each place of a text may be; stars that follow each other are one."""
    at = 0
    was_star = False
    while at < len(pattern):
        byte = pattern[at]
        if byte == _STAR:
            if not was_star:
                yield None
            was_star = True
            at += 1
            continue
        was_star = False
        if byte == _QUESTION:
            yield _ANY
        elif byte == _OPEN:
            token, at = _class(pattern, at + 1)
            yield token
        else:
            if byte == _ESCAPE and at + 1 < len(pattern):
                at += 1
            yield frozenset((pattern[at],))
        at += 1


def _class(pattern: bytes, at: int) -> tuple[frozenset[int], int]:
    """The bytes of a class whose content starts at a position, and the position of its closing bracket."""
    length = len(pattern)
    is_negated = at < length and pattern[at] == _CARET
    if is_negated:
        at += 1
    members: set[int] = set()
    while at < length and (byte := pattern[at]) != _CLOSE:
        if byte == _ESCAPE and at + 1 < length:
            at += 1
            members.add(pattern[at])
        elif at + 2 < length and pattern[at + 1] == _DASH:
            low, high = sorted((_signed(byte), _signed(pattern[at + 2])))
            members.update(value & 255 for value in range(low, high + 1))
            at += 2
        else:
            members.add(byte)
        at += 1
    return (_ANY - members if is_negated else frozenset(members)), at


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def _matches_stepwise(tokens: list[_Token], text: bytes) -> bool:
    """Matches without compiling: after a mismatch only the last star takes one byte more."""
    if not text:
        return not tokens
    at_token = at_text = 0
    star, resume = -1, 0
    while at_text < len(text):
        token = tokens[at_token] if at_token < len(tokens) else frozenset[int]()
        if token is None:
            star, resume = at_token, at_text
            at_token += 1
        elif text[at_text] in token:
            at_token += 1
            at_text += 1
        elif star >= 0:
            resume += 1
            at_token, at_text = star + 1, resume
        else:
            return False
    return all(token is None for token in tokens[at_token:])
