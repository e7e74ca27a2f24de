"""Bytes from a server to replies: the inverse of `resp.encode`, for nodes that talk to each other and for tools.

RESP3 keeps every kind of reply, so there `decode(encode(reply, 3))` is the reply again, except that a null array is a
null and tuples are lists. RESP2 gives what a RESP2 client can tell.

The nesting is kept on a stack of unfinished aggregates, so a reply may arrive in any pieces and nest to any depth, and
work is linear in the bytes received. Nothing is allocated for an announced count before the bytes arrive. Errors of
the other side raise `ReplyError`: what follows cannot be understood any more.

Left out: RESP3's streamed strings and aggregates (`$?`, `*?`), which Redis does not send either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from resp.numbers import parse_double, parse_integer
from resp.replies import (
    NULL_ARRAY,
    Attribute,
    BigNumber,
    Boolean,
    Double,
    Error,
    Map,
    Push,
    Reply,
    SetReply,
    Simple,
    Verbatim,
)

BULK_BYTES_MAX: Final = 512 * 1024 * 1024
LINE_BYTES_MAX: Final = 64 * 1024
BIG_NUMBER_DIGITS_MAX: Final = 4300
"""What Python converts at once."""


class ReplyError(Exception):
    """Bytes that are no reply."""


@dataclass(slots=True)
class _Aggregate:
    """A reply that is made of others, some of which are still to come."""

    kind: int
    missing: int
    items: list[Any] = field(default_factory=list)


_INCOMPLETE: Final = object()


class ReplyParser:
    """The replies of one connection; `parse` is called with each chunk received."""

    __slots__ = ("_buffer", "_bulk_bytes_max", "_pos", "_stack")

    def __init__(self, bulk_bytes_max: int = BULK_BYTES_MAX) -> None:
        self._bulk_bytes_max = bulk_bytes_max
        self._buffer = bytearray()
        self._pos = 0
        self._stack: list[_Aggregate] = []

    @property
    def is_idle(self) -> bool:
        """Whether no reply has begun that is not complete."""
        return not self._buffer and not self._stack

    def parse(self, data: bytes) -> list[Reply]:
        """Takes the next chunk; returns the replies that are complete now, in order.

        Raises:
            ReplyError: The connection is of no use any more. Replies of this chunk before the error are lost.
        """
        self._buffer += data
        replies: list[Reply] = []
        while self._pos < len(self._buffer):
            item = self._take_element()
            if item is _INCOMPLETE:
                break
            self._place(item, replies)
        del self._buffer[: self._pos]
        self._pos = 0
        return replies

    def _place(self, item: Any, replies: list[Reply]) -> None:
        """Puts a new element where it belongs, and closes the aggregates that are complete with it."""
        while True:
            if isinstance(item, _Aggregate):
                if item.missing:
                    self._stack.append(item)
                    return
                item = _finish(item)
            if not self._stack:
                replies.append(item)
                return
            parent = self._stack[-1]
            parent.items.append(item)
            parent.missing -= 1
            if parent.missing:
                return
            item = self._stack.pop()

    def _take_element(self) -> Any:
        """Takes one line, with the bytes it announces; an aggregate comes back without its items."""
        buffer = self._buffer
        end = buffer.find(b"\r\n", self._pos)
        if end < 0:
            if len(buffer) - self._pos > LINE_BYTES_MAX:
                raise ReplyError("line too long")
            return _INCOMPLETE
        kind = buffer[self._pos]
        line = bytes(buffer[self._pos + 1 : end])
        if kind in _ITEMS_PER_COUNT:
            self._pos = end + 2
            return _open_aggregate(kind, line)
        if kind in _BULK_KINDS:
            return self._take_bulk(kind, line, end + 2)
        scalar = _SCALARS.get(kind)
        if scalar is None:
            raise ReplyError(f"unknown kind of reply {chr(kind)!r}")
        self._pos = end + 2
        return scalar(line)

    def _take_bulk(self, kind: int, line: bytes, start: int) -> Any:
        length = parse_integer(line)
        if length is None or not -1 <= length <= self._bulk_bytes_max:
            raise ReplyError(f"invalid length {line!r}")
        if length < 0:
            self._pos = start
            return None
        end = start + length
        if len(self._buffer) < end + 2:
            return _INCOMPLETE
        if self._buffer[end : end + 2] != b"\r\n":
            raise ReplyError("a string is not followed by a line break")
        with memoryview(self._buffer) as view:
            value = bytes(view[start:end])
        self._pos = end + 2
        return _BULK_KINDS[kind](value)


def decode(data: bytes) -> Reply:
    """Decodes exactly one whole reply."""
    parser = ReplyParser()
    replies = parser.parse(data)
    if len(replies) != 1 or not parser.is_idle:
        raise ReplyError(f"{len(replies)} whole replies where one is expected")
    return replies[0]


def _open_aggregate(kind: int, line: bytes) -> Any:
    count = parse_integer(line)
    if count == -1 and kind == ord("*"):
        return NULL_ARRAY
    if count is None or count < 0:
        raise ReplyError(f"invalid count {line!r}")
    extra = 1 if kind == ord("|") else 0
    return _Aggregate(kind, count * _ITEMS_PER_COUNT[kind] + extra)


def _finish(aggregate: _Aggregate) -> Reply:
    items = aggregate.items
    match chr(aggregate.kind):
        case "*":
            return items
        case "%":
            return Map(_pairs(items))
        case "~":
            return SetReply(items)
        case ">":
            return Push(items)
        case _:
            return Attribute(_pairs(items[:-1]), items[-1])


def _pairs(items: Sequence[Any]) -> list[tuple[Reply, Reply]]:
    return list(zip(items[0::2], items[1::2]))


def _integer(line: bytes) -> int:
    value = parse_integer(line)
    if value is None:
        raise ReplyError(f"invalid integer {line!r}")
    return value


def _double(line: bytes) -> Double:
    value = math.nan if line in (b"nan", b"-nan") else parse_double(line)
    if value is None:
        raise ReplyError(f"invalid double {line!r}")
    return Double(value)


def _boolean(line: bytes) -> Boolean:
    if line not in (b"t", b"f"):
        raise ReplyError(f"invalid boolean {line!r}")
    return Boolean(line == b"t")


def _big_number(line: bytes) -> BigNumber:
    if len(line) > BIG_NUMBER_DIGITS_MAX or not line.removeprefix(b"-").isdigit():
        raise ReplyError(f"invalid big number {line[:40]!r}")
    return BigNumber(int(line))


def _null(_: bytes) -> None:
    return None


def _bulk(value: bytes) -> bytes:
    return value


def _verbatim(value: bytes) -> Verbatim:
    if value[3:4] != b":":
        raise ReplyError("a verbatim string without a format")
    return Verbatim(value[:3], value[4:])


_ITEMS_PER_COUNT: Final = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}
_BULK_KINDS: Final[dict[int, Callable[[bytes], Reply]]] = {ord("$"): _bulk, ord("="): _verbatim, ord("!"): Error}
_SCALARS: Final[dict[int, Callable[[bytes], Reply]]] = {
    ord("+"): Simple,
    ord("-"): Error,
    ord(":"): _integer,
    ord(","): _double,
    ord("#"): _boolean,
    ord("("): _big_number,
    ord("_"): _null,
}
