"""Values ⇄ bytes, for the log and the state on disk: a type letter, then MessagePack of plain arrays.

MessagePack because msgspec packs and unpacks a hash of 1,000 fields in some 30 µs, which no format written in Python
comes near. The letters are a file format.
"""

from typing import Any

import msgspec

from makoredis.data.deadlines import Deadlines
from makoredis.data.encoding_stream import decode_stream, encode_stream
from makoredis.data.values import Hash, List, Set, SortedSet, Stream, Value

_pack = msgspec.msgpack.Encoder().encode
_unpack_list = msgspec.msgpack.Decoder(list[bytes]).decode
_unpack_pairs = msgspec.msgpack.Decoder(dict[bytes, bytes]).decode
_unpack_pairs_and_deadlines = msgspec.msgpack.Decoder(tuple[dict[bytes, bytes], dict[bytes, int]]).decode
_unpack_scores = msgspec.msgpack.Decoder(dict[bytes, float]).decode
_unpack_ordered = msgspec.msgpack.Decoder(tuple[list[bytes], list[float]]).decode


def encode_value(value: Value) -> bytes:
    """The bytes of a value, by which `decode_value` gives an equal one."""
    if isinstance(value, bytes):
        return b"s" + value
    if isinstance(value, bytearray):
        return b"r" + value
    if isinstance(value, List):
        return b"l" + _pack(list(value))
    if isinstance(value, Hash):
        if value.deadlines is not None and value.deadlines.by_name:
            return b"H" + _pack((value.fields, value.deadlines.by_name))
        return b"h" + _pack(value.fields)
    if isinstance(value, Set):
        return encode_members(value.members)
    if isinstance(value, Stream):
        return b"x" + encode_stream(value)
    return b"Z" + _pack((value.members(0, len(value)), value.scores(0, len(value))))


def encode_moved(value: Value) -> bytes:
    """The bytes of a value that only changes its place (RENAME, COPY, MOVE): the other one answers OBJECT ENCODING as
    this one does. `encode_value` has that found anew from the content, as Redis does for what it loads."""
    form = value.form if isinstance(value, Hash | List | Set | SortedSet) else 0
    return b"f%c" % form + encode_value(value) if form else encode_value(value)


def encode_members(members: list[bytes]) -> bytes:
    """The bytes of a set with these members, all different, without building one."""
    return b"e" + _pack(members)


def encode_scores(scores: dict[bytes, float]) -> bytes:
    """Bytes of a sorted set with these scores, in any order, without building one. `encode_value` has them in order,
    which is read back in a third of the time."""
    return b"z" + _pack(scores)


def decode_value(encoded: bytes) -> Value:
    """The value of some bytes.

    Raises: KeyError or msgspec.DecodeError when they are none of `encode_value`'s.
    """
    letter, body = encoded[:1], encoded[1:]
    if letter == b"s":
        return body
    value: Value = _DECODERS[letter](body)
    return value


def _hash_with_deadlines(fields: dict[bytes, bytes], deadlines: dict[bytes, int]) -> Hash:
    value = Hash(fields)
    value.deadlines = Deadlines(deadlines)
    return value


def _decode_moved(body: bytes) -> Value:
    value = decode_value(body[1:])
    assert isinstance(value, Hash | List | Set | SortedSet)
    value.keep_form(body[0])
    return value


_DECODERS: dict[bytes, Any] = {
    b"r": bytearray,
    b"l": lambda body: List(_unpack_list(body)),
    b"h": lambda body: Hash(_unpack_pairs(body)),
    b"H": lambda body: _hash_with_deadlines(*_unpack_pairs_and_deadlines(body)),
    b"e": lambda body: Set(_unpack_list(body)),
    b"z": lambda body: SortedSet(_unpack_scores(body)),
    b"Z": lambda body: SortedSet.in_order(*_unpack_ordered(body)),
    b"x": decode_stream,
    b"f": _decode_moved,
}
