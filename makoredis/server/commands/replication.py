"""WAIT, WAITAOF, and what Redis's own replication would need and makoredis does otherwise."""

import select
import socket
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError, printable
from makoredis.commands.arguments import SYNTAX_ERROR, int64
from makoredis.server.commands.connection import timeout_ms
from makoredis.server.full_copy import COPIES_MAX, FullCopies, FullCopy
from makoredis.server.migration import Bell
from makoredis.server.routes import NO_REPLY, session_command
from makoredis.server.session import Session
from makoredis.server.waits import Waiting
from resp.replies import OK

if TYPE_CHECKING:
    from makoredis.server.server import Server

_HOW = "replicas are named in the configuration file and agree on one log"


@session_command("WAIT", "Blocks until the asynchronous replication of all preceding write commands is completed.")
def wait(server: "Server", session: Session, replicas: bytes, timeout: bytes) -> Any:
    return _wait(server, session, int64(replicas), timeout, wants_local=False)


@session_command("WAITAOF", "Blocks until all of the preceding write commands are written to disk.")
def waitaof(server: "Server", session: Session, local: bytes, replicas: bytes, timeout: bytes) -> Any:
    if int64(local) not in (0, 1):
        raise ClientError("ERR value is out of range, value must between 0 and 1")
    count = int64(replicas)
    if count < 0:
        raise ClientError("ERR value is out of range, must be positive")
    if int64(local) and server.node.durability.value == "memory":
        raise ClientError("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")
    return _wait(server, session, count, timeout, wants_local=True)


def _wait(server: "Server", session: Session, replicas: int, timeout: bytes, *, wants_local: bool) -> Any:
    """The reply stands behind those of the client's writes, which are on the disk when they leave."""
    milliseconds = timeout_ms(timeout)
    deadline = server.now_ms + milliseconds if milliseconds else 0
    waiting = Waiting(session, replicas, deadline, wants_local)
    host = server.node.host
    if server.router is not None:
        # What a client has been told is on the disks of a majority.
        waiting.known = len(host.core.status().configuration.voters) // 2
        if replicas <= waiting.known or session.in_exec:
            return waiting.reply(waiting.known)
        server.waits.park(session, waiting)
        return NO_REPLY
    if replicas <= 0 or session.in_exec:
        gate = host.executor.gate_of_everything()
        reply = waiting.reply(server.waits.count_now(max(host.applied_index, host.executor.last_proposed)))
        if session.in_exec:
            return reply
        server.dispatcher.answer(session, reply, gate)
    else:
        server.waits.park(session, waiting)
    return NO_REPLY


@session_command("REPLICAOF", "Configures a server as replica of another, or promotes it to a master.")
def replicaof(server: "Server", session: Session, host: bytes, port: bytes) -> Any:
    if (host.lower(), port.lower()) == (b"no", b"one"):
        return OK
    raise ClientError(f"ERR REPLICAOF is not supported: {_HOW}")


@session_command("SLAVEOF", "Sets a Redis server as a replica of another, or promotes it to being a master.")
def slaveof(server: "Server", session: Session, host: bytes, port: bytes) -> Any:
    return replicaof(server, session, host, port)


@session_command("FAILOVER", "Starts a coordinated failover from a server to one of its replicas.")
def failover(server: "Server", session: Session, *options: bytes) -> Any:
    raise ClientError(f"ERR FAILOVER is not supported: {_HOW}, and elect their leader")


@session_command("PSYNC", "An internal command used in replication.")
def psync(server: "Server", session: Session, *arguments: bytes) -> Any:
    raise ClientError(f"ERR PSYNC is not supported: {_HOW}")


@session_command("SYNC", "An internal command used in replication.")
def sync(server: "Server", session: Session) -> Any:
    """One copy of everything, for tools; no changes follow, and the connection is closed."""
    copies = server.copies
    if session.id in copies.replicas:
        raise ClientError(f"ERR SYNC is not supported for replicas: {_HOW}")
    if copies.under_way >= COPIES_MAX:
        raise ClientError(f"TRYAGAIN {COPIES_MAX} copies are under way")
    ours, theirs = socket.socketpair()
    bell = Bell()
    copy = FullCopy(
        session,
        theirs,
        server.config.table.values["dir"],
        server.config.table.values["redis-version"].encode(),
        session.id in copies.functions_only,
        bell.ring,
    )

    def on_pieces(event: int) -> None:
        bell.stop_ringing()
        if copy.pass_on():
            copy.join()
            server.reactor.unwatch(bell.fd)
            bell.close()
            copies.under_way -= 1

    copies.under_way += 1
    server.reactor.adopt(ours, 0)
    server.reactor.watch(bell.fd, select.EPOLLIN, on_pieces)
    session.blocked = copy
    session.refresh_special()
    copy.start()
    return NO_REPLY


@session_command("REPLCONF", "An internal command for configuring the replication stream.")
def replconf(server: "Server", session: Session, *arguments: bytes) -> Any:
    """What tools say before SYNC. Nothing may become a replica."""
    if len(arguments) % 2:
        raise SYNTAX_ERROR
    copies = server.copies
    for option, value in zip(arguments[::2], arguments[1::2]):
        word = option.lower()
        if word == b"rdb-filter-only":
            _filter_copy(copies, session, value)
        elif word == b"rdb-only":
            if int64(value) not in (0, 1):
                raise ClientError("ERR value is out of range, value must between 0 and 1")
        elif word in (b"listening-port", b"ip-address"):
            copies.replicas.add(session.id)
            raise ClientError(f"ERR REPLCONF {word.decode()} is not supported: {_HOW}")
        elif word != b"capa":
            raise ClientError(f"ERR Unrecognized REPLCONF option: {printable(option)}")
    return OK


def _filter_copy(copies: FullCopies, session: Session, value: bytes) -> None:
    """Names of what is wanted; nothing stands for all."""
    copies.functions_only.discard(session.id)
    for word in value.split():
        if word.lower() != b"functions":
            raise ClientError(f"ERR Unsupported rdb-filter-only option: {printable(word)}")
        copies.functions_only.add(session.id)
