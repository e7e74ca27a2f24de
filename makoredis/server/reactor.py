"""The turn: everything that is ready is read, parsed and executed; then one entry, one hand-over to the disk, and one
send per connection (design section 4).

The reactor owns an *inner* epoll with all client sockets, the listeners and the disk's eventfd. One trio task waits
until the inner epoll has something, and handles it without awaiting anything. Measured with `redis-benchmark -c 50` on
two cores: one trio task per connection serves 33–47 k requests/s, this 126–183 k.
"""

import errno
import select
import socket
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

import trio

from makoredis.base.errors import Fatal
from makoredis.server.admission import refuse_connection
from makoredis.server.dispatch import Work
from makoredis.server.scripting import ServerStops
from makoredis.server.series import Chunk
from makoredis.server.session import INTERNAL, Session
from resp.replies import Error

if TYPE_CHECKING:
    from makoredis.server.server import Server

READ_BYTES = 64 * 1024
"""Read from one connection per turn; more waits for the next turn, so that no client starves the others."""
VISIT_SECONDS = 0.1
"""Turns go on for so long before trio's other tasks get their turn: the one that waits for signals."""
LINGER_SECONDS = 0.05
"""After a turn the inner epoll itself is waited on for so long before trio is. A wait through trio costs some 30 µs, a
fifth of a turn with 50 clients; under load the next request is never far, nor the next entry for a follower, and the
timer runs in between."""
SHORT_LINGER_SECONDS = 0.001
"""The same while something is due soon: an entry that gathers, delayed frames."""
HELD_BYTES_LOOK = 16 * 1024
"""A client with fewer bytes of held replies is not measured: Redis does not count its first 16 KiB either."""
CONGESTION_SLEEP_SECONDS = 0.001
"""Between looks at the sockets while the disk has to catch up."""
REQUESTS_PER_LOOK = 64
"""A client's requests that run before its waiting replies are measured."""
OUTPUT_BYTES_PAUSE = 256 * 1024 * 1024
"""While more than this waits to be sent to a client, its requests wait too. Lower would be a trap for clients that send
all of a long pipeline before they read; a limit in `client-output-buffer-limit` closes them earlier."""
REMOTE_BYTES_MAX = 8 * 1024 * 1024
"""While a client waits for more than this from other nodes, as far as can be judged, its next requests wait too. All
answers of a turn travel together, and a connection between nodes on which too much waits is given up."""
CHUNK_BYTES_MAX = 16 * 1024
"""Larger pieces of what clients send are parsed at once, so that a turn does not hold many of them."""
ACCEPTS_PER_TURN = 64


class Reactor:
    """Sockets in, replies out."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.epoll = select.epoll()
        self.sessions: dict[int, Session] = {}
        """By file descriptor."""
        self.listeners: dict[int, socket.socket] = {}
        self.flush_queue: list[Session] = []
        self._resumed: list[Session] = []
        self._deferred: list[Callable[[], None]] = []
        """What goes on in the next turn."""
        self._watched: dict[int, Callable[[int], None]] = {}
        self._work: Iterator[Work] = iter(())
        """What is still to be run of what this turn has read."""
        self._gathered: list[Work] = []
        """What it has read and not begun to run."""
        self._chunks: list[Chunk] = []
        """What it has read and not even parsed, because equal requests can be parsed together."""
        self._takes_chunks = server.series.takes_chunks

    def add_listener(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self.listeners[listener.fileno()] = listener
        self.epoll.register(listener.fileno(), select.EPOLLIN)

    def remove_listener(self, listener: socket.socket) -> None:
        """Stops listening; connections that were taken go on."""
        del self.listeners[listener.fileno()]
        self.epoll.unregister(listener.fileno())
        listener.close()

    def watch(self, fd: int, events: int, on_event: Callable[[int], None]) -> None:
        """Has a function called with what is ready at a descriptor that is no client's (the nodes' connections)."""
        if fd in self._watched:
            self.epoll.modify(fd, events)
        else:
            self.epoll.register(fd, events)
        self._watched[fd] = on_event

    def unwatch(self, fd: int) -> None:
        """Ends that."""
        if self._watched.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    async def run(self) -> None:
        """Serves until cancelled."""
        disk_fd = self.server.node.disk_fd
        if disk_fd is not None:
            self.epoll.register(disk_fd, select.EPOLLIN)
        while True:
            if self._resumed or self._deferred or self.server.node.is_gathering():
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self.epoll.fileno())
            if self.server.node.is_congested():
                # Requests are left in the sockets, which stay readable: this must not become a busy loop.
                await trio.sleep(CONGESTION_SLEEP_SECONDS)
            until = time.monotonic() + VISIT_SECONDS
            is_active = self.turn()
            timer = self.server.timer
            while is_active and time.monotonic() < until and not self.server.node.is_congested():
                is_active = self.turn(self._linger_seconds())
                is_active = timer.run_if_due() or is_active
                if not is_active and self.server.node.is_sparing():
                    self.server.node.hurry()
                    is_active = True
            if self.server.node.is_sparing():
                self.server.node.hurry()

    def _linger_seconds(self) -> float:
        node = self.server.node
        is_short = node.is_gathering() or node.settings.peer_delay_seconds
        longest = node.slow_seconds() if node.is_sparing() else LINGER_SECONDS
        return max(0.0, min(SHORT_LINGER_SECONDS if is_short else longest, self.server.timer.seconds_left()))

    def turn(self, linger_seconds: float = 0) -> bool:
        """One turn, waiting at most so long for something to do. Returns whether anything was."""
        has_work = bool(self._resumed or self._deferred)
        events = self.epoll.poll(0 if has_work else linger_seconds)
        server = self.server
        if not events and not has_work and not server.node.is_gathering():
            return False
        server.begin_turn()
        sessions = self.sessions
        is_congested = server.node.is_congested()
        work = self._gathered
        for fd, event in events:
            session = sessions.get(fd)
            if session is None:
                self._other_event(fd, event)
                continue
            if event & ~select.EPOLLOUT and not is_congested:
                self._readable(session, work)
            if event & select.EPOLLOUT:
                session.want_flush()
        if self._chunks:
            self._run_chunks(work)
        if work:
            self._gathered = []
            self._execute(work)
        self.run_resumed()
        if self._deferred:
            deferred, self._deferred = self._deferred, []
            for go_on in deferred:
                go_on()
        server.end_turn()
        self.flush()
        if server.timer.is_idle:
            server.timer.look_again()
        return True

    def _execute(self, work: Collection[Work]) -> None:
        """Runs requests. A session whose request goes wrong ends: what it ran into must not end the others'."""
        outer, self._work = self._work, iter(self.server.series.run(work))
        dispatcher = self.server.dispatcher
        while True:
            try:
                dispatcher.run(self._work)
                break
            except Fatal:
                raise
            except ServerStops:
                self._roll_back()
            except Exception:  # noqa: BLE001 - see above
                assert dispatcher.running is not None
                self._broken(dispatcher.running)
        self._work = outer

    def serve_while_busy(self, running: Session | None) -> None:
        """A small turn within one, while a script of `running` runs: other clients are read and answered, nothing else.

        Nothing that they may do now changes the state, so there is nothing to propose.
        """
        self._run_chunks(self._gathered)
        work = [*self._work, *self._gathered]  # of this turn; `running` is not in it
        self._gathered.clear()
        for fd, event in self.epoll.poll(0):
            session = self.sessions.get(fd)
            if session is None:
                listener = self.listeners.get(fd)
                if listener is not None:
                    self._accept(listener)
            elif session is not running:
                if event & ~select.EPOLLOUT:
                    self._readable(session, work)
                if event & select.EPOLLOUT:
                    session.want_flush()
        self._run_chunks(work)
        caller = self.server.dispatcher.running
        self._execute(work)
        self.server.dispatcher.running = caller
        queue = [session for session in self.flush_queue if session is not running]
        self.flush_queue[:] = [session for session in self.flush_queue if session is running]
        self._flush_sessions(queue)

    def _other_event(self, fd: int, event: int) -> None:
        on_event = self._watched.get(fd)
        if on_event is not None:
            on_event(event)
            return
        listener = self.listeners.get(fd)
        if listener is not None:
            self._accept(listener)
        elif fd == self.server.node.disk_fd:
            self.server.node.disk_written()

    # -- reading

    def _readable(self, session: Session, work: list[Work]) -> None:
        """Reads and parses; what is to be run is added to `work`. What goes wrong ends this session alone."""
        try:
            self._read(session, work)
        except Fatal:
            raise
        except Exception:  # noqa: BLE001 - as in `_execute`
            self._broken(session)

    def _read(self, session: Session, work: list[Work]) -> None:
        sock = session.sock
        assert sock is not None
        if session.remote_count and session.is_ahead(REMOTE_BYTES_MAX):
            self._hold_up(session)
            return
        try:
            data = sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(session, error.strerror or "error")
            return
        if not data:
            self._input_ended(session)
            return
        session.last_active = self.server.now
        self.server.stats.input_bytes += len(data)
        if session.is_special:
            if session.blocked is not None:
                session.backlog_bytes += len(data)
                if session.backlog_bytes > self.server.config.request_limits.query_buffer_bytes_max:
                    self.close(session, "query buffer limit")
                    return
        elif session.parser.at_boundary and self._takes_chunks and not session.backlog and len(data) <= CHUNK_BYTES_MAX:
            self._chunks.append((session, data))
            session.want_flush()
            return
        self._parse(session, data, work)

    def _run_chunks(self, work: list[Work]) -> None:
        """Runs what can be run together of what was read and not parsed; all else is parsed, to be run by itself."""
        chunks, self._chunks = self._chunks, []
        for session, data in self.server.series.run_chunks(chunks):
            try:
                self._parse(session, data, work)
            except Fatal:
                raise
            except Exception:  # noqa: BLE001 - as in `_execute`
                self._broken(session)

    def _parse(self, session: Session, data: bytes, work: list[Work]) -> None:
        if not session.authenticated:
            self._login(session, data)
            return
        parser = session.parser
        requests = parser.parse(data)
        if requests:
            if parser.broken or session.backlog or session.blocked is not None or len(requests) > REQUESTS_PER_LOOK:
                self._run_parsed(session, requests)
            else:
                if session.flush_queue is not None:
                    session.want_flush()
                work.append((session, requests))
        if parser.broken:
            self._protocol_error(session)

    def _login(self, session: Session, data: bytes) -> None:
        """Before authentication the parser hands out one request at a time, because AUTH changes its limits."""
        requests = session.parser.parse(data)
        while requests:
            self._run_parsed(session, requests)
            if session.parser.broken:
                break
            requests = session.parser.parse()
        if session.parser.broken:
            self._protocol_error(session)

    def _input_ended(self, session: Session) -> None:
        """A client that has shut down its side may still read (`socat`, `nc -N`): it gets what waits for the log.

        Who waits for keys must not get an element that it may never see.
        """
        is_done = not session.held or session.close_after_reply
        if is_done or session.blocked is not None or session.may_wait_for_keys():
            self.close(session, None)
            return
        session.close_after_reply = True
        session.refresh_special()
        self._update_events(session)

    def _run_parsed(self, session: Session, requests: list[list[bytes]]) -> None:
        if session.backlog or session.blocked is not None:
            session.backlog.extend(requests)
        elif requests:
            self._run(session, requests)

    def _run(self, session: Session, requests: list[list[bytes]]) -> None:
        """Runs requests as long as nothing keeps the session from it; the rest waits in its backlog."""
        session.want_flush()
        step = REQUESTS_PER_LOOK
        if session.remote_count:
            step = max(1, min(step, REMOTE_BYTES_MAX // (session.remote_bytes + 1)))
        for at in range(0, len(requests), step):
            if session.blocked is not None or session.close_after_reply or session.closed_reason is not None:
                session.backlog.extend(requests[at:])
                return
            if session.is_ahead(REMOTE_BYTES_MAX) or (at and session.pending_bytes() > OUTPUT_BYTES_PAUSE):
                session.backlog.extend(requests[at:])
                self._hold_up(session)
                return
            self._execute(((session, requests[at : at + step]),))

    def _hold_up(self, session: Session) -> None:
        """Its requests wait until enough of what it waits for has come, or has been sent to it."""
        session.is_full = True
        self._update_events(session)

    def _broken(self, session: Session) -> None:
        """A command failed in a way that it should not: takes back what it did, says so, and ends the session."""
        self.server.log("error", f"a command of client {session.address} failed:\n{traceback.format_exc()}")
        self._roll_back()
        session.send_reply(Error(b"ERR internal error, see the server's log"))
        session.close_after_reply = True
        session.refresh_special()
        session.want_flush()

    def _roll_back(self) -> None:
        """Takes back what the present command did. While a script lets others be served, that would be the script's;
        theirs change nothing."""
        if not self.server.scripting.is_busy:
            self.server.node.host.access.rollback()

    def _protocol_error(self, session: Session) -> None:
        """Answers what came before the error, then says what is wrong, then closes."""
        if session.parser.error is not None:
            self.server.stats.protocol_errors += 1
            session.send_reply(session.parser.error)
        session.close_after_reply = True
        session.refresh_special()
        session.want_flush()
        self._update_events(session)

    def defer(self, go_on: Callable[[], None]) -> None:
        """Has something go on in the next turn, so that others come in between."""
        self._deferred.append(go_on)

    def resume(self, session: Session) -> None:
        """Goes on with a session's backlog in this turn or the next."""
        self._resumed.append(session)

    def run_resumed(self) -> None:
        while self._resumed:
            resumed, self._resumed = self._resumed, []
            for session in resumed:
                if session.proxy is not None:
                    if session.closed_reason is None:
                        self.server.forwarding.proxies.resume(session)
                elif session.closed_reason or session.blocked is not None or session.is_full:
                    continue  # it goes on, if at all, when that is over
                elif session.backlog:
                    requests = list(session.backlog)
                    session.backlog.clear()
                    session.backlog_bytes = 0
                    self._run(session, requests)

    # -- writing

    def flush(self) -> None:
        """Sends what this turn has made ready."""
        queue = self.flush_queue[:]
        self.flush_queue.clear()
        self._flush_sessions(queue)
        if self.flush_queue:
            # Answers of this node to its own clients.
            queue = self.flush_queue[:]
            self.flush_queue.clear()
            self._flush_sessions(queue)
        if self.server.waits.waiting:
            self.server.node.hurry()  # they count all replicas
        else:
            self.server.node.flush()

    def _flush_sessions(self, queue: list[Session]) -> None:
        for session in queue:
            session.flush_queue = self.flush_queue
            if session.closed_reason is not None:
                continue
            if session.proxy is not None:
                self.server.forwarding.proxies.flush(session)
                continue
            is_small = session.held_bytes < HELD_BYTES_LOOK and not session.unsent and not session.is_full
            if is_small and session.held and not session.out:
                continue  # all it has waits for the log
            try:
                done = session.flush()
            except OSError as error:
                self.close(session, error.strerror or "error")
                continue
            if done:
                if session.writable_wanted:
                    self._want_writable(session, False)
                if session.close_after_reply and not session.held:
                    self.close(session, None)
            else:
                self._want_writable(session, True)
                self.server.check_output_limit(session)
            if session.held_bytes:
                self.server.check_output_limit(session)
            if session.is_full and not session.closed_reason:
                self._go_on(session)

    def _go_on(self, session: Session) -> None:
        """Ends `_hold_up` if there is room again."""
        if session.output_bytes() <= OUTPUT_BYTES_PAUSE // 2 and not session.is_ahead(REMOTE_BYTES_MAX // 2):
            session.is_full = False
            self._update_events(session)
            self.resume(session)

    def _want_writable(self, session: Session, wanted: bool) -> None:
        session.writable_wanted = wanted
        self._update_events(session)

    def _update_events(self, session: Session) -> None:
        """Tells the inner epoll what this session waits for."""
        reading = 0 if session.close_after_reply or session.is_full else select.EPOLLIN
        self.epoll.modify(session.fd, reading | (select.EPOLLOUT if session.writable_wanted else 0))

    # -- connections

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self.server.log("warning", "cannot accept a connection: too many open files")
                return
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._admit(sock, address)

    def _admit(self, sock: socket.socket, address: object) -> None:
        server = self.server
        refusal = refuse_connection(server, sock, len(self.sessions))
        if refusal is not None:
            try:
                sock.send(refusal)
            except OSError:
                server.stats.rejected_connections += 1
            sock.close()
            return
        self._begin(server.new_session(sock, _address_text(sock, address), _address_text(sock, sock.getsockname())))

    def adopt(self, sock: socket.socket, database: int) -> None:
        """Begins a session of this server's own, which may do everything; somebody else has the other end."""
        sock.setblocking(False)
        session = self.server.new_session(sock, INTERNAL, INTERNAL)
        session.user = None
        session.authenticated = session.parser.authenticated = True
        session.database = database
        session.refresh_special()
        self._begin(session)

    def _begin(self, session: Session) -> None:
        session.flush_queue = self.flush_queue
        self.sessions[session.fd] = session
        self.epoll.register(session.fd, select.EPOLLIN)

    def close(self, session: Session, reason: str | None) -> None:
        """Ends a connection; what it waited for is forgotten."""
        if session.closed_reason is not None:
            return
        session.closed_reason = reason or "closed"
        self.sessions.pop(session.fd, None)
        try:
            self.epoll.unregister(session.fd)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EBADF):
                raise
        if session.sock is not None:
            session.sock.close()
        self.server.session_closed(session)

    def close_all(self) -> None:
        """Ends everything that concerns clients, listeners first."""
        for listener in self.listeners.values():
            self.epoll.unregister(listener.fileno())
            listener.close()
        self.listeners.clear()
        for session in list(self.sessions.values()):
            self.close(session, "shutdown")


def _address_text(sock: socket.socket, address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"{address or '/unix'}:0"


def wall_us() -> int:
    """Wall clock in microseconds."""
    return time.time_ns() // 1000
