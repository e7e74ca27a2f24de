"""A stream: entries in the order of their ids, in nodes of a hundred or so, with consumer groups beside them.

An id is one integer, `milliseconds << 64 | sequence`: it compares, counts on and is looked up as such.

Redis keeps a stream as a radix tree of listpacks, and that shows in two places: approximate trimming (`MAXLEN ~`) drops
whole nodes only, and DUMP writes node by node. So nodes are filled here by the same rule, which needs the number of
bytes that the listpack would have; the entries themselves are kept as plain tuples.

Invariants:
* `nodes` maps the id that a node was begun with to the node; a node holds at least one entry.
* Ids ascend within a node and over the nodes; all are at most `last_id`.
* `length` is the number of entries over all nodes.

Cost: appending is O(1), seeking O(log n), removing costs O(entries per node). Unlike other collections, a stream may be
empty.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from sortedcontainers import SortedDict

from makoredis.data.listpack import HEADER_BYTES, entries_bytes, entry_bytes, integer_bytes
from makoredis.data.values.stream_group import Group

StreamId = int
Entry = tuple[StreamId, tuple[bytes, ...]]
"""An id, and field, value, field, value …"""

SEQUENCE_BITS = 64
SEQUENCE_MAX = 2**64 - 1
ID_MAX = 2**128 - 1
NODE_BYTES_MAX = 1 << 30
"""The most that one node may hold, whatever the configuration says."""

_TRAILER_BYTES = 2
"""The small integer that ends the master entry, and each entry of up to 127 elements."""


def stream_id(milliseconds: int, sequence: int) -> StreamId:
    return milliseconds << SEQUENCE_BITS | sequence


def id_text(id: StreamId) -> bytes:
    """An id as clients see it."""
    return b"%d-%d" % (id >> SEQUENCE_BITS, id & SEQUENCE_MAX)


class Node:
    """A run of entries.

    Attributes:
        key: the id it was begun with; it stays when that entry goes.
        ids, entries: one place for each entry that is there.
        names: the fields of the entry it was begun with; entries with the same fields share these objects.
        deleted: how many entries are gone from it. They count for its being full, as in a listpack.
        last_id: the highest id that was ever in it.
        body_bytes: the listpack's size without the two counters at its front.
    """

    __slots__ = ("body_bytes", "deleted", "entries", "ids", "key", "last_id", "names")

    def __init__(self, key: StreamId, names: tuple[bytes, ...]) -> None:
        self.key = key
        self.names = names
        self.ids: list[StreamId] = []
        self.entries: list[tuple[bytes, ...]] = []
        self.deleted = 0
        self.last_id = key
        self.body_bytes = HEADER_BYTES + integer_bytes(len(names)) + entries_bytes(names) + _TRAILER_BYTES

    def listpack_bytes(self) -> int:
        """The size of the listpack that Redis would have."""
        return self.body_bytes + integer_bytes(len(self.ids)) + integer_bytes(self.deleted)

    def append(self, id: StreamId, fields: tuple[bytes, ...]) -> None:
        """Adds an entry behind the last one."""
        key = self.key
        size = 2 + integer_bytes((id >> SEQUENCE_BITS) - (key >> SEQUENCE_BITS))
        size += integer_bytes(_as_int64((id & SEQUENCE_MAX) - (key & SEQUENCE_MAX)))
        names = fields[::2]
        values = fields[1::2]
        count = len(values)
        if names == self.names:
            fields = with_shared_names(fields, self.names)
            size += integer_bytes(count + 3)
        else:
            size += integer_bytes(count) + integer_bytes(2 * count + 4) + entries_bytes(names)
        for value in values:
            size += entry_bytes(value)
        self.ids.append(id)
        self.entries.append(fields)
        self.last_id = id
        self.body_bytes += size

    def remove(self, at: int) -> tuple[bytes, ...]:
        """Removes the entry at a place, leaving its mark."""
        del self.ids[at]
        self.deleted += 1
        return self.entries.pop(at)

    def put_back(self, at: int, id: StreamId, fields: tuple[bytes, ...]) -> None:
        """Undoes `remove`."""
        self.ids.insert(at, id)
        self.entries.insert(at, fields)
        self.deleted -= 1


def with_shared_names(fields: tuple[bytes, ...], names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The same fields and values; fields that are a node's `names` as those objects."""
    if fields[::2] != names:
        return fields
    shared = list(fields)
    shared[::2] = names
    return tuple(shared)


def _as_int64(value: int) -> int:
    value &= SEQUENCE_MAX
    return value - (1 << 64) if value >= 1 << 63 else value


class Stream:
    """See the module.

    Attributes:
        last_id: the highest id ever given; 0 when there was none.
        max_deleted_id: the highest id that XDEL removed; 0 when there was none.
        entries_added: how many entries were ever added.
        groups: consumer groups by name.
    """

    __slots__ = ("entries_added", "groups", "last_id", "length", "max_deleted_id", "nodes", "tail")

    def __init__(self) -> None:
        self.nodes: SortedDict = SortedDict()
        self.tail: Node | None = None
        """The last node, where entries are appended."""
        self.length = 0
        self.last_id: StreamId = 0
        self.max_deleted_id: StreamId = 0
        self.entries_added = 0
        self.groups: dict[bytes, Group] = {}

    def __len__(self) -> int:
        return self.length

    # -- reading

    @property
    def first_entry_id(self) -> StreamId:
        """The id of the oldest entry; 0 when there is none."""
        if not self.length:
            return 0
        node: Node = self.nodes.peekitem(0)[1]
        return node.ids[0]

    @property
    def last_entry_id(self) -> StreamId:
        """The id of the newest entry; 0 when there is none."""
        return 0 if self.tail is None else self.tail.ids[-1]

    def get(self, id: StreamId) -> tuple[bytes, ...] | None:
        """The fields of an entry."""
        found = self.find(id)
        return None if found is None else found[0].entries[found[1]]

    def find(self, id: StreamId) -> tuple[Node, int] | None:
        """The node and the place of an entry."""
        nodes = self.nodes
        position = nodes.bisect_right(id) - 1
        if position < 0:
            return None
        node: Node = nodes.peekitem(position)[1]
        at = bisect_left(node.ids, id)
        return (node, at) if at < len(node.ids) and node.ids[at] == id else None

    def range(self, first: StreamId, last: StreamId, count: int = 0) -> list[Entry]:
        """The entries with ids from `first` to `last`, both included; at most `count` unless that is 0."""
        entries: list[Entry] = []
        for node in self._nodes_from(first):
            if node.key > last:
                break
            ids = node.ids
            start = bisect_left(ids, first) if ids[0] < first else 0
            end = bisect_right(ids, last) if ids[-1] > last else len(ids)
            if count and end - start > count - len(entries):
                end = start + count - len(entries)
            entries.extend(zip(ids[start:end], node.entries[start:end]))
            if count and len(entries) == count:
                break
        return entries

    def reverse_range(self, first: StreamId, last: StreamId, count: int = 0) -> list[Entry]:
        """As `range`, but from the newest to the oldest."""
        entries: list[Entry] = []
        nodes = self.nodes
        for position in range(nodes.bisect_right(last) - 1, -1, -1):
            node: Node = nodes.peekitem(position)[1]
            ids = node.ids
            if ids[-1] < first:
                break
            start = bisect_left(ids, first) if ids[0] < first else 0
            end = bisect_right(ids, last) if ids[-1] > last else len(ids)
            if count and end - start > count - len(entries):
                start = end - (count - len(entries))
            entries.extend(zip(reversed(ids[start:end]), reversed(node.entries[start:end])))
            if count and len(entries) == count:
                break
        return entries

    def _nodes_from(self, first: StreamId) -> Iterator[Node]:
        position = max(0, self.nodes.bisect_right(first) - 1)
        for key in self.nodes.islice(position):
            yield self.nodes[key]

    def has_tombstone_from(self, first: StreamId) -> bool:
        """Whether XDEL may have left a gap among the entries from an id on (as far as Redis keeps account of it)."""
        deleted = self.max_deleted_id
        return bool(self.length and deleted) and self.first_entry_id <= deleted and first <= deleted

    def entries_before(self, id: StreamId) -> int:
        """How many entries were ever added up to an id (that one included); -1 when it cannot be told."""
        if not self.entries_added:
            return 0
        if (not self.length and id <= self.last_id) or id == self.last_id:
            return self.entries_added
        if id > self.last_id:
            return -1
        first = self.first_entry_id
        if self.max_deleted_id < first:
            if id < first:
                return self.entries_added - self.length
            if id == first:
                return self.entries_added - self.length + 1
        return -1

    def count_of_whole_nodes(self, excess: int = 0, below: StreamId = 0, limit: int = 0) -> int:
        """How many of the oldest entries go when only whole nodes may.

        Args:
            excess: trim up to so many entries, or
            below: trim entries with lower ids than this.
            limit: trim no more entries than this; 0 = any number.
        """
        removed = 0
        for node in self.nodes.values():
            after = removed + len(node.ids)
            if (limit and after > limit) or (after > excess and node.last_id >= below):
                break
            removed = after
        return removed

    def count_below(self, id: StreamId) -> int:
        """How many entries have an id under this one."""
        count = 0
        for node in self.nodes.values():
            if node.ids[-1] >= id:
                return count + bisect_left(node.ids, id)
            count += len(node.ids)
        return count

    # -- changing (by effects only)

    def append(self, id: StreamId, fields: tuple[bytes, ...], node_bytes_max: int, node_entries_max: int) -> bool:
        """Adds an entry; its id is above `last_id`. Returns whether it began a new node."""
        node = self.tail
        is_new = node is None or self._is_full(node, fields, node_bytes_max, node_entries_max)
        if is_new:
            node = Node(id, fields[::2])
            self.nodes[id] = node
            self.tail = node
        assert node is not None
        node.append(id, fields)
        self.length += 1
        self.entries_added += 1
        self.last_id = id
        return is_new

    def _is_full(self, node: Node, fields: Sequence[bytes], bytes_max: int, entries_max: int) -> bool:
        if not 0 < bytes_max < NODE_BYTES_MAX:
            bytes_max = NODE_BYTES_MAX
        if node.listpack_bytes() + sum(map(len, fields)) >= bytes_max:
            return True
        return 0 < entries_max <= len(node.ids) + node.deleted

    def add_node(self, node: Node) -> None:
        """Puts a node in (or back); its entries count."""
        self.nodes[node.key] = node
        self.length += len(node.ids)
        if self.tail is None or node.key > self.tail.key:
            self.tail = node

    def drop_node(self, node: Node) -> None:
        """Takes a node out, with what entries it still has."""
        del self.nodes[node.key]
        self.length -= len(node.ids)
        if node is self.tail:
            self.tail = self.nodes.peekitem(-1)[1] if self.nodes else None
