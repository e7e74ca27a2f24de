"""Streams ⇄ bytes, node by node, so that a stream read back is trimmed at the same node boundaries.

Ids are 16 bytes each, big-endian; those of a node or a consumer stand in one string. Groups and consumers are sorted by
name, so that equal streams have equal bytes.
"""

from collections.abc import Iterable

from makoredis.base.record import Wire, wire_decoder, wire_encode
from makoredis.data.values.stream import Node, Stream, StreamId, with_shared_names
from makoredis.data.values.stream_group import Consumer, Group, Pending

_ID_BYTES = 16


class _NodeImage(Wire):
    key: bytes
    names: tuple[bytes, ...]
    ids: bytes
    entries: list[tuple[bytes, ...]]
    deleted: int
    last_id: bytes
    body_bytes: int


class _ConsumerImage(Wire):
    name: bytes
    seen_ms: int
    active_ms: int
    ids: bytes
    deliveries: list[tuple[int, int]]
    """Time and count, one for each id."""


class _GroupImage(Wire):
    name: bytes
    last_id: bytes
    entries_read: int
    consumers: list[_ConsumerImage]


class _StreamImage(Wire):
    last_id: bytes
    entries_added: int
    max_deleted_id: bytes
    nodes: list[_NodeImage]
    groups: list[_GroupImage]


_decode_image = wire_decoder(_StreamImage)


def _pack(id: StreamId) -> bytes:
    return id.to_bytes(_ID_BYTES, "big")


def _unpack(packed: bytes) -> StreamId:
    return int.from_bytes(packed, "big")


def _pack_all(ids: Iterable[StreamId]) -> bytes:
    return b"".join([id.to_bytes(_ID_BYTES, "big") for id in ids])  # `_pack`, without a call for each


def _unpack_all(packed: bytes) -> list[StreamId]:
    return [int.from_bytes(packed[at : at + _ID_BYTES], "big") for at in range(0, len(packed), _ID_BYTES)]


def encode_stream(stream: Stream) -> bytes:
    """The bytes of a stream with all its groups."""
    return wire_encode(
        _StreamImage(
            _pack(stream.last_id),
            stream.entries_added,
            _pack(stream.max_deleted_id),
            [_node_image(node) for node in stream.nodes.values()],
            [_group_image(name, group) for name, group in sorted(stream.groups.items())],
        )
    )


def _node_image(node: Node) -> _NodeImage:
    ids = _pack_all(node.ids)
    return _NodeImage(
        _pack(node.key), node.names, ids, node.entries, node.deleted, _pack(node.last_id), node.body_bytes
    )


def _group_image(name: bytes, group: Group) -> _GroupImage:
    consumers = [_consumer_image(name, consumer) for name, consumer in sorted(group.consumers.items())]
    return _GroupImage(name, _pack(group.last_id), group.entries_read, consumers)


def _consumer_image(name: bytes, consumer: Consumer) -> _ConsumerImage:
    ids = list(consumer.pending.ids_from())
    pending = map(consumer.pending.entries.__getitem__, ids)
    deliveries = [(each.delivered_ms, each.delivery_count) for each in pending]
    return _ConsumerImage(name, consumer.seen_ms, consumer.active_ms, _pack_all(ids), deliveries)


def decode_stream(encoded: bytes) -> Stream:
    """Raises: msgspec.DecodeError when the bytes are not `encode_stream`'s."""
    image: _StreamImage = _decode_image(encoded)
    stream = Stream()
    stream.last_id = _unpack(image.last_id)
    stream.entries_added = image.entries_added
    stream.max_deleted_id = _unpack(image.max_deleted_id)
    for node_image in image.nodes:
        stream.add_node(_node(node_image))
    for group_image in image.groups:
        stream.groups[group_image.name] = _group(group_image)
    return stream


def _node(image: _NodeImage) -> Node:
    names = image.names
    node = Node(_unpack(image.key), names)
    node.ids = _unpack_all(image.ids)
    node.entries = [with_shared_names(fields, names) for fields in image.entries]
    node.deleted = image.deleted
    node.last_id = _unpack(image.last_id)
    node.body_bytes = image.body_bytes
    return node


def _group(image: _GroupImage) -> Group:
    group = Group(_unpack(image.last_id), image.entries_read)
    for consumer in image.consumers:
        group.consumers[consumer.name] = Consumer(consumer.seen_ms, consumer.active_ms)
        for id, (delivered_ms, count) in zip(_unpack_all(consumer.ids), consumer.deliveries):
            group.put(id, Pending(consumer.name, delivered_ms, count))
    return group
