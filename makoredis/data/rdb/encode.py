"""Values → RDB, in the forms that Redis 7.0 reads, chosen as it would choose them.

A hash with deadlines of fields is the exception: only 7.4 has a form for it.
"""

from makoredis.data.config import DataConfig
from makoredis.data.listpack import HEADER_BYTES, entry_bytes, exceeds_limit
from makoredis.data.rdb import listpack, types
from makoredis.data.rdb.encode_stream import write_stream
from makoredis.data.rdb.old_packs import encode_intset
from makoredis.data.rdb.writer import Writer
from makoredis.data.values import Hash, List, Set, SortedSet, Stream, Value

_SIZE_ESTIMATE_OVERHEAD = 8
"""What Redis reckons an element to take besides its data when it asks whether a list's node is full."""
_INTEGER_SCORE_MAX = 2.0**62
"""Whole scores up to here, of either sign, are integers in a listpack."""


def type_of(value: Value, config: DataConfig) -> int:
    """The number of the form in which a value is written."""
    if isinstance(value, bytes | bytearray):
        return types.STRING
    if isinstance(value, List):
        return types.LIST_QUICKLIST_2
    if isinstance(value, Set):
        return types.SET_INTSET if value.encoding(config) == b"intset" else types.SET
    if isinstance(value, Hash):
        if value.deadlines is not None and value.deadlines.by_name:
            return types.HASH_DEADLINES
        return types.HASH if value.encoding(config) == b"hashtable" else types.HASH_LISTPACK
    if isinstance(value, SortedSet):
        return types.SORTED_SET if value.encoding(config) == b"skiplist" else types.SORTED_SET_LISTPACK
    return types.STREAM_2


def write_value(writer: Writer, type: int, value: Value, config: DataConfig) -> None:
    """Writes a value in the form that `type_of` gave."""
    if isinstance(value, bytes | bytearray):
        writer.string(value)
    elif isinstance(value, List):
        _write_list(writer, value, config)
    elif isinstance(value, Set):
        _write_set(writer, type, value)
    elif isinstance(value, Hash):
        _write_hash(writer, type, value)
    elif isinstance(value, Stream):
        write_stream(writer, value)
    else:
        _write_sorted_set(writer, type, value)


def _write_list(writer: Writer, value: List, config: DataConfig) -> None:
    nodes: list[list[bytes]] = []
    size = 0
    for element in value:
        needed = size + len(element) + _SIZE_ESTIMATE_OVERHEAD
        if not nodes or exceeds_limit(config.list_max_listpack_size, needed, len(nodes[-1]) + 1):
            nodes.append([])
            size = HEADER_BYTES
        nodes[-1].append(element)
        size += entry_bytes(element)
    writer.length(len(nodes))
    for node in nodes:
        writer.length(types.QUICKLIST_PACKED)
        writer.string(listpack.encode(node))


def _write_set(writer: Writer, type: int, value: Set) -> None:
    if type == types.SET_INTSET:
        writer.string(encode_intset([int(member) for member in value.members]))
        return
    writer.length(len(value))
    for member in value.members:
        writer.string(member)


def _write_hash(writer: Writer, type: int, value: Hash) -> None:
    if type == types.HASH_LISTPACK:
        writer.string(listpack.encode(word for pair in value.fields.items() for word in pair))
        return
    deadlines = {} if value.deadlines is None else value.deadlines.by_name
    earliest_ms = min(deadlines.values(), default=0)
    if type == types.HASH_DEADLINES:
        writer.integer(earliest_ms, 8)
    writer.length(len(value))
    for field, content in value.fields.items():
        if type == types.HASH_DEADLINES:
            deadline_ms = deadlines.get(field, 0)
            writer.length(deadline_ms - earliest_ms + 1 if deadline_ms else 0)
        writer.string(field)
        writer.string(content)


def _write_sorted_set(writer: Writer, type: int, value: SortedSet) -> None:
    if type == types.SORTED_SET_LISTPACK:
        pairs = ((member, _packed_score(score)) for member, score in value.items())
        writer.string(listpack.encode(element for pair in pairs for element in pair))
        return
    writer.length(len(value))
    # From the greatest to the least, so that Redis, reading it, always inserts at its list's head.
    for member, score in reversed(list(value.items())):
        writer.string(member)
        writer.double(score)


def _packed_score(score: float) -> bytes | int:
    """A score as it stands in a listpack."""
    if -_INTEGER_SCORE_MAX <= score <= _INTEGER_SCORE_MAX and score.is_integer():
        return int(score)
    return b"%.17g" % score
