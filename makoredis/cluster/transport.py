"""Connections between nodes: every node dials every other, and sends on the connection that it dialled.

All messages of a turn for a peer leave as one frame. A connection delivers in order and without gaps, or it ends:
queues are bounded, and a peer whose queue overflows is hung up on. Consensus repeats what matters, and forwarded
requests are sent again when a connection is new. What may wait for a moment is kept back until something comes that may
not, or `release` says so. What is left unread of an older connection of a peer is dropped when
it calls again. A peer that does not answer is dialled again after a pause that doubles up to `BACKOFF_SECONDS_MAX`.
"""

import errno
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec

from makoredis.base.ids import NodeId
from makoredis.cluster.clocks import PeerClocks
from makoredis.cluster.messages import (
    PROTOCOL_VERSION,
    Clock,
    Hello,
    PeerMessage,
    QuiescedGroup,
    decode_peer_message,
    encode_peer_message,
)
from resp.encode import encode_command
from resp.parser import RequestParser

QUEUE_BYTES_MAX = 64 * 1024 * 1024
"""Waiting for one peer; above it the connection is given up."""
READ_BYTES = 256 * 1024
BACKOFF_SECONDS_MIN = 0.05
BACKOFF_SECONDS_MAX = 1.0
REFUSAL_SECONDS = 10.0
"""Between two lines on a peer that is refused for the same reason, or refuses this node."""
SHORT_SECONDS = 1.0
"""A connection that ends sooner was in vain: the next pause is longer."""
CLOCK_SECONDS = 5.0
"""Between two words on this node's clock to its peers."""

_CLOSED = "closed by the peer"

READABLE, WRITABLE = 1, 4
"""As in epoll."""


class Poller(Protocol):
    """The reactor's inner epoll."""

    def watch(self, fd: int, events: int, on_event: Callable[[int], None]) -> None:
        """Calls `on_event` with what is ready, once per turn; again for the same fd changes the events."""
        ...

    def unwatch(self, fd: int) -> None: ...


class Receiver(Protocol):
    """Who gets what peers say."""

    def peer_message(self, sender: NodeId, message: PeerMessage) -> None: ...

    def peer_connected(self, node: NodeId) -> None:
        """A new connection to this node is up: what was sent before may be lost."""
        ...

    def peer_called(self, node: NodeId, incarnation: int) -> None:
        """A node has connected: what it sent before may be lost."""
        ...

    def peer_gone(self, node: NodeId) -> None:
        """A node's connection to this one ended."""
        ...

    def peer_lost(self, node: NodeId) -> None: ...

    def peer_stated(self, node: NodeId, quiesced: list[QuiescedGroup]) -> None:
        """A node has said which groups are quiesced there."""
        ...

    def log(self, level: str, text: str) -> None: ...


class _Link:
    """The connection that this node dialled to one peer."""

    __slots__ = (
        "address",
        "backoff",
        "is_blocked",
        "is_held",
        "node",
        "on_event",
        "out",
        "queue",
        "queued_bytes",
        "retry_at",
        "sock",
        "state",
        "up_at",
    )

    def __init__(self, node: NodeId, address: tuple[str, int]) -> None:
        self.node = node
        self.address = address
        self.sock: socket.socket | None = None
        self.state = "down"
        """down, dialling or up."""
        self.out: list[bytes] = []
        self.is_held = False
        """Whether everything in `out` may wait."""
        self.queue: deque[tuple[float, bytes]] = deque()
        """Frames with the time before which they may not leave."""
        self.queued_bytes = 0
        self.retry_at = 0.0
        self.up_at = 0.0
        self.backoff = BACKOFF_SECONDS_MIN
        self.is_blocked = False
        """Whether the socket takes no more for now, and is watched for when it does."""
        self.on_event: Callable[[int], None] = _ignore


def _ignore(event: int) -> None:
    """Nothing is watched yet."""


class _Inbound:
    """A connection that a peer dialled."""

    __slots__ = ("node", "parser", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.parser = RequestParser()
        self.node: NodeId | None = None


class Transport:
    """All connections of one node to its peers."""

    def __init__(
        self, hello: Hello, poller: Poller, receiver: Receiver, now: Callable[[], float], clocks: PeerClocks
    ) -> None:
        """
        Args:
            hello: what this node says first; its clock is looked at anew each time.
            now: monotonic seconds.
        """
        self.hello = hello
        self.poller = poller
        self.receiver = receiver
        self.now = now
        self.clocks = clocks
        self._clock_due = 0.0
        self.delay_seconds = 0.0
        """Every frame leaves so much later; for tests and benchmarks."""
        self.links: dict[NodeId, _Link] = {}
        self.guests: set[NodeId] = set()
        """Nodes that called and are no members: they are dialled as long as their call lasts."""
        self.clients: dict[NodeId, tuple[str, int]] = {}
        """Where nodes that called listen for clients."""
        self._said: dict[str, float] = {}
        """What was said of peers that were refused, and when."""
        self.addresses: dict[NodeId, tuple[str, int]] = {}
        """Where nodes that called say that they listen for their peers."""
        self.inbound: dict[int, _Inbound] = {}
        self.held_at = 0.0
        """When the first of the messages that wait was sent; 0: none waits, for all that is known."""
        self.held_last_at = 0.0
        """When the last one was."""
        self.dropped = 0
        """Messages for a peer that could not be reached."""
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._listener: socket.socket | None = None

    # -- set-up

    def listen(self, host: str, port: int) -> None:
        """Raises: OSError when the address is taken."""
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError:
            listener.close()
            raise
        listener.setblocking(False)
        self._listener = listener
        self.poller.watch(listener.fileno(), READABLE, self._accept)

    def set_peers(self, addresses: dict[NodeId, tuple[str, int]]) -> None:
        """Dials who is new, hangs up on who is gone."""
        for node in list(self.links):
            if node not in addresses and self._calls(node):
                self.guests.add(node)
            elif addresses.get(node) != self.links[node].address:
                self._down(self.links.pop(node), "removed")
        self.guests -= addresses.keys()
        for node, address in addresses.items():
            if node not in self.links:
                self.links[node] = _Link(node, address)
        self.tick()

    def close(self) -> None:
        """Hangs up on everybody."""
        if self._listener is not None:
            self.poller.unwatch(self._listener.fileno())
            self._listener.close()
        for link in self.links.values():
            link.state = "down"  # on purpose: nobody needs to hear of it
            self._down(link, "closing")
        for inbound in list(self.inbound.values()):
            self._hang_up(inbound)

    # -- sending

    def send(self, node: NodeId, message: PeerMessage) -> None:
        """Queues a message for this turn's frame; dropped when there is no connection."""
        self.send_encoded(node, encode_peer_message(message))

    def send_encoded(self, node: NodeId, encoded: bytes, *, may_wait: bool = False) -> None:
        """The same for bytes that may be for several peers.

        Args:
            may_wait: whether `flush` may keep it back until `release`, or until there is something that may not wait.
        """
        link = self.links.get(node)
        if link is None or link.state != "up":
            self.dropped += 1
            return
        link.is_held = may_wait and (link.is_held or not link.out)
        link.out.append(encoded)
        if link.is_held:
            self.held_last_at = self.now()
            self.held_at = self.held_at or self.held_last_at

    def release(self) -> None:
        """Nothing may wait any longer: the next `flush` sends everything."""
        self.held_at = 0.0
        for link in self.links.values():
            link.is_held = False

    def is_up(self, node: NodeId) -> bool:
        link = self.links.get(node)
        return link is not None and link.state == "up"

    def flush(self) -> None:
        """Ends the turn: one frame per peer."""
        for link in self.links.values():
            if link.out and not link.is_held:
                frame = encode_command(link.out)
                link.out.clear()
                link.queue.append((self.now() + self.delay_seconds if self.delay_seconds else 0.0, frame))
                link.queued_bytes += len(frame)
                if link.queued_bytes > QUEUE_BYTES_MAX and len(link.queue) > 1:
                    self._down(link, "it does not keep up")
                else:
                    self._write(link)

    def _write(self, link: _Link) -> None:
        sock = link.sock
        if sock is None or link.state != "up":
            return
        while link.queue:
            due, frame = link.queue[0]
            if due and due > self.now():
                break
            try:
                sent = sock.send(frame)
            except BlockingIOError:
                if not link.is_blocked:
                    link.is_blocked = True
                    self.poller.watch(sock.fileno(), READABLE | WRITABLE, link.on_event)
                return
            except OSError as error:
                self._down(link, error.strerror or "error")
                return
            link.queued_bytes -= sent
            if sent < len(frame):
                link.queue[0] = (0.0, frame[sent:])
            else:
                link.queue.popleft()
        if link.is_blocked:
            link.is_blocked = False
            self.poller.watch(sock.fileno(), READABLE, link.on_event)

    def next_due(self) -> float | None:
        """When a delayed frame may leave next."""
        return min(
            (link.queue[0][0] for link in self.links.values() if link.queue and link.state == "up"), default=None
        )

    def send_due(self) -> None:
        """Sends delayed frames whose time has come."""
        for link in self.links.values():
            if link.queue:
                self._write(link)

    # -- dialling

    def tick(self) -> None:
        """Dials who is down and due, and now and then says what time it is."""
        if self.now() >= self._clock_due:
            self.state([])
        for link in self.links.values():
            if link.state == "down" and link.retry_at <= self.now():
                self._dial(link)

    def state(self, quiesced: list[QuiescedGroup]) -> None:
        """Tells everybody the time, and which groups are quiesced here."""
        self._clock_due = self.now() + CLOCK_SECONDS
        message = Clock(self.clocks.wall_us(), quiesced)
        for node, link in self.links.items():
            if link.state == "up":
                self.send(node, message)

    def is_complete(self) -> bool:
        """Whether everybody is connected, and nothing waits to be sent."""
        return all(link.state == "up" and not link.queue and not link.out for link in self.links.values())

    def _dial(self, link: _Link) -> None:
        host, _ = link.address
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.sock = sock
        code = sock.connect_ex(link.address)
        if code not in (0, errno.EINPROGRESS):
            self._down(link, errno.errorcode.get(code, str(code)))
            return
        link.state = "dialling"
        link.is_blocked = True
        link.on_event = lambda event: self._link_event(link, event)
        self.poller.watch(sock.fileno(), READABLE | WRITABLE, link.on_event)

    def _link_event(self, link: _Link, event: int) -> None:
        sock = link.sock
        if sock is None:
            return
        if link.state == "dialling":
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._down(link, errno.errorcode.get(code, str(code)))
            elif calls_itself(sock):
                self._down(link, "the call reached itself")
            elif event & WRITABLE:
                self._up(link)
            return
        if event & ~WRITABLE:
            try:
                data = sock.recv(1024)
            except BlockingIOError:
                data = b"-"
            except OSError:
                data = b""
            if not data:
                self._down(link, _CLOSED)
                return
        self._write(link)

    def _up(self, link: _Link) -> None:
        link.state = "up"
        link.up_at = self.now()
        link.queue.clear()
        link.queued_bytes = 0
        link.out = []
        link.is_held = False
        hello = msgspec.structs.replace(self.hello, clock_us=self.clocks.wall_us())  # type: ignore[type-var]
        link.queue.append((0.0, encode_command([encode_peer_message(hello)])))
        self._write(link)
        self.receiver.peer_connected(link.node)

    def _down(self, link: _Link, reason: str) -> None:
        was_up = link.state == "up"
        was_short = self.now() - link.up_at < SHORT_SECONDS
        if was_up and not was_short:
            link.backoff = BACKOFF_SECONDS_MIN
        if link.sock is not None:
            self.poller.unwatch(link.sock.fileno())
            link.sock.close()
            link.sock = None
        link.state = "down"
        link.retry_at = self.now() + link.backoff
        link.backoff = min(link.backoff * 2, BACKOFF_SECONDS_MAX)
        link.queue.clear()
        link.queued_bytes = 0
        link.out.clear()
        if was_up:
            if was_short and reason == _CLOSED:
                self._say(f"connection to node {link.node} ended at once: {reason} (if it runs, its log says why)")
            else:
                self.receiver.log("warning", f"connection to node {link.node} lost: {reason}")
            self.receiver.peer_lost(link.node)

    # -- receiving

    def _accept(self, event: int) -> None:
        assert self._listener is not None
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # nobody is left (or could be accepted); the peer dials again
            sock.setblocking(False)
            inbound = _Inbound(sock)
            self.inbound[sock.fileno()] = inbound
            self.poller.watch(sock.fileno(), READABLE, lambda event, inbound=inbound: self._receive(inbound))  # type: ignore[misc]

    def _receive(self, inbound: _Inbound) -> None:
        # Into one buffer: `recv` would allocate, and give back, all of READ_BYTES for a message of a hundred bytes.
        try:
            size = inbound.sock.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self._hang_up(inbound)
            return
        data = self._buffer[:size].tobytes()
        try:
            for frame in inbound.parser.parse(data):
                for encoded in frame:
                    self._handle(inbound, decode_peer_message(encoded))
        except (msgspec.DecodeError, _BadPeer) as error:
            self._say(f"a peer is refused: {error}")
            self._hang_up(inbound)
            return
        except _BadClock as error:
            if self.clocks.is_worth_a_line(error.node):
                self.receiver.log("warning", f"a peer is refused: {error}")
            self._hang_up(inbound)
            return
        if inbound.parser.broken:
            self._say("a peer is refused: it does not speak the nodes' protocol")
            self._hang_up(inbound)

    def _say(self, what: str) -> None:
        """Logs why a call was in vain, now and then: the next one comes soon, and is in vain too."""
        now = self.now()
        self._said = {text: at for text, at in self._said.items() if now - at < REFUSAL_SECONDS}
        if what not in self._said:
            self._said[what] = now
            self.receiver.log("warning", what)

    def _handle(self, inbound: _Inbound, message: PeerMessage) -> None:
        if isinstance(message, Hello):
            self._check_hello(message)
            node = NodeId(message.node)
            self._check_clock(node, message.clock_us)
            for earlier in [each for each in self.inbound.values() if each.node == node]:
                self._hang_up(earlier)
            inbound.node = node
            self._welcome(node, message)
            self.receiver.peer_called(node, message.incarnation)
        elif inbound.node is None:
            raise _BadPeer("no hello")
        elif type(message) is Clock:
            self._check_clock(inbound.node, message.clock_us)
            self.receiver.peer_stated(inbound.node, message.quiesced)
        else:
            self.receiver.peer_message(inbound.node, message)

    def _welcome(self, node: NodeId, hello: Hello) -> None:
        self.addresses[node] = (hello.host, hello.peer_port)
        if hello.client_port:
            self.clients[node] = (hello.client_host, hello.client_port)
        if hello.peer_port and node not in self.links and node != self.hello.node:
            self.guests.add(node)
            self.links[node] = _Link(node, (hello.host, hello.peer_port))
            self.tick()

    def _calls(self, node: NodeId) -> bool:
        return any(inbound.node == node for inbound in self.inbound.values())

    def _check_hello(self, hello: Hello) -> None:
        if hello.version != PROTOCOL_VERSION:
            raise _BadPeer(
                f"node {hello.node} speaks version {hello.version} of the nodes' protocol, this node "
                f"{PROTOCOL_VERSION}; "
                "all nodes have to run versions of makoredis that speak the same one"
            )
        if hello.cluster != self.hello.cluster:
            raise _BadPeer(f"node {hello.node} belongs to cluster '{hello.cluster}', not '{self.hello.cluster}'")

    def _check_clock(self, node: NodeId, clock_us: int) -> None:
        refusal = self.clocks.refusal(node, clock_us)
        if refusal is not None:
            raise _BadClock(node, refusal)

    def _hang_up(self, inbound: _Inbound) -> None:
        fd = inbound.sock.fileno()
        if self.inbound.pop(fd, None) is not None:
            self.poller.unwatch(fd)
            inbound.sock.close()
            node = inbound.node
            if node is not None:
                self.receiver.peer_gone(node)
                if node in self.guests and not self._calls(node):
                    self.guests.discard(node)
                    self._down(self.links.pop(node), "has left")


def calls_itself(sock: socket.socket) -> bool:
    """Whether a call to a port of this machine that nobody listens on was given that very port as its own end.

    TCP connects such a call to itself, and the process that should listen there could not start.
    """
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:
        return False  # the connection has ended since, which the next event tells


class _BadPeer(Exception):
    """Why a connection is not taken."""


class _BadClock(Exception):
    """Why a peer is not listened to now."""

    def __init__(self, node: NodeId, why: str) -> None:
        super().__init__(why)
        self.node = node
