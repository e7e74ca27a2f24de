"""Older ways in which Redis packed small collections: ziplist and zipmap (read only), and the intset.

Every length is checked against the bytes that are there.
"""

from collections.abc import Sequence
from itertools import pairwise
from struct import Struct

from makoredis.data.rdb.errors import BadFormat

_ZIPLIST_HEADER = Struct("<IIH")
_ZIPLIST_END = 0xFF
_ZIPLIST_LONG_PREVIOUS = 0xFE
_ZIPLIST_INTEGERS = {0xC0: 2, 0xD0: 4, 0xE0: 8, 0xF0: 3, 0xFE: 1}
_COUNT_UNKNOWN = 0xFFFF
_ZIPMAP_END = 0xFF
_ZIPMAP_LONG = 0xFE
_INTSET_HEADER = Struct("<II")
_INTSET_FORMATS = {2: "h", 4: "i", 8: "q"}


def decode_ziplist(pack: bytes) -> list[bytes | int]:
    """The elements. Raises: BadFormat."""
    header = _ZIPLIST_HEADER.size
    if len(pack) <= header:
        raise BadFormat("ziplist shorter than its header")
    total, tail, count = _ZIPLIST_HEADER.unpack_from(pack)
    if total != len(pack) or pack[-1] != _ZIPLIST_END:
        raise BadFormat("ziplist of a wrong length")
    elements: list[bytes | int] = []
    at, end, previous, last = header, total - 1, 0, header
    while at < end:
        last = at
        long_form = pack[at] == _ZIPLIST_LONG_PREVIOUS
        said = int.from_bytes(pack[at + 1 : at + 5], "little") if long_form else pack[at]
        if said != previous:
            raise BadFormat("ziplist whose elements do not follow each other")
        at += 5 if long_form else 1
        if at >= end:
            raise BadFormat("ziplist element cut off")
        element, size = _ziplist_element(pack, at)
        at += size
        elements.append(element)
        previous = at - last
    if at != end or tail != last or (count != _COUNT_UNKNOWN and count != len(elements)):
        raise BadFormat("ziplist that contradicts its header")
    return elements


def _ziplist_element(pack: bytes, at: int) -> tuple[bytes | int, int]:
    """The element whose encoding stands at a place, and its size from there."""
    first = pack[at]
    kind = first >> 6
    if kind == 0:
        start, size = 1, first & 63
    elif kind == 1:
        start, size = 2, (first & 63) << 8 | pack[at + 1]
    elif kind == 2:
        start, size = 5, int.from_bytes(pack[at + 1 : at + 5], "big")
    elif first in _ZIPLIST_INTEGERS:
        width = _ZIPLIST_INTEGERS[first]
        return int.from_bytes(pack[at + 1 : at + 1 + width], "little", signed=True), 1 + width
    elif 0xF1 <= first <= 0xFD:
        return first - 0xF1, 1
    else:
        raise BadFormat("ziplist element of an unknown encoding")
    return pack[at + start : at + start + size], start + size


def decode_zipmap(pack: bytes) -> list[bytes]:
    """Field, value, field, value … Raises: BadFormat."""
    if len(pack) < 2 or pack[-1] != _ZIPMAP_END:
        raise BadFormat("zipmap without its end")
    words: list[bytes] = []
    at, end = 1, len(pack) - 1
    while at < end:
        size, at = _zipmap_length(pack, at)
        free = 0
        if len(words) % 2:
            if at >= end:
                raise BadFormat("zipmap value cut off")
            free = pack[at]
            at += 1
        if at + size + free > end:
            raise BadFormat("zipmap string cut off")
        words.append(pack[at : at + size])
        at += size + free
    if at != end or len(words) % 2:
        raise BadFormat("zipmap that ends in the middle")
    if pack[0] < _ZIPMAP_LONG and pack[0] != len(words) // 2:
        raise BadFormat("zipmap with a wrong number of fields")
    return words


def _zipmap_length(pack: bytes, at: int) -> tuple[int, int]:
    """A length, and where it ends."""
    if pack[at] < _ZIPMAP_LONG:
        return pack[at], at + 1
    return int.from_bytes(pack[at + 1 : at + 5], "little"), at + 5


def decode_intset(pack: bytes) -> list[int]:
    """The members, ascending. Raises: BadFormat."""
    if len(pack) < _INTSET_HEADER.size:
        raise BadFormat("intset shorter than its header")
    width, count = _INTSET_HEADER.unpack_from(pack)
    letter = _INTSET_FORMATS.get(width)
    if letter is None or len(pack) != _INTSET_HEADER.size + width * count:
        raise BadFormat("intset of a wrong length")
    members = list(Struct(f"<{count}{letter}").unpack_from(pack, _INTSET_HEADER.size))
    if any(left >= right for left, right in pairwise(members)):
        raise BadFormat("intset out of order")
    return members


def encode_intset(members: Sequence[int]) -> bytes:
    """`members` in any order."""
    ordered = sorted(members)
    width = next(width for width in (2, 4, 8) if _fits(ordered, width))
    return _INTSET_HEADER.pack(width, len(ordered)) + Struct(f"<{len(ordered)}{_INTSET_FORMATS[width]}").pack(*ordered)


def _fits(ordered: Sequence[int], width: int) -> bool:
    limit = 1 << (8 * width - 1)
    return -limit <= ordered[0] and ordered[-1] < limit
