"""Effects on streams. Ids travel as 16 bytes, big-endian, so that they also sort as such.

What is relative to the clock or approximate has been decided before: a trim says how many entries go, a delivery says
when it was.
"""

from collections.abc import Iterable

from makoredis.base.record import Wire, record
from makoredis.data.effects.base import NOTHING, Forget, Undo
from makoredis.data.keyspace import Keyspace
from makoredis.data.values.stream import Node, Stream, StreamId
from makoredis.data.values.stream_group import Consumer, Group, Pending


def pack_id(id: StreamId) -> bytes:
    return id.to_bytes(16, "big")


def unpack_id(packed: bytes) -> StreamId:
    return int.from_bytes(packed, "big")


def _stream_at(space: Keyspace, db: int, key: bytes) -> Stream:
    value = space.by_id[db].get(key)
    assert isinstance(value, Stream)
    return value


def _group_at(space: Keyspace, db: int, key: bytes, group: bytes) -> Group:
    return _stream_at(space, db, key).groups[group]


class StreamAdd(Wire, tag=60):
    """Appends an entry, whose id is above all that the stream ever had; creates the stream."""

    db: int
    key: bytes
    id: bytes
    fields: tuple[bytes, ...]
    """Field, value, field, value …"""

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        stream = database.get(self.key)
        config = space.config
        if stream is None:
            stream = Stream()
            database.put(self.key, stream)
            undo: Undo = Forget(self.db, self.key)
        else:
            assert isinstance(stream, Stream)
            tail = stream.tail
            if tail is None:
                undo = _Unappend(self.db, self.key, stream.last_id, 0, 0)
            else:
                undo = _Unappend(self.db, self.key, stream.last_id, tail.last_id, tail.body_bytes)
        id = int.from_bytes(self.id, "big")
        stream.append(id, self.fields, config.stream_node_max_bytes, config.stream_node_max_entries)
        return undo


@record
class _Unappend:
    """Inverse of StreamAdd: what the stream and its last node said of themselves before."""

    db: int
    key: bytes
    last_id: StreamId
    node_last_id: StreamId
    node_body_bytes: int

    def apply(self, space: Keyspace) -> None:
        stream = _stream_at(space, self.db, self.key)
        node = stream.tail
        assert node is not None
        if len(node.ids) == 1 and not node.deleted:
            stream.drop_node(node)
        else:
            node.ids.pop()
            node.entries.pop()
            node.last_id = self.node_last_id
            node.body_bytes = self.node_body_bytes
            stream.length -= 1
        stream.last_id = self.last_id
        stream.entries_added -= 1


class StreamTrim(Wire, tag=61):
    """Removes the oldest entries; there are as many."""

    db: int
    key: bytes
    count: int

    def apply(self, space: Keyspace) -> Undo:
        stream = _stream_at(space, self.db, self.key)
        left = self.count
        dropped: list[Node] = []
        while left:
            node: Node = stream.nodes.peekitem(0)[1]
            if len(node.ids) > left:
                break
            left -= len(node.ids)
            stream.drop_node(node)
            dropped.append(node)
        ids: list[StreamId] = []
        entries: list[tuple[bytes, ...]] = []
        if left:
            ids, entries = node.ids[:left], node.entries[:left]
            del node.ids[:left], node.entries[:left]
            node.deleted += left
            stream.length -= left
        return _PutBackOldest(self.db, self.key, dropped, ids, entries)


@record
class _PutBackOldest:
    """Inverse of StreamTrim: whole nodes, and what was cut from the node behind them."""

    db: int
    key: bytes
    nodes: list[Node]
    ids: list[StreamId]
    entries: list[tuple[bytes, ...]]

    def apply(self, space: Keyspace) -> None:
        stream = _stream_at(space, self.db, self.key)
        if self.ids:
            node: Node = stream.nodes.peekitem(0)[1]
            node.ids[:0] = self.ids
            node.entries[:0] = self.entries
            node.deleted -= len(self.ids)
            stream.length += len(self.ids)
        for node in self.nodes:
            stream.add_node(node)


class StreamDelete(Wire, tag=62):
    """Removes entries, all of which exist, in the given order."""

    db: int
    key: bytes
    ids: list[bytes]

    def apply(self, space: Keyspace) -> Undo:
        stream = _stream_at(space, self.db, self.key)
        undo = _PutBackEntries(self.db, self.key, stream.max_deleted_id, [])
        for packed in self.ids:
            id = unpack_id(packed)
            found = stream.find(id)
            assert found is not None
            node, at = found
            undo.removed.append((node, at, id, node.remove(at)))
            stream.length -= 1
            if not node.ids:
                stream.drop_node(node)
            stream.max_deleted_id = max(stream.max_deleted_id, id)
        return undo


@record
class _PutBackEntries:
    """Inverse of StreamDelete: (node, place, id, fields) in the order of removal."""

    db: int
    key: bytes
    max_deleted_id: StreamId
    removed: list[tuple[Node, int, StreamId, tuple[bytes, ...]]]

    def apply(self, space: Keyspace) -> None:
        stream = _stream_at(space, self.db, self.key)
        for node, at, id, fields in reversed(self.removed):
            node.put_back(at, id, fields)
            if len(node.ids) == 1:
                stream.add_node(node)
            else:
                stream.length += 1
        stream.max_deleted_id = self.max_deleted_id


class StreamPutInfo(Wire, tag=63):
    """Sets what a stream says of its past (XSETID); creates an empty stream (XGROUP CREATE … MKSTREAM)."""

    db: int
    key: bytes
    last_id: bytes
    entries_added: int
    max_deleted_id: bytes

    def apply(self, space: Keyspace) -> Undo:
        database = space.by_id[self.db]
        stream = database.get(self.key)
        if stream is None:
            stream = Stream()
            database.put(self.key, stream)
            undo: Undo = Forget(self.db, self.key)
        else:
            assert isinstance(stream, Stream)
            last_id, max_deleted_id = pack_id(stream.last_id), pack_id(stream.max_deleted_id)
            undo = StreamPutInfo(self.db, self.key, last_id, stream.entries_added, max_deleted_id)
        stream.last_id = unpack_id(self.last_id)
        stream.entries_added = self.entries_added
        stream.max_deleted_id = unpack_id(self.max_deleted_id)
        return undo


class StreamPutGroup(Wire, tag=64):
    """Sets how far a group has read; creates the group."""

    db: int
    key: bytes
    group: bytes
    last_id: bytes
    entries_read: int

    def apply(self, space: Keyspace) -> Undo:
        groups = _stream_at(space, self.db, self.key).groups
        group = groups.get(self.group)
        if group is None:
            groups[self.group] = Group(unpack_id(self.last_id), self.entries_read)
            return StreamDeleteGroup(self.db, self.key, self.group)
        undo = StreamPutGroup(self.db, self.key, self.group, pack_id(group.last_id), group.entries_read)
        group.last_id = unpack_id(self.last_id)
        group.entries_read = self.entries_read
        return undo


class StreamDeleteGroup(Wire, tag=65):
    """Removes a group, which exists, with its consumers and all that is pending."""

    db: int
    key: bytes
    group: bytes

    def apply(self, space: Keyspace) -> Undo:
        groups = _stream_at(space, self.db, self.key).groups
        return _PutBackGroup(self.db, self.key, self.group, groups.pop(self.group))


@record
class _PutBackGroup:
    """Inverse of StreamDeleteGroup."""

    db: int
    key: bytes
    name: bytes
    group: Group

    def apply(self, space: Keyspace) -> None:
        _stream_at(space, self.db, self.key).groups[self.name] = self.group


class StreamPutConsumer(Wire, tag=66):
    """Sets when a consumer last asked for and last got something, Unix milliseconds; creates the consumer."""

    db: int
    key: bytes
    group: bytes
    consumer: bytes
    seen_ms: int
    active_ms: int

    def apply(self, space: Keyspace) -> Undo:
        consumers = _group_at(space, self.db, self.key, self.group).consumers
        consumer = consumers.get(self.consumer)
        if consumer is None:
            consumers[self.consumer] = Consumer(self.seen_ms, self.active_ms)
            return StreamDeleteConsumer(self.db, self.key, self.group, self.consumer)
        undo = StreamPutConsumer(self.db, self.key, self.group, self.consumer, consumer.seen_ms, consumer.active_ms)
        consumer.seen_ms = self.seen_ms
        consumer.active_ms = self.active_ms
        return undo


class StreamDeleteConsumer(Wire, tag=67):
    """Removes a consumer, which exists, with what is pending for it."""

    db: int
    key: bytes
    group: bytes
    consumer: bytes

    def apply(self, space: Keyspace) -> Undo:
        group = _group_at(space, self.db, self.key, self.group)
        consumer = group.consumers.pop(self.consumer)
        for id in consumer.pending.entries:
            group.pending.remove(id)
        return _PutBackConsumer(self.db, self.key, self.group, self.consumer, consumer)


@record
class _PutBackConsumer:
    """Inverse of StreamDeleteConsumer."""

    db: int
    key: bytes
    group: bytes
    name: bytes
    consumer: Consumer

    def apply(self, space: Keyspace) -> None:
        group = _group_at(space, self.db, self.key, self.group)
        group.consumers[self.name] = self.consumer
        for id, pending in self.consumer.pending.entries.items():
            group.pending.put(id, pending)


class StreamPutPending(Wire, tag=68):
    """Makes entries pending for a consumer, which exists, whosever they were before."""

    db: int
    key: bytes
    group: bytes
    consumer: bytes
    ids: list[bytes]
    delivered_ms: int
    delivery_counts: list[int]
    """One for each id; a single one if it is the same for all."""

    def apply(self, space: Keyspace) -> Undo:
        group = _group_at(space, self.db, self.key, self.group)
        counts: Iterable[int] = self.delivery_counts
        if len(self.delivery_counts) == 1:
            counts = self.delivery_counts * len(self.ids)
        old: list[tuple[StreamId, Pending | None]] = []
        for packed, count in zip(self.ids, counts, strict=True):
            id = unpack_id(packed)
            old.append((id, group.put(id, Pending(self.consumer, self.delivered_ms, count))))
        return _RestorePending(self.db, self.key, self.group, old)


class StreamDeletePending(Wire, tag=69):
    """Removes entries from what is pending (XACK); those that are not there are passed over."""

    db: int
    key: bytes
    group: bytes
    ids: list[bytes]

    def apply(self, space: Keyspace) -> Undo:
        group = _group_at(space, self.db, self.key, self.group)
        old: list[tuple[StreamId, Pending | None]] = []
        for packed in self.ids:
            id = unpack_id(packed)
            removed = group.remove(id)
            if removed is not None:
                old.append((id, removed))
        return _RestorePending(self.db, self.key, self.group, old) if old else NOTHING


@record
class _RestorePending:
    """Inverse of a change of what is pending: what was there before, None for nothing."""

    db: int
    key: bytes
    group: bytes
    old: list[tuple[StreamId, Pending | None]]

    def apply(self, space: Keyspace) -> None:
        group = _group_at(space, self.db, self.key, self.group)
        for id, pending in reversed(self.old):
            if pending is None:
                group.remove(id)
            else:
                group.put(id, pending)
