"""Commands on the connection itself: HELLO, AUTH, SELECT, QUIT, RESET."""

from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError, printable
from makoredis.commands.arguments import INT64_MAX, SYNTAX_ERROR, database_number, parse_int64
from makoredis.server.routes import session_command
from makoredis.server.session import Session
from resp.replies import OK, Map, Simple

if TYPE_CHECKING:
    from makoredis.server.server import Server

_BAD_CLIENT_NAME = ClientError("ERR Client names cannot contain spaces, newlines or special characters.")


@session_command("SELECT", "Changes the selected database.")
def select(server: "Server", session: Session, number: bytes) -> Any:
    session.database = database_number(number, server.config.databases)
    return OK


@session_command("QUIT", "Closes the connection.")
def quit_(server: "Server", session: Session, *ignored: bytes) -> Any:
    session.close_after_reply = True
    session.refresh_special()
    return OK


@session_command("RESET", "Resets the connection.")
def reset(server: "Server", session: Session) -> Any:
    server.discard_transaction(session)
    server.pubsub.forget(session)
    if session.is_monitor:
        session.is_monitor = False
        server.monitors.sessions.pop(session.id, None)
        server.refresh_special()
    session.database = 0
    session.protocol = 2
    session.name = b""
    session.reply_mode = ""
    session.no_evict = session.no_touch = False
    server.tracking.disable(session)
    server.log_out(session)
    session.refresh_special()
    return Simple(b"RESET")


@session_command("HELLO", "Handshakes with the server.")
def hello(server: "Server", session: Session, *arguments: bytes) -> Any:
    protocol = session.protocol
    at = 0
    if arguments:
        wanted = parse_int64(arguments[0])
        if wanted is None:
            raise ClientError("ERR Protocol version is not an integer or out of range")
        if wanted not in (2, 3):
            raise ClientError("NOPROTO unsupported protocol version")
        protocol = wanted
        at = 1
    name: bytes | None = None
    credentials: tuple[bytes, bytes] | None = None
    while at < len(arguments):
        word = arguments[at].upper()
        left = len(arguments) - at - 1
        if word == b"AUTH" and left >= 2:
            credentials = (arguments[at + 1], arguments[at + 2])
            at += 3
        elif word == b"SETNAME" and left >= 1:
            name = checked_name(arguments[at + 1])
            at += 2
        else:
            raise ClientError(f"ERR Syntax error in HELLO option '{printable(arguments[at])}'")
    if credentials is not None:
        server.log_in(session, *credentials)
    if not session.authenticated:
        raise ClientError(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH "
            "<user> <pass> option can be used to authenticate the client and select the RESP protocol version at the "
            "same time"
        )
    if name is not None:
        session.name = name
    session.protocol = protocol
    session.refresh_special()
    return Map(
        [
            (b"server", b"redis"),
            (b"version", server.config.redis_version.encode()),
            (b"proto", protocol),
            (b"id", session.id),
            (b"mode", b"standalone"),
            (b"role", b"master"),
            (b"modules", []),
        ]
    )


def checked_name(name: bytes) -> bytes:
    """A client name. Raises: ClientError when it has other than printable characters, or spaces."""
    if any(byte < 33 or byte > 126 for byte in name):
        raise _BAD_CLIENT_NAME
    return name


@session_command("AUTH", "Authenticates the connection.")
def auth(server: "Server", session: Session, *arguments: bytes) -> Any:
    if len(arguments) > 2:
        raise SYNTAX_ERROR
    if len(arguments) == 1 and not server.has_passwords():
        raise ClientError(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
            "configuration is correct?"
        )
    user, password = (b"default", arguments[0]) if len(arguments) == 1 else (arguments[0], arguments[1])
    server.log_in(session, user, password)
    return OK


def timeout_ms(raw: bytes) -> int:
    """A number of milliseconds ≥ 0. Raises: ClientError as Redis's blocking commands do."""
    value = parse_int64(raw)
    if value is None or value > INT64_MAX // 2:
        raise ClientError("ERR timeout is not an integer or out of range")
    if value < 0:
        raise ClientError("ERR timeout is negative")
    return value
