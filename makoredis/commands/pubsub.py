"""PUBLISH and SPUBLISH: part of a transaction like any write, so that a message goes out when it is final, in order."""

from makoredis.commands.registry import command
from makoredis.data.access import Access
from resp.replies import Reply


@command("PUBLISH", "Posts a message to a channel.")
def publish(access: Access, channel: bytes, message: bytes) -> Reply:
    return access.publish(channel, message)


@command("SPUBLISH", "Posts a message to a shard channel.")
def spublish(access: Access, channel: bytes, message: bytes) -> Reply:
    return access.publish(channel, message, is_sharded=True)
