"""From a request to its reply.

`Dispatcher.run` is the fast path: a plain command of a plain client on a node that leads the only shard. Anything else
goes through `process`, an ordered list of refusals as in Redis's `processCommand`. Both end in `call`'s rule: what is
common to all commands happens once, around the handler.
"""

from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError, SubcommandError
from makoredis.commands.registry import WouldBlock
from makoredis.data.access import Access
from makoredis.data.slots import slot_of
from makoredis.server.commands.cluster import moved
from makoredis.server.routes import FLUSHES, NO_REPLY, Route, Routes
from makoredis.server.session import ForwardKind, Request, Session
from makoredis.txn.gate import Gate
from makoredis.txn.requests import RequestRecord
from resp.encode import encode, encoder_table
from resp.replies import QUEUED, Error

if TYPE_CHECKING:
    from makoredis.server.server import Server

Work = tuple[Session, Sequence[list[bytes]]]
"""What one session wants in this turn."""

EXEC_ABORTED = Error(b"EXECABORT Transaction discarded because of previous errors.")
_NOT_QUEUED = frozenset(("EXEC", "DISCARD", "MULTI", "WATCH", "QUIT", "RESET"))
_BEFORE_AUTH = frozenset(("AUTH", "HELLO", "QUIT", "RESET"))


class Dispatcher:
    """Runs requests of sessions on the node's keyspace."""

    def __init__(self, server: "Server", routes: Routes) -> None:
        self.server = server
        self.routes = routes
        self.session: Session | None = None
        """Whose requests are executed now, or were last; also somebody's who is served in between."""
        self.running: Session | None = None
        """Whose requests `run` executes now, or did last."""
        self._begun: Session | None = None
        """The last one that may take the fast path in this run: so may the next one, if it is `session` still."""
        self._unrecorded: tuple[Session, int, bytes] | None = None
        """The last write whose answer, and those before it, are not in the log's next entry yet; its answer."""

    def run(self, work: Iterable[Work]) -> None:
        """Executes requests, those of one session in order; those behind one that blocks wait in its backlog.

        What it raises concerns `running`. An iterator can be handed in again then: the others' requests are in it.
        """
        if self.server.router is not None:
            self.server.router.direct.run(work)
            return
        self._run_all(work)
        self._record_run()

    def _run_all(self, work: Iterable[Work]) -> None:
        """The loop of `run`, in which most of a server's time is spent."""
        server, direct = self.server, self.routes.direct
        host = server.node.host
        access, executor, blocking = host.access, host.executor, server.blocking
        slow_seconds = server.slow_threshold_us / 1e6 if server.slow_threshold_us >= 0 else float("inf")
        wall_us, is_replicated = server.wall_us, server.node.is_replicated
        request: Request | None = None
        self._begun = None
        started = perf_counter()
        for session, requests in work:
            if session.closed_reason is not None:
                continue
            is_plain = self._start(session, requests)
            encoders = encoder_table(session.protocol)
            out, held = session.out, session.held
            for argv in (remaining := iter(requests)):
                route = direct.get(argv[0])
                if route is None or not is_plain:
                    self._record_run()
                    self.process(session, argv)
                    if session.blocked is not None or session.close_after_reply:
                        session.backlog.extend(remaining)
                        break
                    is_plain = self._prepare(session, is_use=False)
                    encoders = encoder_table(session.protocol)
                    started = perf_counter()
                    continue
                if len(argv) != route.arity and (route.arity > 0 or len(argv) < -route.arity):
                    self._reject(session, route, f"ERR wrong number of arguments for '{route.name.lower()}' command")
                    continue
                try:
                    reply = route.handler(access, *argv[1:])
                except ClientError as error:
                    route.failed += 1
                    reply = server.error_reply(error)
                if reply is None:
                    route.missed += 1
                data = encoders[type(reply)](reply)
                effects = access.effects
                if is_replicated:
                    session.sequence += 1
                    request = Request(session.sequence, 0, session.database, session.protocol, [argv])
                if effects:
                    gate = executor.commit(access, wall_us)
                    if is_replicated:
                        self._unrecorded = (session, session.sequence, data)
                    if server.observes_effects:
                        server.after_commit(effects)
                        self.begin(session)  # others may have been served
                elif executor.pending_count or access.messages or access.notices:
                    gate = self._gate_of_read(route, argv, access)
                else:
                    gate = None
                if gate is None and not held:
                    out.append(data)
                elif held and (gate is None or held[-1].gate is gate):  # session.send_bytes, without the call
                    session.held_bytes += len(data)
                    held[-1].chunks.append(data)
                    held[-1].requests.append(request)
                else:
                    session.send_bytes(data, gate, request)
                ended = perf_counter()
                elapsed, started = ended - started, ended
                route.ran(elapsed)
                if elapsed > slow_seconds:
                    server.note_slow(session, argv, elapsed * 1e6)
                if blocking.ready:
                    started = self._serve_blocked(session)

    def _serve_blocked(self, session: Session) -> float:
        """Serves those who waited for what a session has done. Returns when that was done."""
        self.server.blocking.serve()
        self.begin(session)
        return perf_counter()

    def _record_run(self) -> None:
        """Has the log's next entry say what a session's last write was answered, and all before it since the record
        before: one record for a whole pipeline."""
        if self._unrecorded is None:
            return
        session, sequence, reply = self._unrecorded
        self._unrecorded = None
        self.server.node.host.executor.answered(self.record(session, reply, sequence))

    def _start(self, session: Session, requests: Sequence[list[bytes]]) -> bool:
        """Turns to a session. Returns what `_prepare` does."""
        if self._unrecorded is not None:
            self._record_run()
        self.running = session
        session.commands_count += len(requests)
        session.last_command = requests[-1]
        node = self.server.node
        if (
            self._begun is None
            or self._begun is not self.session
            or session.is_special
            or (node.is_replicated and (session.remote_count or node.now() >= node.host.serves_until))
        ):
            is_plain = self._prepare(session, is_use=requests[0][0] in self.routes.direct)
            self._begun = session if is_plain else None
            return is_plain
        # As `begin`; the rest is as the session before has left it.
        access = node.host.access
        access.number = session.database
        access.database = access.space.databases[session.database]
        access.protocol = session.protocol
        access.origin = session.id
        access.script_reads = False
        self.session = self._begun = session
        return True

    def _prepare(self, session: Session, is_use: bool) -> bool:
        """Readies the access for this session's next requests. Returns whether they may take the fast path.

        Args:
            is_use: whether they are about data, so that the shard must not fall silent.
        """
        self.begin(session)
        if session.is_special or self.server.is_special:
            return False
        return not self.server.node.is_replicated or self.server.forwarding.may_run_here(session, is_use)

    def record(self, session: Session, reply: bytes, sequence: int = 0) -> RequestRecord:
        """What the log says of a session's present request, so that it is executed only once.

        Args:
            sequence: of an earlier request of a local client; 0: the present one.
        """
        if session.request_id is not None:
            incarnation, number, sequence, acknowledged = session.request_id
        else:
            incarnation, number, sequence = self.server.node.incarnation, session.id, sequence or session.sequence
            acknowledged = session.acknowledged()
        earlier: list[tuple[int, bytes]] = []
        if session.recorded_to < sequence - 1 > acknowledged:
            is_local = session.proxy is None
            unrecorded = session.unrecorded() if is_local else self.server.forwarding.proxies.unrecorded(session)
            earlier = sorted(each for each in unrecorded if acknowledged < each[0] < sequence)
        session.recorded_to = sequence
        return RequestRecord(incarnation, number, sequence, acknowledged, reply, earlier)

    def _gate_of_read(self, route: Route, argv: list[bytes], access: Access) -> Gate | None:
        executor = self.server.node.host.executor
        if access.messages or access.notices:
            return executor.announce_only(access, self.server.wall_us)
        if route.runs_scripts:
            return executor.gate_of_everything()  # it may have looked at any key
        if route.whole_keyspace:
            return executor.gate_of_everything() if route.row.flags & _LOOKS else None
        return executor.gate_of_reads(access.database.id, route.row.keys(argv))

    def _reject(self, session: Session, route: Route | None, text: str) -> None:
        if route is not None:
            route.rejected += 1
        if session.multi is not None:
            session.multi_failed = True
        session.send_reply(self.server.error_reply(ClientError(text)))

    # -- the slow path

    def process(self, session: Session, argv: list[bytes]) -> None:
        """Everything that a request can be refused for, in Redis's order, then `call`."""
        server = self.server
        self._begun = None
        session.last_command = argv
        try:
            route = self.routes.find(argv)
            refusal = self._refusal(session, route, argv)
        except ClientError as error:
            if argv[0].lower() in _OF_HTTP:
                self._hang_up(session)
                return
            route, refusal = None, error
        if refusal is not None:
            if route is not None:
                route.rejected += 1
            if session.multi is not None:
                session.multi_failed = True
            if argv[0].upper() == b"EXEC":
                reason = refusal.text.removeprefix("ERR ")
                refusal = ClientError(f"EXECABORT Transaction discarded because of: {reason}")
                self.server.discard_transaction(session)
            session.send_reply(server.error_reply(refusal))
            self._after_reply(session)
            return
        assert route is not None
        if session.multi is not None and route.name not in _NOT_QUEUED:
            self._queue(session, route, argv)
            return
        if server.pause.holds(session, route, argv):
            server.pause.park(session, argv)
            return
        self.call(session, route, argv)
        self._after_reply(session)
        if session.tracking is not None and session.multi is None and not route.name.startswith("CLIENT|"):
            session.tracking.is_caching = False

    def _hang_up(self, session: Session) -> None:
        """A browser was made to talk to this port: whatever follows comes from somebody else's page."""
        self.server.log(
            "warning",
            f"possible attack: {session.address} sends HTTP, maybe a cross protocol scripting attempt; hung up",
        )
        session.close_after_reply = True
        session.refresh_special()
        session.want_flush()

    def _refusal(self, session: Session, route: Route, argv: list[bytes]) -> ClientError | None:
        server = self.server
        if "protected" in route.row.flags and not server.allows_protected(session, route):
            return _protected(route)
        if not session.authenticated and route.name not in _BEFORE_AUTH:
            return ClientError("NOAUTH Authentication required.")
        if session.multi is not None and "no_multi" in route.row.flags:
            return ClientError("ERR Command not allowed inside a transaction")
        denied: ClientError | None = server.acl_refusal(session, route, argv)
        if denied is not None:
            return denied
        if route.is_write or "denyoom" in route.row.flags or session.multi is not None:
            refused: ClientError | None = server.write_refusal(session, route)
            if refused is not None:
                return refused
        if server.scripting.is_busy and "allow_busy" not in route.row.flags:
            return server.scripting.busy_error()
        if session.protocol == 2 and session.subscription_count() and not route.allowed_in_subscribe:
            return ClientError(
                f"ERR Can't execute '{route.name.lower()}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                "RESET are allowed in this context"
            )
        return None

    def _queue(self, session: Session, route: Route, argv: list[bytes]) -> None:
        assert session.multi is not None
        session.multi.append((route, argv))
        session.send_reply(QUEUED)

    def _after_reply(self, session: Session) -> None:
        if session.reply_mode == "skip":
            session.reply_mode = ""
            session.refresh_special()
        elif session.reply_mode == "skip_next":
            session.reply_mode = "skip"

    def call(self, session: Session, route: Route, argv: list[bytes]) -> None:
        """Runs a request and sends its reply, with all that is common to every command."""
        server = self.server
        if server.router is not None and server.router.takes(route):
            server.router.start(session, route, argv)
            return
        if route.is_data and server.node.is_replicated and not self._may_run_here(session, route):
            self._elsewhere(session, route, argv)
            return
        if server.monitors.sessions and route.row.group == "scripting":
            server.monitors.feed(session, route.row, argv)  # ahead of what the script does
        started = perf_counter()
        if route.name == "PING" and session.protocol == 2 and session.subscription_count():
            reply, gate = _pong_to_subscriber(argv), None
        elif route.is_data:
            reply, gate = self.call_data(session, route, argv)
        else:
            reply, gate = self.call_session(session, route, argv)
        elapsed = perf_counter() - started
        if server.monitors.sessions and route.row.group != "scripting":
            server.monitors.feed(session, route.row, argv)
        if isinstance(reply, WouldBlock):
            server.blocking.park(session, route, argv, reply, elapsed)
        else:
            if reply is None:
                route.missed += 1
            self.count(session, route, argv, elapsed)
            if reply is not NO_REPLY:
                request = self.present_request(session, [argv]) if route.is_data else None
                if request is not None:
                    request.may_block = "blocking" in route.row.flags
                self.answer(session, reply, gate, request)
        if server.blocking.ready:
            server.blocking.serve()

    def _elsewhere(self, session: Session, route: Route, argv: list[bytes]) -> None:
        """What becomes of a request that this node may not execute itself."""
        server = self.server
        if session.reads_here and "readonly" in route.row.flags and server.forwarding.is_stale():
            limit_ms = int(server.node.settings.max_staleness_seconds * 1000)
            stale = ClientError(f"STALE this replica has not heard of its leader for more than {limit_ms} ms")
            session.send_reply(server.error_reply(stale))
            return
        if server.node.settings.redirects and not server.node.host.is_leader and not session.remote_count:
            keys = () if session.is_internal else route.row.keys(argv)
            redirection = moved(server, slot_of(keys[0])) if keys else None
            if redirection is not None:
                session.send_reply(server.error_reply(redirection))
                return
        if session.tracking is not None:
            server.tracking.remember(session, route, argv, runs_elsewhere=True)
        server.forwarding.submit(
            session,
            ForwardKind.SINGLE,
            [argv],
            may_block="blocking" in route.row.flags,
            is_silent=session.reply_mode in ("off", "skip"),
        )

    def count(self, session: Session, route: Route, argv: list[bytes], seconds: float) -> None:
        """Takes note of a request that has run, or that has waited for keys and is answered now."""
        route.ran(seconds)
        threshold = self.server.slow_threshold_us
        if seconds * 1e6 > threshold >= 0:
            self.server.note_slow(session, argv, seconds * 1e6)

    def _may_run_here(self, session: Session, route: Route) -> bool:
        forwarding = self.server.forwarding
        if forwarding.may_run_here(session) or route.row.group == "connection":
            return True
        return session.reads_here and "readonly" in route.row.flags and forwarding.may_read_here(session)

    def present_request(self, session: Session, commands: list[list[bytes]], kind: int = 0) -> Request | None:
        """The session's present request, for asking it again should its leader be lost."""
        if not self.server.node.is_replicated or session.proxy is not None:
            return None
        return Request(session.sequence, kind, session.database, session.protocol, commands)

    def answer(self, session: Session, reply: Any, gate: Gate | None, request: Request | None = None) -> None:
        """Sends a reply, unless CLIENT REPLY says not to."""
        if session.reply_mode not in ("off", "skip"):
            session.send_reply(reply, gate, request)
        if session.own_messages:
            messages, session.own_messages = session.own_messages, b""
            session.send_bytes(messages, gate)
        if session.tracking is not None:
            self.server.tracking.flush_own(session, gate)

    def call_session(self, session: Session, route: Route, argv: list[bytes]) -> tuple[Any, Gate | None]:
        """Runs a command on the connection or the server."""
        try:
            return route.handler(self.server, session, *argv[route.skip :]), None
        except ClientError as error:
            return self._failed(route, error, argv), None

    def call_data(self, session: Session, route: Route, argv: list[bytes]) -> tuple[Any, Gate | None]:
        """Runs a command on the keyspace as a transaction of its own."""
        access = self.begin(session)
        access.may_block = True
        try:
            reply = self.invoke(access, route, argv)
        finally:
            access.may_block = False
            access.is_replica = False
        return reply, self.finish(session, access, ((route, argv),), reply)

    def begin(self, session: Session) -> Access:
        """Readies the node's access for a transaction of this session."""
        self.session = session
        server = self.server
        host = server.node.host
        access = host.access
        access.now_ms = server.now_ms
        access.number = session.database
        access.database = access.space.databases[session.database]
        access.protocol = session.protocol
        access.is_replica = not host.is_leader or (server.is_special and not server.expiry.may_delete())
        access.origin = session.id
        access.script_reads = False
        access.leaves_no_trace = session.no_touch
        return access

    def invoke(self, access: Access, route: Route, argv: list[bytes]) -> Any:
        """The reply of one command within a transaction; errors become replies, and do not undo what was done."""
        access.notes_misses = self.server.notes_misses and route.reads
        if access.leaves_no_trace and route.name != "TOUCH":
            return self._invoke_without_trace(access, route, argv)
        try:
            return route.handler(access, *argv[route.skip :])
        except ClientError as error:
            return self._failed(route, error, argv)

    def _failed(self, route: Route, error: ClientError, argv: list[bytes]) -> Error:
        route.failed += 1
        return self.server.error_reply(error.as_sent(argv[1]) if isinstance(error, SubcommandError) else error)

    def _invoke_without_trace(self, access: Access, route: Route, argv: list[bytes]) -> Any:
        database = access.database
        touched, database.touched = database.touched, {}
        access.leaves_no_trace = False
        try:
            return self.invoke(access, route, argv)
        finally:
            database.touched = touched
            access.leaves_no_trace = True

    def finish(
        self, session: Session, access: Access, requests: Sequence[tuple[Route, list[bytes]]], reply: Any
    ) -> Gate | None:
        """Ends a transaction. Returns the gate of its reply, those of reads included."""
        tracking, effects, messages = self.server.tracking, access.effects, b""
        has_effects = bool(effects)
        if (access.messages or access.notices) and session.subscription_count() and not self.server.node.is_replicated:
            messages = self.server.pubsub.own_messages(session, access)
        gate = self._finish(session, access, requests, reply)
        if messages and isinstance(reply, WouldBlock):
            session.send_bytes(messages, gate)  # that a key is missing, which is how waiting begins
        else:
            session.own_messages = messages
        if session.tracking is not None:
            tracking.note_own(session, effects)
            for route, argv in requests:
                tracking.remember(session, route, argv)
        if not has_effects and tracking.sessions:
            self._note_flush(session, requests)
        return gate

    def _note_flush(self, session: Session, requests: Sequence[tuple[Route, list[bytes]]]) -> None:
        """Emptying what is empty changes nothing, but clients are to forget even that there was nothing."""
        if any(route.name in FLUSHES for route, _ in requests):
            self.server.tracking.forget_all(session.id)

    def _finish(
        self, session: Session, access: Access, requests: Sequence[tuple[Route, list[bytes]]], reply: Any
    ) -> Gate | None:
        server = self.server
        executor = server.node.host.executor
        effects = access.effects
        record: RequestRecord | None = None
        if server.node.is_replicated:
            if session.request_id is None:
                session.sequence += 1
            if effects and not isinstance(reply, WouldBlock):
                record = self.record(session, encode(reply, session.protocol))
        if effects:
            gate = executor.commit(access, server.wall_us, record)
            if server.observes_effects:
                server.after_commit(effects)
            return gate
        if not executor.pending_count:
            return executor.announce_only(access, server.wall_us) if access.messages or access.notices else None
        latest: Gate | None = None
        for route, argv in requests:
            if not route.is_data:
                continue
            gate = self._gate_of_read(route, argv, access)
            if gate is not None and (latest is None or gate.position > latest.position):
                latest = gate
        return latest


def _protected(route: Route) -> ClientError:
    word = route.name.split("|")[0]
    option = f"enable-{word.lower()}-command"
    return ClientError(
        f'ERR {word} command not allowed. If the {option} option is set to "local", you can run it from a local '
        "connection, otherwise you need to set this option in the configuration file, and then restart the server."
    )


def _pong_to_subscriber(argv: list[bytes]) -> Any:
    """In RESP2 a subscriber could not tell PONG from a message otherwise."""
    if len(argv) > 2:
        return Error(b"ERR wrong number of arguments for 'ping' command")
    return [b"pong", argv[1] if len(argv) == 2 else b""]


_OF_HTTP = frozenset((b"post", b"host:"))
"""First words of lines in a request of HTTP, as Redis looks for them."""
_LOOKS = frozenset(("readonly", "write"))
