"""Channels, patterns, and what final transactions announce.

PUBLISH and keyspace notifications are part of their transaction: nobody hears of them before it is final, and all hear
them in the order of the log. Only the client that caused a message gets it together with its reply, ahead of it, which
is where Redis puts it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from makoredis.commands.glob import Matcher, matcher
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.server.interests import CHANNEL, PATTERN, SHARD_CHANNEL, Interests
from makoredis.server.session import Session
from makoredis.txn.executor import Announcement, Messages, Notices
from resp.encode import encode
from resp.replies import Push

if TYPE_CHECKING:
    from makoredis.server.server import Server

Subscribers = dict[int, Session]
"""By session id, in order of subscription."""
Message = tuple[bytes, bytes, bool]
"""Channel, text, whether it goes to a shard channel."""


class Pattern:
    """A pattern that somebody listens to."""

    __slots__ = ("matches", "subscribers")

    def __init__(self, pattern: bytes) -> None:
        self.matches: Matcher = matcher(pattern)
        self.subscribers: Subscribers = {}


class PubSub:
    """Who listens to what on this node."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.channels: dict[bytes, Subscribers] = {}
        self.patterns: dict[bytes, Pattern] = {}
        self.shard_channels: dict[bytes, Subscribers] = {}
        self.interests = Interests(server)

    # -- subscribing

    def subscribe(self, session: Session, channel: bytes, is_sharded: bool = False) -> None:
        """Adds a session to a channel; again is the same as once."""
        (session.shard_channels if is_sharded else session.channels)[channel] = None
        self.interests.changed.add((SHARD_CHANNEL if is_sharded else CHANNEL, channel))
        (self.shard_channels if is_sharded else self.channels).setdefault(channel, {})[session.id] = session

    def subscribe_pattern(self, session: Session, pattern: bytes) -> None:
        """Adds a session to all channels whose name matches."""
        session.patterns[pattern] = None
        self.interests.changed.add((PATTERN, pattern))
        entry = self.patterns.get(pattern)
        if entry is None:
            entry = self.patterns[pattern] = Pattern(pattern)
        entry.subscribers[session.id] = session

    def unsubscribe(self, session: Session, channel: bytes, is_sharded: bool = False) -> None:
        """Takes a session off a channel, if it is on it."""
        own, table = (session.shard_channels, self.shard_channels) if is_sharded else (session.channels, self.channels)
        if channel in own:
            self.interests.changed.add((SHARD_CHANNEL if is_sharded else CHANNEL, channel))
            del own[channel]
            del table[channel][session.id]
            if not table[channel]:
                del table[channel]

    def unsubscribe_pattern(self, session: Session, pattern: bytes) -> None:
        """Takes a session off a pattern, if it is on it."""
        if pattern in session.patterns:
            del session.patterns[pattern]
            self.interests.changed.add((PATTERN, pattern))
            entry = self.patterns[pattern]
            del entry.subscribers[session.id]
            if not entry.subscribers:
                del self.patterns[pattern]

    def forget(self, session: Session) -> None:
        """Takes a session off everything."""
        for channel in list(session.channels):
            self.unsubscribe(session, channel)
        for pattern in list(session.patterns):
            self.unsubscribe_pattern(session, pattern)
        for channel in list(session.shard_channels):
            self.unsubscribe(session, channel, is_sharded=True)

    # -- publishing

    def count_receivers(self, channel: bytes, is_sharded: bool) -> int:
        """How often a message would be delivered now."""
        count = self.interests.count(channel, is_sharded)
        if is_sharded:
            return count + len(self.shard_channels.get(channel, ()))
        count += len(self.channels.get(channel, ()))
        for entry in self.patterns.values():
            if entry.matches(channel):
                count += len(entry.subscribers)
        return count

    def announce(self, announcement: Announcement) -> None:
        """Delivers what a final transaction has to say, except to its own client, which has it already."""
        if not (announcement.messages or announcement.notices):
            return
        if not (self.channels or self.patterns or self.shard_channels):
            return
        # Where a leader may change, nobody gets a message before it is final, its own client neither.
        origin = 0 if self.server.node.is_replicated else announcement.origin
        for message in self._in_order(announcement.notices, announcement.messages):
            self._deliver(message, origin)

    def own_messages(self, session: Session, access: Access) -> bytes:
        """What the client of a transaction hears of it itself."""
        parts: list[bytes] = []
        for channel, text, is_sharded in self._in_order(access.notices, access.messages):
            if is_sharded:
                if channel in session.shard_channels:
                    parts.append(_encoded(session, (b"smessage", channel, text)))
                continue
            if channel in session.channels:
                parts.append(_encoded(session, (b"message", channel, text)))
            for pattern, entry in self.patterns.items():
                if pattern in session.patterns and entry.matches(channel):
                    parts.append(_encoded(session, (b"pmessage", pattern, channel, text)))
        return b"".join(parts)

    def _deliver(self, message: Message, origin: int) -> None:
        channel, text, is_sharded = message
        if is_sharded:
            subscribers = self.shard_channels.get(channel)
            if subscribers is not None:
                _push(subscribers, (b"smessage", channel, text), origin)
            return
        subscribers = self.channels.get(channel)
        if subscribers is not None:
            _push(subscribers, (b"message", channel, text), origin)
        for pattern, entry in self.patterns.items():
            if entry.matches(channel):
                _push(entry.subscribers, (b"pmessage", pattern, channel, text), origin)

    def messages_of(self, notices: Notices) -> list[Message]:
        """Notices as what is published."""
        return list(self._notices_as_messages(notices))

    def _in_order(self, notices: Notices, messages: Messages) -> Iterator[Message]:
        """Notices as messages, between the messages that the transaction published."""
        if not notices:
            for channel, text, is_sharded, _ in messages:
                yield channel, text, is_sharded
            return
        at = 0
        for channel, text, is_sharded, before in messages:
            yield from self._notices_as_messages(notices[at:before])
            at = before
            yield channel, text, is_sharded
        yield from self._notices_as_messages(notices[at:])

    def _notices_as_messages(self, notices: Notices) -> Iterator[Message]:
        wanted = self.server.config.data.notify_events
        for _, event, key, number in notices:
            if wanted & events.KEYSPACE:
                yield b"__keyspace@%d__:%b" % (number, key), event, False
            if wanted & events.KEYEVENT:
                yield b"__keyevent@%d__:%b" % (number, event), key, False


def _push(subscribers: Subscribers, items: tuple[bytes, ...], origin: int) -> None:
    """Sends one message to many; it is encoded once for each protocol."""
    plain = encode(items, 2)
    push = b">" + plain[1:]
    for session in subscribers.values():
        if session.id != origin:
            session.push(plain if session.protocol == 2 else push)


def _encoded(session: Session, items: tuple[bytes, ...]) -> bytes:
    return encode(Push(items), session.protocol)
