"""RDB → values: every form in which Redis up to 7.4 wrote one, except modules' own.

Nothing is believed: what does not add up, repeats a member, or is empty where nothing may be, is refused.
"""

import math
from collections.abc import Callable, Iterable

from makoredis.data.rdb import listpack, types
from makoredis.data.rdb.decode_stream import read_stream
from makoredis.data.rdb.errors import BadFormat, EmptyCollection
from makoredis.data.rdb.old_packs import decode_intset, decode_ziplist, decode_zipmap
from makoredis.data.rdb.reader import Reader
from makoredis.data.values import Hash, List, Set, SortedSet, Value


def read_value(reader: Reader, type: int) -> Value:
    """The value of a type, whose number has been read.

    Raises: BadFormat; EmptyCollection when that is all that is wrong.
    """
    read = _READERS.get(type)
    if read is None:
        kind = "a module's" if type in (types.MODULE, types.MODULE_OLD) else "of an unknown type"
        raise reader.fail(f"a value that is {kind} ({type})")
    try:
        return read(reader)
    except EmptyCollection:
        raise
    except BadFormat as error:
        if error.position is None:
            raise reader.fail(error.text) from None
        raise
    except IndexError:
        # Packed collections are read by position; a length that leads out of one is damage.
        raise reader.fail("a packed collection that is cut off") from None


def _texts(elements: Iterable[bytes | int]) -> list[bytes]:
    return [element if isinstance(element, bytes) else b"%d" % element for element in elements]


# -- lists


def _list(elements: list[bytes]) -> List:
    if not elements:
        raise EmptyCollection("an empty list")
    return List(elements)


def _read_list(reader: Reader) -> Value:
    return _list([reader.string() for _ in range(reader.length())])


def _read_list_ziplist(reader: Reader) -> Value:
    return _list(_texts(decode_ziplist(reader.string())))


def _read_quicklist(reader: Reader) -> Value:
    elements: list[bytes] = []
    for _ in range(reader.length()):
        elements += _texts(decode_ziplist(reader.string()))
    return _list(elements)


def _read_quicklist_2(reader: Reader) -> Value:
    elements: list[bytes] = []
    for _ in range(reader.length()):
        container = reader.length()
        node = reader.string()
        if container == types.QUICKLIST_PLAIN:
            elements.append(node)
        elif container == types.QUICKLIST_PACKED:
            elements += _texts(listpack.decode(node))
        else:
            raise BadFormat("a list node of an unknown kind")
    return _list(elements)


# -- sets


def _set(members: list[bytes]) -> Set:
    if not members:
        raise EmptyCollection("an empty set")
    value = Set(members)
    if len(value.positions) != len(members):
        raise BadFormat("a set that repeats a member")
    return value


def _read_set(reader: Reader) -> Value:
    return _set([reader.string() for _ in range(reader.length())])


def _read_intset(reader: Reader) -> Value:
    return _set(_texts(decode_intset(reader.string())))


def _read_set_listpack(reader: Reader) -> Value:
    return _set(_texts(listpack.decode(reader.string())))


# -- sorted sets


def _sorted_set(members: list[bytes], scores: list[float]) -> SortedSet:
    if not members:
        raise EmptyCollection("an empty sorted set")
    by_member = dict(zip(members, scores))
    if len(by_member) != len(members) or len(scores) != len(members):
        raise BadFormat("a sorted set that repeats a member")
    if any(map(math.isnan, scores)):
        raise BadFormat("a score that is not a number")
    return SortedSet(by_member)


def _read_sorted_set(reader: Reader) -> Value:
    pairs = [(reader.string(), reader.double()) for _ in range(reader.length())]
    return _sorted_set([member for member, _ in pairs], [score for _, score in pairs])


def _read_sorted_set_printed(reader: Reader) -> Value:
    pairs = [(reader.string(), reader.printed_double()) for _ in range(reader.length())]
    return _sorted_set([member for member, _ in pairs], [score for _, score in pairs])


def _packed_sorted_set(elements: list[bytes | int]) -> SortedSet:
    try:
        scores = [float(score) for score in elements[1::2]]
    except (ValueError, OverflowError):
        raise BadFormat("a score that is not a number") from None
    return _sorted_set(_texts(elements[::2]), scores)


# -- hashes


def _hash(words: list[bytes]) -> Hash:
    if not words:
        raise EmptyCollection("an empty hash")
    fields = dict(zip(words[::2], words[1::2]))
    if 2 * len(fields) != len(words):
        raise BadFormat("a hash that repeats a field")
    return Hash(fields)


def _read_hash(reader: Reader) -> Value:
    return _hash([reader.string() for _ in range(reader.length()) for _ in "fv"])


def _read_hash_deadlines(reader: Reader) -> Value:
    """The deadlines are relative to the earliest one, plus one so that 0 can say that there is none."""
    earliest_ms = reader.integer(8)
    words: list[bytes] = []
    deadlines: list[int] = []
    for _ in range(reader.length()):
        relative = reader.length()
        deadlines.append(earliest_ms + relative - 1 if relative else 0)
        words += (reader.string(), reader.string())
    return _with_deadlines(words, deadlines)


def _read_hash_listpack_deadlines(reader: Reader) -> Value:
    reader.integer(8)  # the earliest one, which the elements say too
    elements = listpack.decode(reader.string())
    deadlines = elements[2::3]
    if len(elements) % 3 or not all(isinstance(deadline, int) and deadline >= 0 for deadline in deadlines):
        raise BadFormat("a hash whose deadlines are no times")
    del elements[2::3]
    return _with_deadlines(_texts(elements), [int(deadline) for deadline in deadlines])


def _with_deadlines(words: list[bytes], deadlines: list[int]) -> Hash:
    value = _hash(words)
    for field, deadline_ms in zip(words[::2], deadlines):
        if deadline_ms:
            value.set_deadline(field, deadline_ms)
    return value


_READERS: dict[int, Callable[[Reader], Value]] = {
    types.STRING: Reader.string,
    types.LIST: _read_list,
    types.SET: _read_set,
    types.SORTED_SET_PRINTED: _read_sorted_set_printed,
    types.HASH: _read_hash,
    types.SORTED_SET: _read_sorted_set,
    types.HASH_ZIPMAP: lambda reader: _hash(decode_zipmap(reader.string())),
    types.LIST_ZIPLIST: _read_list_ziplist,
    types.SET_INTSET: _read_intset,
    types.SORTED_SET_ZIPLIST: lambda reader: _packed_sorted_set(decode_ziplist(reader.string())),
    types.HASH_ZIPLIST: lambda reader: _hash(_texts(decode_ziplist(reader.string()))),
    types.LIST_QUICKLIST: _read_quicklist,
    types.STREAM: lambda reader: read_stream(reader, 1),
    types.HASH_LISTPACK: lambda reader: _hash(_texts(listpack.decode(reader.string()))),
    types.SORTED_SET_LISTPACK: lambda reader: _packed_sorted_set(listpack.decode(reader.string())),
    types.LIST_QUICKLIST_2: _read_quicklist_2,
    types.STREAM_2: lambda reader: read_stream(reader, 2),
    types.SET_LISTPACK: _read_set_listpack,
    types.STREAM_3: lambda reader: read_stream(reader, 3),
    types.HASH_DEADLINES: _read_hash_deadlines,
    types.HASH_LISTPACK_DEADLINES: _read_hash_listpack_deadlines,
}
