"""MIGRATE: moves or copies keys to another server (`makoredis.server.migration`)."""

import select
import socket
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import SYNTAX_ERROR, int64
from makoredis.server.migration import Bell, Migration, Order
from makoredis.server.routes import NO_REPLY, session_command
from makoredis.server.session import Session

if TYPE_CHECKING:
    from makoredis.server.server import Server

TIMEOUT_MS_DEFAULT = 1000
"""Where the command says 0 or less."""
MIGRATIONS_MAX = 16
"""At a time; each has a thread and its keys' payloads in memory."""
_NEEDS_EMPTY_KEY = ClientError("ERR When using MIGRATE KEYS option, the key argument must be set to the empty string")


@session_command("MIGRATE", "Atomically transfers a key from one Redis instance to another.")
def migrate(server: "Server", session: Session, *words: bytes) -> Any:
    order = _order(words)
    if session.multi is not None or session.in_exec:
        raise ClientError("ERR MIGRATE cannot be part of a transaction")
    if server.migrations >= MIGRATIONS_MAX:
        raise ClientError(f"TRYAGAIN {MIGRATIONS_MAX} migrations are under way")
    ours, theirs = socket.socketpair()
    bell = Bell()
    migration = Migration(order, theirs, bell.ring)

    def done(event: int) -> None:
        server.reactor.unwatch(bell.fd)
        bell.close()
        server.migrations -= 1
        if session.blocked is migration:
            session.blocked = None
            session.refresh_special()
        if session.closed_reason is None:
            session.send_reply(migration.reply)
            session.want_flush()
            server.reactor.resume(session)

    server.migrations += 1
    server.reactor.adopt(ours, session.database)
    server.reactor.watch(bell.fd, select.EPOLLIN, done)
    session.blocked = migration
    session.refresh_special()
    migration.start()
    return NO_REPLY


def _order(words: tuple[bytes, ...]) -> Order:
    """Raises: ClientError with Redis's texts."""
    host, port, key, db, timeout, *options = words
    copies = replaces = False
    auth: tuple[bytes, ...] = ()
    keys = [key]
    at = 0
    while at < len(options):
        option = options[at].upper()
        if option == b"COPY":
            copies = True
        elif option == b"REPLACE":
            replaces = True
        elif option in (b"AUTH", b"AUTH2"):
            count = 1 if option == b"AUTH" else 2
            auth = (b"AUTH", *options[at + 1 : at + 1 + count])
            if len(auth) <= count:
                raise SYNTAX_ERROR
            at += count
        elif option == b"KEYS":
            if key:
                raise _NEEDS_EMPTY_KEY
            keys = options[at + 1 :]
            break
        else:
            raise SYNTAX_ERROR
        at += 1
    timeout_ms, number = int64(timeout), int64(db)
    return Order(
        host.decode("latin-1"),
        int(port) if port.isdigit() and int(port) < 65_536 else 0,
        number,
        (timeout_ms if timeout_ms > 0 else TIMEOUT_MS_DEFAULT) / 1000,
        copies,
        replaces,
        auth,
        keys,
    )
