"""Clients of any node, executed by the leader, exactly once (design section 12): the asking half.

Every request of a local client that this node cannot execute itself is kept until its final answer is there. The leader
is asked, and asked again whenever it or the connection to it has changed. The serving half is in `proxies.py`.

Invariants:
* Requests of one client reach a leader in order: there is one connection per direction, and whenever something may have
  been lost, everything unanswered is asked again before anything new.
* A local client's request is executed here directly only while none of its earlier ones is being asked elsewhere.
* A reply that was taken back becomes a request again; it is never shown.
"""

from typing import TYPE_CHECKING

from makoredis.base.ids import NodeId
from makoredis.cluster.messages import (
    Answer,
    Forward,
    Leads,
    Listeners,
    PeerMessage,
    Refused,
    SessionClosed,
    Unblock,
    WhoLeads,
)
from makoredis.data.access import Access
from makoredis.server.proxies import Proxies
from makoredis.server.session import ForwardKind, Held, Request, Session
from makoredis.txn.gate import Gate
from resp.replies import Error

if TYPE_CHECKING:
    from makoredis.server.server import Server

ANSWER_SECONDS_MAX = 30.0
"""After this long without a leader a request is answered with an error; whether it took place is not known then."""
AHEAD_SECONDS_MAX = 5.0
"""So long after it was asked an answer waits for this node to have what it tells of."""
NO_LEADER = Error(b"CLUSTERDOWN no leader answered in time; whether the command took place is not known")


class Forwarding:
    """What local clients wait for from the leader, which may be this node."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.waiting: dict[tuple[int, int], tuple[Request, Held]] = {}
        """Unanswered requests of local clients by session and sequence, oldest first."""
        self.proxies = Proxies(server)
        self.forwarded_count = 0
        self._heard: tuple[int, int] = (0, 0)
        """The leader and its term that others told this node of."""
        self._asked: tuple[int, int] = (0, 0)
        """The leader that everything unanswered was asked, and its term."""
        self._is_asking_anew = False
        """Something may have been lost: all is asked again at this turn's end."""
        self._is_refused = False
        """The leader that this node knows does not lead: all is asked again at the next tick."""
        self._ahead: list[tuple[int, int, bytes, int]] = []
        """Answers that wait until this node has what they tell of."""

    # -- asking

    def leadership(self) -> tuple[int, int]:
        """Whom to ask: the leader (0: unknown) and its term, as this replica or, if they know better, others know it.

        A node that is no member hears nothing of elections by itself.
        """
        host = self.server.node.host
        leader, term = self._heard
        if term > host.term or (term == host.term and host.leader is None):
            return leader, term
        return host.leader or 0, host.term

    def may_run_here(self, session: Session, is_use: bool = True) -> bool:
        """Whether this node executes the session's next request itself."""
        return session.proxy is not None or (not session.remote_count and self.server.node.serves(is_use))

    def may_read_here(self, session: Session) -> bool:
        """Whether a READONLY session's read may be answered from this follower's state, which is always final.

        A witness has none.
        """
        host, settings = self.server.node.host, self.server.node.settings
        is_recent = host.applied_index >= session.seen_index and host.is_consistent()
        has_data = settings.id not in settings.witnesses
        return has_data and not session.remote_count and is_recent and not self.is_stale()

    def is_stale(self) -> bool:
        """Whether the leader has not been heard of for longer than `max_staleness_ms`."""
        node = self.server.node
        return not node.host.is_leader and node.now() - node.heard_at > node.settings.max_staleness_seconds

    def submit(
        self,
        session: Session,
        kind: ForwardKind,
        commands: list[list[bytes]],
        *,
        may_block: bool = False,
        is_silent: bool = False,
        guard_term: int = 0,
    ) -> None:
        """Has a request executed by the leader; its answer takes its place among the session's replies."""
        session.sequence += 1
        request = Request(session.sequence, int(kind), session.database, session.protocol, commands)
        request.may_block = may_block
        request.is_silent = is_silent
        request.guard_term = guard_term
        self._wait(session, request, Gate(0))
        if self._asked == self.leadership() and not self._is_asking_anew and not self._is_refused:
            self._ask(session, request)

    def _wait(self, session: Session, request: Request, gate: Gate) -> None:
        held = session.hold_place(gate, request)
        session.remote_count += request.reply_count
        self.waiting[session.id, request.sequence] = (request, held)
        request.asked_at = self.server.node.now()

    def _ask(self, session: Session, request: Request) -> None:
        node = self.server.node
        leader, term = self.leadership()
        if not leader:
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
            term,
            b"" if session.user is None or session.user.is_unrestricted else session.user.permissions(),
            self._waited_ms(session, request),
        )
        node.host.core.wake()  # the leader may be gone, and nobody have noticed
        self.send(NodeId(leader), message)

    def _waited_ms(self, session: Session, request: Request) -> int:
        """How much of a blocking request's time is over. It runs from when all before it is answered."""
        if not request.may_block or session.held[0].requests[0] is not request:
            return 0
        return max(0, int((self.server.node.now() - request.asked_at) * 1000))

    def send(self, node_id: NodeId, message: PeerMessage) -> None:
        """Says something to a node, or to this one itself."""
        node = self.server.node
        if node_id == node.settings.id:
            self.peer_message(node_id, message)
        elif node.transport is not None:
            node.transport.send(node_id, message)

    def end_turn(self) -> None:
        """Asks again where something may have been lost, and goes on with what had to wait."""
        leadership = self.leadership()
        if leadership != self._asked or self._is_asking_anew:
            self._asked = leadership
            self._is_asking_anew = self._is_refused = False
            self._ask_all()
        ahead, self._ahead = self._ahead, []
        for answer in ahead:
            self._answered(*answer)
        self.proxies.serve_deferred()

    def tick(self) -> None:
        """Asks again after a refusal, and gives up on what nobody answers."""
        if self.waiting:
            self._find_leader()
            self._give_up()
        if self._is_refused:
            self._is_asking_anew = True

    def _find_leader(self) -> None:
        """Asks everybody who leads, if this node does not know or cannot reach who does."""
        node = self.server.node
        leader = self.leadership()[0]
        if node.transport is None or leader == node.settings.id:
            return
        if self._is_refused or not leader or not node.transport.is_up(NodeId(leader)):
            for peer in node.transport.links:
                self.send(peer, WhoLeads())

    def _ask_all(self) -> None:
        for (session_id, _), (request, _) in list(self.waiting.items()):
            session = self.server.by_id.get(session_id)
            if session is not None:
                self._ask(session, request)

    def _give_up(self) -> None:
        latest = self.server.node.now() - ANSWER_SECONDS_MAX
        for (session_id, sequence), (request, _) in list(self.waiting.items()):
            if request.asked_at <= latest and not request.may_block:
                self._answered(session_id, sequence, request.failed(NO_LEADER), 0)

    def _is_ahead(self, session_id: int, sequence: int, index: int) -> bool:
        """Whether an answer tells of functions that are not here yet.

        Where there are several shards the client's node runs them itself: what was just loaded must not be missing. A
        node that is no member, or a witness, never gets them.
        """
        node = self.server.node
        if (
            self.server.router is None
            or index <= node.host.applied_index
            or node.settings.id in node.settings.witnesses
        ):
            return False
        found = self.waiting.get((session_id, sequence))
        if found is None or node.now() - found[0].asked_at > AHEAD_SECONDS_MAX:
            return False
        return any(words[0].upper() == b"FUNCTION" for words in found[0].commands)

    def _answered(self, session_id: int, sequence: int, reply: bytes, index: int) -> None:
        if self._is_ahead(session_id, sequence, index):
            self._ahead.append((session_id, sequence, reply, index))
            return
        found = self.waiting.pop((session_id, sequence), None)
        session = self.server.by_id.get(session_id)
        if found is None or session is None:
            return
        request, held = found
        held.chunks[0] = b"" if request.is_silent else reply
        session.held_bytes += len(held.chunks[0])
        session.note_remote(len(reply), request.reply_count)
        session.seen_index = max(session.seen_index, index)
        assert held.gate is not None
        was_first = session.held[0] is held
        held.gate.open()
        session.release()
        following = session.held[0].requests[0] if was_first and session.held else None
        if following is not None and following.may_block:
            following.asked_at = self.server.node.now()
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
        self.proxies.leadership_lost()
        self._is_asking_anew = True

    def _hold_anew(self, session: Session) -> None:
        """Every reply that is not final goes back to being a request; local replies between them keep their place."""
        old = list(session.held)
        session.held.clear()
        session.want_flush()
        session.held_bytes = 0
        for held in old:
            for chunk, request in zip(held.chunks, held.requests):
                if request is None:
                    session.send_bytes(chunk, None)
                elif (session.id, request.sequence) in self.waiting:
                    session.held.append(held)
                    # Behind the earlier requests of this client that begin to wait only now.
                    self.waiting[session.id, request.sequence] = self.waiting.pop((session.id, request.sequence))
                else:
                    self._wait(session, request, Gate(0))

    def _move_blocked(self, session: Session) -> None:
        parked = session.blocked
        self.server.blocking.unpark(session)
        session.sequence += 1
        request = Request(session.sequence, 0, parked.database, session.protocol, [parked.argv], may_block=True)
        self._wait(session, request, Gate(0))
        request.asked_at = self.server.node.now() - (self.server.now_ms - parked.since_ms) / 1000

    def session_closed(self, session: Session) -> None:
        """A local client is gone."""
        node = self.server.node
        if session.remote_count:
            for key in [key for key in self.waiting if key[0] == session.id]:
                del self.waiting[key]
        if session.sequence:
            message = SessionClosed(node.incarnation, session.id)
            for peer in node.transport.links if node.transport is not None else ():
                self.send(peer, message)
            self.peer_message(node.settings.id, message)

    def unblock(self, session: Session, *, with_error: bool) -> bool:
        """CLIENT UNBLOCK for a session whose blocking request waits on the leader. False if it has none."""
        held = session.held[0] if session.held else None
        if held is None or not any(request is not None and request.may_block for request in held.requests):
            return False
        leader = self.leadership()[0]
        if leader:
            self.send(NodeId(leader), Unblock(self.server.node.incarnation, session.id, with_error))
        return True

    # -- several shards

    def run_part(self, access: Access, operation: bytes) -> bytes:
        """Runs what a shard led here has to do for a transaction."""
        assert self.server.router is not None
        return self.server.router.run_part(access, operation)

    # -- what peers say

    def peer_connected(self, node: NodeId) -> None:
        """What was said on the old connection may be lost."""
        self.server.pubsub.interests.peer_connected(node)
        if self.server.router is not None:
            self.server.router.requests.peer_connected(node)
        if node == self.leadership()[0]:
            self._is_asking_anew = True

    def peer_called(self, node: NodeId, incarnation: int) -> None:
        """A node has connected to this one: what it said before may be lost, answers for example."""
        self.peer_connected(node)
        self.proxies.node_called(node, incarnation)

    def peer_gone(self, node: NodeId) -> None:
        """Nothing is heard from a node any more."""
        self.server.pubsub.interests.peer_gone(node)
        self.proxies.node_gone(node)

    def peer_message(self, sender: NodeId, message: PeerMessage) -> None:
        if type(message) is Forward:
            self.proxies.serve(sender, message)
        elif type(message) is Answer:
            if message.incarnation == self.server.node.incarnation:
                self._answered(message.session, message.sequence, message.reply, message.index)
        elif type(message) is Refused:
            self._is_refused = True
        elif type(message) is WhoLeads:
            leader, term = self.leadership()
            if leader:
                self.send(sender, Leads(leader, term))
        elif type(message) is Leads:
            self._heard = max(self._heard, (message.node, message.term), key=lambda leadership: leadership[1])
        elif type(message) is SessionClosed:
            self.proxies.session_closed(message.incarnation, message.session)
        elif type(message) is Unblock:
            self.proxies.unblock(message)
        elif type(message) is Listeners:
            self.server.pubsub.interests.learn(sender, message)
