"""Channels, patterns, and what final transactions announce."""

from typing import TYPE_CHECKING

from makoredis.server.session import Session
from makoredis.txn.executor import Announcement

if TYPE_CHECKING:
    from makoredis.server.server import Server


class PubSub:
    """Who listens to what on this node."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.channels: dict[bytes, dict[int, Session]] = {}
        self.patterns: dict[bytes, dict[int, Session]] = {}
        self.shard_channels: dict[bytes, dict[int, Session]] = {}

    def count_receivers(self, channel: bytes, is_sharded: bool) -> int:
        """How many clients a message would reach now."""
        return len(self.channels.get(channel, ()))

    def announce(self, announcement: Announcement) -> None:
        """Delivers what a final transaction has to say."""

    def forget(self, session: Session) -> None:
        """Takes a session off everything."""
