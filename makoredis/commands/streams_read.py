"""XREAD and XREADGROUP: what came into streams after an id, for one reader or shared among a group's consumers.

Both may wait. A request that waits is run again from the start; `$` has been replaced by the id that it stood for, else
it would never see anything. XREADGROUP is also woken when a key goes or a group is destroyed, and then answers with the
error that running it gives.
"""

from dataclasses import dataclass

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import SYNTAX_ERROR, int64
from makoredis.commands.registry import WouldBlock, command
from makoredis.commands.stream_arguments import entry_reply, no_group, strict_id
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import StreamPutConsumer, StreamPutGroup, StreamPutPending
from makoredis.data.effects.streams import pack_id
from makoredis.data.values import Stream
from makoredis.data.values.stream import ID_MAX, Entry, StreamId, id_text
from makoredis.data.values.stream_group import NEVER_ACTIVE, UNKNOWN_READ, Group
from resp.replies import NULL_ARRAY, Map, Reply

NEW_ENTRIES = b">"
DOLLAR_IN_GROUP = ClientError(
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by "
    "specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set."
)
NEW_WITHOUT_GROUP = ClientError(
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
)


@dataclass(slots=True)
class _Request:
    """What XREAD or XREADGROUP was asked."""

    name: str
    group: bytes = b""
    consumer: bytes = b""
    has_group: bool = False
    needs_no_ack: bool = False
    """NOACK: what is delivered does not become pending."""
    count: int = 0
    timeout_ms: int | None = None
    """None: does not wait."""
    streams_at: int = 0
    """Where the keys begin among the words."""
    keys: tuple[bytes, ...] = ()
    ids: tuple[bytes, ...] = ()


@command("XREAD", "Returns messages from multiple streams with IDs greater than the ones requested. Blocks until a "
         "message is available otherwise.")  # fmt: skip
def xread(access: Access, *words: bytes) -> Reply | WouldBlock:
    request = _parse("xread", access, words)
    starts = [_start(access, key, id) for key, id in zip(request.keys, request.ids)]
    found: list[tuple[Reply, Reply]] = []
    for key, start in zip(request.keys, starts):
        stream = access.stream(key)
        if stream is not None and stream.last_entry_id > start:
            entries = stream.range(start + 1, ID_MAX, request.count)
            found.append((key, [entry_reply(entry) for entry in entries]))
    if found:
        return _per_stream(access, found)
    if request.timeout_ms is None or not access.may_block:
        return NULL_ARRAY
    resolved = [id_text(start) for start in starts]
    argv = [b"XREAD", *words[: request.streams_at], *request.keys, *resolved]
    return WouldBlock(request.keys, request.timeout_ms, NULL_ARRAY, argv, (Stream,))


def _start(access: Access, key: bytes, id: bytes) -> StreamId:
    """The id after which a reader wants entries. `$`: the last one; `+`: the one before the last entry."""
    stream = access.stream(key)
    if id == b"$":
        return 0 if stream is None else stream.last_id
    if id == b"+":
        if stream is None:
            return 0
        return stream.last_entry_id - 1 if stream.length else stream.last_id
    if id == NEW_ENTRIES:
        raise NEW_WITHOUT_GROUP
    return strict_id(id)


@command("XREADGROUP", "Returns new or historical messages from a stream for a consumer in a group. Blocks until a "
         "message is available otherwise.")  # fmt: skip
def xreadgroup(access: Access, *words: bytes) -> Reply | WouldBlock:
    request = _parse("xreadgroup", access, words)
    after = [_history_start(access, key, request.group, id) for key, id in zip(request.keys, request.ids)]
    found: list[tuple[Reply, Reply]] = []
    for key, start in zip(request.keys, after):
        stream = access.stream(key)
        assert stream is not None
        group = stream.groups[request.group]
        if start is not None:
            _touch_consumer(access, key, group, request, is_served=False)
            found.append((key, _deliver_again(access, key, stream, group, request, start)))
        elif stream.last_entry_id > group.last_id:
            _touch_consumer(access, key, group, request, is_served=not request.needs_no_ack)
            found.append((key, _deliver(access, key, stream, group, request)))
        else:
            _touch_consumer(access, key, group, request, is_served=False)
    if found:
        return _per_stream(access, found)
    if request.timeout_ms is None or not access.may_block:
        return NULL_ARRAY
    return WouldBlock(request.keys, request.timeout_ms, NULL_ARRAY)


def _history_start(access: Access, key: bytes, group: bytes, id: bytes) -> StreamId | None:
    """The id after which a consumer wants its history; None when it wants new entries.

    Raises: ClientError when there is no such stream or group.
    """
    stream = access.stream(key)
    if stream is None or group not in stream.groups:
        raise no_group(key, group, " in XREADGROUP with GROUP option")
    if id == b"$":
        raise DOLLAR_IN_GROUP
    if id == NEW_ENTRIES:
        return None
    start = strict_id(id)
    return None if start == ID_MAX else start  # as in Redis, where the highest id stands for `>`


def _touch_consumer(access: Access, key: bytes, group: Group, request: _Request, is_served: bool) -> None:
    """Notes that the consumer asked for something; creates it."""
    name = request.consumer
    consumer = group.consumers.get(name)
    active_ms = access.now_ms if is_served else NEVER_ACTIVE if consumer is None else consumer.active_ms
    if consumer is not None and (consumer.seen_ms, consumer.active_ms) == (access.now_ms, active_ms):
        return
    access.apply(StreamPutConsumer(access.database.id, key, request.group, name, access.now_ms, active_ms))
    if consumer is None:
        access.notify(events.STREAM, b"xgroup-createconsumer", key)


def _deliver(access: Access, key: bytes, stream: Stream, group: Group, request: _Request) -> Reply:
    """Hands out entries that nobody in the group has seen; there is one."""
    entries = stream.range(group.last_id + 1, ID_MAX, request.count)
    read = _entries_read(stream, group, entries)
    db = access.database.id
    access.apply(StreamPutGroup(db, key, request.group, pack_id(entries[-1][0]), read))
    if not request.needs_no_ack:
        ids = [pack_id(id) for id, _ in entries]
        access.apply(StreamPutPending(db, key, request.group, request.consumer, ids, access.now_ms, [1]))
    return [entry_reply(entry) for entry in entries]


def _entries_read(stream: Stream, group: Group, entries: list[Entry]) -> int:
    """How far the group is in the stream after these entries, counted as Redis does."""
    read = group.entries_read
    for id, _ in entries:
        if read != UNKNOWN_READ and not stream.has_tombstone_from(id):
            read += 1
        elif stream.entries_added:
            read = stream.entries_before(id)
    return read


def _deliver_again(
    access: Access, key: bytes, stream: Stream, group: Group, request: _Request, start: StreamId
) -> Reply:
    """What is pending for the consumer after an id. Entries that were deleted have null for their fields."""
    pending = group.consumers[request.consumer].pending
    reply: list[Reply] = []
    ids: list[bytes] = []
    counts: list[int] = []
    for id in pending.ids_from(start + 1):
        fields = stream.get(id)
        if fields is None:
            reply.append([id_text(id), NULL_ARRAY])
        else:
            reply.append(entry_reply((id, fields)))
            ids.append(pack_id(id))
            counts.append(pending.entries[id].delivery_count + 1)
        if len(reply) == request.count:
            break
    if ids:
        db = access.database.id
        access.apply(StreamPutPending(db, key, request.group, request.consumer, ids, access.now_ms, counts))
    return reply


def _per_stream(access: Access, found: list[tuple[Reply, Reply]]) -> Reply:
    return Map(found) if access.protocol == 3 else [list(pair) for pair in found]


def _parse(name: str, access: Access, words: tuple[bytes, ...]) -> _Request:
    """Raises: ClientError when an option is malformed."""
    request = _Request(name)
    is_group = name == "xreadgroup"
    at = 0
    while at < len(words):
        at = _parse_option(request, access, words, at, is_group)
        if request.streams_at:
            break
    if not request.streams_at:
        raise SYNTAX_ERROR
    if is_group and not request.has_group:
        raise ClientError("ERR Missing GROUP option for XREADGROUP")
    return request


def _parse_option(request: _Request, access: Access, words: tuple[bytes, ...], at: int, is_group: bool) -> int:
    """Reads the option at a place. Returns where the next one begins."""
    option = words[at].upper()
    more = len(words) - at - 1
    if option == b"BLOCK" and more:
        if access.in_script:
            raise ClientError(f"ERR {request.name} command is not allowed with BLOCK option from scripts")
        request.timeout_ms = _timeout_ms(words[at + 1])
        return at + 2
    if option == b"COUNT" and more:
        request.count = max(0, int64(words[at + 1]))
        return at + 2
    if option == b"STREAMS" and more:
        if more % 2:
            symbol = ">" if is_group else "$"
            raise ClientError(
                f"ERR Unbalanced '{request.name}' list of streams: for each stream key an ID or '{symbol}' must be "
                "specified."
            )
        request.streams_at = at + 1
        request.keys = words[at + 1 : at + 1 + more // 2]
        request.ids = words[at + 1 + more // 2 :]
        return len(words)
    if option == b"GROUP" and more >= 2:
        if not is_group:
            raise _only_for_groups("GROUP")
        request.group, request.consumer, request.has_group = words[at + 1], words[at + 2], True
        return at + 3
    if option == b"NOACK":
        if not is_group:
            raise _only_for_groups("NOACK")
        request.needs_no_ack = True
        return at + 1
    raise SYNTAX_ERROR


def _only_for_groups(option: str) -> ClientError:
    return ClientError(f"ERR The {option} option is only supported by XREADGROUP. You called XREAD instead.")


def _timeout_ms(raw: bytes) -> int:
    timeout = int64(raw, ClientError("ERR timeout is not an integer or out of range"))
    if timeout < 0:
        raise ClientError("ERR timeout is negative")
    return timeout
