"""MEMORY USAGE: what a key would take in Redis 7.

An estimate with the sizes of Redis's structures and of its allocator's size classes, so that tools which look for big
keys rank them as they are used to. The process of makoredis takes more, roughly twice as much for small values.
"""

from collections.abc import Callable, Iterable
from itertools import islice

from makoredis.commands.arguments import SYNTAX_ERROR, int64
from makoredis.commands.objects import encoding_of
from makoredis.commands.registry import command
from makoredis.data.access import Access
from makoredis.data.config import DataConfig
from makoredis.data.listpack import HEADER_BYTES, entries_bytes
from makoredis.data.values import Hash, List, Set, SortedSet, Stream, Value

_SAMPLES_DEFAULT = 5
_DICT_ENTRY = 24
_DICT = 56
_OBJECT = 16
_QUICKLIST = 40
_QUICKLIST_NODE = 40
_QUICKLIST_NODE_CONTENT = 8192
_SORTED_SET = 744
"""The list's and the set's heads, and the node of 32 levels at the list's beginning."""
_SKIPLIST_NODE = 53
"""On average over the random number of levels."""
_STREAM = 600
_STREAM_NODE = 100
_PENDING_ENTRY = 100
_CONSUMER = 160
_GROUP = 400


def allocated(size: int) -> int:
    """What the allocator gives for a request: size classes, four between powers of two from 128 on."""
    if size <= 8:
        return 8
    step = 16 if size <= 128 else 1 << ((size - 1).bit_length() - 3)
    return (size + step - 1) // step * step


def string_bytes(length: int) -> int:
    """A string with its header and the zero at its end."""
    header = 1 if length < 32 else 3 if length < 256 else 5 if length < 65536 else 9
    return allocated(header + length + 1)


@command("MEMORY|USAGE", "Estimates the memory usage of a key.")
def memory_usage(access: Access, key: bytes, *options: bytes) -> int | None:
    samples = _SAMPLES_DEFAULT
    at = 0
    while at < len(options):
        if options[at].upper() != b"SAMPLES" or at + 1 == len(options):
            raise SYNTAX_ERROR
        samples = int64(options[at + 1])
        if samples < 0:
            raise SYNTAX_ERROR
        at += 2
    value = access.peek(key)
    if value is None:
        return None
    size = _value_bytes(value, samples or len(value), access.space.config)
    return string_bytes(len(key)) + _DICT_ENTRY + size


def _value_bytes(value: Value, samples: int, config: DataConfig) -> int:
    if isinstance(value, bytes | bytearray):
        return _string_value_bytes(value, encoding_of(value, config))
    if isinstance(value, Stream):
        return _stream_bytes(value)
    encoding = value.encoding(config)
    if isinstance(value, Set) and encoding == b"intset":
        return _OBJECT + allocated(8 + _integer_width(value) * len(value))
    if isinstance(value, List):
        return _list_bytes(value, samples, encoding)
    parts = _parts(value)
    if encoding == b"listpack":
        return _OBJECT + allocated(HEADER_BYTES + _extrapolated(parts, entries_bytes, samples, len(value)))
    strings = _extrapolated(parts, _strings_bytes, samples, len(value))
    buckets = 8 * (1 << max(len(value) - 1, 3).bit_length())
    size = _OBJECT + _DICT + buckets + len(value) * _DICT_ENTRY + strings
    return size + _SORTED_SET + len(value) * _SKIPLIST_NODE if isinstance(value, SortedSet) else size


def _string_value_bytes(value: bytes | bytearray, encoding: bytes) -> int:
    if encoding == b"int":
        return _OBJECT
    if encoding == b"embstr":
        return allocated(_OBJECT + 3 + len(value) + 1)
    return _OBJECT + string_bytes(len(value))


def _integer_width(value: Iterable[bytes]) -> int:
    """The bytes per member of an intset, which the largest one decides."""
    bits = max((abs(int(member)) for member in value), default=0).bit_length()
    return 2 if bits < 16 else 4 if bits < 32 else 8


def _list_bytes(value: List, samples: int, encoding: bytes) -> int:
    packed = _extrapolated(([element] for element in value), entries_bytes, samples, len(value))
    if encoding == b"listpack":
        return _OBJECT + allocated(HEADER_BYTES + packed)
    nodes = 1 + packed // _QUICKLIST_NODE_CONTENT
    return _OBJECT + _QUICKLIST + nodes * (_QUICKLIST_NODE + HEADER_BYTES) + packed


def _parts(value: Hash | Set | SortedSet) -> Iterable[Iterable[bytes]]:
    """The strings of each element: a field and its value, a member, a member and its score."""
    if isinstance(value, Hash):
        return value.fields.items()
    if isinstance(value, SortedSet):
        return ((member, b"%.17g" % score) for member, score in value.items())
    return ([member] for member in value)


def _strings_bytes(strings: Iterable[bytes]) -> int:
    return sum(string_bytes(len(string)) for string in strings)


def _extrapolated(
    parts: Iterable[Iterable[bytes]], measure: Callable[[Iterable[bytes]], int], samples: int, length: int
) -> int:
    """The size of all elements, judged by the first few."""
    sizes = [measure(strings) for strings in islice(parts, samples)]
    return sum(sizes) * length // len(sizes) if sizes else 0


def _stream_bytes(value: Stream) -> int:
    size = _STREAM + sum(_STREAM_NODE + allocated(node.listpack_bytes()) for node in value.nodes.values())
    for group in value.groups.values():
        size += _GROUP + _CONSUMER * len(group.consumers) + _PENDING_ENTRY * len(group.pending)
    return size
