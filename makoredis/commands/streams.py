"""Streams: appending, reading ranges, deleting and trimming."""

from collections.abc import Sequence

from makoredis.base.errors import ClientError
from makoredis.base.record import record
from makoredis.commands.arguments import SYNTAX_ERROR, int64, wrong_arity
from makoredis.commands.keys import NO_SUCH_KEY
from makoredis.commands.registry import command
from makoredis.commands.stream_arguments import (
    INVALID_ID,
    entry_reply,
    parse_id,
    range_end,
    range_start,
    strict_id,
    strict_ids,
)
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import StreamAdd, StreamDelete, StreamPutInfo, StreamTrim
from makoredis.data.effects.streams import pack_id
from makoredis.data.values import Stream
from makoredis.data.values.stream import (
    ID_MAX,
    NODE_BYTES_MAX,
    SEQUENCE_BITS,
    SEQUENCE_MAX,
    StreamId,
    id_text,
    stream_id,
)
from resp.replies import NULL_ARRAY, OK, Reply

_TRIM_LIMIT_DEFAULT = 10_000
_TRIM_LIMIT_MAX = 1_000_000
_TRIM_NODES_MAX = 100
"""How many full nodes an approximate trim without LIMIT may remove, so that it ends soon."""


@record
class TrimOptions:
    """What `MAXLEN|MINID [=|~] threshold [LIMIT count]` asks for."""

    length_max: int | None
    """None: trim by `id_min`."""
    id_min: StreamId
    is_approximate: bool
    limit: int
    """How many entries may go; 0 = any number."""


@record
class AddOptions:
    """What stands between the key and the fields of XADD. `milliseconds` and `sequence` None = to be chosen."""

    trim: TrimOptions | None
    creates: bool
    milliseconds: int | None
    sequence: int | None
    fields_at: int


@command("XADD", "Appends a new message to a stream. Creates the key if it doesn't exist.")
def xadd(access: Access, key: bytes, *rest: bytes) -> Reply:
    if rest[0] == b"*":
        options = _AUTOMATIC_ID
    else:
        options = _add_options(access, rest)
    fields = rest[options.fields_at :]
    if not fields or len(fields) % 2:
        raise wrong_arity("XADD")
    if options.milliseconds == 0 and options.sequence == 0:
        raise ClientError("ERR The ID specified in XADD must be greater than 0-0")
    stream = access.stream(key)
    if stream is None and not options.creates:
        return None
    id = _next_id(access, stream, options)
    if sum(map(len, fields)) > NODE_BYTES_MAX:
        raise ClientError("ERR Elements are too large to be stored")
    access.apply(StreamAdd(access.database.id, key, pack_id(id), fields))
    access.notify(events.STREAM, b"xadd", key)
    if options.trim is not None:
        _trim(access, key, options.trim)
    return id_text(id)


_AUTOMATIC_ID = AddOptions(None, True, None, None, 1)


def _next_id(access: Access, stream: Stream | None, options: AddOptions) -> StreamId:
    """The id of the entry to be added. Raises: ClientError when there is none left, or it is too low."""
    last = 0 if stream is None else stream.last_id
    if last == ID_MAX:
        raise ClientError("ERR The stream has exhausted the last possible ID, unable to add more items")
    if options.milliseconds is None:
        return max(access.now_ms << SEQUENCE_BITS, last + 1)
    if options.sequence is not None:
        id = stream_id(options.milliseconds, options.sequence)
    elif last >> SEQUENCE_BITS == options.milliseconds and last & SEQUENCE_MAX != SEQUENCE_MAX:
        id = last + 1
    else:
        id = stream_id(options.milliseconds, 0)
    if id <= last:
        raise ClientError("ERR The ID specified in XADD is equal or smaller than the target stream top item")
    return id


def _add_options(access: Access, rest: Sequence[bytes]) -> AddOptions:
    """Raises: ClientError when an option or the id is malformed."""
    trim = _TrimParser(access)
    creates = True
    at = 0
    milliseconds: int | None = None
    sequence: int | None = None
    while at < len(rest):
        word = rest[at]
        if word == b"*":
            break
        after = trim.take(rest, at)
        if after != at:
            at = after
        elif word.upper() == b"NOMKSTREAM":
            creates = False
            at += 1
        else:
            milliseconds, sequence = _partial_id(word)
            break
    return AddOptions(trim.options(is_required=False), creates, milliseconds, sequence, at + 1)


def _partial_id(raw: bytes) -> tuple[int, int | None]:
    """`milliseconds-sequence`, or `milliseconds-*` with None for the sequence."""
    if raw.endswith(b"-*"):
        id = parse_id(raw[:-1] + b"0")
        if id is None:
            raise INVALID_ID
        return id >> SEQUENCE_BITS, None
    id = strict_id(raw)
    return id >> SEQUENCE_BITS, id & SEQUENCE_MAX


class _TrimParser:
    """Takes the trimming options out of a request's words, in whatever order they come."""

    def __init__(self, access: Access) -> None:
        self.config = access.space.config
        self.has_threshold = False
        self.length_max: int | None = None
        self.id_min: StreamId = 0
        self.is_approximate = False
        self.limit: int | None = None

    def take(self, words: Sequence[bytes], at: int) -> int:
        """Reads an option that begins at a place. Returns where the next one begins; `at` if it is none of these.

        Raises: ClientError when it is malformed.
        """
        more = len(words) - at - 1
        if not more:
            return at
        word = words[at].upper()
        if word == b"LIMIT":
            self.limit = int64(words[at + 1])
            if self.limit < 0:
                raise ClientError("ERR The LIMIT argument must be >= 0.")
            return at + 2
        if word not in (b"MAXLEN", b"MINID"):
            return at
        if self.has_threshold:
            raise ClientError("ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
        self.has_threshold = True
        at += 1
        if more >= 2 and words[at] in (b"~", b"="):
            self.is_approximate = words[at] == b"~"
            at += 1
        if word == b"MINID":
            self.id_min = strict_id(words[at])
        else:
            self.length_max = int64(words[at])
            if self.length_max < 0:
                raise ClientError("ERR The MAXLEN argument must be >= 0.")
        return at + 1

    def options(self, is_required: bool) -> TrimOptions | None:
        """What was asked for, None if nothing was. Raises: ClientError when the options do not fit together."""
        if self.limit and not self.has_threshold:
            raise ClientError("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
        if is_required and not self.has_threshold:
            raise ClientError("ERR syntax error, XTRIM must be called with a trimming strategy")
        if self.limit is not None and not self.is_approximate:
            raise ClientError("ERR syntax error, LIMIT cannot be used without the special ~ option")
        if not self.has_threshold:
            return None
        limit = self.limit
        if limit is None:
            limit = min(_TRIM_NODES_MAX * self.config.stream_node_max_entries, _TRIM_LIMIT_MAX) or _TRIM_LIMIT_DEFAULT
        return TrimOptions(self.length_max, self.id_min, self.is_approximate, limit)


def _trim(access: Access, key: bytes, options: TrimOptions) -> int:
    """Trims a stream, which exists. Returns how many entries went."""
    stream = access.stream(key)
    assert stream is not None
    count = _trim_count(stream, options)
    if count:
        access.apply(StreamTrim(access.database.id, key, count))
        access.notify(events.STREAM, b"xtrim", key)
    return count


def _trim_count(stream: Stream, options: TrimOptions) -> int:
    if options.length_max is None:
        if options.is_approximate:
            return stream.count_of_whole_nodes(below=options.id_min, limit=options.limit)
        return stream.count_below(options.id_min)
    excess = max(0, stream.length - options.length_max)
    if excess and options.is_approximate:
        return stream.count_of_whole_nodes(excess=excess, limit=options.limit)
    return excess


@command("XTRIM", "Deletes messages from the beginning of a stream.")
def xtrim(access: Access, key: bytes, *rest: bytes) -> int:
    parser = _TrimParser(access)
    at = 0
    while at < len(rest):
        after = parser.take(rest, at)
        if after == at:
            raise SYNTAX_ERROR
        at = after
    options = parser.options(is_required=True)
    assert options is not None
    return 0 if access.stream(key) is None else _trim(access, key, options)


@command("XLEN", "Returns the number of messages in a stream.")
def xlen(access: Access, key: bytes) -> int:
    stream = access.stream(key)
    return 0 if stream is None else stream.length


@command("XRANGE", "Returns the messages from a stream within a range of IDs.")
def xrange(access: Access, key: bytes, start: bytes, end: bytes, *options: bytes) -> Reply:
    return _range(access, key, range_start(start), range_end(end), options, reverse=False)


@command("XREVRANGE", "Returns the messages from a stream within a range of IDs in reverse order.")
def xrevrange(access: Access, key: bytes, end: bytes, start: bytes, *options: bytes) -> Reply:
    return _range(access, key, range_start(start), range_end(end), options, reverse=True)


def _range(
    access: Access, key: bytes, first: StreamId, last: StreamId, options: tuple[bytes, ...], reverse: bool
) -> Reply:
    count = -1
    for at in range(0, len(options), 2):
        if options[at].upper() != b"COUNT" or at + 1 == len(options):
            raise SYNTAX_ERROR
        count = max(0, int64(options[at + 1]))
    stream = access.stream(key)
    if stream is None:
        return []
    if count == 0:
        return NULL_ARRAY
    select = stream.reverse_range if reverse else stream.range
    return [entry_reply(entry) for entry in select(first, last, max(0, count))]


@command("XDEL", "Returns the number of messages after removing them from a stream.")
def xdel(access: Access, key: bytes, *raw_ids: bytes) -> int:
    stream = access.stream(key)
    if stream is None:
        return 0
    ids = [id for id in dict.fromkeys(strict_ids(raw_ids)) if stream.find(id) is not None]
    if ids:
        access.apply(StreamDelete(access.database.id, key, [pack_id(id) for id in ids]))
        access.notify(events.STREAM, b"xdel", key)
    return len(ids)


@command("XSETID", "An internal command for replicating stream values.")
def xsetid(access: Access, key: bytes, last: bytes, *options: bytes) -> Reply:
    last_id = strict_id(last)
    added, deleted_id = _setid_options(last_id, options)
    stream = access.stream(key)
    if stream is None:
        raise NO_SUCH_KEY
    if last_id < stream.max_deleted_id:
        raise ClientError("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id")
    if stream.length:
        if last_id < stream.last_entry_id:
            raise ClientError("ERR The ID specified in XSETID is smaller than the target stream top item")
        if added is not None and added < stream.length:
            raise ClientError("ERR The entries_added specified in XSETID is smaller than the target stream length")
    added = stream.entries_added if added is None else added
    deleted_id = deleted_id or stream.max_deleted_id
    access.apply(StreamPutInfo(access.database.id, key, pack_id(last_id), added, pack_id(deleted_id)))
    access.notify(events.STREAM, b"xsetid", key)
    return OK


def _setid_options(last_id: StreamId, options: tuple[bytes, ...]) -> tuple[int | None, StreamId]:
    """ENTRIESADDED (None = not given) and MAXDELETEDID (0 = not given)."""
    added: int | None = None
    deleted_id = 0
    for at in range(0, len(options), 2):
        option = options[at].upper()
        if option not in (b"ENTRIESADDED", b"MAXDELETEDID") or at + 1 == len(options):
            raise SYNTAX_ERROR
        if option == b"ENTRIESADDED":
            added = int64(options[at + 1])
            if added < 0:
                raise ClientError("ERR entries_added must be positive")
        else:
            deleted_id = strict_id(options[at + 1])
            if last_id < deleted_id:
                raise ClientError("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
    return added, deleted_id
