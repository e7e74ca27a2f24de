"""Streams → RDB, in the version that Redis 7.0 reads. It does not have the time when a consumer was last active."""

from collections.abc import Iterator

from makoredis.data.rdb import listpack
from makoredis.data.rdb.types import STREAM_SAME_FIELDS
from makoredis.data.rdb.writer import Writer
from makoredis.data.values.stream import SEQUENCE_BITS, SEQUENCE_MAX, Node, Stream, StreamId
from makoredis.data.values.stream_group import Group

_ID_BYTES = 16


def write_stream(writer: Writer, stream: Stream) -> None:
    """Writes nodes, facts, groups. Deleted entries leave no trace in the nodes."""
    writer.length(len(stream.nodes))
    for node in stream.nodes.values():
        writer.string(_id_bytes(node.key))
        writer.string(listpack.encode(_elements(node)))
    writer.length(stream.length)
    for id in (stream.last_id, stream.first_entry_id, stream.max_deleted_id):
        _write_long_id(writer, id)
    writer.length(stream.entries_added)
    writer.length(len(stream.groups))
    for name, group in sorted(stream.groups.items()):
        writer.string(name)
        _write_group(writer, group)


def _id_bytes(id: StreamId) -> bytes:
    return id.to_bytes(_ID_BYTES, "big")


def _write_long_id(writer: Writer, id: StreamId) -> None:
    writer.length(id >> SEQUENCE_BITS)
    writer.length(id & SEQUENCE_MAX)


def _elements(node: Node) -> Iterator[bytes | int]:
    """What the node's listpack holds."""
    names = node.names
    yield len(node.ids)
    yield 0  # deleted
    yield len(names)
    yield from names
    yield 0
    milliseconds, sequence = node.key >> SEQUENCE_BITS, node.key & SEQUENCE_MAX
    for id, fields in zip(node.ids, node.entries):
        is_same = fields[::2] == names
        yield STREAM_SAME_FIELDS if is_same else 0
        yield _as_int64((id >> SEQUENCE_BITS) - milliseconds)
        yield _as_int64((id & SEQUENCE_MAX) - sequence)
        if is_same:
            yield from fields[1::2]
            yield 3 + len(names)
        else:
            yield len(fields) // 2
            yield from fields
            yield 4 + len(fields)


def _as_int64(value: int) -> int:
    """A difference of 64-bit numbers, wrapped to a signed one."""
    return (value + (1 << 63) & SEQUENCE_MAX) - (1 << 63)


def _write_group(writer: Writer, group: Group) -> None:
    _write_long_id(writer, group.last_id)
    writer.length(group.entries_read & SEQUENCE_MAX)
    writer.length(len(group.pending))
    for id in group.pending.ids_from():
        pending = group.pending.entries[id]
        writer.raw(_id_bytes(id))
        writer.integer(pending.delivered_ms, 8, signed=True)
        writer.length(pending.delivery_count)
    writer.length(len(group.consumers))
    for name, consumer in sorted(group.consumers.items()):
        writer.string(name)
        writer.integer(consumer.seen_ms, 8, signed=True)
        writer.length(len(consumer.pending))
        for id in consumer.pending.ids_from():
            writer.raw(_id_bytes(id))
