"""The listpack: how Redis lays out a small collection in one piece of memory, and hence on disk.

A header of six bytes (total bytes, number of elements), the elements, an end byte. An element is an encoding byte with
its data, followed by its own length written backwards, so that a listpack can be walked from either end. Strings that
look like a 64-bit integer are stored as one. The layout is specified in antirez/listpack, `listpack.md`.

Reading checks every length against the bytes that are there: a listpack comes from a file or a client.
"""

from collections.abc import Iterable
from struct import Struct

from makoredis.data.listpack import is_int64, trailer_bytes
from makoredis.data.rdb.errors import BadFormat

HEADER_BYTES = 6
END = 0xFF
COUNT_UNKNOWN = 0xFFFF
"""In the header when there are as many elements or more; then they have to be counted."""

_HEADER = Struct("<IH")


def encode(elements: Iterable[bytes | int]) -> bytes:
    """A listpack of the elements, as Redis would build it by appending them."""
    out = bytearray(HEADER_BYTES)
    count = 0
    for element in elements:
        count += 1
        if isinstance(element, int) or is_int64(element):
            data = _encode_integer(int(element))
        else:
            data = _encode_string(element)
        out += data
        out += _trailer(len(data))
    out.append(END)
    _HEADER.pack_into(out, 0, len(out), min(count, COUNT_UNKNOWN))
    return bytes(out)


def _encode_integer(value: int) -> bytes:
    if 0 <= value < 128:
        return bytes((value,))
    if -4096 <= value < 4096:
        return (0xC000 | (value & 0x1FFF)).to_bytes(2, "big")
    for tag, size in ((b"\xf1", 2), (b"\xf2", 3), (b"\xf3", 4)):
        limit = 1 << (8 * size - 1)
        if -limit <= value < limit:
            return tag + value.to_bytes(size, "little", signed=True)
    return b"\xf4" + value.to_bytes(8, "little", signed=True)


def _encode_string(text: bytes) -> bytes:
    size = len(text)
    if size < 64:
        return bytes((0x80 | size,)) + text
    if size < 4096:
        return (0xE000 | size).to_bytes(2, "big") + text
    return b"\xf0" + size.to_bytes(4, "little") + text


def _trailer(size: int) -> bytes:
    """The length of an element written so that it can be read backwards: seven bits per byte, the lowest ones last."""
    if size < 128:
        return bytes((size,))
    count = trailer_bytes(size)
    return bytes(((size >> 7 * (count - 1 - at)) & 127) | (128 if at else 0) for at in range(count))


def decode(pack: bytes) -> list[bytes | int]:
    """The elements of a listpack, integers as `int`.

    Raises: BadFormat when it is not one.
    """
    if len(pack) <= HEADER_BYTES:
        raise BadFormat("listpack shorter than its header")
    total, count = _HEADER.unpack_from(pack)
    if total != len(pack) or pack[-1] != END:
        raise BadFormat("listpack of a wrong length")
    elements: list[bytes | int] = []
    at, end = HEADER_BYTES, total - 1
    while at < end:
        element, size = _decode_element(pack, at)
        after = at + size + trailer_bytes(size)
        if after > end or pack[at + size : after] != _trailer(size):
            raise BadFormat("listpack element that does not end where it says")
        elements.append(element)
        at = after
    if at != end or (count != COUNT_UNKNOWN and count != len(elements)):
        raise BadFormat("listpack with a wrong number of elements")
    return elements


_FIXED_INTEGERS = {0xF1: 2, 0xF2: 3, 0xF3: 4, 0xF4: 8}


def _decode_element(pack: bytes, at: int) -> tuple[bytes | int, int]:
    """The element at a place, and its size without the trailer."""
    first = pack[at]
    if first < 0x80:
        return first, 1
    if first < 0xC0:
        size = first & 0x3F
        return pack[at + 1 : at + 1 + size], 1 + size
    if first < 0xE0:
        value = (first & 0x1F) << 8 | pack[at + 1]
        return value - 0x2000 if value >= 0x1000 else value, 2
    if first < 0xF0:
        size = (first & 0x0F) << 8 | pack[at + 1]
        return pack[at + 2 : at + 2 + size], 2 + size
    if first == 0xF0:
        size = int.from_bytes(pack[at + 1 : at + 5], "little")
        return pack[at + 5 : at + 5 + size], 5 + size
    width = _FIXED_INTEGERS.get(first)
    if width is None:
        raise BadFormat("listpack element of an unknown encoding")
    return int.from_bytes(pack[at + 1 : at + 1 + width], "little", signed=True), 1 + width
