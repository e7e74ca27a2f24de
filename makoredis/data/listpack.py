"""How large Redis's listpack would be, for the thresholds behind OBJECT ENCODING.

makoredis stores no listpacks; it only has to know when Redis would have left that encoding. Source: Redis 7.2,
listpack.c (`lpEncodeGetType`, `lpEncodeBacklen`) and quicklist.c (`quicklistNodeExceedsLimit`).
"""

from collections.abc import Iterable

HEADER_BYTES = 7
"""Total bytes, element count and end marker of an empty listpack."""

_INT64_MIN = -(2**63)
_INT64_MAX = 2**63 - 1
_SIZE_LIMITS = (4096, 8192, 16384, 32768, 65536)
_SAFE_BYTES_MAX = 8192
"""What a listpack limited by its number of elements may hold."""
_INT64_DIGITS_MAX = 20
_NINE = ord("9")


def is_int64(raw: bytes) -> bool:
    """Whether these bytes are what a 64-bit integer prints as."""
    length = len(raw)
    if length == 0 or length > _INT64_DIGITS_MAX:
        return False
    if raw[0] == 45:  # minus
        return raw[1:].isdigit() and raw[1] != 48 and int(raw) >= _INT64_MIN
    return raw.isdigit() and (raw[0] != 48 or length == 1) and int(raw) <= _INT64_MAX


def entry_bytes(element: bytes) -> int:
    """The size of one element in a listpack: type and length, data, and the length again for walking backwards."""
    size = len(element)
    if 0 < size < 64 and element[0] > _NINE:
        return size + 2  # a short text that cannot be a number
    if size <= _INT64_DIGITS_MAX and is_int64(element):
        return integer_bytes(int(element))
    if size < 64:
        size += 1
    elif size < 4096:
        size += 2
    else:
        size += 5
    return size + trailer_bytes(size)


def trailer_bytes(size: int) -> int:
    """How many bytes say, at an element's end, how long it is."""
    if size <= 127:
        return 1
    if size < 16383:
        return 2
    if size < 2097151:
        return 3
    return 4 if size < 268435455 else 5


def integer_bytes(value: int) -> int:
    """The size of one integer element."""
    if 0 <= value <= 127:
        return 2
    if -4096 <= value <= 4095:
        return 3
    if -32768 <= value <= 32767:
        return 4
    if -8388608 <= value <= 8388607:
        return 5
    return 6 if -2147483648 <= value <= 2147483647 else 10


def entries_bytes(elements: Iterable[bytes]) -> int:
    """The size of many elements, without the header."""
    return sum(map(entry_bytes, elements))


def exceeds_limit(list_max_listpack_size: int, total_bytes: int, count: int, divisor: int = 1) -> bool:
    """Whether a list is too large for one listpack.

    Args:
        list_max_listpack_size: as in the configuration: -1 … -5 for 4 … 64 KiB, else the number of elements.
        divisor: 2 asks about half the limit, below which Redis converts back.
    """
    if list_max_listpack_size < 0:
        limit = _SIZE_LIMITS[min(-list_max_listpack_size, len(_SIZE_LIMITS)) - 1]
        return total_bytes > limit // divisor
    return count > max(list_max_listpack_size, 1) // divisor or total_bytes > _SAFE_BYTES_MAX // divisor
