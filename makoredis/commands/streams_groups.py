"""XGROUP: creating, moving and removing consumer groups and their consumers."""

from makoredis.base.errors import ClientError, SubcommandError, printable
from makoredis.commands.arguments import int64
from makoredis.commands.registry import command
from makoredis.commands.stream_arguments import any_id, help_reply, strict_id
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import (
    StreamDeleteConsumer,
    StreamDeleteGroup,
    StreamPutConsumer,
    StreamPutGroup,
    StreamPutInfo,
)
from makoredis.data.effects.streams import pack_id
from makoredis.data.values import Stream
from makoredis.data.values.stream_group import NEVER_ACTIVE, UNKNOWN_READ, Group
from resp.replies import OK, Reply

NO_STREAM = ClientError(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option "
    "to create an empty stream automatically."
)
GROUP_EXISTS = ClientError("BUSYGROUP Consumer Group name already exists")

_HELP = (
    "CREATE <key> <groupname> <id|$> [option]",
    "    Create a new consumer group. Options are:",
    "    * MKSTREAM",
    "      Create the empty stream if it does not exist.",
    "    * ENTRIESREAD entries_read",
    "      Set the group's entries_read counter (internal use).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Create a new consumer in the specified group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the specified consumer.",
    "DESTROY <key> <groupname>",
    "    Remove the specified group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the current group ID and entries_read counter.",
)


@command("XGROUP|HELP", "Returns helpful text about the different subcommands.")
def xgroup_help(access: Access) -> Reply:
    return help_reply("XGROUP", _HELP)


@command("XGROUP|CREATE", "Creates a consumer group.")
def xgroup_create(access: Access, key: bytes, name: bytes, id: bytes, *options: bytes) -> Reply:
    makes_stream, entries_read = _options("create", options)
    stream = access.stream(key)
    if stream is None and not makes_stream:
        raise NO_STREAM
    if len(options) > 3:  # nothing but repetitions
        raise SubcommandError("XGROUP", "CREATE")
    if id == b"$":
        last_id = 0 if stream is None else stream.last_id
    else:
        last_id = strict_id(id)
    db = access.database.id
    if stream is None:
        access.apply(StreamPutInfo(db, key, pack_id(0), 0, pack_id(0)))
    elif name in stream.groups:
        raise GROUP_EXISTS
    access.apply(StreamPutGroup(db, key, name, pack_id(last_id), entries_read))
    access.notify(events.STREAM, b"xgroup-create", key)
    return OK


@command("XGROUP|SETID", "Sets the last-delivered ID of a consumer group.")
def xgroup_setid(access: Access, key: bytes, name: bytes, id: bytes, *options: bytes) -> Reply:
    _, entries_read = _options("setid", options)
    stream, _ = _group_of(access, key, name)
    if len(options) > 2:
        raise SubcommandError("XGROUP", "SETID")
    last_id = stream.last_id if id == b"$" else any_id(id)
    access.apply(StreamPutGroup(access.database.id, key, name, pack_id(last_id), entries_read))
    access.notify(events.STREAM, b"xgroup-setid", key)
    return OK


@command("XGROUP|DESTROY", "Destroys a consumer group.")
def xgroup_destroy(access: Access, key: bytes, name: bytes) -> int:
    stream = access.stream(key)
    if stream is None:
        raise NO_STREAM
    if name not in stream.groups:
        return 0
    access.apply(StreamDeleteGroup(access.database.id, key, name))
    access.notify(events.STREAM, b"xgroup-destroy", key)
    return 1


@command("XGROUP|CREATECONSUMER", "Creates a consumer in a consumer group.")
def xgroup_createconsumer(access: Access, key: bytes, name: bytes, consumer: bytes) -> int:
    _, group = _group_of(access, key, name)
    if consumer in group.consumers:
        return 0
    access.apply(StreamPutConsumer(access.database.id, key, name, consumer, access.now_ms, NEVER_ACTIVE))
    access.notify(events.STREAM, b"xgroup-createconsumer", key)
    return 1


@command("XGROUP|DELCONSUMER", "Deletes a consumer from a consumer group.")
def xgroup_delconsumer(access: Access, key: bytes, name: bytes, consumer: bytes) -> int:
    _, group = _group_of(access, key, name)
    existing = group.consumers.get(consumer)
    if existing is None:
        return 0
    count = len(existing.pending)
    access.apply(StreamDeleteConsumer(access.database.id, key, name, consumer))
    access.notify(events.STREAM, b"xgroup-delconsumer", key)
    return count


def _group_of(access: Access, key: bytes, name: bytes) -> tuple[Stream, Group]:
    """Raises: ClientError when there is no such stream or group."""
    stream = access.stream(key)
    if stream is None:
        raise NO_STREAM
    group = stream.groups.get(name)
    if group is None:
        raise no_such_group(key, name)
    return stream, group


def no_such_group(key: bytes, name: bytes) -> ClientError:
    """The error of commands on a group, where the stream exists."""
    return ClientError(f"NOGROUP No such consumer group '{printable(name)}' for key name '{printable(key)}'")


def _options(subcommand: str, options: tuple[bytes, ...]) -> tuple[bool, int]:
    """MKSTREAM (of CREATE alone) and ENTRIESREAD."""
    makes_stream = False
    entries_read = UNKNOWN_READ
    at = 0
    while at < len(options):
        option = options[at].upper()
        if option == b"MKSTREAM" and subcommand == "create":
            makes_stream = True
            at += 1
        elif option == b"ENTRIESREAD" and at + 1 < len(options):
            entries_read = int64(options[at + 1])
            if entries_read < UNKNOWN_READ:
                raise ClientError("ERR value for ENTRIESREAD must be positive or -1")
            at += 2
        else:
            raise SubcommandError("XGROUP", subcommand.upper())
    return makes_stream, entries_read
