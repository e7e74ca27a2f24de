"""WAIT, WAITAOF, and what Redis's own replication would need and makoredis does otherwise."""

from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import int64
from makoredis.server.commands.connection import timeout_ms
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
    raise ClientError(f"ERR SYNC is not supported: {_HOW}")


@session_command("REPLCONF", "An internal command for configuring the replication stream.")
def replconf(server: "Server", session: Session, *arguments: bytes) -> Any:
    raise ClientError(f"ERR REPLCONF is not supported: {_HOW}")
