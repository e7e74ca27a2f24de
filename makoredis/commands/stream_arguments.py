"""Stream ids as clients write them, and what several stream commands share."""

import re
from collections.abc import Iterable, Sequence

from makoredis.base.errors import ClientError, printable
from makoredis.data.access import Access
from makoredis.data.values import Stream
from makoredis.data.values.stream import ID_MAX, SEQUENCE_MAX, Entry, StreamId, id_text, stream_id
from makoredis.data.values.stream_group import Consumer, Group
from resp.replies import Reply, Simple

INVALID_ID = ClientError("ERR Invalid stream ID specified as stream command argument")
INVALID_START = ClientError("ERR invalid start ID for the interval")
INVALID_END = ClientError("ERR invalid end ID for the interval")

_ID = re.compile(rb"[ \t\n\v\f\r]*\+?([0-9]+)(?:-[ \t\n\v\f\r]*\+?([0-9]+))?(?:\0|\Z)")
"""A zero byte ends the text, as everywhere in C: so it does in a cursor and in a limit of scores."""
_ID_TEXT_MAX = 127


def parse_id(raw: bytes, missing_sequence: int = 0) -> StreamId | None:
    """`milliseconds-sequence` or `milliseconds`, None if it is neither."""
    match = _ID.match(raw)
    if match is None or len(raw) > _ID_TEXT_MAX:
        return None
    milliseconds, sequence = match.groups()
    ms = int(milliseconds)
    seq = missing_sequence if sequence is None else int(sequence)
    return stream_id(ms, seq) if ms <= SEQUENCE_MAX and seq <= SEQUENCE_MAX else None


def strict_id(raw: bytes, missing_sequence: int = 0) -> StreamId:
    """An id other than `-` and `+`. Raises: ClientError."""
    id = parse_id(raw, missing_sequence)
    if id is None:
        raise INVALID_ID
    return id


def strict_ids(raws: Iterable[bytes]) -> list[StreamId]:
    """Raises: ClientError when one of them is not an id."""
    return [strict_id(raw) for raw in raws]


def any_id(raw: bytes, missing_sequence: int = 0) -> StreamId:
    """An id; `-` and `+` are the least and the greatest. Raises: ClientError."""
    if raw == b"-":
        return 0
    if raw == b"+":
        return ID_MAX
    return strict_id(raw, missing_sequence)


def range_start(raw: bytes) -> StreamId:
    """The first id of a range; `(` excludes the id itself. Raises: ClientError."""
    if len(raw) < 2 or not raw.startswith(b"("):
        return any_id(raw)
    id = strict_id(raw[1:])
    if id == ID_MAX:
        raise INVALID_START
    return id + 1


def range_end(raw: bytes) -> StreamId:
    """The last id of a range. Raises: ClientError."""
    if len(raw) < 2 or not raw.startswith(b"("):
        return any_id(raw, SEQUENCE_MAX)
    id = strict_id(raw[1:], SEQUENCE_MAX)
    if id == 0:
        raise INVALID_END
    return id - 1


def entry_reply(entry: Entry) -> Reply:
    """An entry as clients see it: id, then fields and values."""
    return [id_text(entry[0]), list(entry[1])]


def no_group(key: bytes, group: bytes, where: str = "") -> ClientError:
    """The error of commands that need both."""
    return ClientError(f"NOGROUP No such key '{printable(key)}' or consumer group '{printable(group)}'{where}")


def group_of(access: Access, key: bytes, name: bytes) -> tuple[Stream, Group]:
    """Raises: ClientError when there is no such stream or group."""
    stream = access.stream(key)
    group = None if stream is None else stream.groups.get(name)
    if stream is None or group is None:
        raise no_group(key, name)
    return stream, group


def sorted_consumers(group: Group) -> list[tuple[bytes, Consumer]]:
    """In the order in which Redis lists them."""
    return sorted(group.consumers.items())


def help_reply(container: str, lines: Sequence[str]) -> Reply:
    """The reply of `<container> HELP`."""
    head = f"{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    return [Simple(line) for line in (head, *lines, "HELP", "    Prints this help.")]
