"""CLIENT: connections looking at themselves and at each other."""

from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError, printable
from makoredis.commands.arguments import NOT_AN_INTEGER, SYNTAX_ERROR, int64, parse_int64
from makoredis.server.client_info import client_line, client_type
from makoredis.server.commands.connection import checked_name, timeout_ms
from makoredis.server.commands.help import help_reply
from makoredis.server.routes import NO_REPLY, session_command
from makoredis.server.session import Session
from resp.replies import OK, Error, Verbatim

if TYPE_CHECKING:
    from makoredis.server.server import Server

_TYPES = {b"normal": "normal", b"master": "master", b"replica": "replica", b"slave": "replica", b"pubsub": "pubsub"}


@session_command("CLIENT|ID", "Returns the unique client ID of the connection.")
def client_id(server: "Server", session: Session) -> Any:
    return session.id


@session_command("CLIENT|GETNAME", "Returns the name of the connection.")
def client_getname(server: "Server", session: Session) -> Any:
    return session.name or None


@session_command("CLIENT|SETNAME", "Sets the connection name.")
def client_setname(server: "Server", session: Session, name: bytes) -> Any:
    session.name = checked_name(name)
    return OK


@session_command("CLIENT|SETINFO", "Sets information specific to the client or connection.")
def client_setinfo(server: "Server", session: Session, attribute: bytes, value: bytes) -> Any:
    word = attribute.lower()
    if word not in (b"lib-name", b"lib-ver"):
        raise ClientError(f"ERR Unrecognized option '{printable(attribute)}'")
    if any(byte < 33 or byte > 126 for byte in value):
        raise ClientError(f"ERR {word.decode()} cannot contain spaces, newlines or special characters.")
    if word == b"lib-name":
        session.library_name = value
    else:
        session.library_version = value
    return OK


@session_command("CLIENT|INFO", "Returns information about the connection.")
def client_info(server: "Server", session: Session) -> Any:
    return Verbatim(b"txt", client_line(server, session, session).encode() + b"\n")


@session_command("CLIENT|LIST", "Lists open connections.")
def client_list(server: "Server", session: Session, *options: bytes) -> Any:
    chosen = list(server.by_id.values())
    if options:
        word = options[0].upper()
        if word == b"TYPE" and len(options) == 2:
            kind = _type(options[1])
            chosen = [each for each in chosen if client_type(each) == kind]
        elif word == b"ID" and len(options) > 1:
            ids = {int64(raw, ClientError("ERR Invalid client ID")) for raw in options[1:]}
            chosen = [each for each in chosen if each.id in ids]
        else:
            raise SYNTAX_ERROR
    return Verbatim(b"txt", "".join(client_line(server, each, session) + "\n" for each in chosen).encode())


def _type(raw: bytes) -> str:
    kind = _TYPES.get(raw.lower())
    if kind is None:
        raise ClientError(f"ERR Unknown client type '{printable(raw)}'")
    return kind


@session_command("CLIENT|KILL", "Terminates open connections.")
def client_kill(server: "Server", session: Session, *options: bytes) -> Any:
    if len(options) == 1:
        for each in list(server.by_id.values()):
            if each.address.encode() == options[0]:
                _kill(server, session, each)
                return OK
        raise ClientError("ERR No such client")
    if len(options) % 2:
        raise SYNTAX_ERROR
    wanted: dict[str, Any] = {}
    skip_me = True
    for word, value in zip(options[::2], options[1::2]):
        name = word.upper()
        if name == b"ID":
            wanted["id"] = int64(value, ClientError("ERR client-id should be greater than 0"))
            if wanted["id"] <= 0:
                raise ClientError("ERR client-id should be greater than 0")
        elif name == b"TYPE":
            wanted["type"] = _type(value)
        elif name in (b"ADDR", b"LADDR"):
            wanted[name.decode().lower()] = value.decode("latin-1")
        elif name == b"USER":
            if not server.has_user(value):
                raise ClientError(f"ERR No such user '{printable(value)}'")
            wanted["user"] = value
        elif name == b"MAXAGE":
            wanted["age"] = int64(value, ClientError("ERR maxage is not an integer or out of range"))
            if wanted["age"] <= 0:
                raise ClientError("ERR maxage should be greater than 0")
        elif name == b"SKIPME" and value.lower() in (b"yes", b"no"):
            skip_me = value.lower() == b"yes"
        else:
            raise SYNTAX_ERROR
    killed = 0
    for each in list(server.by_id.values()):
        if _is_wanted(server, each, wanted) and not (skip_me and each is session):
            _kill(server, session, each)
            killed += 1
    return killed


def _is_wanted(server: "Server", each: Session, wanted: dict[str, Any]) -> bool:
    if int(server.now - each.connected_at) < wanted.get("age", 0):
        return False
    facts = {
        "id": each.id,
        "type": client_type(each),
        "addr": each.address,
        "laddr": each.laddress,
        "user": server.user_name(each),
    }
    return all(value == wanted.get(name, value) for name, value in facts.items())


def _kill(server: "Server", session: Session, victim: Session) -> None:
    """A client that kills itself still gets its reply."""
    if victim is session:
        session.close_after_reply = True
        session.refresh_special()
    else:
        server.reactor.close(victim, "killed by CLIENT KILL")


@session_command("CLIENT|NO-EVICT", "Sets the client eviction mode of the connection.")
def client_no_evict(server: "Server", session: Session, mode: bytes) -> Any:
    session.no_evict = _on_off(mode)
    return OK


@session_command("CLIENT|NO-TOUCH", "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.")
def client_no_touch(server: "Server", session: Session, mode: bytes) -> Any:
    session.no_touch = _on_off(mode)
    session.refresh_special()
    return OK


def _on_off(raw: bytes) -> bool:
    if raw.lower() not in (b"on", b"off"):
        raise SYNTAX_ERROR
    return raw.lower() == b"on"


@session_command("CLIENT|REPLY", "Instructs the server whether to reply to commands.")
def client_reply(server: "Server", session: Session, mode: bytes) -> Any:
    word = mode.lower()
    if word not in (b"on", b"off", b"skip"):
        raise SYNTAX_ERROR
    if word == b"skip":
        if session.reply_mode != "off":
            session.reply_mode = "skip_next"
            session.refresh_special()
        return NO_REPLY
    session.reply_mode = "" if word == b"on" else "off"
    session.refresh_special()
    return OK if word == b"on" else NO_REPLY


@session_command("CLIENT|PAUSE", "Suspends commands processing.")
def client_pause(server: "Server", session: Session, timeout: bytes, *mode: bytes) -> Any:
    if len(mode) > 1:
        raise SYNTAX_ERROR
    writes_only = False
    if mode:
        if mode[0].upper() not in (b"WRITE", b"ALL"):
            raise ClientError("ERR CLIENT PAUSE mode must be WRITE or ALL")
        writes_only = mode[0].upper() == b"WRITE"
    server.pause.start(server.now_ms + timeout_ms(timeout), writes_only=writes_only)
    return OK


@session_command("CLIENT|UNPAUSE", "Resumes processing commands from paused clients.")
def client_unpause(server: "Server", session: Session) -> Any:
    server.pause.end()
    return OK


@session_command("CLIENT|UNBLOCK", "Unblocks a client blocked by a blocking command from a different connection.")
def client_unblock(server: "Server", session: Session, number: bytes, *mode: bytes) -> Any:
    how = mode[0].upper() if mode else b"TIMEOUT"
    if len(mode) > 1 or how not in (b"TIMEOUT", b"ERROR"):
        raise ClientError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    id = parse_int64(number)
    if id is None:
        raise NOT_AN_INTEGER
    target = server.by_id.get(id)
    if server.router is not None and target is not None:
        return int(server.router.waiting.unblock(target, with_error=how == b"ERROR"))
    if target is None or not server.blocking.is_parked(target):
        return 0
    if how == b"ERROR":
        server.blocking.finish(target, Error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK"))
    else:
        server.blocking.finish(target, target.blocked.block.on_timeout)
    return 1


@session_command("CLIENT|HELP", "Returns helpful text about the different subcommands.")
def client_help(server: "Server", session: Session) -> Any:
    return help_reply(
        "CLIENT",
        "CACHING (YES|NO)",
        "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
        "GETREDIR",
        "    Return the client ID we are redirecting to when tracking is enabled.",
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the ID of the current connection.",
        "INFO",
        "    Return information about the current client connection.",
        "KILL <ip:port>",
        "    Kill connection made from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Kill connections. Options: ADDR, LADDR, TYPE, USER, ID, SKIPME.",
        "LIST [TYPE <type> | ID <id> ...]",
        "    Return information about client connections.",
        "UNPAUSE",
        "    Stop the current client pause, resuming traffic.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Suspend all, or just write, clients for <timeout> milliseconds.",
        "REPLY (ON|OFF|SKIP)",
        "    Control the replies sent to the current connection.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
        "SETINFO <option> <value>",
        "    Set client meta attributes: LIB-NAME, LIB-VER.",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "    Unblock the specified blocked client.",
        "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]] [OPTIN] [OPTOUT] [NOLOOP]",
        "    Control server assisted client side caching.",
        "TRACKINGINFO",
        "    Report tracking status for the current connection.",
        "NO-EVICT (ON|OFF)",
        "    Protect current client connection from eviction.",
        "NO-TOUCH (ON|OFF)",
        "    Don't let this connection's reads count as uses of keys.",
    )
