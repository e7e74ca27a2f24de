"""The serving half of forwarding: clients of other nodes, executed by the leader (design section 12).

The leader has a *proxy* for each such client: a session without a socket, so that transactions, WATCH and blocking
commands work as for a local client. An answer leaves when it is final.

Why a request that arrives twice is executed once:

* Within one leadership the proxy knows what it executes, and keeps each answer until the client is known to have it.
* Across leaderships the answer of everything that changed something is recorded in the log (`RequestTable`).
* A connection delivers without gaps, and a new one ends those before it (`Transport`), so that nothing old arrives
  behind something new; and a request names the leadership it is meant for.

Losing the leadership forgets all proxies and tells those who wait to ask anew.
"""

import traceback
from collections import deque
from dataclasses import dataclass
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError, Fatal
from makoredis.base.ids import NodeId
from makoredis.cluster.messages import Answer, Forward, Refused, Unblock
from makoredis.server.commands import transactions
from makoredis.server.routes import Route
from makoredis.server.scripting import OUT_OF_MEMORY
from makoredis.server.session import ForwardKind, Session, reply_count
from resp.encode import encode
from resp.replies import OK, Error, Raw

if TYPE_CHECKING:
    from makoredis.server.server import Server

KEPT_BYTES_MAX = 64 * 1024
"""A longer answer that changed nothing is not kept for a client that may not have it: it is executed again."""


@dataclass(slots=True)
class Proxy:
    """What the leader knows of a client of another node."""

    node: NodeId
    incarnation: int
    session: int
    expected: deque[int]
    """Sequences being executed, in the order in which they will be answered."""
    backlog: deque[Forward]
    """What came behind a request that blocks."""
    answered: dict[int, bytes]
    """Answers that the client is not known to have."""
    acknowledged: int = 0
    """It has those up to here."""
    waited_ms: int = 0
    """How long the request that is executed had blocked the client before it came here."""

    def knows(self, sequence: int) -> bool:
        """Whether a request is being executed, waits, or was answered for good."""
        return (
            sequence <= self.acknowledged
            or sequence in self.expected
            or any(each.sequence == sequence for each in self.backlog)
        )

    def acknowledge(self, sequence: int) -> None:
        """The client has the answers up to this one."""
        if sequence > self.acknowledged:
            self.acknowledged = sequence
            for known in [known for known in self.answered if known <= sequence]:
                del self.answered[known]


class Proxies:
    """All clients of other nodes that this leader serves, and its own ones' while it cannot serve them directly."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.by_origin: dict[tuple[int, int], Session] = {}
        """By incarnation and session."""
        self._next_id = -1
        self._deferred: list[tuple[NodeId, Forward]] = []
        """What came while this leader may not read its own state."""
        self._confirming: tuple[int, int] | None = None
        """Number of the quorum round under way, and how many of the deferred requests it is for."""

    # -- requests

    def serve(self, sender: NodeId, message: Forward) -> None:
        """Executes a request, now or when it may be; answers it again if it was."""
        node = self.server.node
        host = node.host
        if not host.is_leader or message.term != host.term:
            self._refuse(sender, message.incarnation, message.session, message.sequence)
        elif self._deferred or not node.serves():
            self._deferred.append((sender, message))
        else:
            self._execute_or_queue(sender, message)

    def _refuse(self, sender: NodeId, incarnation: int, session: int, sequence: int) -> None:
        refused = Refused(incarnation, session, sequence, self.server.node.host.leader or 0)
        self.server.forwarding.send(sender, refused)

    def serve_deferred(self) -> None:
        """Goes on with what was deferred: with a lease at once, else after a quorum has confirmed the leadership."""
        if not self._deferred:
            return
        node = self.server.node
        if node.serves():
            self._confirming = None
            self._execute_deferred(len(self._deferred))
        elif self._confirming is None:
            round_ = node.host.confirm()
            if round_:
                self._confirming = (round_, len(self._deferred))
        elif node.host.confirmed >= self._confirming[0]:
            count, self._confirming = self._confirming[1], None
            self._execute_deferred(count)

    def _execute_deferred(self, count: int) -> None:
        ready, self._deferred = self._deferred[:count], self._deferred[count:]
        for sender, message in ready:
            self._execute_or_queue(sender, message)

    def _execute_or_queue(self, sender: NodeId, message: Forward) -> None:
        session = self._proxy(sender, message)
        proxy: Proxy = session.proxy
        proxy.acknowledge(message.acknowledged)
        answer = proxy.answered.get(message.sequence)
        if answer is not None:
            self._answer(proxy, message.sequence, answer)
        elif proxy.knows(message.sequence):
            return
        elif session.blocked is not None or proxy.backlog:
            proxy.backlog.append(message)
        else:
            self._execute(session, message)

    def _proxy(self, sender: NodeId, message: Forward) -> Session:
        key = (message.incarnation, message.session)
        session = self.by_origin.get(key)
        if session is None:
            session = Session(self._next_id, None, f"node {sender}", "", self.server.now)
            self._next_id -= 1
            session.proxy = Proxy(sender, message.incarnation, message.session, deque(), deque(), {})
            session.flush_queue = self.server.reactor.flush_queue
            self.by_origin[key] = session
        return session

    def _execute(self, session: Session, message: Forward) -> None:
        server = self.server
        session.proxy.expected.append(message.sequence)
        session.want_flush()
        executor = server.node.host.executor
        known = executor.requests.find(message.incarnation, message.session, message.sequence)
        if known is not None:
            session.send_bytes(known, executor.gate_of_everything())
            return
        session.database, session.protocol = message.database, message.protocol
        session.proxy.waited_ms = message.waited_ms
        session.request_id = (message.incarnation, message.session, message.sequence, message.acknowledged)
        try:
            session.user = server.acl.user_elsewhere(message.user) if message.user else None
            session.refresh_special()
            self._dispatch(session, message)
        except ClientError as error:
            self._fail(session, message, server.error_reply(error))
        except Fatal:
            raise
        except Exception:  # noqa: BLE001 - a request ends here: what it ran into must not end one node after the other
            server.log("error", f"a command of a client of {session.address} failed:\n{traceback.format_exc()}")
            server.node.host.access.rollback()
            self._fail(session, message, Error(b"ERR internal error, see the server's log"))

    @staticmethod
    def _fail(session: Session, message: Forward, error: Error) -> None:
        """Answers a request that was not executed; each one of a series."""
        session.send_bytes(encode(error, message.protocol) * reply_count(message.kind, message.commands))

    def _dispatch(self, session: Session, message: Forward) -> None:
        server = self.server
        if message.kind == ForwardKind.SINGLE:
            argv = message.commands[0]
            route = server.routes.find(argv)
            self._check_room([route])
            server.dispatcher.call(session, route, argv)
        elif message.kind == ForwardKind.TRANSACTION:
            queued: list[tuple[Route, list[bytes]]] = [(server.routes.find(argv), argv) for argv in message.commands]
            self._check_room([route for route, _ in queued])
            transactions.run(server, session, queued, message.guard_term)
            server.blocking.serve()
        elif message.kind == ForwardKind.SERIES:
            self._run_series(session, message.commands)
        elif message.kind == ForwardKind.WATCH:
            for key in message.commands[0]:
                server.watches.watch(server, session, key)
            session.send_reply(OK)
        else:
            server.watches.forget(session)
            session.send_reply(OK)

    def _run_series(self, session: Session, commands: list[list[bytes]]) -> None:
        """Executes plain commands as one transaction, and answers them together."""
        server, dispatcher = self.server, self.server.dispatcher
        requests = [(server.routes.find(argv), argv) for argv in commands]
        self._check_room([route for route, _ in requests])
        access = dispatcher.begin(session)
        chunks = []
        for route, argv in requests:
            started = perf_counter()
            reply = dispatcher.invoke(access, route, argv)
            if reply is None:
                route.missed += 1
            chunks.append(encode(reply, session.protocol))
            dispatcher.count(session, route, argv, perf_counter() - started)
            if server.monitors.sessions:
                server.monitors.feed(session, route.row, argv)
        if not any(route.is_write for route, _ in requests):
            access.rollback()  # deletions of what has expired: the log would keep what all were answered
        answer = Raw(b"".join(chunks))
        session.send_reply(answer, dispatcher.finish(session, access, requests, answer))
        server.blocking.serve()

    def _check_room(self, routes: list[Route]) -> None:
        """Only the leader knows whether it has disk and memory for more; whatever else a request can be refused for,
        the client's own node has looked at.

        Raises: ClientError MISCONF or OOM.
        """
        if self.server.node.full_disk.refusal is not None and any(route.is_write for route in routes):
            raise ClientError(self.server.node.full_disk.refusal)
        if self.server.eviction.is_refusing and any("denyoom" in route.row.flags for route in routes):
            raise OUT_OF_MEMORY

    def resume(self, session: Session) -> None:
        """A proxy is not blocked any more."""
        proxy: Proxy = session.proxy
        while proxy.backlog and session.blocked is None:
            message = proxy.backlog.popleft()
            if self._deferred or not self.server.node.serves():
                self._deferred.append((proxy.node, message))
            else:
                self._execute(session, message)

    # -- answers

    def flush(self, session: Session) -> None:
        """Sends a proxy's final replies to where its client is."""
        proxy: Proxy = session.proxy
        replies, session.out[:] = session.out[:], []
        for reply in replies:
            sequence = proxy.expected.popleft()
            if len(reply) <= KEPT_BYTES_MAX:
                proxy.answered[sequence] = reply
            self._answer(proxy, sequence, reply)

    def _answer(self, proxy: Proxy, sequence: int, reply: bytes) -> None:
        index = self.server.node.host.applied_index
        self.server.forwarding.send(proxy.node, Answer(proxy.incarnation, proxy.session, sequence, reply, index))

    def unrecorded(self, session: Session) -> list[tuple[int, bytes]]:
        """Sequences and replies that the client may not have and that are not in the log."""
        proxy: Proxy = session.proxy
        found = [each for each in proxy.answered.items() if each[0] > session.recorded_to]
        sequences = reversed(proxy.expected)
        next(sequences)  # the present request
        waiting = chain(*(reversed(held.chunks) for held in reversed(session.held)), reversed(session.out))
        for sequence, reply in zip(sequences, waiting):
            if sequence <= session.recorded_to:
                break
            found.append((sequence, reply))
        return found

    # -- ends

    def unblock(self, message: Unblock) -> None:
        """CLIENT UNBLOCK, for a client of another node."""
        session = self.by_origin.get((message.incarnation, message.session))
        if session is not None and self.server.blocking.is_parked(session):
            reply: Any = session.blocked.block.on_timeout
            if message.with_error:
                reply = Error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK")
            self.server.blocking.finish(session, reply)

    def session_closed(self, incarnation: int, session_id: int) -> None:
        """A client is gone for good."""
        self._deferred = [
            each for each in self._deferred if (each[1].incarnation, each[1].session) != (incarnation, session_id)
        ]
        self._confirming = None
        session = self.by_origin.get((incarnation, session_id))
        if session is not None:
            self._forget(session)
        if self.server.node.host.is_leader:
            self.server.node.host.executor.closed_sessions.append((incarnation, session_id))

    def node_called(self, node: NodeId, incarnation: int) -> None:
        """A node has connected: the clients of an earlier life of it are gone."""
        for session in list(self.by_origin.values()):
            proxy: Proxy = session.proxy
            if proxy.node == node and proxy.incarnation != incarnation:
                self.session_closed(proxy.incarnation, proxy.session)

    def node_gone(self, node: NodeId) -> None:
        """A node is unreachable: nothing may be taken from a list for a client that may be gone. If it is not, its
        node asks again as soon as it is back."""
        for session in list(self.by_origin.values()):
            proxy: Proxy = session.proxy
            if proxy.node == node and self.server.blocking.is_parked(session):
                proxy.expected.pop()
                proxy.backlog.clear()
                self.server.blocking.unpark(session)

    def leadership_lost(self) -> None:
        """Forgets everybody; who waits will ask the next leader, or this one again."""
        self._confirming = None
        deferred, self._deferred = self._deferred, []
        for sender, message in deferred:
            self._refuse(sender, message.incarnation, message.session, message.sequence)
        for session in list(self.by_origin.values()):
            proxy: Proxy = session.proxy
            if proxy.expected:
                self._refuse(proxy.node, proxy.incarnation, proxy.session, proxy.expected[0])
            self._forget(session)

    def _forget(self, session: Session) -> None:
        proxy: Proxy = session.proxy
        self.by_origin.pop((proxy.incarnation, proxy.session), None)
        session.closed_reason = "gone"
        if self.server.blocking.is_parked(session):
            self.server.blocking.unpark(session)
        self.server.watches.forget(session)
