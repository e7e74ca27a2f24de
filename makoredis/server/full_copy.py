"""SYNC: one copy of all keys as an RDB file, for tools that fetch it as a replica would (`redis-cli --rdb`).

A thread reads the keys through a session of its own at this server, as MIGRATE does, so that it works on any node of
any cluster: SCAN, and DUMP and PEXPIRETIME of each key. It writes them to an unnamed file in the data directory, since
the answer begins with its length, and hands that out piece by piece as the client takes it. Then the connection is
closed.

Each key is whole, but two keys may be from different moments. Left out: the stream of changes that follows in Redis, so
nothing can be a replica of this server; whoever says that it wants to be one (REPLCONF listening-port) is refused.
"""

import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from threading import Thread
from typing import IO

from makoredis.data.config import DataConfig
from makoredis.data.rdb.file import FileWriter
from makoredis.server.migration import LOCAL_SECONDS, NO_ANSWER_HERE, Connection, Ends, checked
from makoredis.server.session import Session
from resp.replies import Error, Reply

COPIES_MAX = 2
"""At a time; each has a thread, and a file as large as the keyspace."""
PIECE_BYTES = 1 << 20
UNSENT_BYTES_MAX = 4 << 20
"""What may wait for the client to take it."""
SCAN_COUNT = 256
_LOOK_SECONDS = 0.01
"""How often the thread looks whether the client has taken something."""
_NO_SPACE = "ERR the copy cannot be written in the data directory: {}"


class _NeedsNewerFormat(Exception):
    """A hash with deadlines of fields: only a file that Redis 7.4 reads can hold it."""


class FullCopies:
    """What clients have said about the copies that they will ask for."""

    def __init__(self) -> None:
        self.under_way = 0
        self.functions_only: set[int] = set()
        """Sessions that want the function libraries, and no keys."""
        self.replicas: set[int] = set()
        """Sessions of servers that want to be replicas."""

    def forget(self, session: Session) -> None:
        """Its connection is gone."""
        self.functions_only.discard(session.id)
        self.replicas.discard(session.id)


@dataclass(slots=True, eq=False)
class FullCopy:
    """One copy being made. `Session.blocked` of its client meanwhile."""

    session: Session
    local: socket.socket
    """The thread's end of the connection to this server."""
    directory: str
    redis_version: bytes
    functions_only: bool
    on_pieces: Callable[[], None]
    """Called by the thread when `pieces` has more, and at its end."""
    pieces: deque[bytes] = field(default_factory=deque)
    """To be sent, by the loop."""
    bytes_read: int = 0
    """Put into `pieces` by the thread."""
    bytes_taken: int = 0
    """Taken out by the loop."""
    error: Error | None = None
    """Instead of the file."""
    is_done: bool = False
    _thread: Thread | None = None

    def start(self) -> None:
        """Begins."""
        self._thread = Thread(target=self._run, name="full copy", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Waits until the thread, which is done, has rung for the last time."""
        assert self.is_done and self._thread is not None
        self._thread.join()

    def _run(self) -> None:
        try:
            with TemporaryFile(dir=self.directory) as file:
                self._write(file)
                self._hand_out(file)
        except Ends as end:
            self.error = end.reply if isinstance(end.reply, Error) else None
        except OSError as error:
            self.error = Error(_NO_SPACE.format(error.strerror))
        finally:
            self.local.close()
            self.is_done = True
            self.on_pieces()

    # -- reading

    def _write(self, file: IO[bytes]) -> None:
        here = Connection(self.local, LOCAL_SECONDS, NO_ANSWER_HERE, NO_ANSWER_HERE)
        try:
            self._write_all(file, here, has_field_deadlines=False)
        except _NeedsNewerFormat:
            file.seek(0)
            file.truncate()
            self._write_all(file, here, has_field_deadlines=True)

    def _write_all(self, file: IO[bytes], here: Connection, *, has_field_deadlines: bool) -> None:
        writer = FileWriter(file, DataConfig(), has_field_deadlines)
        writer.aux(b"redis-ver", self.redis_version)
        for source in _libraries(here):
            writer.library(source)
        try:
            for db in () if self.functions_only else _databases(here):
                for key, payload, deadline_ms in self._entries(here, db):
                    writer.put_payload(db, key, payload, deadline_ms)
        except ValueError:
            raise _NeedsNewerFormat from None
        writer.finish()

    def _entries(self, here: Connection, db: int) -> Iterator[tuple[bytes, bytes, int]]:
        """Keys with payload and deadline (0 = none); those that are deleted meanwhile are left out."""
        checked(here.ask([(b"SELECT", b"%d" % db)]))
        seen: set[bytes] = set()
        cursor: Reply = b"0"
        while True:
            self._check_client()
            assert isinstance(cursor, bytes)
            (reply,) = checked(here.ask([(b"SCAN", cursor, b"COUNT", b"%d" % SCAN_COUNT)]))
            assert isinstance(reply, list)
            cursor, found = reply
            assert isinstance(found, list)
            keys = [key for key in found if isinstance(key, bytes) and key not in seen]
            seen.update(keys)
            replies = checked(here.ask([words for key in keys for words in ((b"DUMP", key), (b"PEXPIRETIME", key))]))
            for key, payload, deadline in zip(keys, replies[::2], replies[1::2]):
                if isinstance(payload, bytes) and isinstance(deadline, int):
                    yield key, payload, max(0, deadline)
            if cursor == b"0":
                return

    # -- sending

    def _hand_out(self, file: IO[bytes]) -> None:
        length = file.tell()
        file.seek(0)
        self._send(b"$%d\r\n" % length)
        while piece := file.read(PIECE_BYTES):
            while self.bytes_read - self.bytes_taken + self.session.output_bytes() > UNSENT_BYTES_MAX:
                self._check_client()
                time.sleep(_LOOK_SECONDS)
            self._send(piece)

    def _send(self, piece: bytes) -> None:
        self.bytes_read += len(piece)
        self.pieces.append(piece)
        self.on_pieces()

    def _check_client(self) -> None:
        """Raises: Ends when it is gone."""
        if self.session.closed_reason is not None:
            raise Ends(None)

    # -- on the loop

    def pass_on(self) -> bool:
        """Sends what has come, and returns whether that was all.

        Then the connection is closed, since what would follow in Redis does not.
        """
        session = self.session
        is_done = self.is_done  # looked at before the last pieces are
        if session.closed_reason is not None:
            return is_done
        while self.pieces:
            piece = self.pieces.popleft()
            self.bytes_taken += len(piece)
            session.send_bytes(piece)
        if is_done:
            session.close_after_reply = True
            if self.error is not None:
                session.send_reply(self.error)
        session.want_flush()
        return is_done


def _libraries(here: Connection) -> Iterator[bytes]:
    (rows,) = checked(here.ask([(b"FUNCTION", b"LIST", b"WITHCODE")]))
    assert isinstance(rows, list)
    for row in rows:
        assert isinstance(row, list)
        source = dict(zip(row[::2], row[1::2]))[b"library_code"]
        assert isinstance(source, bytes)
        yield source


def _databases(here: Connection) -> list[int]:
    """The numbers of those that have keys."""
    (text,) = checked(here.ask([(b"INFO", b"keyspace")]))
    assert isinstance(text, bytes)
    names = (line.partition(b":")[0] for line in text.splitlines() if line.startswith(b"db"))
    return [int(name[2:]) for name in names]
