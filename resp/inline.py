"""Inline commands: one line of words, for people with telnet and for health checks.

The rules of quoting are Redis's (`sdssplitargs`): words are separated by white space; `"..."` knows the escapes
`\\n \\r \\t \\b \\a \\xHH`, and `\\` before anything else stands for that character; `'...'` knows `\\'` alone; a
closing quote has to be followed by white space or the end of the line. A quote may open in the middle of a word.
"""

from __future__ import annotations

import re
from typing import Final

_WORDS_WITHOUT_QUOTES: Final = re.compile(rb"[^\"']*")
_SPACE: Final = frozenset(b" \t\n\v\f\r")
_HEXADECIMAL: Final = frozenset(b"0123456789abcdefABCDEF")
_ESCAPES: Final = {ord("n"): b"\n", ord("r"): b"\r", ord("t"): b"\t", ord("b"): b"\b", ord("a"): b"\a"}
_DOUBLE_QUOTE: Final = ord('"')
_SINGLE_QUOTE: Final = ord("'")
_BACKSLASH: Final = ord("\\")


def split_words(line: bytes) -> list[bytes] | None:
    """Splits a line into its words; None if a quote is not closed, or is closed in the middle of a word."""
    if _WORDS_WITHOUT_QUOTES.fullmatch(line):
        return line.split()
    words: list[bytes] = []
    pos = 0
    while True:
        while pos < len(line) and line[pos] in _SPACE:
            pos += 1
        if pos == len(line):
            return words
        taken = _take_word(line, pos)
        if taken is None:
            return None
        word, pos = taken
        words.append(word)


def _take_word(line: bytes, pos: int) -> tuple[bytes, int] | None:
    word = bytearray()
    while pos < len(line) and line[pos] not in _SPACE:
        character = line[pos]
        if character in (_DOUBLE_QUOTE, _SINGLE_QUOTE):
            quoted = _take_double_quoted if character == _DOUBLE_QUOTE else _take_single_quoted
            end = quoted(line, pos + 1, word)
            closed_well = end is not None and (end == len(line) or line[end] in _SPACE)
            return (bytes(word), end) if end is not None and closed_well else None
        word.append(character)
        pos += 1
    return bytes(word), pos


def _take_double_quoted(line: bytes, pos: int, word: bytearray) -> int | None:
    """Appends to `word` up to the closing quote; returns the position behind that, None if there is none."""
    while pos < len(line):
        character = line[pos]
        if character == _DOUBLE_QUOTE:
            return pos + 1
        if character == _BACKSLASH and pos + 1 < len(line):
            digits = line[pos + 2 : pos + 4]
            if line[pos + 1] == ord("x") and len(digits) == 2 and _HEXADECIMAL.issuperset(digits):
                word.append(int(digits, 16))
                pos += 4
                continue
            pos += 1
            word += _ESCAPES.get(line[pos], line[pos : pos + 1])
        else:
            word.append(character)
        pos += 1
    return None


def _take_single_quoted(line: bytes, pos: int, word: bytearray) -> int | None:
    while pos < len(line):
        character = line[pos]
        if character == _SINGLE_QUOTE:
            return pos + 1
        if character == _BACKSLASH and line[pos + 1 : pos + 2] == b"'":
            pos += 1
            character = _SINGLE_QUOTE
        word.append(character)
        pos += 1
    return None
