"""RDB → streams, in the three versions that there are.

A stream is its nodes (the id that each began with, and a listpack), what it says of its past, and its groups. A
listpack begins with a master entry: how many entries are there and deleted, and the fields that most of them have.
"""

from collections.abc import Iterator

from makoredis.data.listpack import integer_bytes
from makoredis.data.rdb import listpack
from makoredis.data.rdb.errors import BadFormat
from makoredis.data.rdb.reader import Reader
from makoredis.data.rdb.types import STREAM_DELETED, STREAM_SAME_FIELDS
from makoredis.data.values.stream import SEQUENCE_BITS, SEQUENCE_MAX, Node, Stream, StreamId, stream_id
from makoredis.data.values.stream_group import NEVER_ACTIVE, UNKNOWN_READ, Consumer, Group, Pending

_ID_BYTES = 16


def read_stream(reader: Reader, version: int) -> Stream:
    """Raises: BadFormat."""
    stream = Stream()
    for _ in range(reader.length()):
        node = _read_node(reader)
        if stream.tail is not None and node.key <= stream.tail.last_id:
            raise BadFormat("stream nodes out of order")
        if node.ids:
            stream.add_node(node)
    length = reader.length()
    if length != stream.length:
        raise BadFormat("a stream of another length than it says")
    stream.last_id = _read_long_id(reader)
    if stream.last_id < stream.last_entry_id:
        raise BadFormat("a stream whose last id is below an entry's")
    stream.entries_added = length
    if version >= 2:
        _read_long_id(reader)  # the first entry's, which we see ourselves
        stream.max_deleted_id = _read_long_id(reader)
        stream.entries_added = reader.length()
    for _ in range(reader.length()):
        _read_group(reader, stream, version)
    return stream


def _read_long_id(reader: Reader) -> StreamId:
    """An id as two lengths."""
    milliseconds, sequence = reader.length(), reader.length()
    return stream_id(milliseconds, sequence)


def _read_id(reader: Reader) -> StreamId:
    return int.from_bytes(reader.take(_ID_BYTES), "big")


def _read_node(reader: Reader) -> Node:
    key = reader.string()
    if len(key) != _ID_BYTES:
        raise BadFormat("a stream node without an id")
    pack = reader.string()
    elements = iter(listpack.decode(pack))
    try:
        return _node(int.from_bytes(key, "big"), elements, len(pack))
    except StopIteration:
        raise BadFormat("a stream node that is cut off") from None


def _node(key: StreamId, elements: Iterator[bytes | int], pack_bytes: int) -> Node:
    count, deleted, name_count = _integer(elements), _integer(elements), _integer(elements)
    if count < 0 or deleted < 0:
        raise BadFormat("a stream node with less than no entries")
    names = _texts(elements, name_count)
    if _integer(elements) != 0:
        raise BadFormat("a stream node whose master entry does not end")
    node = Node(key, names)
    for _ in range(count + deleted):
        _read_entry(node, elements)
    if len(node.ids) != count or node.deleted != deleted or next(elements, None) is not None:
        raise BadFormat("a stream node with another number of entries than it says")
    node.body_bytes = pack_bytes - integer_bytes(count) - integer_bytes(deleted)
    return node


def _read_entry(node: Node, elements: Iterator[bytes | int]) -> None:
    flags = _integer(elements)
    milliseconds = (node.key >> SEQUENCE_BITS) + _integer(elements) & SEQUENCE_MAX
    sequence = (node.key & SEQUENCE_MAX) + _integer(elements) & SEQUENCE_MAX
    id = stream_id(milliseconds, sequence)
    if flags & STREAM_SAME_FIELDS:
        names = node.names
        values = _texts(elements, len(names))
        element_count = 3 + len(names)
    else:
        count = _integer(elements)
        words = _texts(elements, 2 * count)
        names, values = words[::2], words[1::2]
        element_count = 4 + 2 * count
    if _integer(elements) != element_count:
        raise BadFormat("a stream entry of another length than it says")
    if id < node.key or (id <= node.last_id and (node.ids or node.deleted)):
        raise BadFormat("stream entries out of order")
    if flags & STREAM_DELETED:
        node.deleted += 1
        node.last_id = id
    else:
        node.append(id, tuple(word for pair in zip(names, values) for word in pair))


def _integer(elements: Iterator[bytes | int]) -> int:
    element = next(elements)
    if not isinstance(element, int):
        raise BadFormat("a string where a stream has a number")
    return element


def _texts(elements: Iterator[bytes | int], count: int) -> tuple[bytes, ...]:
    if count < 0:
        raise BadFormat("a stream entry with less than no fields")
    texts = []
    for _ in range(count):
        element = next(elements)
        texts.append(element if isinstance(element, bytes) else b"%d" % element)
    return tuple(texts)


# -- groups


def _read_group(reader: Reader, stream: Stream, version: int) -> None:
    name = reader.string()
    last_id = _read_long_id(reader)
    entries_read = UNKNOWN_READ
    if version >= 2:
        entries_read = reader.length()
        if entries_read > SEQUENCE_MAX >> 1:
            entries_read = UNKNOWN_READ
    else:
        entries_read = stream.entries_before(last_id)
    if name in stream.groups:
        raise BadFormat("a consumer group twice")
    group = stream.groups[name] = Group(last_id, entries_read)
    deliveries: dict[StreamId, tuple[int, int]] = {}
    for _ in range(reader.length()):
        id = _read_id(reader)
        if id in deliveries:
            raise BadFormat("a pending entry twice")
        deliveries[id] = reader.integer(8, signed=True), reader.length()
    for _ in range(reader.length()):
        _read_consumer(reader, group, deliveries, version)
    if len(group.pending) != len(deliveries):
        raise BadFormat("a pending entry without a consumer")


def _read_consumer(reader: Reader, group: Group, deliveries: dict[StreamId, tuple[int, int]], version: int) -> None:
    name = reader.string()
    if name in group.consumers:
        raise BadFormat("a consumer twice")
    seen_ms = reader.integer(8, signed=True)
    active_ms = max(reader.integer(8, signed=True), NEVER_ACTIVE) if version >= 3 else seen_ms
    group.consumers[name] = Consumer(seen_ms, active_ms)
    for _ in range(reader.length()):
        id = _read_id(reader)
        if id not in deliveries or id in group.pending:
            raise BadFormat("a consumer's pending entry that its group does not have")
        group.put(id, Pending(name, *deliveries[id]))
