"""MAKO BACKUP: hands a backup out piece by piece, to whoever writes it to a file (`makoctl backup`).

A backup belongs to the connection that began it and ends with it. It is made by the node that is asked, from its own
disk, so that a follower can spare the leader the work.
"""

from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError, StorageError
from makoredis.cluster.backup import Backup, open_backup
from makoredis.server.routes import session_command
from makoredis.server.session import Session
from makoredis.version import VERSION
from resp.replies import OK, Map

if TYPE_CHECKING:
    from makoredis.server.server import Server

READ_BYTES = 256 * 1024
"""Read and sent within one turn: some milliseconds."""
BACKUPS_MAX = 4
"""At a time; each keeps the disk from giving up what it shows."""


@session_command("MAKO|BACKUP", "Begins, reads or ends a backup of the whole keyspace as of one moment.")
def mako_backup(server: "Server", session: Session, action: bytes) -> Any:
    word = action.upper()
    if word == b"BEGIN":
        return _begin(server, session)
    if word == b"READ":
        return _read(server, session)
    if word == b"END":
        close(server, session)
        return OK
    raise ClientError("ERR syntax error: MAKO BACKUP BEGIN | READ | END")


def _begin(server: "Server", session: Session) -> Map:
    node = server.node
    if node.settings.id in node.settings.witnesses:
        raise ClientError("ERR this node is a witness: it has no data to back up")
    close(server, session)
    if len(server.backups) >= BACKUPS_MAX:
        raise ClientError(f"TRYAGAIN {BACKUPS_MAX} backups are under way")
    if node.shards is not None:
        node.shards.want(session.seen_ts)
    try:
        backup = open_backup(
            node.host,
            node.store,
            index_min=session.seen_index,
            software=VERSION,
            now_ms=server.now_ms,
            shards=node.shards,
            ts_min=session.seen_ts,
        )
    except StorageError as error:
        raise ClientError(f"ERR {error}") from None
    server.backups[session.id] = backup
    head = backup.head
    return Map(
        [
            (b"cluster", head.cluster.encode()),
            (b"node", node.settings.id),
            (b"index", head.index),
            (b"term", head.term),
            (b"created_ms", head.created_ms),
            (b"ts", head.ts),
            (b"shards", len(head.shards)),
        ]
    )


def _read(server: "Server", session: Session) -> bytes:
    backup: Backup | None = server.backups.get(session.id)
    if backup is None:
        raise ClientError("ERR no backup is under way on this connection: MAKO BACKUP BEGIN comes first")
    if backup.engine is not server.node.store.engine:
        close(server, session)
        raise ClientError("ERR the store was opened anew, because the disk was full: begin the backup again")
    try:
        return backup.read(READ_BYTES)
    except StorageError as error:
        close(server, session)
        raise ClientError(f"ERR {error}") from None


def close(server: "Server", session: Session) -> None:
    """Ends the session's backup, if it has one."""
    backup = server.backups.pop(session.id, None)
    if backup is not None:
        backup.close()
