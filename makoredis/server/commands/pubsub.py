"""SUBSCRIBE and its kin, PUBSUB.

Their replies are messages of their own, one per channel; CLIENT REPLY does not silence them.
"""

from typing import TYPE_CHECKING, Any

from makoredis.base.errors import SubcommandError
from makoredis.commands.glob import matcher
from makoredis.server.commands.help import help_reply
from makoredis.server.routes import NO_REPLY, session_command
from makoredis.server.session import Session
from resp.encode import encode
from resp.replies import Push, Raw

if TYPE_CHECKING:
    from makoredis.server.server import Server


@session_command("SUBSCRIBE", "Listens for messages published to channels.")
def subscribe(server: "Server", session: Session, *channels: bytes) -> Any:
    lines = []
    for channel in channels:
        server.pubsub.subscribe(session, channel)
        lines.append((b"subscribe", channel, session.channel_count()))
    return _confirm(session, lines)


@session_command("PSUBSCRIBE", "Listens for messages published to channels that match one or more patterns.")
def psubscribe(server: "Server", session: Session, *patterns: bytes) -> Any:
    lines = []
    for pattern in patterns:
        server.pubsub.subscribe_pattern(session, pattern)
        lines.append((b"psubscribe", pattern, session.channel_count()))
    return _confirm(session, lines)


@session_command("SSUBSCRIBE", "Listens for messages published to shard channels.")
def ssubscribe(server: "Server", session: Session, *channels: bytes) -> Any:
    lines = []
    for channel in channels:
        server.pubsub.subscribe(session, channel, is_sharded=True)
        lines.append((b"ssubscribe", channel, len(session.shard_channels)))
    return _confirm(session, lines)


@session_command("UNSUBSCRIBE", "Stops listening to messages posted to channels.")
def unsubscribe(server: "Server", session: Session, *channels: bytes) -> Any:
    lines: list[tuple[Any, ...]] = []
    for channel in channels or tuple(session.channels):
        server.pubsub.unsubscribe(session, channel)
        lines.append((b"unsubscribe", channel, session.channel_count()))
    return _confirm(session, lines or [(b"unsubscribe", None, session.channel_count())])


@session_command("PUNSUBSCRIBE", "Stops listening to messages published to channels that match one or more patterns.")
def punsubscribe(server: "Server", session: Session, *patterns: bytes) -> Any:
    lines: list[tuple[Any, ...]] = []
    for pattern in patterns or tuple(session.patterns):
        server.pubsub.unsubscribe_pattern(session, pattern)
        lines.append((b"punsubscribe", pattern, session.channel_count()))
    return _confirm(session, lines or [(b"punsubscribe", None, session.channel_count())])


@session_command("SUNSUBSCRIBE", "Stops listening to messages posted to shard channels.")
def sunsubscribe(server: "Server", session: Session, *channels: bytes) -> Any:
    lines: list[tuple[Any, ...]] = []
    for channel in channels or tuple(session.shard_channels):
        server.pubsub.unsubscribe(session, channel, is_sharded=True)
        lines.append((b"sunsubscribe", channel, len(session.shard_channels)))
    return _confirm(session, lines or [(b"sunsubscribe", None, len(session.shard_channels))])


def _confirm(session: Session, lines: list[tuple[Any, ...]]) -> Any:
    """Sends one message per channel. Within EXEC they stand in the array, as in Redis, even if they are several."""
    session.refresh_special()
    data = b"".join(encode(Push(line), session.protocol) for line in lines)
    if session.in_exec:
        return Raw(data)
    session.send_bytes(data)
    return NO_REPLY


@session_command("PUBSUB|CHANNELS", "Returns the active channels.")
def pubsub_channels(server: "Server", session: Session, *pattern: bytes) -> Any:
    return _matching(server.pubsub.channels, pattern, "CHANNELS")


@session_command("PUBSUB|SHARDCHANNELS", "Returns the active shard channels.")
def pubsub_shardchannels(server: "Server", session: Session, *pattern: bytes) -> Any:
    return _matching(server.pubsub.shard_channels, pattern, "SHARDCHANNELS")


def _matching(table: dict[bytes, Any], pattern: tuple[bytes, ...], name: str) -> Any:
    if len(pattern) > 1:
        raise SubcommandError("PUBSUB", name)
    if not pattern:
        return list(table)
    matches = matcher(pattern[0])
    return [channel for channel in table if matches(channel)]


@session_command("PUBSUB|NUMSUB", "Returns a count of subscribers to channels.")
def pubsub_numsub(server: "Server", session: Session, *channels: bytes) -> Any:
    return _counts(server.pubsub.channels, channels)


@session_command("PUBSUB|SHARDNUMSUB", "Returns the count of subscribers of shard channels.")
def pubsub_shardnumsub(server: "Server", session: Session, *channels: bytes) -> Any:
    return _counts(server.pubsub.shard_channels, channels)


def _counts(table: dict[bytes, Any], channels: tuple[bytes, ...]) -> Any:
    return [item for channel in channels for item in (channel, len(table.get(channel, ())))]


@session_command("PUBSUB|NUMPAT", "Returns a count of unique pattern subscriptions.")
def pubsub_numpat(server: "Server", session: Session) -> Any:
    return len(server.pubsub.patterns)


@session_command("PUBSUB|HELP", "Returns helpful text about the different subcommands.")
def pubsub_help(server: "Server", session: Session) -> Any:
    return help_reply(
        "PUBSUB",
        "CHANNELS [<pattern>]",
        "    Return the currently active channels matching a <pattern> (default: '*').",
        "NUMPAT",
        "    Return number of subscriptions to patterns.",
        "NUMSUB [<channel> ...]",
        "    Return the number of subscribers for the specified channels, excluding",
        "    pattern subscriptions(default: no channels).",
        "SHARDCHANNELS [<pattern>]",
        "    Return the currently active shard level channels matching a <pattern> (default: '*').",
        "SHARDNUMSUB [<shardchannel> ...]",
        "    Return the number of subscribers for the specified shard level channel(s)",
    )
