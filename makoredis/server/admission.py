"""Which connections are taken."""

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from makoredis.server.server import Server

PROTECTED_MODE_TEXT = (
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the "
    b"default user. In this mode connections are only accepted from the loopback interface. If you want to connect "
    b"from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode "
    b"sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the "
    b"same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. "
    b"Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by "
    b"editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the "
    b"server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' "
    b"option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one of the above "
    b"things in order for the server to start accepting connections from the outside.\r\n"
)


def refuse_connection(server: "Server", sock: socket.socket, connected: int) -> bytes | None:
    """The error for a connection that is not taken, None if it is.

    Args:
        connected: how many clients there are already.
    """
    if connected >= server.config.maxclients:
        server.stats.rejected_connections += 1
        return b"-ERR max number of clients reached\r\n"
    if server.config.is_protected_mode and not server.has_passwords() and not is_local(sock):
        server.stats.rejected_connections += 1
        return PROTECTED_MODE_TEXT
    return None


def is_local(sock: socket.socket) -> bool:
    """Whether a connection comes from this machine."""
    if sock.family == socket.AF_UNIX:
        return True
    host: Any = sock.getpeername()[0]
    return bool(host.startswith("127.") or host == "::1" or host.startswith("::ffff:127."))
