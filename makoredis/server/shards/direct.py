"""The fast path where there are several shards: plain commands of plain clients, as many at a time as go to one shard.

Consecutive requests of a session, each for keys of one shard, are a *batch*, and take effect as one transaction. If
this node leads the shard, they run in place on the leader's state, and their replies wait at a gate
(`makoredis.txn.in_place`); reads that see nothing pending are answered at once. If another node leads it, they are one
message. A pipeline that goes to and fro between shards is one transaction over them, and every shard runs its part. A
session has at most one batch under way, so its requests take effect in its order however many shards they go to, and
what was taken back with a lost leadership can be asked again, as the request that it was, without regard to others.
Whatever a session wants while a batch is under way waits in its backlog, and becomes the next one.

Everything else, and what meets a lock of a transaction over several shards, goes the way of `router`.
"""

from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError
from makoredis.base.ids import ShardId
from makoredis.data.access import Access
from makoredis.server.dispatch import Work
from makoredis.server.routes import Route
from makoredis.server.session import Held, Request, Session
from makoredis.server.shards.keys import Name, Reach
from makoredis.server.shards.series import ShardSeries
from makoredis.txn.gate import Gate
from makoredis.txn.participant import Participant
from makoredis.txn.requests import RequestRecord
from resp.encode import encoder_table

if TYPE_CHECKING:
    from makoredis.server.shards.router import Router

BATCH_REQUESTS_MAX = 256
"""In one transaction."""
BATCH_REPLY_BYTES_MAX = 64 * 1024
"""The log keeps the replies of a batch that changes something; beyond this the next request is in the next batch."""
BATCH_BYTES_MAX = 256 * 1024
"""Of arguments, for another node."""
WIDE = -1
"""`Session.held_shard` of a batch for several shards."""
_OTHER_DATABASES = frozenset(("MOVE", "COPY"))
"""Name keys of databases that are not selected."""


class Drain:
    """A session whose next request has to wait until its replies are out; `Session.blocked` meanwhile."""

    def __init__(self, direct: "Direct", session: Session) -> None:
        self.direct = direct
        self.session = session

    def release(self) -> None:
        self.direct.drained(self)


class Direct:
    """Runs what clients have sent, and leaves to the dispatcher what is not plain."""

    def __init__(self, router: "Router") -> None:
        self.router = router
        self.server = router.server
        self.shards = router.shards
        self.routes: dict[bytes, Route] = {
            word: route
            for word, route in self.server.routes.direct.items()
            if router.reaches[route.name] is Reach.NAMED and route.name not in _OTHER_DATABASES
        }
        """Plain commands that touch the keys they name, and no others, by the spellings that clients use."""
        self._access: Access | None = None
        """Of the batch that is being run."""
        self.series = ShardSeries(self)

    def run(self, work: Iterable[Work]) -> None:
        """Executes requests, those of one session in order. What it raises concerns the dispatcher's `running`."""
        dispatcher = self.server.dispatcher
        for session, requests in work:
            if session.closed_reason is not None:
                continue
            dispatcher.running = session
            session.commands_count += len(requests)
            session.last_command = requests[-1]
            try:
                self._serve(session, requests)
            finally:
                if self._access is not None:
                    self._access.rollback()
                    self._access = None

    def _serve(self, session: Session, requests: Sequence[list[bytes]]) -> None:
        """Runs a session's requests, up to one that has to wait."""
        node, shards, routes = self.server.node, self.shards, self.routes
        if node.now() >= shards.tick_due:
            node.account_time()
        dispatcher = self.server.dispatcher
        at, end = 0, len(requests)
        while at < end:
            argv = requests[at]
            route = routes.get(argv[0])
            shard = 0
            is_plain = not session.is_special and not self.server.is_special
            if is_plain and route is not None and route.row.accepts(len(argv)):
                shard = self.shard_of(route, argv)
            if shard:
                if session.held:
                    self._drain(session, requests[at:])
                    return
                assert route is not None
                count = self._run_plain(session, ShardId(shard), route, requests, at)
                if count:
                    at += count
                    continue
            if session.held and self._must_drain(session, argv):
                self._drain(session, requests[at:])
                return
            session.held_shard = 0
            dispatcher.process(session, argv)
            at += 1
            if session.blocked is not None or session.close_after_reply:
                session.backlog.extend(requests[at:])
                return

    def shard_of(self, route: Route, argv: list[bytes]) -> int:
        """The shard of all keys of a request; 0: there is more than one, or none."""
        slots = self.router.slots
        row = route.row
        if row.first_key and row.first_key == row.last_key:
            return slots.shard_of(argv[row.first_key])
        shards = {slots.shard_of(key) for key in row.keys(argv)}
        return shards.pop() if len(shards) == 1 else 0

    def _run_plain(
        self, session: Session, shard: ShardId, route: Route, requests: Sequence[list[bytes]], at: int
    ) -> int:
        """Runs plain requests, of which the first is for this shard, as far as they can be one transaction: they take
        effect in order, and no shard's are waited for before the next one's. Returns how many; 0: it is not to be done
        here."""
        participant = self.shards.serving(shard)
        redirects = self.server.node.settings.redirects
        if not redirects and (participant is None or (route.is_write and len(requests) - at > 1)):
            batch, shards = self._gather(requests, at)
            if len(set(shards)) > 1:
                held = self._hold(session, batch, WIDE)
                self.router.requests.coordinate_batch(session, held, shards)
                return len(batch)
            if participant is None:
                self.router.requests.ask_batch(session, self._hold(session, batch, shard), shard)
                return len(batch)
        if participant is None:
            return 0  # the client is to be told where to go
        return self._run_batch(session, participant, shard, requests, at)

    def _gather(self, requests: Sequence[list[bytes]], at: int) -> tuple[list[list[bytes]], list[int]]:
        """The consecutive plain requests that may be sent as one, at least the first; and the shard of each."""
        batch: list[list[bytes]] = []
        shards: list[int] = []
        size = 0
        for argv in requests[at : at + BATCH_REQUESTS_MAX]:
            route = self.routes.get(argv[0])
            size += sum(map(len, argv))
            if route is None or (batch and size > BATCH_BYTES_MAX) or not route.row.accepts(len(argv)):
                break
            shard = self.shard_of(route, argv)
            if not shard:
                break
            batch.append(argv)
            shards.append(shard)
        return batch, shards

    # -- in place

    def _run_batch(
        self, session: Session, participant: Participant, shard: int, requests: Sequence[list[bytes]], at: int
    ) -> int:
        """Runs consecutive requests for a shard that is led here as one transaction. Returns how many."""
        started = perf_counter()
        server, database = self.server, session.database
        access, in_place = self.begin(session, participant), participant.in_place
        encoders = encoder_table(session.protocol)
        slow_seconds = server.slow_threshold_us / 1e6 if server.slow_threshold_us >= 0 else float("inf")
        names: list[Name] = []
        replies: list[bytes] = []
        size, first = 0, at
        while True:
            argv = requests[at]
            route = self.routes[argv[0]]
            row = route.row
            if row.first_key and row.first_key == row.last_key:
                keys: list[Name] = [(database, argv[row.first_key])]
            else:
                keys = [(database, key) for key in row.keys(argv)]
            if not in_place.is_free(keys, is_exclusive=route.is_write):
                break
            access.is_replica = bool(participant.locks) and not route.is_write
            names += keys
            reply: Any
            try:
                reply = route.handler(access, *argv[1:])
            except ClientError as error:
                route.failed += 1
                reply = server.error_reply(error)
            if reply is None:
                route.missed += 1
            data = encoders[type(reply)](reply)
            replies.append(data)
            size += len(data)
            ended = perf_counter()
            elapsed = ended - started
            started = ended
            route.ran(elapsed)
            if elapsed > slow_seconds:
                server.note_slow(session, argv, elapsed * 1e6)
            at += 1
            if at == len(requests) or not self._goes_on(requests[at], shard, len(replies), size):
                break
        self.done()
        if replies:
            self.finish(session, participant, names, b"".join(replies), shard, requests[first:at])
        return at - first

    def _goes_on(self, argv: list[bytes], shard: int, count: int, size: int) -> bool:
        """Whether a request may be in the same batch as those before it."""
        route = self.routes.get(argv[0])
        if route is None or count >= BATCH_REQUESTS_MAX or size >= BATCH_REPLY_BYTES_MAX:
            return False
        assert self._access is not None
        if route.is_write and not self._access.effects:
            return False  # what only reads is not kept in the log, and perhaps need not wait
        return route.row.accepts(len(argv)) and self.shard_of(route, argv) == shard

    def begin(self, session: Session, participant: Participant) -> Access:
        """Readies a shard's access for a batch of this session; `done` has to follow."""
        self.server.dispatcher.session = session
        access = self._access = participant.in_place.access
        access.now_ms = self.server.now_ms
        access.number = session.database
        access.database = access.space.databases[session.database]
        access.protocol = session.protocol
        access.origin = session.id
        access.notes_new = self.server.node.host.access.notes_new
        return access

    def done(self) -> None:
        """The batch has run, or was taken back."""
        self._access = None

    def finish(
        self,
        session: Session,
        participant: Participant,
        names: list[Name],
        data: bytes,
        shard: int,
        requests: Sequence[list[bytes]],
    ) -> None:
        """Makes a transaction of a batch; its replies leave when what they show is final."""
        access = participant.in_place.access
        gate: Gate | None
        if access.effects:
            session.sequence += 1
            record = RequestRecord(self.shards.incarnation, session.id, session.sequence, session.sequence - 1, data)
            gate = participant.in_place.commit(names, record)
        else:
            access.notices = []
            gate = participant.in_place.gate_of(names) if participant.pending else None
            if gate is not None:
                session.sequence += 1
        seen_ts = participant.clock.last
        if seen_ts > session.seen_ts:
            session.seen_ts = seen_ts
        if gate is None:
            session.out.append(data)
        else:
            session.held_shard = shard
            request = Request(session.sequence, 0, session.database, session.protocol, list(requests))
            session.send_bytes(data, gate, request)

    def _hold(self, session: Session, batch: list[list[bytes]], shard: int) -> Held:
        """The place for the replies of a batch."""
        session.sequence += 1
        session.held_shard = shard
        for argv in batch:
            self.routes[argv[0]].calls += 1
        request = Request(session.sequence, 0, session.database, session.protocol, batch)
        return session.hold_place(Gate(0), request)

    # -- order

    def _must_drain(self, session: Session, argv: list[bytes]) -> bool:
        """Whether a request that is not plain waits for the replies before it.

        Only what goes to the group of all nodes (published messages) need not wait for others of that kind.
        """
        if session.held_shard:
            return True
        route = self.server.routes.by_name.get(argv[0].decode("latin-1").upper())
        return route is None or self.router.takes(route) or route.name in ("EXEC", "WATCH")

    def _drain(self, session: Session, requests: Sequence[list[bytes]]) -> None:
        """Has a session wait until all its replies are out; then it goes on with these requests."""
        session.backlog.extend(requests)
        drain = session.blocked = Drain(self, session)
        session.refresh_special()
        self._wait(drain)

    def _wait(self, drain: Drain) -> None:
        gate = next(held.gate for held in reversed(drain.session.held) if held.gate is not None)
        gate.waiters.append(drain)

    def drained(self, drain: Drain) -> None:
        """A gate has opened."""
        session = drain.session
        if session.blocked is not drain:
            return
        session.release()
        if session.held:
            self._wait(drain)
            return
        session.blocked = None
        session.refresh_special()
        self.server.reactor.resume(session)

    # -- what is lost

    def ask_again(self, gates: Iterable[Gate]) -> None:
        """Has what waits at these gates, which never open, asked as requests of other nodes' clients are."""
        for gate in gates:
            for waiter in gate.waiters:
                if isinstance(waiter, Session) and waiter.closed_reason is None:
                    self._ask_again(waiter)

    def _ask_again(self, session: Session) -> None:
        for held in session.held:
            request = held.requests[0]
            if request is not None and held.gate is not None and held.gate.is_void:
                self._hold_anew(session, held)
                self.router.requests.ask_batch(session, held, session.held_shard)

    @staticmethod
    def _hold_anew(session: Session, held: Held) -> None:
        """Makes of a reply the place of one that is not known yet."""
        session.held_bytes -= len(held.chunks[0])
        held.chunks[0] = b""
        held.gate = Gate(0)
        held.gate.waiters.append(session)
        if isinstance(session.blocked, Drain):
            held.gate.waiters.append(session.blocked)
