"""CLIENT TRACKING, CACHING, GETREDIR, TRACKINGINFO: client side caching."""

from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError, printable
from makoredis.commands.arguments import SYNTAX_ERROR, int64
from makoredis.server.routes import session_command
from makoredis.server.session import Session
from makoredis.server.tracking import Tracking
from resp.replies import OK, Map, SetReply

if TYPE_CHECKING:
    from makoredis.server.server import Server


@session_command("CLIENT|TRACKING", "Controls server-assisted client-side caching for the connection.")
def client_tracking(server: "Server", session: Session, mode: bytes, *options: bytes) -> Any:
    wanted, prefixes = _parse(server, options)
    word = mode.lower()
    if word == b"on":
        _check(session, wanted, prefixes)
        if wanted.is_broadcast:
            wanted.prefixes = dict.fromkeys(prefixes or (b"",))
        server.tracking.enable(session, wanted)
    elif word == b"off":
        server.tracking.disable(session)
    else:
        raise SYNTAX_ERROR
    return OK


def _parse(server: "Server", options: tuple[bytes, ...]) -> tuple[Tracking, list[bytes]]:
    """Returns the prefixes as given, besides."""
    wanted = Tracking()
    prefixes: list[bytes] = []
    at = 0
    while at < len(options):
        word, has_more = options[at].upper(), at + 1 < len(options)
        if word == b"REDIRECT" and has_more:
            at += 1
            if wanted.redirect:
                raise ClientError("ERR A client can only redirect to a single other client")
            wanted.redirect = int64(options[at])
            if wanted.redirect not in server.by_id:
                raise ClientError("ERR The client ID you want redirect to does not exist")
        elif word == b"BCAST":
            wanted.is_broadcast = True
        elif word == b"OPTIN":
            wanted.opts_in = True
        elif word == b"OPTOUT":
            wanted.opts_out = True
        elif word == b"NOLOOP":
            wanted.no_loop = True
        elif word == b"PREFIX" and has_more:
            at += 1
            prefixes.append(options[at])
        else:
            raise SYNTAX_ERROR
        at += 1
    return wanted, prefixes


def _check(session: Session, wanted: Tracking, prefixes: list[bytes]) -> None:
    """Raises: ClientError for options that exclude each other, or what the client has said before."""
    present: Tracking | None = session.tracking
    if prefixes and not wanted.is_broadcast:
        raise ClientError("ERR PREFIX option requires BCAST mode to be enabled")
    if present is not None and present.is_broadcast != wanted.is_broadcast:
        raise ClientError(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it "
            "with a different mode."
        )
    if wanted.is_broadcast and (wanted.opts_in or wanted.opts_out):
        raise ClientError("ERR OPTIN and OPTOUT are not compatible with BCAST")
    if wanted.opts_in and wanted.opts_out:
        raise ClientError("ERR You can't specify both OPTIN mode and OPTOUT mode")
    if present is not None and ((wanted.opts_in and present.opts_out) or (wanted.opts_out and present.opts_in)):
        raise ClientError(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it "
            "with a different mode."
        )
    _check_prefixes(present, prefixes)


def _check_prefixes(present: Tracking | None, given: list[bytes]) -> None:
    """A client must not be told twice of the same key."""
    for at, prefix in enumerate(given):
        for other in sorted(present.prefixes) if present is not None else ():
            if _overlap(prefix, other):
                raise _overlapping(prefix, "an existing", other)
        for other in given[at + 1 :]:
            if _overlap(prefix, other):
                raise _overlapping(prefix, "another provided", other)


def _overlap(one: bytes, other: bytes) -> bool:
    return one.startswith(other) or other.startswith(one)


def _overlapping(prefix: bytes, which: str, other: bytes) -> ClientError:
    one, two = printable(prefix), printable(other)
    return ClientError(
        f"ERR Prefix '{one}' overlaps with {which} prefix '{two}'. Prefixes for a single client must not overlap."
    )


@session_command("CLIENT|CACHING", "Instructs the server whether to track the keys in the next request.")
def client_caching(server: "Server", session: Session, mode: bytes) -> Any:
    tracking: Tracking | None = session.tracking
    if tracking is None:
        raise ClientError(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode "
            "enabled"
        )
    word = mode.lower()
    if word == b"yes":
        if not tracking.opts_in:
            raise ClientError("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
    elif word == b"no":
        if not tracking.opts_out:
            raise ClientError("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
    else:
        raise SYNTAX_ERROR
    tracking.is_caching = True
    return OK


@session_command("CLIENT|GETREDIR", "Returns the client ID to which the connection redirects tracking notifications.")
def client_getredir(server: "Server", session: Session) -> Any:
    return server.redirect_of(session)


@session_command("CLIENT|TRACKINGINFO", "Returns information about the connection's client-side caching.")
def client_trackinginfo(server: "Server", session: Session) -> Any:
    tracking: Tracking | None = session.tracking
    flags = [b"off"] if tracking is None else _flags(tracking)
    prefixes = [] if tracking is None else sorted(tracking.prefixes)
    return Map([(b"flags", SetReply(flags)), (b"redirect", server.redirect_of(session)), (b"prefixes", prefixes)])


def _flags(tracking: Tracking) -> list[bytes]:
    flags = [b"on"]
    if tracking.is_broadcast:
        flags.append(b"bcast")
    if tracking.opts_in:
        flags += [b"optin", b"caching-yes"] if tracking.is_caching else [b"optin"]
    if tracking.opts_out:
        flags += [b"optout", b"caching-no"] if tracking.is_caching else [b"optout"]
    if tracking.no_loop:
        flags.append(b"noloop")
    if tracking.is_broken:
        flags.append(b"broken_redirect")
    return flags
