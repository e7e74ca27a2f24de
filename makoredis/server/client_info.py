"""The line that CLIENT LIST and CLIENT INFO show for a connection."""

from typing import TYPE_CHECKING

from makoredis.server.session import Session

if TYPE_CHECKING:
    from makoredis.server.server import Server


def client_type(session: Session) -> str:
    """normal or pubsub; makoredis's replicas are no clients."""
    return "pubsub" if session.subscription_count() else "normal"


def client_flags(server: "Server", session: Session) -> str:
    """Redis's letters for what state a connection is in."""
    letters = ""
    if session.is_monitor:
        letters += "O"
    if session.subscription_count():
        letters += "P"
    if session.multi is not None:
        letters += "x"
    if server.blocking.is_parked(session):
        letters += "b"
    if session.tracking is not None:
        letters += "t"
    if session.watched and not server.watches.is_current(server, session):
        letters += "d"
    if session.close_after_reply:
        letters += "c"
    if session.no_evict:
        letters += "e"
    if session.no_touch:
        letters += "T"
    return letters or "N"


def request_bytes(argv: list[bytes]) -> int:
    """How long a request is on the wire."""
    return len(str(len(argv))) + 3 + sum(len(str(len(argument))) + len(argument) + 5 for argument in argv)


def client_line(server: "Server", session: Session, asks: Session | None = None) -> str:
    """`id=… addr=… …`, fields in Redis 7.2's order. Sizes in bytes; what has no counterpart here is 0.

    Args:
        asks: whose request this answers; in Redis its query buffer still holds that request.
    """
    queued = -1 if session.multi is None else len(session.multi)
    held = session.parser.held_bytes + (request_bytes(session.last_command) if session is asks else 0)
    waiting = session.output_bytes()
    fields = {
        "id": session.id,
        "addr": session.address,
        "laddr": session.laddress,
        "fd": session.fd,
        "name": session.name.decode("latin-1"),
        "age": int(server.now - session.connected_at),
        "idle": int(server.now - session.last_active),
        "flags": client_flags(server, session),
        "db": session.database,
        "sub": len(session.channels),
        "psub": len(session.patterns),
        "ssub": len(session.shard_channels),
        "multi": queued,
        "watch": len(session.watched),
        "qbuf": held,
        "qbuf-free": 0,
        "argv-mem": 0,
        "multi-mem": 0,
        "rbs": 0,
        "rbp": 0,
        "obl": 0,
        "oll": len(session.unsent) + len(session.held),
        "omem": waiting,
        "tot-mem": waiting + held,
        "events": "rw" if session.writable_wanted else "r",
        "cmd": server.routes.display_name(session.last_command),
        "user": server.user_name(session).decode("latin-1"),
        "redir": server.redirect_of(session),
        "resp": session.protocol,
        "lib-name": session.library_name.decode("latin-1"),
        "lib-ver": session.library_version.decode("latin-1"),
    }
    return " ".join(f"{name}={value}" for name, value in fields.items())
