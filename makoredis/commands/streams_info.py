"""XINFO: what a stream, its groups and their consumers say of themselves."""

from makoredis.base.errors import SubcommandError
from makoredis.commands.arguments import int64
from makoredis.commands.keys import NO_SUCH_KEY
from makoredis.commands.registry import command
from makoredis.commands.stream_arguments import entry_reply, help_reply, sorted_consumers
from makoredis.commands.streams_groups import no_such_group
from makoredis.data.access import Access
from makoredis.data.values import Stream
from makoredis.data.values.stream import ID_MAX, id_text
from makoredis.data.values.stream_group import NEVER_ACTIVE, UNKNOWN_READ, Consumer, Group, PendingList
from resp.replies import Map, Reply

_FULL_COUNT_DEFAULT = 10

_HELP = (
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
)


@command("XINFO|HELP", "Returns helpful text about the different subcommands.")
def xinfo_help(access: Access) -> Reply:
    return help_reply("XINFO", _HELP)


def _stream(access: Access, key: bytes) -> Stream:
    stream = access.stream(key)
    if stream is None:
        raise NO_SUCH_KEY
    return stream


@command("XINFO|STREAM", "Returns information about a stream.")
def xinfo_stream(access: Access, key: bytes, *options: bytes) -> Reply:
    stream = _stream(access, key)
    if options:
        return _full(stream, _full_count(options))
    first = stream.range(0, ID_MAX, 1)
    last = stream.reverse_range(0, ID_MAX, 1)
    return Map(
        [
            *_common(stream),
            (b"groups", len(stream.groups)),
            (b"first-entry", entry_reply(first[0]) if first else None),
            (b"last-entry", entry_reply(last[0]) if last else None),
        ]
    )


def _full_count(options: tuple[bytes, ...]) -> int:
    """How many entries of each kind are wanted; 0 = all."""
    is_full = options[0].upper() == b"FULL" and len(options) in (1, 3)
    if not is_full or (len(options) == 3 and options[1].upper() != b"COUNT"):
        raise SubcommandError("XINFO", "STREAM")
    if len(options) == 1:
        return _FULL_COUNT_DEFAULT
    count = int64(options[2])
    return count if count >= 0 else _FULL_COUNT_DEFAULT


def _common(stream: Stream) -> list[tuple[Reply, Reply]]:
    return [
        (b"length", stream.length),
        (b"radix-tree-keys", len(stream.nodes)),
        # There is no radix tree here: one more than its keys is right for the smallest ones.
        (b"radix-tree-nodes", len(stream.nodes) + 1),
        (b"last-generated-id", id_text(stream.last_id)),
        (b"max-deleted-entry-id", id_text(stream.max_deleted_id)),
        (b"entries-added", stream.entries_added),
        (b"recorded-first-entry-id", id_text(stream.first_entry_id)),
    ]


def _full(stream: Stream, count: int) -> Reply:
    entries: list[Reply] = [entry_reply(entry) for entry in stream.range(0, ID_MAX, count)]
    groups: list[Reply] = [_full_group(stream, name, group, count) for name, group in sorted(stream.groups.items())]
    return Map([*_common(stream), (b"entries", entries), (b"groups", groups)])


def _full_group(stream: Stream, name: bytes, group: Group, count: int) -> Reply:
    pending: list[Reply] = [
        [id_text(id), group.pending.entries[id].consumer, *_delivery(group.pending, id)]
        for id in _first_ids(group.pending, count)
    ]
    consumers: list[Reply] = [_full_consumer(name, consumer, count) for name, consumer in sorted_consumers(group)]
    return Map(
        [
            (b"name", name),
            (b"last-delivered-id", id_text(group.last_id)),
            (b"entries-read", None if group.entries_read == UNKNOWN_READ else group.entries_read),
            (b"lag", _lag(stream, group)),
            (b"pel-count", len(group.pending)),
            (b"pending", pending),
            (b"consumers", consumers),
        ]
    )


def _full_consumer(name: bytes, consumer: Consumer, count: int) -> Reply:
    pending: list[Reply] = [
        [id_text(id), *_delivery(consumer.pending, id)] for id in _first_ids(consumer.pending, count)
    ]
    return Map(
        [
            (b"name", name),
            (b"seen-time", consumer.seen_ms),
            (b"active-time", consumer.active_ms),
            (b"pel-count", len(consumer.pending)),
            (b"pending", pending),
        ]
    )


def _delivery(pending: PendingList, id: int) -> tuple[int, int]:
    entry = pending.entries[id]
    return entry.delivered_ms, entry.delivery_count


def _first_ids(pending: PendingList, count: int) -> list[int]:
    """The first `count` ids; all if that is 0."""
    ids = pending.ids_from()
    return [id for id, _ in zip(ids, range(count))] if count else list(ids)


def _lag(stream: Stream, group: Group) -> int | None:
    """How many entries the group has yet to read; None when that cannot be told."""
    if not stream.entries_added:
        return 0
    if group.entries_read != UNKNOWN_READ and not stream.has_tombstone_from(group.last_id):
        return stream.entries_added - group.entries_read
    read = stream.entries_before(group.last_id)
    return None if read == UNKNOWN_READ else stream.entries_added - read


@command("XINFO|GROUPS", "Returns a list of the consumer groups of a stream.")
def xinfo_groups(access: Access, key: bytes) -> Reply:
    stream = _stream(access, key)
    return [
        Map(
            [
                (b"name", name),
                (b"consumers", len(group.consumers)),
                (b"pending", len(group.pending)),
                (b"last-delivered-id", id_text(group.last_id)),
                (b"entries-read", None if group.entries_read == UNKNOWN_READ else group.entries_read),
                (b"lag", _lag(stream, group)),
            ]
        )
        for name, group in sorted(stream.groups.items())
    ]


@command("XINFO|CONSUMERS", "Returns a list of the consumers in a consumer group.")
def xinfo_consumers(access: Access, key: bytes, name: bytes) -> Reply:
    stream = _stream(access, key)
    group = stream.groups.get(name)
    if group is None:
        raise no_such_group(key, name)
    return [_consumer(access, *named) for named in sorted_consumers(group)]


def _consumer(access: Access, name: bytes, consumer: Consumer) -> Reply:
    active_ms = consumer.active_ms
    return Map(
        [
            (b"name", name),
            (b"pending", len(consumer.pending)),
            (b"idle", max(0, access.now_ms - consumer.seen_ms)),
            (b"inactive", active_ms if active_ms == NEVER_ACTIVE else access.now_ms - active_ms),
        ]
    )
