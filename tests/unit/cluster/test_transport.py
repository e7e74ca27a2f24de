"""What the transport knows of its sockets. The rest of it is tested by the clusters of real processes."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

from makoredis.base.ids import NodeId
from makoredis.cluster.clocks import PeerClocks
from makoredis.cluster.messages import PROTOCOL_VERSION, Hello, encode_peer_message
from makoredis.cluster.transport import READABLE, REFUSAL_SECONDS, WRITABLE, Transport, calls_itself
from resp.encode import encode_command
from resp.parser import RequestParser


def test_a_call_that_reached_itself() -> None:
    with socket.socket() as caller:
        caller.bind(("127.0.0.1", 0))
        caller.connect(caller.getsockname())
        assert calls_itself(caller)


def test_a_call_that_reached_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as caller:
        caller.connect(listener.getsockname())
        assert not calls_itself(caller)


def test_a_call_that_has_ended() -> None:
    with socket.socket() as caller:
        assert not calls_itself(caller)


class Peers:
    """A poller and a receiver that note what is of interest."""

    def __init__(self) -> None:
        self.events: dict[int, Callable[[int], None]] = {}
        self.said: list[str] = []

    def watch(self, fd: int, events: int, on_event: Callable[[int], None]) -> None:
        self.events[fd] = on_event

    def unwatch(self, fd: int) -> None:
        self.events.pop(fd, None)

    def peer_connected(self, node: NodeId) -> None:
        """Of no interest, as the rest."""

    def log(self, level: str, text: str) -> None:
        self.said.append(text)

    def peer_lost(self, node: NodeId) -> None: ...


@contextlib.contextmanager
def connected() -> Iterator[tuple[Transport, RequestParser, socket.socket]]:
    """A transport with a link to node 2, and the other end of that."""
    peers: Any = Peers()
    hello = Hello(PROTOCOL_VERSION, "test", 1, 7, 0)
    transport = Transport(hello, peers, peers, lambda: 5.0, PeerClocks(250, lambda: 0, lambda: 5.0))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport.set_peers({NodeId(2): listener.getsockname()})
        other, _ = listener.accept()
        with other:
            [on_event] = peers.events.values()
            on_event(WRITABLE)
            yield transport, RequestParser(), other
            transport.close()


def received(parser: RequestParser, other: socket.socket) -> list[list[bytes]]:
    other.settimeout(0.05)
    with contextlib.suppress(TimeoutError):
        return [frame for frame in parser.parse(other.recv(65536)) if frame[0] in (b"a", b"b", b"c")]
    return []


def test_what_may_wait_leaves_in_order_with_what_may_not() -> None:
    with connected() as (transport, parser, other):
        received(parser, other)
        transport.send_encoded(NodeId(2), b"a", may_wait=True)
        transport.flush()
        transport.send_encoded(NodeId(2), b"b", may_wait=True)
        transport.flush()
        assert transport.held_at
        assert received(parser, other) == []
        transport.send_encoded(NodeId(2), b"c")
        transport.flush()
        assert received(parser, other) == [[b"a", b"b", b"c"]]


def test_what_waits_leaves_when_it_is_released() -> None:
    with connected() as (transport, parser, other):
        received(parser, other)
        transport.send_encoded(NodeId(2), b"a", may_wait=True)
        transport.release()
        assert not transport.held_at
        transport.flush()
        assert received(parser, other) == [[b"a"]]
        transport.send_encoded(NodeId(2), b"b")
        transport.send_encoded(NodeId(2), b"c", may_wait=True)
        transport.flush()
        assert received(parser, other) == [[b"b", b"c"]], "it does not wait alone"


def test_a_peer_of_another_version_is_refused_and_not_spoken_of_each_time_it_calls() -> None:
    peers: Any = Peers()
    now = [100.0]
    hello = Hello(PROTOCOL_VERSION, "test", 1, 7, 0)
    transport = Transport(hello, peers, peers, lambda: now[0], PeerClocks(250, lambda: 0, lambda: now[0]))
    transport.listen("127.0.0.1", 0)
    assert transport._listener is not None
    address = transport._listener.getsockname()

    def call(version: int, node: int) -> None:
        with socket.create_connection(address) as caller:
            assert transport._listener is not None
            peers.events[transport._listener.fileno()](READABLE)
            caller.sendall(encode_command([encode_peer_message(Hello(version, "test", node, 8, 0))]))
            [inbound] = transport.inbound.values()
            inbound.sock.setblocking(True)  # what was sent is on its way
            peers.events[inbound.sock.fileno()](READABLE)
            assert transport.inbound == {}, "it was hung up on"

    for _ in range(3):
        call(PROTOCOL_VERSION + 1, 2)
    call(PROTOCOL_VERSION - 1, 3)
    refused = "a peer is refused: node {} speaks version {} of the nodes' protocol, this node {}; "
    assert [text.partition("all nodes")[0] for text in peers.said] == [
        refused.format(2, PROTOCOL_VERSION + 1, PROTOCOL_VERSION),
        refused.format(3, PROTOCOL_VERSION - 1, PROTOCOL_VERSION),
    ]
    now[0] += REFUSAL_SECONDS
    call(PROTOCOL_VERSION + 1, 2)
    assert len(peers.said) == 3
    transport.close()


def test_a_peer_that_hangs_up_at_once_is_called_less_often_and_spoken_of_now_and_then() -> None:
    peers: Any = Peers()
    now = [100.0]
    hello = Hello(PROTOCOL_VERSION, "test", 1, 7, 0)
    transport = Transport(hello, peers, peers, lambda: now[0], PeerClocks(250, lambda: 0, lambda: now[0]))
    calls = 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport.set_peers({NodeId(2): listener.getsockname()})
        [link] = transport.links.values()
        while now[0] < 100 + REFUSAL_SECONDS:
            if link.state == "dialling":
                other, _ = listener.accept()
                other.close()
                calls += 1
                link.on_event(WRITABLE)
                assert link.sock is not None
                link.sock.setblocking(True)  # the hanging up is on its way
                link.on_event(READABLE)
            assert link.state == "down"
            now[0] += 0.05
            transport.tick()
    assert 10 < calls < 20
    assert [text.partition(":")[0] for text in peers.said] == ["connection to node 2 ended at once"]
    transport.close()
