"""How replies become Lua values and results become replies: the Python side of `values.lua`.

Only `bytes`, `int`, `float`, `bool` and `None` cross; what has structure crosses as a flat run of tokens.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from resp.numbers import format_double
from resp.replies import (
    OK,
    Attribute,
    BigNumber,
    Boolean,
    Double,
    Error,
    Map,
    NullArray,
    Push,
    Raw,
    Reply,
    SetReply,
    Simple,
    Verbatim,
)

STATUS, ERROR, FLAT, NESTED, CHUNKED, ABORT, REFUSED = range(1, 8)
ARRAY, MAP, SET, DOUBLE, BIG_NUMBER, VERBATIM, TRUE, FALSE, NULL, PASSED_ON = range(8, 18)

KINDS: Final = {
    b"STATUS": STATUS, b"ERROR": ERROR, b"FLAT": FLAT, b"NESTED": NESTED, b"CHUNKED": CHUNKED, b"ABORT": ABORT,
    b"REFUSED": REFUSED, b"ARRAY": ARRAY, b"MAP": MAP, b"SET": SET, b"DOUBLE": DOUBLE, b"BIG_NUMBER": BIG_NUMBER,
    b"VERBATIM": VERBATIM, b"TRUE": TRUE, b"FALSE": FALSE, b"NULL": NULL, b"PASSED_ON": PASSED_ON,
}  # fmt: skip
"""What `values.lua` calls them."""

CHUNK_TOKENS: Final = 4000
"""So many values cross at once; Lua's C stack ends at 8000."""
CHUNK_BYTES: Final = 64 << 20
"""A chunk ends when its strings have this size, so that memory can be checked before the next."""

_INT64_MIN: Final = -(2**63)
_PLAIN: Final = frozenset((bytes, int))
_PLAIN_OR_NULL: Final = frozenset((bytes, int, type(None)))
_NULLS: Final = (type(None), NullArray)
_LINE_BREAKS_TO_SPACES: Final = bytes.maketrans(b"\r\n", b"  ")


class PassedOnError(Error):
    """A command's error that is the result of the whole script. It was counted when it arose."""

    __slots__ = ()


Token = bytes | int | float | bool


# -- replies of commands to Lua


def outgoing(reply: Any, protocol: int) -> tuple[Any, ...] | list[Token]:
    """What a reply that is neither a string nor an integer is for Lua.

    Returns: the values to cross; or a list of tokens that are too many for one crossing.
    """
    kind = type(reply)
    if kind is Simple:
        return reply.text, STATUS
    if kind is Error:
        return error_text(reply.text), ERROR
    if kind is list or kind is tuple:
        kinds = set(map(type, reply))
        if kinds <= _PLAIN and _may_cross(reply):
            return (0, FLAT, *reply)
        if protocol == 2 and kinds <= _PLAIN_OR_NULL and _may_cross(reply):
            return (0, FLAT, *[False if item is None else item for item in reply])
    tokens: list[Token] = []
    _tokenize(reply, protocol, tokens)
    if len(tokens) == 1:
        return (tokens[0],)
    return (0, NESTED, *tokens) if _may_cross(tokens) else tokens


def _may_cross(values: Sequence[object]) -> bool:
    """Whether values are few and small enough to cross at once."""
    return len(values) <= CHUNK_TOKENS and sum([len(value) for value in values if type(value) is bytes]) <= CHUNK_BYTES


def chunks(tokens: Sequence[Token]) -> Iterator[tuple[Token, ...]]:
    """Cuts a run of tokens into pieces that may cross one by one. Never yields an empty one."""
    start = size = 0
    for at, token in enumerate(tokens):
        size += len(token) if type(token) is bytes else 0
        if at - start == CHUNK_TOKENS or (size > CHUNK_BYTES and at > start):
            yield tuple(tokens[start:at])
            start, size = at, len(token) if type(token) is bytes else 0
    if start < len(tokens):
        yield tuple(tokens[start:])


def _tokenize(reply: Any, protocol: int, out: list[Token]) -> None:
    kind = type(reply)
    if kind is bytes or kind is int:
        out.append(reply)
    elif kind in _NULLS:
        out.extend((False,) if protocol == 2 else (True, NULL))
    else:
        _TOKENIZERS[kind](reply, protocol, out)


def _tokenize_bytearray(reply: bytearray, protocol: int, out: list[Token]) -> None:
    out.append(bytes(reply))


def _tokenize_status(reply: Simple, protocol: int, out: list[Token]) -> None:
    out.extend((True, STATUS, reply.text))


def _tokenize_error(reply: Error, protocol: int, out: list[Token]) -> None:
    out.extend((True, ERROR, error_text(reply.text)))


def _tokenize_array(items: Sequence[Reply], protocol: int, out: list[Token]) -> None:
    out.extend((True, ARRAY, len(items)))
    for item in items:
        _tokenize(item, protocol, out)


def _tokenize_push(reply: Push, protocol: int, out: list[Token]) -> None:
    _tokenize_array(reply.items, protocol, out)


def _tokenize_set(reply: SetReply, protocol: int, out: list[Token]) -> None:
    out.extend((True, ARRAY if protocol == 2 else SET, len(reply.members)))
    for member in reply.members:
        _tokenize(member, protocol, out)


def _tokenize_map(reply: Map, protocol: int, out: list[Token]) -> None:
    count = len(reply.pairs)
    out.extend((True, ARRAY, 2 * count) if protocol == 2 else (True, MAP, count))
    for key, value in reply.pairs:
        _tokenize(key, protocol, out)
        _tokenize(value, protocol, out)


def _tokenize_double(reply: Double, protocol: int, out: list[Token]) -> None:
    out.extend((format_double(reply.value),) if protocol == 2 else (True, DOUBLE, float(reply.value)))


def _tokenize_raw(reply: Raw, protocol: int, out: list[Token]) -> None:
    """Of what scripts may call, only GEO… answer so: a double with more digits than its shortest form has."""
    assert reply.encoded.startswith(b","), reply
    _tokenize_double(Double(float(reply.encoded[1:])), protocol, out)


def _tokenize_boolean(reply: Boolean, protocol: int, out: list[Token]) -> None:
    out.extend((int(reply.value),) if protocol == 2 else (True, TRUE if reply.value else FALSE))


def _tokenize_big_number(reply: BigNumber, protocol: int, out: list[Token]) -> None:
    text = b"%d" % reply.value
    out.extend((text,) if protocol == 2 else (True, BIG_NUMBER, text))


def _tokenize_verbatim(reply: Verbatim, protocol: int, out: list[Token]) -> None:
    out.extend((reply.text,) if protocol == 2 else (True, VERBATIM, reply.format, reply.text))


def _tokenize_attribute(reply: Attribute, protocol: int, out: list[Token]) -> None:
    _tokenize(reply.reply, protocol, out)


_TOKENIZERS: Final[dict[type, Callable[[Any, int, list[Token]], None]]] = {
    bytearray: _tokenize_bytearray,
    Simple: _tokenize_status,
    Error: _tokenize_error,
    list: _tokenize_array,
    tuple: _tokenize_array,
    Push: _tokenize_push,
    SetReply: _tokenize_set,
    Map: _tokenize_map,
    Double: _tokenize_double,
    Boolean: _tokenize_boolean,
    BigNumber: _tokenize_big_number,
    Verbatim: _tokenize_verbatim,
    Attribute: _tokenize_attribute,
    Raw: _tokenize_raw,
}


def error_text(text: bytes) -> bytes:
    """An error as scripts see it: a code alone is taken for the message of a generic error."""
    return text if b" " in text else b"ERR " + text


def number_argument(number: float) -> bytes:
    """A Lua number as a command's argument: 17 significant digits, as C's %.17g prints them."""
    if type(number) is int and -(10**17) < number < 10**17:
        return b"%d" % number
    if math.isnan(number):
        return b"-nan" if math.copysign(1.0, number) < 0 else b"nan"
    return b"%.17g" % number


# -- results of scripts to replies


def incoming(result: Any, kept: Sequence[Token]) -> Reply:
    """The reply that a run's result means.

    Args:
        result: a plain value, or a tuple of tokens.
        kept: the tokens, if they were too many for one crossing.
    """
    kind = type(result)
    if kind is bytes or result is None:
        value: bytes | None = result
        return value
    if kind is int or kind is float:
        return integer(result)
    tokens: Sequence[Token] = result
    if tokens[1] == CHUNKED:
        tokens = kept
    elif tokens[1] == ARRAY:
        items = tokens[3:]
        if _PLAIN.issuperset(map(type, items)):
            return list(items)
    elif tokens[1] == PASSED_ON:
        return PassedOnError(tokens[2].partition(b"\0")[0])  # type: ignore[union-attr]
    return _Reader(tokens).read()


def integer(number: int | float) -> int:
    """A number as C converts a double to a 64-bit integer on x86: truncated, and the least one if out of range."""
    if type(number) is int and _INT64_MIN <= number < -_INT64_MIN:
        return number
    return int(number) if _INT64_MIN <= number < -_INT64_MIN else _INT64_MIN


class _Reader:
    """Reads a reply from its tokens."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = iter(tokens)

    def read(self) -> Reply:
        token: Any = next(self._tokens)
        kind = type(token)
        if kind is bytes:
            text: bytes = token
            return text
        if kind is bool:
            return self._read_marked() if token else None
        return integer(token)

    def _read_marked(self) -> Reply:
        kind = self._next()
        if kind == ARRAY:
            return [self.read() for _ in range(self._next())]
        if kind == MAP:
            return Map([(self.read(), self.read()) for _ in range(self._next())])
        if kind == SET:
            return SetReply([self.read() for _ in range(self._next())])
        if kind == DOUBLE:
            return Double(float(self._next()))
        if kind == VERBATIM:
            return Verbatim(self._next()[:3].ljust(3), self._next())
        if kind in (TRUE, FALSE):
            return Boolean(kind == TRUE)
        return _text_reply(kind, self._next())

    def _next(self) -> Any:
        return next(self._tokens)


def _text_reply(kind: int, text: bytes) -> Reply:
    if kind in (ERROR, PASSED_ON):
        return Error(text.partition(b"\0")[0])
    if kind == STATUS:
        return OK if text == b"OK" else Simple(text.partition(b"\0")[0].translate(_LINE_BREAKS_TO_SPACES))
    text = text.translate(_LINE_BREAKS_TO_SPACES)
    try:
        return BigNumber(int(text))
    except ValueError:
        return text
