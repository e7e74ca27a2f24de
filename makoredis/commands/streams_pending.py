"""What consumers were handed and have not acknowledged: XACK, XPENDING, XCLAIM and XAUTOCLAIM."""

from dataclasses import dataclass

from makoredis.base.errors import ClientError, printable
from makoredis.commands.arguments import SYNTAX_ERROR, int64, ranged
from makoredis.commands.registry import command
from makoredis.commands.stream_arguments import (
    entry_reply,
    group_of,
    parse_id,
    range_end,
    range_start,
    sorted_consumers,
    strict_id,
    strict_ids,
)
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import StreamDeletePending, StreamPutConsumer, StreamPutGroup, StreamPutPending
from makoredis.data.effects.streams import pack_id
from makoredis.data.values import Stream
from makoredis.data.values.stream import StreamId, id_text
from makoredis.data.values.stream_group import NEVER_ACTIVE, Group
from resp.replies import NULL_ARRAY, Reply

_LOOKED_AT_PER_CLAIMED = 10
"""XAUTOCLAIM looks at no more than so many pending entries for each one that it may claim."""
_CLAIM_COUNT_DEFAULT = 100
_CLAIM_COUNT_MAX = (2**63 - 1) // 16
_COUNT_NOT_POSITIVE = ClientError("ERR COUNT must be > 0")


@command("XACK", "Returns the number of messages that were successfully acknowledged by the consumer group member of a "
         "stream.")  # fmt: skip
def xack(access: Access, key: bytes, name: bytes, *raw_ids: bytes) -> int:
    stream = access.stream(key)
    group = None if stream is None else stream.groups.get(name)
    if group is None:
        return 0
    ids = [id for id in dict.fromkeys(strict_ids(raw_ids)) if id in group.pending]
    if ids:
        access.apply(StreamDeletePending(access.database.id, key, name, [pack_id(id) for id in ids]))
    return len(ids)


# -- looking


@command("XPENDING", "Returns the information and entries from a stream consumer group's pending entries list.")
def xpending(access: Access, key: bytes, name: bytes, *filters: bytes) -> Reply:
    if not filters:
        return _summary(group_of(access, key, name)[1])
    if not 3 <= len(filters) <= 6:
        raise SYNTAX_ERROR
    idle_ms_min = 0
    if filters[0].upper() == b"IDLE":
        idle_ms_min = int64(filters[1])
        if len(filters) < 5:
            raise SYNTAX_ERROR
        filters = filters[2:]
    count = max(0, int64(filters[2]))
    first, last = range_start(filters[0]), range_end(filters[1])
    _, group = group_of(access, key, name)
    pending = group.pending
    if len(filters) > 3:
        consumer = group.consumers.get(filters[3])
        if consumer is None:
            return []
        pending = consumer.pending
    reply: list[Reply] = []
    for id in pending.ids_from(first):
        if id > last or len(reply) == count:
            break
        entry = pending.entries[id]
        idle_ms = access.now_ms - entry.delivered_ms
        if not idle_ms_min or idle_ms >= idle_ms_min:
            reply.append([id_text(id), entry.consumer, max(0, idle_ms), entry.delivery_count])
    return reply


def _summary(group: Group) -> Reply:
    pending = group.pending
    if not pending:
        return [0, None, None, NULL_ARRAY]
    consumers: list[Reply] = [
        [name, b"%d" % len(consumer.pending)] for name, consumer in sorted_consumers(group) if consumer.pending
    ]
    return [len(pending), id_text(pending.first()), id_text(pending.last()), consumers]


# -- claiming


@dataclass(slots=True)
class _Claim:
    """What XCLAIM and XAUTOCLAIM do to a group, gathered before it is applied.

    An id may be named twice; the second time it is seen as the first has left it.
    """

    access: Access
    key: bytes
    stream: Stream
    name: bytes
    group: Group
    consumer: bytes
    idle_ms_min: int
    delivered_ms: int
    retry_count: int | None
    just_ids: bool
    counts: dict[StreamId, int]
    """What was claimed: its new delivery count."""
    gone: dict[StreamId, None]
    """Pending entries that are no longer in the stream."""
    reply: list[Reply]

    def take(self, id: StreamId, force: bool) -> None:
        """Claims one entry, if it is there and may be claimed."""
        fields = self.stream.get(id)
        pending = self.group.pending.get(id)
        if fields is None:
            if pending is not None:
                self.gone[id] = None
            return
        claimed = self.counts.get(id)
        if pending is None and claimed is None and not force:
            return
        delivered_ms = pending.delivered_ms if pending is not None else None
        count = pending.delivery_count if pending is not None else 1
        if claimed is not None:
            delivered_ms, count = self.delivered_ms, claimed
        if self.idle_ms_min and delivered_ms is not None and self.access.now_ms - delivered_ms < self.idle_ms_min:
            return
        if self.retry_count is not None:
            count = self.retry_count
        elif not self.just_ids:
            count += 1
        self.counts[id] = count
        self.reply.append(id_text(id) if self.just_ids else entry_reply((id, fields)))

    def apply(self) -> None:
        """Makes the claimed entries the consumer's, which is created, and forgets those that are gone."""
        access, key, name = self.access, self.key, self.name
        db = access.database.id
        consumer = self.group.consumers.get(self.consumer)
        active_ms = NEVER_ACTIVE if consumer is None else consumer.active_ms
        if self.counts:
            active_ms = access.now_ms
        access.apply(StreamPutConsumer(db, key, name, self.consumer, access.now_ms, active_ms))
        if consumer is None:
            access.notify(events.STREAM, b"xgroup-createconsumer", key)
        if self.gone:
            access.apply(StreamDeletePending(db, key, name, [pack_id(id) for id in self.gone]))
        if self.counts:
            ids, counts = [pack_id(id) for id in self.counts], list(self.counts.values())
            access.apply(StreamPutPending(db, key, name, self.consumer, ids, self.delivered_ms, counts))


@dataclass(slots=True)
class _ClaimOptions:
    delivered_ms: int | None = None
    retry_count: int | None = None
    force: bool = False
    just_ids: bool = False
    last_id: StreamId = 0


@command("XCLAIM", "Changes, or acquires, ownership of a message in a consumer group, as if the message was delivered "
         "a consumer group member.")  # fmt: skip
def xclaim(access: Access, key: bytes, name: bytes, consumer: bytes, idle_min: bytes, *rest: bytes) -> Reply:
    stream, group = group_of(access, key, name)
    idle_ms_min = max(0, _claim_int64(idle_min, "min-idle-time"))
    ids: list[StreamId] = []
    for word in rest:
        id = parse_id(word)
        if id is None:
            break
        ids.append(id)
    options = _claim_options(access, rest[len(ids) :])
    if options.last_id > group.last_id:
        access.apply(StreamPutGroup(access.database.id, key, name, pack_id(options.last_id), group.entries_read))
    delivered_ms = access.now_ms
    if options.delivered_ms is not None and 0 <= options.delivered_ms <= access.now_ms:
        delivered_ms = options.delivered_ms
    claim = _Claim(access, key, stream, name, group, consumer, idle_ms_min, delivered_ms, options.retry_count,
                   options.just_ids, {}, {}, [])  # fmt: skip
    for id in ids:
        claim.take(id, options.force)
    claim.apply()
    return claim.reply


def _claim_int64(raw: bytes, what: str) -> int:
    kind = "" if what == "min-idle-time" else " option"
    return int64(raw, ClientError(f"ERR Invalid {what}{kind} argument for XCLAIM"))


def _claim_options(access: Access, words: tuple[bytes, ...]) -> _ClaimOptions:
    """Raises: ClientError when one is malformed or unknown."""
    options = _ClaimOptions()
    at = 0
    while at < len(words):
        option = words[at].upper()
        has_value = at + 1 < len(words)
        if option == b"FORCE":
            options.force = True
        elif option == b"JUSTID":
            options.just_ids = True
        elif option in (b"IDLE", b"TIME", b"RETRYCOUNT", b"LASTID") and has_value:
            at += 1
            _claim_value(access, options, option.decode(), words[at])
        else:
            raise ClientError(f"ERR Unrecognized XCLAIM option '{printable(words[at])}'")
        at += 1
    return options


def _claim_value(access: Access, options: _ClaimOptions, option: str, raw: bytes) -> None:
    if option == "LASTID":
        options.last_id = strict_id(raw)
        return
    value = _claim_int64(raw, option)
    if option == "IDLE":
        options.delivered_ms = access.now_ms - value
    elif option == "TIME":
        options.delivered_ms = value
    else:
        options.retry_count = value if value >= 0 else None


@command("XAUTOCLAIM", "Changes, or acquires, ownership of messages in a consumer group, as if the messages were "
         "delivered to as consumer group member.")  # fmt: skip
def xautoclaim(
    access: Access, key: bytes, name: bytes, consumer: bytes, idle_min: bytes, start: bytes, *words: bytes
) -> Reply:
    error = ClientError("ERR Invalid min-idle-time argument for XAUTOCLAIM")
    idle_ms_min = max(0, int64(idle_min, error))
    first = range_start(start)
    count, just_ids = _autoclaim_options(words)
    stream, group = group_of(access, key, name)
    claim = _Claim(access, key, stream, name, group, consumer, idle_ms_min, access.now_ms, None, just_ids, {}, {}, [])
    attempts = count * _LOOKED_AT_PER_CLAIMED
    next_id = 0
    for id in group.pending.ids_from(first):
        if not attempts or len(claim.reply) + len(claim.gone) == count:
            next_id = id
            break
        attempts -= 1
        claim.take(id, force=False)
    claim.apply()
    return [id_text(next_id), claim.reply, [id_text(id) for id in claim.gone]]


def _autoclaim_options(words: tuple[bytes, ...]) -> tuple[int, bool]:
    count, just_ids = _CLAIM_COUNT_DEFAULT, False
    at = 0
    while at < len(words):
        option = words[at].upper()
        if option == b"COUNT" and at + 1 < len(words):
            count = ranged(words[at + 1], 1, _CLAIM_COUNT_MAX, _COUNT_NOT_POSITIVE)
            at += 2
        elif option == b"JUSTID":
            just_ids = True
            at += 1
        else:
            raise SYNTAX_ERROR
    return count, just_ids
