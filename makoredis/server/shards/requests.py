"""What clients of this node wait for: one request, or one batch (`direct`), per client at a time, so that a client's
requests take effect in its order however many shards they go to. What a client has sent behind it waits in its backlog.

Keys may be in another shard than this node believes. Then the shard that was asked says in which, nothing was done, and
the request begins anew (`again`); the client hears nothing of it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from makoredis.base.ids import NodeId, ShardId
from makoredis.base.record import wire_encode
from makoredis.cluster.messages import Submit
from makoredis.cluster.shards import Shards, Ticket
from makoredis.server.session import Held, Request
from makoredis.server.shards.accounts import Accounts
from makoredis.server.shards.keys import Name, locks_on
from makoredis.server.shards.operations import Run, decode_ran
from makoredis.txn.coordinator import Finished, Verdict
from makoredis.txn.handover import decode_moved, is_moved
from makoredis.txn.in_hand import Reply
from makoredis.txn.messages import Part
from resp.encode import encode
from resp.replies import Error

if TYPE_CHECKING:
    from makoredis.server.server import Server
    from makoredis.server.session import Session

ANSWER_SECONDS_MAX = 30.0
"""After this long without an answer a request is answered with an error."""
UNKNOWN = Error(b"CLUSTERDOWN no leader answered in time; whether the command took place is not known")

NO_ANSWER = encode(Error(b"ERR internal error, see the server's log"), 2)
"""Where a shard has fewer answers than commands: running them has failed."""

REDIRECTIONS_MAX = 3
"""So often in a row a request is sent on at once; then it waits for the next tick."""

Again = Callable[[], None]
"""Starts a request anew whose keys are in other shards than was thought."""
Answered = Callable[[bytes, int], None]
"""Results of one shard and their timestamp."""
Settled = Callable[[Finished], None]


@dataclass(slots=True, eq=False)
class Outstanding:
    """A request under way; `Session.blocked` while it is."""

    session: "Session"
    sequence: int
    is_silent: bool
    """CLIENT REPLY OFF or SKIP: the answer is not shown."""
    since: float
    shard: int = 0
    """Which one is asked; 0: the coordinator."""
    part: Part | None = None
    on_answer: Answered | None = None
    on_finished: Settled | None = None
    asked: tuple[int, int] | None = None
    """Leader and term; None: nobody, or in vain."""
    held: Held | None = None
    """The place of the answer among the session's replies, if that goes on meanwhile; else it is blocked."""
    again: Again | None = None


class Requests:
    """Everything that clients of this node wait for."""

    def __init__(self, server: "Server", shards: Shards) -> None:
        self.server = server
        self.shards = shards
        self.accounts = Accounts(server)
        self.waiting: dict[tuple[int, int], Outstanding] = {}
        """By session and sequence."""
        self._leaderships: list[tuple[int, int]] = []
        self._redirections: dict[int, int] = {}
        """By session, how often its request was sent on."""
        self._later: list[tuple[Session, Again]] = []

    # -- asking

    def ask(
        self,
        session: "Session",
        shard: int,
        part: Part,
        on_answer: Answered,
        again: Again,
        held: Held | None = None,
    ) -> None:
        """Has one shard do its part as a transaction of its own."""
        outstanding = self._hold(session, held)
        outstanding.again = again
        outstanding.shard, outstanding.part, outstanding.on_answer = shard, part, on_answer
        self._send(outstanding)

    def ask_batch(self, session: "Session", held: Held, shard: int) -> None:
        """Has one shard run the commands of a request that has its place among the session's replies."""
        request = held.requests[0]
        assert request is not None
        part, _ = self._part_of(request, request.commands)
        outstanding = Outstanding(session, request.sequence, False, self.server.node.now(), shard, part, held=held)
        outstanding.again = partial(self._begin_anew, session, held)
        self.waiting[session.id, request.sequence] = outstanding
        self._send(outstanding)

    def coordinate_batch(self, session: "Session", held: Held, shards: Sequence[int]) -> None:
        """Has several shards run theirs, as one transaction.

        Args:
            shards: by command.
        """
        request = held.requests[0]
        assert request is not None
        commands: dict[int, list[list[bytes]]] = {}
        for argv, shard in zip(request.commands, shards):
            commands.setdefault(shard, []).append(argv)
        # Nothing may be asked again where anything is written, in whichever shard.
        may_cut = not any(self.server.routes.find(argv).row.is_write for argv in request.commands)
        parts = {shard: self._part_of(request, each, may_cut=may_cut) for shard, each in commands.items()}
        outstanding = Outstanding(session, request.sequence, False, self.server.node.now(), held=held)

        def finished(result: Finished) -> None:
            ran = {shard: decode_ran(each) for shard, each in result.results.items()}
            replies = {shard: iter(each.replies) for shard, each in ran.items()}
            micros = {shard: iter(each.micros) for shard, each in ran.items()}
            answered: list[bytes] = []
            for shard in shards:
                reply = next(replies[shard], None)
                if reply is None and ran[shard].is_cut:
                    break
                answered.append(NO_ANSWER if reply is None else reply)
            self._fill_up_to(session, held, answered, [next(micros[shard], 0) for shard in shards[: len(answered)]])

        outstanding.on_finished, outstanding.again = finished, partial(self._begin_anew, session, held)
        self.waiting[session.id, request.sequence] = outstanding
        self.shards.coordinator.begin(
            self._ticket(outstanding),
            {shard: part for shard, (part, _) in parts.items()},
            is_read_only=all(is_read_only for _, is_read_only in parts.values()),
        )

    def _begin_anew(self, session: "Session", held: Held) -> None:
        """Runs what has its place among the session's replies in whichever shards its keys are by now."""
        request, router = held.requests[0], self.server.router
        assert request is not None and router is not None
        run, names = self._run_of(request, request.commands)
        router.begin_batch(session, held, run, names)

    def _part_of(self, request: Request, commands: list[list[bytes]], *, may_cut: bool = True) -> tuple[Part, bool]:
        """What a shard has to do, and whether it only reads. Then long answers may be cut."""
        run, names = self._run_of(request, commands, may_cut=may_cut)
        return Part(wire_encode(run), locks_on(names, is_exclusive=not run.is_read_only)), run.is_read_only

    def _run_of(
        self, request: Request, commands: list[list[bytes]], *, may_cut: bool = False
    ) -> tuple[Run, list[Name]]:
        names: list[Name] = []
        is_read_only = True
        for argv in commands:
            row = self.server.routes.find(argv).row
            is_read_only = is_read_only and not row.is_write
            names += [(request.database, key) for key in row.keys(argv)]
        words = [(request.database, argv) for argv in commands]
        return Run(request.protocol, words, is_read_only, may_cut=may_cut and is_read_only), names

    def _fill_up_to(self, session: "Session", held: Held, replies: list[bytes], micros: Sequence[int]) -> None:
        """Puts the first replies where they belong. The other commands only read, and were not run: they are the
        session's next ones again."""
        request = held.requests[0]
        assert request is not None
        rest = request.commands[len(replies) :]
        request.commands = request.commands[: len(replies)]
        for argv in rest:
            self.server.routes.find(argv).calls -= 1
        session.backlog.extendleft(reversed(rest))
        self.fill(session, held, replies, micros)
        if rest:
            self.server.reactor.resume(session)

    def fill(self, session: "Session", held: Held, replies: list[bytes], micros: Sequence[int] = ()) -> None:
        """Puts replies where they belong."""
        assert held.requests[0] is not None and held.gate is not None
        self._redirections.pop(session.id, None)
        self.accounts.batch_answered(session, held.requests[0].commands, replies, micros)
        missing = len(held.requests[0].commands) - len(replies)
        held.chunks[0] = b"".join(replies) + b"".join(replies[-1:]) * missing
        session.held_bytes += len(held.chunks[0])
        held.gate.open()

    def coordinate(
        self,
        session: "Session",
        parts: dict[int, Part],
        on_finished: Settled,
        again: Again,
        *,
        is_read_only: bool,
        combine: object = None,
        held: Held | None = None,
    ) -> None:
        """Has several shards do theirs, all or none."""
        outstanding = self._hold(session, held)
        outstanding.on_finished, outstanding.again = on_finished, again
        ticket = self._ticket(outstanding)
        self.shards.coordinator.begin(ticket, parts, is_read_only=is_read_only, combine=combine)  # type: ignore[arg-type]

    def _hold(self, session: "Session", held: Held | None) -> Outstanding:
        session.sequence += 1
        if held is not None:
            outstanding = Outstanding(session, session.sequence, False, self.server.node.now(), held=held)
            self.waiting[session.id, session.sequence] = outstanding
            return outstanding
        is_silent = session.reply_mode in ("off", "skip")
        earlier = session.blocked
        if isinstance(earlier, Outstanding):
            is_silent = earlier.is_silent
        outstanding = Outstanding(session, session.sequence, is_silent, self.server.node.now())
        session.blocked = outstanding
        session.refresh_special()
        if session.tracking is not None and session.late_pushes is None:
            session.late_pushes = []  # an invalidation must not overtake the value that it is about
        self.waiting[session.id, session.sequence] = outstanding
        return outstanding

    def _ticket(self, outstanding: Outstanding) -> Ticket:
        shards = self.shards
        return Ticket(shards.node, shards.incarnation, outstanding.session.id, outstanding.sequence)

    def _send(self, outstanding: Outstanding) -> None:
        shards, part = self.shards, outstanding.part
        assert part is not None
        shard = ShardId(outstanding.shard)
        leader, term = shards.leader_of(shard)
        outstanding.asked = None
        if leader == shards.node:
            if shards.submit(shard, self._ticket(outstanding), part):
                outstanding.asked = (leader, term)
        elif leader and self.server.node.is_connected(NodeId(leader)):
            message = Submit(shard, term, shards.incarnation, outstanding.session.id, outstanding.sequence, part)
            shards.replicas[shard].core.wake()  # it may be gone, and nobody have noticed
            shards.send(NodeId(leader), message)
            self.server.forwarding.forwarded_count += 1
            outstanding.asked = (leader, term)

    # -- answers

    def take(self) -> bool:
        """Hands over what has been answered since the last call. Returns whether there was anything."""
        results = self.shards.take_results()
        for result in results:
            ticket = result.ticket
            assert isinstance(ticket, Ticket)
            outstanding = self.waiting.pop((ticket.session, ticket.sequence), None)
            if outstanding is None or ticket.incarnation != self.shards.incarnation:
                continue
            if outstanding.session.closed_reason is None:
                self._handle(outstanding, result)
        for ticket in self.shards.take_turned():
            turned = self.waiting.get((ticket.session, ticket.sequence))
            if turned is not None:
                turned.asked = None
        return bool(results)

    def _handle(self, outstanding: Outstanding, result: Reply | Finished) -> None:
        session = outstanding.session
        if isinstance(result, Reply) and is_moved(result.results):
            self._send_on(outstanding, [result.results])
        elif isinstance(result, Reply):
            self.note_ts(session, result.ts)
            if outstanding.on_answer is not None:
                outstanding.on_answer(result.results, result.ts)
            else:
                assert outstanding.held is not None
                ran = decode_ran(result.results)
                fill = self._fill_up_to if ran.is_cut else self.fill
                fill(session, outstanding.held, ran.replies, ran.micros)
        elif result.verdict is Verdict.MOVED:
            self._send_on(outstanding, result.results.values())
        elif result.verdict is Verdict.UNKNOWN:
            self._fail(outstanding, UNKNOWN)
        elif result.verdict is Verdict.NOT_DONE:
            self._fail(outstanding, self._not_done())
        else:
            self.note_ts(session, result.ts)
            assert outstanding.on_finished is not None
            outstanding.on_finished(result)

    def _not_done(self) -> Error:
        shards = self.shards
        leaderless = [str(shard) for shard in shards.slots.shards if not shards.leader_of(shard)[0]]
        if leaderless:
            reason = f"no leader was elected in time for shard {', '.join(leaderless)}"
        else:
            reason = "the shards' leaders did not agree in time"
        return Error(f"CLUSTERDOWN {reason}; the command did not take place".encode())

    def _fail(self, outstanding: Outstanding, error: Error) -> None:
        session, data = outstanding.session, encode(error, outstanding.session.protocol)
        if outstanding.held is not None:
            self.fill(session, outstanding.held, [data])
        else:
            self.reply(session, data)

    def _send_on(self, outstanding: Outstanding, results: Iterable[bytes]) -> None:
        """Some keys are in another shard."""
        session, again = outstanding.session, outstanding.again
        assert again is not None
        for each in results:
            self.shards.slots.learn(decode_moved(each))
        count = self._redirections[session.id] = self._redirections.get(session.id, 0) + 1
        if count <= REDIRECTIONS_MAX:
            again()
        else:
            self._later.append((session, again))

    def note_ts(self, session: "Session", ts: int) -> None:
        """What a session is answered is as of this timestamp."""
        session.seen_ts = max(session.seen_ts, ts)
        if session.tracking is not None:
            self.server.tracking.answered(session, ts)

    @staticmethod
    def flush_late(session: "Session") -> None:
        """Nothing goes behind a reply any more."""
        late, session.late_pushes = session.late_pushes, None
        for data in late or ():
            session.push(data)

    def reply(self, session: "Session", data: bytes) -> None:
        """Answers a client for good, and goes on with what it has sent meanwhile."""
        outstanding = session.blocked
        if isinstance(outstanding, Outstanding):
            is_silent = outstanding.is_silent
        else:
            is_silent = session.reply_mode in ("off", "skip")
        session.blocked = None
        if self._redirections:
            self._redirections.pop(session.id, None)
        session.refresh_special()
        if session.closed_reason is None and not is_silent:
            session.send_bytes(data, None)
            session.want_flush()
        if session.late_pushes is not None:
            self.flush_late(session)
        if session.backlog:
            self.server.reactor.resume(session)

    # -- time, and what may be lost

    def end_turn(self) -> None:
        """Asks anew whom a change of leaders concerns."""
        shards = self.shards
        leaderships = [shards.leader_of(shard) for shard in shards.slots.shards]
        if leaderships != self._leaderships:
            self._leaderships = leaderships
            for outstanding in list(self.waiting.values()):
                if outstanding.part is not None and outstanding.asked != leaderships[outstanding.shard - 1]:
                    self._send(outstanding)

    def tick(self) -> None:
        """Asks again who was turned away, and gives up on what nobody answers."""
        later, self._later = self._later, []
        for session, again in later:
            if session.closed_reason is None:
                again()
        latest = self.server.node.now() - ANSWER_SECONDS_MAX
        for key, outstanding in list(self.waiting.items()):
            if outstanding.part is None:
                continue
            if outstanding.since <= latest:
                del self.waiting[key]
                self._fail(outstanding, UNKNOWN)
            elif outstanding.asked is None:
                self._send(outstanding)

    def peer_connected(self, node: int) -> None:
        """What was said to a node, or by it, may be lost."""
        for outstanding in self.waiting.values():
            if outstanding.asked is not None and outstanding.asked[0] == node:
                outstanding.asked = None

    def session_closed(self, session: "Session") -> None:
        """A client is gone."""
        for key in [key for key in self.waiting if key[0] == session.id]:
            del self.waiting[key]
        self._redirections.pop(session.id, None)
        self.shards.sessions.close(session.id)
