"""MIGRATE at work: keys go to another server, in a thread of their own, while this one goes on.

The thread has two connections: one to the target, and a pair of sockets to this server, at whose other end is a session
as any client has one. So the keys are read and deleted as a client would do it, on whichever node and shard they are:

1. WATCH, then DUMP and PTTL of each key;
2. RESTORE at the target, all in one go;
3. of those that it has taken: MULTI, DEL, EXEC. If one was written since, EXEC does nothing, and all begins again. What
   this migration has put there itself is replaced then, or deleted if the key has gone here.

So no write is lost, and a key is deleted here only if the target has confirmed exactly its value. Until then clients
see it here; there may be a moment in which both servers have it. It stays at both if this server dies in between, or if
the target's confirmation is lost: as with Redis.

Left out: connections that are kept for the next MIGRATE.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Thread

from makoredis.base.record import record
from resp.decode import ReplyError, ReplyParser
from resp.encode import encode_command
from resp.replies import OK, Error, Reply, Simple

ROUNDS_MAX = 10
"""How often it is begun again because a key was written meanwhile."""
LOCAL_SECONDS = 60.0
"""For this server to answer; longer than an election."""
READ_BYTES = 256 * 1024
ROUND_PAUSE_SECONDS = 0.01

NO_CONNECTION = Error(b"IOERR error or timeout connecting to the client")
NOT_WRITTEN = Error(b"IOERR error or timeout writing to target instance")
NOT_READ = Error(b"IOERR error or timeout reading to target instance")
NO_KEY = Simple(b"NOKEY")
NO_ANSWER_HERE = Error(b"ERR this server did not answer in time; the keys may be at both servers")
CHANGED = Error(
    b"TRYAGAIN a key was written whenever it had been sent; it is here as it is now, and the target has it as it was"
)

Words = tuple[bytes, ...]


class Ends(Exception):
    """The reply that ends a migration."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


@record
class Order:
    """What is to be done."""

    host: str
    port: int
    db: int
    """At the target."""
    timeout_seconds: float
    copies: bool
    replaces: bool
    auth: Words
    """AUTH with its arguments; () = none."""
    keys: list[bytes]


@dataclass(slots=True, eq=False)
class Migration:
    """One MIGRATE. `Session.blocked` of its client while it is under way."""

    order: Order
    local: socket.socket
    """The thread's end of the connection to this server."""
    on_done: Callable[[], None]
    """Called by the thread at its end."""
    reply: Reply = None
    _ours: set[bytes] = field(default_factory=set)
    """Keys that the target has from this migration and that are still here."""
    _refusal: Error | None = None
    """The target's first error."""

    def start(self) -> None:
        """Begins; `reply` is there when `on_done` is called."""
        Thread(target=self._run, name="migrate", daemon=True).start()

    def _run(self) -> None:
        try:
            self.reply = self._migrate()
        except Ends as end:
            self.reply = end.reply
        finally:
            self.local.close()
            self.on_done()

    def _migrate(self) -> Reply:
        here = Connection(self.local, LOCAL_SECONDS, NO_ANSWER_HERE, NO_ANSWER_HERE)
        found = self._read(here, self.order.keys)
        if not found:
            return NO_KEY
        there = _connect(self.order)
        try:
            for _ in range(ROUNDS_MAX):
                moved = self._send(there, found)
                if self.order.copies or self._delete(here, moved):
                    return self._refusal or OK
                time.sleep(ROUND_PAUSE_SECONDS)
                found = self._read(here, moved)
                self._take_back(there, [key for key in moved if key not in found])
            return CHANGED
        finally:
            there.close()

    def _read(self, here: "Connection", keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, int]]:
        """Payload and time to live (0 = for ever) of those keys that exist."""
        asked = list(dict.fromkeys(keys))
        if not asked:
            return {}
        reads: list[Words] = [words for key in asked for words in ((b"DUMP", key), (b"PTTL", key))]
        if self.order.copies:
            *_, replies = checked(here.ask([(b"MULTI",), *reads, (b"EXEC",)]))
            assert isinstance(replies, list)
        else:
            _, *replies = checked(here.ask([(b"WATCH", *asked), *reads]))
        found = {}
        for key, payload, ttl in zip(asked, checked(replies[::2]), checked(replies[1::2])):
            assert isinstance(ttl, int)
            if isinstance(payload, bytes) and ttl != -2:
                found[key] = (payload, 0 if ttl < 0 else max(ttl, 1))
        return found

    def _send(self, there: "Connection", found: dict[bytes, tuple[bytes, int]]) -> list[bytes]:
        """Returns the keys that the target has taken."""
        order = self.order
        first: list[Words] = []
        if not there.is_ready:
            first = [*([order.auth] if order.auth else []), (b"SELECT", b"%d" % order.db)]
        restores = []
        for key, (payload, ttl) in found.items():
            replace = (b"REPLACE",) if order.replaces or key in self._ours else ()
            restores.append((b"RESTORE", key, b"%d" % ttl, payload, *replace))
        replies = there.ask([*first, *restores])
        for reply in replies[: len(first)]:
            if isinstance(reply, Error):
                raise Ends(_refused(reply))
        there.is_ready = True
        taken = []
        for key, reply in zip(found, replies[len(first) :]):
            if isinstance(reply, Error):
                self._refusal = self._refusal or _refused(reply)
            else:
                taken.append(key)
        self._ours.update(taken)
        return taken

    def _delete(self, here: "Connection", keys: list[bytes]) -> bool:
        """Deletes what the target has. False if a key was written since it was read."""
        if not keys:
            checked(here.ask([(b"UNWATCH",)]))
            return True
        *_, outcome = checked(here.ask([(b"MULTI",), (b"DEL", *keys), (b"EXEC",)]))
        return isinstance(outcome, list)

    def _take_back(self, there: "Connection", keys: list[bytes]) -> None:
        """Deletes at the target what was deleted here meanwhile."""
        if keys:
            self._ours.difference_update(keys)
            there.ask([(b"DEL", *keys)])


class Connection:
    """Requests and replies, one batch after the other."""

    def __init__(self, sock: socket.socket, seconds: float, not_written: Error, not_read: Error) -> None:
        self._sock = sock
        self._sock.settimeout(seconds)
        self._parser = ReplyParser()
        self._not_written = not_written
        self._not_read = not_read
        self.is_ready = False
        """Whether the target has let this server in."""

    def ask(self, requests: Sequence[Words]) -> list[Reply]:
        """The replies, errors among them. Raises: Ends when the connection is lost or silent."""
        try:
            self._sock.sendall(b"".join(map(encode_command, requests)))
        except OSError:
            raise Ends(self._not_written) from None
        replies: list[Reply] = []
        try:
            while len(replies) < len(requests):
                data = self._sock.recv(READ_BYTES)
                if not data:
                    raise Ends(self._not_read)
                replies += self._parser.parse(data)
        except (OSError, ReplyError):
            raise Ends(self._not_read) from None
        return replies

    def close(self) -> None:
        self._sock.close()


def _connect(order: Order) -> Connection:
    """Raises: Ends."""
    try:
        sock = socket.create_connection((order.host, order.port), order.timeout_seconds)
    except (socket.gaierror, UnicodeError):
        raise Ends(NO_CONNECTION) from None
    except OSError:
        raise Ends(NOT_WRITTEN) from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(sock, order.timeout_seconds, NOT_WRITTEN, NOT_READ)


def checked(replies: list[Reply]) -> list[Reply]:
    """Replies of this server. Raises: Ends with the first error among them."""
    for reply in replies:
        if isinstance(reply, Error):
            raise Ends(reply)
    return replies


def _refused(error: Error) -> Error:
    return Error(b"ERR Target instance replied with error: " + error.text)


class Bell:
    """A descriptor by which a thread wakes the loop."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def ring(self) -> None:
        os.eventfd_write(self.fd, 1)

    def stop_ringing(self) -> None:
        """Called by the loop that was woken, before it looks what there is."""
        os.eventfd_read(self.fd)

    def close(self) -> None:
        os.close(self.fd)
