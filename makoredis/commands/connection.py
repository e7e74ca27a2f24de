"""PING and ECHO: the commands on the connection that need nothing but their arguments."""

from makoredis.base.errors import ClientError
from makoredis.commands.registry import command
from makoredis.data.access import Access
from resp.replies import PONG, Reply


@command("PING", "Returns the server's liveliness response.")
def ping(access: Access, *message: bytes) -> Reply:
    if not message:
        return PONG
    if len(message) > 1:
        raise ClientError("ERR wrong number of arguments for 'ping' command")
    return message[0]


@command("ECHO", "Returns the given string.")
def echo(access: Access, message: bytes) -> Reply:
    return message
