"""The values that a command handler returns, before they become bytes.

A *reply* is one of

* `bytes` / `bytearray`: a bulk string; `int`: an integer; `None`: null; `list` / `tuple`: an array of replies;
* one of the small classes below, for what the Python types cannot say.

`bool`, `float` and `str` are refused by the encoder: each of them has two possible meanings on the wire, so the handler
has to choose one (`Boolean` or 0/1, `Double` or digits, `Simple` or bytes).

RESP2 lacks most of these kinds; the encoder maps them to what Redis 7.0 sends to a RESP2 client. What differs by more
than the encoding (ZRANGE WITHSCORES nests its pairs in RESP3 alone) is the handler's business: it knows the session's
protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

_LINE_BREAKS_TO_SPACES: Final = bytes.maketrans(b"\r\n", b"  ")


def one_line(text: bytes | str) -> bytes:
    """Makes a text fit on a line of the protocol, as Redis does: drops line breaks at its end, blanks inner ones."""
    line = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)
    if b"\n" in line or b"\r" in line:
        line = line.rstrip(b"\r\n").translate(_LINE_BREAKS_TO_SPACES)
    return line


class Simple:
    """A status such as `+OK`; encoded once, since nearly all of them are constants."""

    __slots__ = ("encoded", "text")

    def __init__(self, text: bytes | str) -> None:
        self.text = one_line(text)
        self.encoded = b"+%b\r\n" % self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Simple) and self.text == other.text

    def __hash__(self) -> int:
        return hash((Simple, self.text))

    def __repr__(self) -> str:
        return f"Simple({self.text!r})"


class Error:
    """An error reply; the text starts with its code (`ERR`, `WRONGTYPE`, ...) and carries no leading dash."""

    __slots__ = ("text",)

    def __init__(self, text: bytes | str) -> None:
        self.text = one_line(text)

    @property
    def code(self) -> bytes:
        """The first word, by which clients tell kinds of errors apart."""
        return self.text.partition(b" ")[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Error) and self.text == other.text

    def __hash__(self) -> int:
        return hash((Error, self.text))

    def __repr__(self) -> str:
        return f"Error({self.text!r})"


class NullArray:
    """The null of a reply that is an array otherwise: `*-1` in RESP2, where null strings differ; `_` in RESP3."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NullArray)

    def __hash__(self) -> int:
        return hash(NullArray)

    def __repr__(self) -> str:
        return "NULL_ARRAY"


@dataclass(slots=True)
class Double:
    """A floating-point number; a bulk string of the same digits in RESP2."""

    value: float
    human: bool = False
    """Written with 17 decimals less trailing zeros (coordinates), instead of 17 significant digits (scores)."""


@dataclass(slots=True)
class Boolean:
    """True or false; `:1` or `:0` in RESP2."""

    value: bool


@dataclass(slots=True)
class BigNumber:
    """An integer beyond 64 bits; a bulk string in RESP2."""

    value: int


@dataclass(slots=True)
class Map:
    """Pairs of key and value in the order given; a flat array in RESP2."""

    pairs: Sequence[tuple[Reply, Reply]]


@dataclass(slots=True)
class SetReply:
    """Members of a set in the order given; an array in RESP2."""

    members: Sequence[Reply]


@dataclass(slots=True)
class Push:
    """Something that no request asked for (a published message, an invalidation); an array in RESP2."""

    items: Sequence[Reply]


@dataclass(slots=True)
class Verbatim:
    """A text with a format of three letters, `txt` or `mkd`; a bulk string without the format in RESP2."""

    format: bytes
    text: bytes


@dataclass(slots=True)
class Attribute:
    """A reply with out-of-band facts on it; RESP2 gets the reply alone."""

    pairs: Sequence[tuple[Reply, Reply]]
    reply: Reply


@dataclass(slots=True)
class Raw:
    """Bytes that are encoded already, for the protocol of the session that gets them."""

    encoded: bytes


# The elements of arrays are left open: `list` is invariant, and handlers return `list[bytes]`, `list[int]` and so on.
Reply: TypeAlias = (
    bytes
    | bytearray
    | int
    | list[Any]
    | tuple[Any, ...]
    | Simple
    | Error
    | NullArray
    | Double
    | Boolean
    | BigNumber
    | Map
    | SetReply
    | Push
    | Verbatim
    | Attribute
    | Raw
    | None
)

OK: Final = Simple(b"OK")
PONG: Final = Simple(b"PONG")
QUEUED: Final = Simple(b"QUEUED")
RESET: Final = Simple(b"RESET")
NULL_ARRAY: Final = NullArray()
EMPTY_ARRAY: Final[tuple[()]] = ()
EMPTY_BULK: Final = b""

WRONG_TYPE: Final = Error(b"WRONGTYPE Operation against a key holding the wrong kind of value")
SYNTAX_ERROR: Final = Error(b"ERR syntax error")
NOT_AN_INTEGER: Final = Error(b"ERR value is not an integer or out of range")
NOT_A_FLOAT: Final = Error(b"ERR value is not a valid float")
NO_SUCH_KEY: Final = Error(b"ERR no such key")

OK_BYTES: Final = b"+OK\r\n"
PONG_BYTES: Final = b"+PONG\r\n"
QUEUED_BYTES: Final = b"+QUEUED\r\n"
NULL_BULK_BYTES: Final = b"$-1\r\n"
NULL_ARRAY_BYTES: Final = b"*-1\r\n"
NULL_BYTES: Final = b"_\r\n"
ZERO_BYTES: Final = b":0\r\n"
ONE_BYTES: Final = b":1\r\n"
EMPTY_ARRAY_BYTES: Final = b"*0\r\n"
EMPTY_BULK_BYTES: Final = b"$0\r\n\r\n"
