"""Clients of any node, executed by the leader, exactly once (design section 12).

Two halves of one conversation, on every node:

* The *asking* half keeps every request of a local client that this node cannot execute itself until its final answer
  is there. It asks the leader, and asks again whenever the leader or the connection to it has changed.
* The *serving* half, on the leader, has a *proxy* for each client of another node: a session without a socket, so that
  transactions, WATCH and blocking commands work as for a local client. An answer leaves when it is final.

A request that is asked twice is executed once: the leader records the answer with the transaction (`RequestTable`).

Invariants:
* Requests of one client reach a leader in order, because there is one connection per direction, and a new one begins
  with everything that is unanswered.
* A local client's request is executed here directly only while none of its earlier ones is being asked elsewhere.
* Losing the leadership forgets all proxies: whoever asked will ask the next leader.
"""

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError
from makoredis.base.ids import NodeId
from makoredis.cluster.messages import Answer, Forward, PeerMessage, Refused, SessionClosed, Unblock
from makoredis.server.commands import transactions
from makoredis.server.routes import Route
from makoredis.server.session import ForwardKind, Held, Request, Session
from makoredis.txn.gate import Gate
from resp.encode import encode
from resp.replies import OK, Error

if TYPE_CHECKING:
    from makoredis.server.server import Server

ANSWER_SECONDS_MAX = 30.0
"""After this long without a leader a request is answered with an error; whether it took place is not known then."""
NO_LEADER = Error(b"CLUSTERDOWN no leader answered in time; whether the command took place is not known")


@dataclass(slots=True)
class Proxy:
    """What the leader knows of a client of another node."""

    node: NodeId
    incarnation: int
    session: int
    expected: deque[int]
    """Sequences being executed, in the order in which they will be answered."""
    backlog: deque[Forward]


class Forwarding:
    """Both halves, for one node."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.waiting: dict[tuple[int, int], tuple[Request, Held]] = {}
        """Unanswered requests of local clients by session and sequence, oldest first."""
        self.proxies: dict[tuple[int, int], Session] = {}
        """By incarnation and session."""
        self.forwarded_count = 0
        self._asked: tuple[int, int, bool] = (0, 0, False)
        self._ask_again = False
        self._next_proxy_id = -1
        self._deferred: list[tuple[NodeId, Forward]] = []

    # -- asking

    def may_run_here(self, session: Session) -> bool:
        """Whether this node executes the session's next request itself."""
        return session.proxy is not None or (not session.remote_count and self.server.node.host.serves())

    def may_read_here(self, session: Session) -> bool:
        """Whether a READONLY session's read may be answered from this follower's state, which is always final."""
        host = self.server.node.host
        is_recent = host.applied_index >= session.seen_index and host.is_consistent()
        return not session.remote_count and is_recent and not self.is_stale()

    def is_stale(self) -> bool:
        """Whether the leader has not been heard of for longer than `max_staleness_ms`."""
        node = self.server.node
        return not node.host.is_leader and time.monotonic() - node.heard_at > node.settings.max_staleness_seconds

    def submit(
        self,
        session: Session,
        kind: ForwardKind,
        commands: list[list[bytes]],
        *,
        may_block: bool = False,
        guard_term: int = 0,
    ) -> None:
        """Has a request executed by the leader; its answer takes its place among the session's replies."""
        session.sequence += 1
        request = Request(session.sequence, int(kind), session.database, session.protocol, commands)
        request.may_block = may_block
        request.guard_term = guard_term
        self._wait(session, request, Gate(0))
        self._ask(session, request)

    def _wait(self, session: Session, request: Request, gate: Gate) -> None:
        held = session.hold_place(gate, request)
        session.remote_count += 1
        self.waiting[session.id, request.sequence] = (request, held)
        request.asked_at = self.server.now

    def _ask(self, session: Session, request: Request) -> None:
        node = self.server.node
        leader = node.host.leader
        if leader is None:
            return
        self.forwarded_count += 1
        message = Forward(
            node.incarnation,
            session.id,
            request.sequence,
            session.acknowledged(),
            request.database,
            request.protocol,
            request.kind,
            request.commands,
            request.guard_term,
        )
        if leader == node.settings.id:
            self._serve(node.settings.id, message)
        elif node.transport is not None:
            node.transport.send(leader, message)

    def tick(self) -> None:
        """Asks again when there is another leader, and gives up on what nobody answers."""
        node = self.server.node
        asked = (node.host.leader or 0, node.host.term, node.host.serves())
        if asked != self._asked or self._ask_again:
            self._asked, self._ask_again = asked, False
            self._ask_all()
        if self.waiting:
            self._give_up()

    def _ask_all(self) -> None:
        for (session_id, _), (request, _) in list(self.waiting.items()):
            session = self.server.by_id.get(session_id)
            if session is not None:
                self._ask(session, request)

    def _give_up(self) -> None:
        latest = self.server.now - ANSWER_SECONDS_MAX
        for (session_id, sequence), (request, _) in list(self.waiting.items()):
            if request.asked_at > latest:
                break
            if not request.may_block:
                self._answered(session_id, sequence, encode(NO_LEADER, request.protocol), 0)

    def _answered(self, session_id: int, sequence: int, reply: bytes, index: int) -> None:
        found = self.waiting.pop((session_id, sequence), None)
        session = self.server.by_id.get(session_id)
        if found is None or session is None:
            return
        _, held = found
        held.chunks[0] = reply
        session.held_bytes += len(reply)
        session.remote_count -= 1
        session.seen_index = max(session.seen_index, index)
        assert held.gate is not None
        held.gate.open()
        session.release()
        if session.backlog and session.blocked is None:
            self.server.reactor.resume(session)

    def leadership_lost(self, gates: list[Gate]) -> None:
        """This node's leadership ended: what was executed and not chosen is taken back, and is asked elsewhere."""
        sessions: dict[int, Session] = {}
        for gate in gates:
            for waiter in gate.waiters:
                if isinstance(waiter, Session) and waiter.proxy is None:
                    sessions[waiter.id] = waiter
        for session in sessions.values():
            self._hold_anew(session)
        for session in list(self.server.by_id.values()):
            if self.server.blocking.is_parked(session):
                self._move_blocked(session)
        for proxy in list(self.proxies.values()):
            self._forget_proxy(proxy)
        self._deferred.clear()
        self._ask_again = True

    def _hold_anew(self, session: Session) -> None:
        """Every reply that is not final goes back to being a request; local replies between them keep their place."""
        old = list(session.held)
        session.held.clear()
        session.held_bytes = 0
        for held in old:
            for chunk, request in zip(held.chunks, held.requests):
                if request is None:
                    session.send_bytes(chunk, None)
                elif (session.id, request.sequence) in self.waiting:
                    session.held.append(held)
                else:
                    self._wait(session, request, Gate(0))

    def _move_blocked(self, session: Session) -> None:
        parked = session.blocked
        self.server.blocking.unpark(session)
        session.sequence += 1
        request = Request(session.sequence, 0, parked.database, session.protocol, [parked.argv], may_block=True)
        self._wait(session, request, Gate(0))

    def session_closed(self, session: Session) -> None:
        """A local client is gone."""
        node = self.server.node
        for key in [key for key in self.waiting if key[0] == session.id]:
            del self.waiting[key]
        if session.sequence and node.transport is not None:
            for peer in node.transport.links:
                node.transport.send(peer, SessionClosed(node.incarnation, session.id))
        self._close_proxy(node.incarnation, session.id)
        if node.host.is_leader and session.sequence:
            node.host.executor.closed_sessions.append((node.incarnation, session.id))

    def unblock(self, session: Session, *, with_error: bool) -> bool:
        """CLIENT UNBLOCK for a session whose blocking request waits on the leader. False if it has none."""
        node = self.server.node
        held = session.held[0] if session.held else None
        if held is None or not any(request is not None and request.may_block for request in held.requests):
            return False
        message = Unblock(node.incarnation, session.id, with_error)
        if node.host.leader == node.settings.id:
            self.peer_message(node.settings.id, message)
        elif node.host.leader is not None and node.transport is not None:
            node.transport.send(node.host.leader, message)
        return True

    # -- what peers say

    def peer_connected(self, node: NodeId) -> None:
        """What was said on the old connection may be lost."""
        if node == self.server.node.host.leader:
            self._ask_again = True

    def peer_message(self, sender: NodeId, message: PeerMessage) -> None:
        if type(message) is Forward:
            self._serve(sender, message)
        elif type(message) is Answer:
            if message.incarnation == self.server.node.incarnation:
                self._answered(message.session, message.sequence, message.reply, message.index)
        elif type(message) is Refused:
            self._ask_again = True
        elif type(message) is SessionClosed:
            self._close_proxy(message.incarnation, message.session)
            if self.server.node.host.is_leader:
                self.server.node.host.executor.closed_sessions.append((message.incarnation, message.session))
        elif type(message) is Unblock:
            self._unblock_proxy(message)

    # -- serving

    def _serve(self, sender: NodeId, message: Forward) -> None:
        host = self.server.node.host
        if host.serves():
            self._execute_or_queue(sender, message)
        elif host.is_leader:
            self._deferred.append((sender, message))
        elif sender != self.server.node.settings.id:
            assert self.server.node.transport is not None
            refused = Refused(message.incarnation, message.session, message.sequence, host.leader or 0)
            self.server.node.transport.send(sender, refused)

    def serve_deferred(self) -> None:
        """Goes on with what came before this leader could serve."""
        if self._deferred and self.server.node.host.serves():
            deferred, self._deferred = self._deferred, []
            for sender, message in deferred:
                self._execute_or_queue(sender, message)

    def _execute_or_queue(self, sender: NodeId, message: Forward) -> None:
        session = self._proxy(sender, message)
        proxy = session.proxy
        if message.sequence in proxy.expected or any(each.sequence == message.sequence for each in proxy.backlog):
            return
        if session.blocked is not None or proxy.backlog:
            proxy.backlog.append(message)
        else:
            self._execute(session, message)

    def _proxy(self, sender: NodeId, message: Forward) -> Session:
        key = (message.incarnation, message.session)
        session = self.proxies.get(key)
        if session is None:
            session = Session(self._next_proxy_id, None, f"node {sender}", "", self.server.now)
            self._next_proxy_id -= 1
            session.proxy = Proxy(sender, message.incarnation, message.session, deque(), deque())
            session.flush_queue = self.server.reactor.flush_queue
            self.proxies[key] = session
        return session

    def _execute(self, session: Session, message: Forward) -> None:
        server = self.server
        session.proxy.expected.append(message.sequence)
        session.want_flush()
        host = server.node.host
        known = host.executor.requests.find(message.incarnation, message.session, message.sequence)
        if known is not None and message.kind != ForwardKind.WATCH:
            session.send_bytes(known, host.executor.gate_of_everything())
            return
        session.database, session.protocol = message.database, message.protocol
        session.request_id = (message.incarnation, message.session, message.sequence, message.acknowledged)
        try:
            self._dispatch(session, message)
        except ClientError as error:
            session.send_reply(server.error_reply(error))

    def _dispatch(self, session: Session, message: Forward) -> None:
        server = self.server
        if message.kind == ForwardKind.SINGLE:
            argv = message.commands[0]
            server.dispatcher.call(session, server.routes.find(argv), argv)
        elif message.kind == ForwardKind.TRANSACTION:
            queued: list[tuple[Route, list[bytes]]] = [(server.routes.find(argv), argv) for argv in message.commands]
            transactions.run(server, session, queued, message.guard_term)
        elif message.kind == ForwardKind.WATCH:
            for key in message.commands[0]:
                server.watches.watch(server, session, key)
            session.send_reply(OK)
        else:
            server.watches.forget(session)
            session.send_reply(OK)

    def resume(self, session: Session) -> None:
        """A proxy is not blocked any more."""
        proxy: Proxy = session.proxy
        while proxy.backlog and session.blocked is None:
            self._execute(session, proxy.backlog.popleft())

    def flush(self, session: Session) -> None:
        """Sends a proxy's final replies to where its client is."""
        node = self.server.node
        proxy: Proxy = session.proxy
        replies, session.out[:] = session.out[:], []
        for reply in replies:
            sequence = proxy.expected.popleft()
            if proxy.node == node.settings.id:
                self._answered(proxy.session, sequence, reply, node.host.applied_index)
            elif node.transport is not None:
                answer = Answer(proxy.incarnation, proxy.session, sequence, reply, node.host.applied_index)
                node.transport.send(proxy.node, answer)

    def _unblock_proxy(self, message: Unblock) -> None:
        session = self.proxies.get((message.incarnation, message.session))
        if session is not None and self.server.blocking.is_parked(session):
            reply: Any = session.blocked.block.on_timeout
            if message.with_error:
                reply = Error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK")
            self.server.blocking.finish(session, reply)

    def _close_proxy(self, incarnation: int, session_id: int) -> None:
        session = self.proxies.get((incarnation, session_id))
        if session is not None:
            self._forget_proxy(session)

    def _forget_proxy(self, session: Session) -> None:
        proxy: Proxy = session.proxy
        self.proxies.pop((proxy.incarnation, proxy.session), None)
        session.closed_reason = "gone"
        if self.server.blocking.is_parked(session):
            self.server.blocking.unpark(session)
        self.server.watches.forget(session)
