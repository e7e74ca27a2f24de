"""The server: one node, its clients, and what is common to them."""

import secrets
import socket
import time
from collections.abc import Sequence
from typing import Any

import trio

from makoredis.base.errors import ClientError, CountedError
from makoredis.cluster.backup import Backup
from makoredis.cluster.node import Node
from makoredis.commands.table import CommandRow
from makoredis.data import events
from makoredis.data.effects import Effect
from makoredis.server.acl import DEFAULT, EXEC_REASONS, AccessControl
from makoredis.server.blocking import Blocking
from makoredis.server.config import Config
from makoredis.server.dispatch import Dispatcher
from makoredis.server.eviction import Eviction
from makoredis.server.forwarding import Forwarding
from makoredis.server.info_cluster import live_peers
from makoredis.server.latency import LatencyMonitor
from makoredis.server.listeners import Listeners
from makoredis.server.memory import MemoryMeter
from makoredis.server.pause import Pause
from makoredis.server.pubsub import PubSub
from makoredis.server.rates import Rates
from makoredis.server.reactor import Reactor
from makoredis.server.redaction import redacted
from makoredis.server.routes import Route, Routes
from makoredis.server.scripting import NO_REPLICAS, OUT_OF_MEMORY, Scripting
from makoredis.server.session import Session
from makoredis.server.shards.router import Router
from makoredis.server.slowlog import SlowLog
from makoredis.server.stats import Stats
from makoredis.server.tracking import TrackingTable
from makoredis.server.waits import Waits
from makoredis.server.watches import WatchTable
from resp.replies import OK, Error

TICK_SECONDS = 0.1
EXPIRE_KEYS_PER_TICK = 2000
"""Deadlines that one tick works off; more are left for the next, so that a mass expiry doesn't stop the loop."""


class Server:
    """Ties node, sessions and reactor together, and knows the time of the turn."""

    def __init__(self, config: Config, node: Node, memory: MemoryMeter | None = None) -> None:
        """
        Args:
            memory: made before the node was opened, so that it counts what was recovered as data.
        """
        self.config = config
        self.node = node
        self.stats = Stats()
        self.started = time.time()
        self.now = self.started
        self.now_ms = int(self.started * 1000)
        self.wall_us = int(self.started * 1_000_000)
        self.routes = Routes()
        self.dispatcher = Dispatcher(self, self.routes)
        self.reactor = Reactor(self)
        self.listeners = Listeners(self.reactor)
        self.forwarding = Forwarding(self)
        node.forwarding = self.forwarding
        self.router = None if node.shards is None else Router(self, node.shards)
        """Where the requests of clients go if there are several shards."""
        self.watches = WatchTable()
        self.blocking = Blocking(self)
        self.pause = Pause(self)
        self.pubsub = PubSub(self)
        self.tracking = TrackingTable(self)
        self.acl = AccessControl(self)
        self.waits = Waits(self)
        self.scripting = Scripting(self)
        self.slowlog = SlowLog()
        self.slowlog_threshold_us = 10_000
        self.replicas_min = config.table.integer("min-replicas-to-write")
        self.latency = LatencyMonitor()
        self.rates = Rates()
        self.run_id = secrets.token_hex(20)
        self.memory = MemoryMeter() if memory is None else memory
        self.keys_loaded = sum(database.size for space in node.spaces() for database in space.by_id)
        self.active_expire = True
        self.checkpoint_waiters: list[Session] = []
        self.migrations = 0
        """Under way."""
        self.backups: dict[int, Backup] = {}
        """Being read, by session."""
        self.stop_event = trio.Event()
        self.saves_at_stop = True
        self.eviction = Eviction(self)
        config.attach(self)
        self.monitors: dict[int, Session] = {}
        self.by_id: dict[int, Session] = {}
        self.is_special = False
        self.observes_effects = False
        self.notes_misses = False
        """Whether notifications about reads of missing keys are wanted: no request is on the fast path then."""
        self._next_session_id = 0
        self._timer_scope: trio.CancelScope | None = None
        self._last_tick = 0.0
        self.node.host.access.count_receivers = self.pubsub.count_receivers
        self._refresh_notifications()
        self._refresh_use_counts()
        self.eviction.configure()
        self.refresh_special()
        self.acl.start()

    # -- the turn

    def begin_turn(self) -> None:
        """Fixes the time for everything in this turn."""
        now_ns = time.time_ns()
        self.now = now_ns / 1e9
        self.now_ms = now_ns // 1_000_000
        self.wall_us = now_ns // 1000
        self.stats.turns += 1
        if self.node.is_replicated:
            self.node.account_time()
        if self.node.shards is not None:
            self.node.shards.set_time(self.wall_us, self.node.now())
        if self.eviction.limit:
            self.eviction.run()

    def end_turn(self) -> None:
        """Proposes what was executed, and tells the world what has become final."""
        self.announce()
        if self.node.is_replicated:
            self._end_replicated_turn()
        if self.router is not None:
            self.router.end_turn()
        if self.tracking.sessions:
            self.tracking.end_turn()
        if self.waits.waiting:
            self.waits.end_turn()
        if self.pubsub.interests.changed:
            self.pubsub.interests.end_turn()

    def announce(self) -> None:
        """Proposes what was executed, and tells what has become final to those who want to know."""
        for announcement in self.node.end_turn():
            self.pubsub.announce(announcement)
            if self.tracking.sessions:
                self.tracking.announce(announcement)

    def _end_replicated_turn(self) -> None:
        """What clients wait for is asked again or goes on, until nothing of it makes work for the shard."""
        host = self.node.host
        while True:
            if host.undone_gates:
                gates, host.undone_gates = host.undone_gates, []
                self.forwarding.leadership_lost(gates)
            self.forwarding.end_turn()
            if not host.may_propose() and not host.core.has_ready():
                return
            self.announce()

    def after_commit(self, effects: Sequence[Effect]) -> None:
        """A transaction has changed something that somebody here watches or waits for. Who waits is served by
        `Blocking.serve`, once the transaction is counted and before the next one."""
        if self.watches.keys:
            self.watches.note(effects, self.node.host.space)
        if self.blocking.queues:
            self.blocking.note(effects)

    def refresh_observers(self) -> None:
        """To be called when somebody begins or stops to watch or to wait for keys."""
        self.observes_effects = bool(self.watches.keys) or bool(self.blocking.queues)

    def refresh_special(self) -> None:
        """To be called when something changes that every request has to be checked for."""
        self.is_special = (
            bool(self.monitors)
            or self.pause.is_on()
            or self.eviction.is_refusing
            or self.node.write_refusal is not None
            or self.notes_misses
            or self.scripting.is_busy
            or self.replicas_min > 0
        )

    # -- refusals

    def error_reply(self, error: ClientError) -> Error:
        """The reply for an error, counted by its code."""
        error.__traceback__ = None  # constants are raised again and again, and would gather tracebacks for ever
        text = error.text
        if type(error) is not CountedError:
            code = text.split(" ", 1)[0]
            errors = self.stats.errors
            errors[code] = errors.get(code, 0) + 1
        return Error(text)

    def acl_refusal(self, session: Session, route: Route, argv: list[bytes]) -> ClientError | None:
        """Why this user may not run this request."""
        if session.user is None or session.user.is_unrestricted:
            return None
        return self.acl.refusal(session, route.row, argv)

    def permission_refusal(self, session: Session, route: Route, argv: list[bytes]) -> Error | None:
        """Why a queued command may not run: permissions may have changed since."""
        if session.user is None or session.user.is_unrestricted:
            return None
        denied = self.acl.check(session, route.row, argv, "multi")
        if denied is None:
            return None
        return self.error_reply(
            ClientError(
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This "
                f"command is no longer allowed for the following reason: {EXEC_REASONS[denied]}"
            )
        )

    def allows_protected(self, session: Session, route: Route) -> bool:
        """Whether `enable-debug-command` or `enable-module-command` lets this client have such a command."""
        allowed = self.config.table[f"enable-{route.name.split('|')[0].lower()}-command"]
        return allowed == "yes" or (allowed == "local" and session.sock is not None and is_local(session.sock))

    def write_refusal(self, session: Session, route: Route) -> ClientError | None:
        """Why nothing may be written now: the disk, missing replicas, or the memory limit."""
        if self.node.write_refusal is not None and route.is_write and not self._is_written_elsewhere():
            return ClientError(self.node.write_refusal)
        if route.is_write and self.lacks_replicas():
            return NO_REPLICAS
        if self.eviction.is_refusing and "denyoom" in route.row.flags:
            return OUT_OF_MEMORY
        return None

    def lacks_replicas(self) -> bool:
        """Whether fewer replicas are alive than `min-replicas-to-write` asks for; only the leader knows."""
        return self.replicas_min > 0 and not self._is_written_elsewhere() and live_peers(self) < self.replicas_min

    def _is_written_elsewhere(self) -> bool:
        """Whether another node executes what this one is asked; its disk matters then."""
        host = self.node.host
        return self.node.is_replicated and not host.is_leader and host.leader is not None

    # -- who is who

    def has_passwords(self) -> bool:
        """Whether the default user needs one."""
        return not self.acl.default.needs_no_password

    def has_user(self, name: bytes) -> bool:
        return name in self.acl.users

    def user_name(self, session: Session) -> bytes:
        """Who a session is logged in as."""
        return DEFAULT if session.user is None else bytes(session.user.name)

    def redirect_of(self, session: Session) -> int:
        """The client that gets a session's invalidations; -1: it does not track, 0: itself."""
        return -1 if session.tracking is None else int(session.tracking.redirect)

    def log_in(self, session: Session, name: bytes, password: bytes) -> None:
        """Raises: ClientError WRONGPASS."""
        if not self.acl.log_in(session, name, password):
            raise ClientError("WRONGPASS invalid username-password pair or user is disabled.")
        session.authenticated = session.parser.authenticated = True
        session.refresh_special()

    def log_out(self, session: Session) -> None:
        """Back to the state of a new connection."""
        session.user = self.acl.default
        session.authenticated = session.parser.authenticated = self.acl.is_open()
        session.refresh_special()

    # -- sessions

    def refuse_connection(self, sock: socket.socket, connected: int) -> bytes | None:
        """The error for a connection that is not taken, None if it is."""
        if connected >= self.config.maxclients:
            self.stats.rejected_connections += 1
            return b"-ERR max number of clients reached\r\n"
        if self.config.is_protected_mode and not self.has_passwords() and not is_local(sock):
            self.stats.rejected_connections += 1
            return PROTECTED_MODE_TEXT
        return None

    def new_session(self, sock: socket.socket, address: str, laddress: str) -> Session:
        self._next_session_id += 1
        self.stats.connections_received += 1
        session = Session(self._next_session_id, sock, address, laddress, self.now, self.config.request_limits)
        self.log_out(session)
        self.by_id[session.id] = session
        return session

    def discard_transaction(self, session: Session) -> None:
        """Leaves MULTI and forgets watched keys."""
        session.multi = None
        session.multi_failed = False
        session.guard_term = 0
        session.watches_elsewhere = False
        session.watch_marks.clear()
        self.watches.forget(session)
        session.refresh_special()

    def session_closed(self, session: Session) -> None:
        """Forgets a session that is gone."""
        self.by_id.pop(session.id, None)
        if self.blocking.is_parked(session):
            self.blocking.unpark(session)
        self.watches.forget(session)
        if self.router is not None:
            self.router.session_closed(session)
        if self.node.is_replicated:
            self.forwarding.session_closed(session)
        self.pubsub.forget(session)
        if session.id in self.backups:
            self.backups.pop(session.id).close()
        self.tracking.disable(session)
        if session.is_monitor:
            self.monitors.pop(session.id, None)
            self.refresh_special()
        self.refresh_observers()

    def check_output_limit(self, session: Session) -> None:
        """Closes a client that does not read what it is sent."""
        kind = "pubsub" if session.subscription_count() else "normal"
        hard, soft, soft_seconds = self.config.output_limits[kind]
        size = session.output_bytes()
        if hard and size > hard:
            self.reactor.close(session, "output buffer limit")
        elif soft and size > soft:
            if not session.soft_limit_since:
                session.soft_limit_since = self.now
            elif self.now - session.soft_limit_since > soft_seconds:
                self.reactor.close(session, "output buffer limit")
        else:
            session.soft_limit_since = 0.0

    # -- monitors, slow log, log

    def feed_monitors(self, session: Session, row: CommandRow, argv: Sequence[bytes], *, script_db: int = -1) -> None:
        """Shows a request to everybody who said MONITOR.

        Args:
            script_db: for a command of a script, the number of the database that it runs on.
        """
        is_skipped = "skip_monitor" in row.flags and row.group != "scripting" and row.name != "EXEC"
        if "admin" in row.flags or is_skipped:
            return
        seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        words = b" ".join(b'"' + _escape(argument) + b'"' for argument in redacted(argv))
        number, source = session.database, session.address
        if script_db >= 0:
            number, source = script_db, "lua"
        elif session.sock is not None and session.sock.family == socket.AF_UNIX:
            source = "unix:" + str(session.sock.getsockname())
        line = b"+%d.%06d [%d %b] %b\r\n" % (seconds, microseconds, number, source.encode(), words)
        for monitor in self.monitors.values():
            monitor.push(line)

    def slowlog_add(self, session: Session, argv: list[bytes], duration_us: float) -> None:
        """Takes note of a slow request."""
        self.slowlog.add(int(self.now), int(duration_us), list(redacted(argv)), session.address, session.name)

    def slowlog_resize(self, length: int) -> None:
        """CONFIG SET slowlog-max-len."""
        self.slowlog.length_max = length
        self.slowlog.trim()

    def config_changed(self) -> None:
        """Takes over what CONFIG SET has changed."""
        self.latency.threshold_ms = self.config.table.integer("latency-monitor-threshold")
        self.slowlog_threshold_us = self.config.table.integer("slowlog-log-slower-than")
        self.replicas_min = self.config.table.integer("min-replicas-to-write")
        self.eviction.configure()
        self._refresh_notifications()
        self._refresh_use_counts()
        self.refresh_special()

    def _refresh_notifications(self) -> None:
        wanted = self.config.data.notify_events
        self.notes_misses = bool(wanted & events.KEY_MISS)
        self.node.host.access.notes_new = bool(wanted & events.NEW)

    def _refresh_use_counts(self) -> None:
        access = self.node.host.access
        for database in access.space.by_id:
            database.count_uses(access.rng if self.config.data.counts_uses else None)

    def commands_processed(self) -> int:
        """Since start or CONFIG RESETSTAT."""
        return sum(route.calls for route in self.routes.by_name.values())

    def changes_since_save(self) -> int:
        """Transactions that no checkpoint holds yet."""
        return self.node.host.executor.version - self.node.checkpointer.version

    def script_memory(self) -> dict[str, object]:
        """INFO's fields on scripts."""
        engine = self.scripting.engine
        used = engine.interpreter.memory_bytes()
        return {
            "used_memory_vm_eval": used,
            "used_memory_lua": used,
            "number_of_cached_scripts": len(engine.scripts),
            "number_of_functions": engine.libraries.function_count,
            "number_of_libraries": len(self.node.host.space.libraries),
        }

    def tracking_counts(self) -> tuple[int, int, int]:
        """Keys, clients by key, and prefixes that clients track."""
        return len(self.tracking.keys), self.tracking.item_count, len(self.tracking.prefixes)

    def hold_for_checkpoint(self, session: Session) -> None:
        """SAVE: the session goes on when the checkpoint is on the disk."""
        session.blocked = self.checkpoint_waiters
        session.refresh_special()

    def _answer_saves(self) -> None:
        if self.checkpoint_waiters and not self.node.is_checkpointing():
            waiters = self.checkpoint_waiters[:]
            self.checkpoint_waiters.clear()
            for session in waiters:
                if session.closed_reason is None:
                    session.blocked = None
                    session.refresh_special()
                    session.send_reply(OK)
                    session.want_flush()
                    self.reactor.resume(session)

    def sleep(self, seconds: float) -> None:
        """DEBUG SLEEP: stops the whole server, on purpose."""
        time.sleep(seconds)

    def request_stop(self, *, saves: bool) -> None:
        """SHUTDOWN."""
        self.saves_at_stop = saves
        self.stop_event.set()

    def reset_statistics(self) -> None:
        """CONFIG RESETSTAT."""
        self.stats = Stats()
        self.eviction.evicted_count, self.eviction.exceeded_seconds = 0, 0.0
        for space in self.node.spaces():
            space.expired_count = 0
        for route in self.routes.by_name.values():
            route.calls = route.rejected = route.failed = route.missed = 0
            route.seconds = 0.0

    def log(self, level: str, text: str) -> None:
        """One line on the console."""
        print(f"{time.strftime('%d %b %Y %H:%M:%S')} {level}: {text}", flush=True)

    # -- time

    def wake_at(self, when_ms: int) -> None:
        """Makes sure that `on_timer` runs at a moment, Unix milliseconds."""
        scope = self._timer_scope
        if scope is not None:
            at = trio.current_time() + max(0, when_ms - int(time.time() * 1000)) / 1000
            scope.deadline = min(scope.deadline, at)

    async def run_timer(self) -> None:
        """Runs `on_timer` at `wake_at`'s times, and `tick` ten times a second."""
        next_tick = trio.current_time()
        while True:
            deadlines = [
                self.blocking.next_deadline_ms(),
                self.waits.next_deadline_ms(),
                self.eviction.next_deadline_ms(),
            ]
            if self.router is not None:
                deadlines.append(self.router.waiting.next_deadline_ms())
            deadline = min((each for each in deadlines if each is not None), default=None)
            at = next_tick
            if self.node.transport is not None:
                due = self.node.transport.next_due()
                at = at if due is None else min(at, trio.current_time() + max(0.0, due - time.monotonic()))
            if deadline is not None:
                at = min(at, trio.current_time() + max(0, deadline - time.time() * 1000) / 1000)
            with trio.CancelScope(deadline=at) as self._timer_scope:
                await trio.sleep_forever()
            self._timer_scope = None
            self.begin_turn()
            if trio.current_time() >= next_tick:
                next_tick = trio.current_time() + min(TICK_SECONDS, self.node.settings.tick_seconds)
                self.tick()
            if self.node.transport is not None:
                self.node.transport.send_due()
            self.blocking.expire(self.now_ms)
            if self.router is not None:
                self.router.waiting.tick()
            self.pause.end_if_over()
            self.reactor.run_resumed()
            self.end_turn()
            self.reactor.flush()

    def tick(self) -> None:
        """Ten times a second: expiry, the node's own timers, idle clients."""
        self.node.tick()
        if self.node.is_replicated:
            self.forwarding.tick()
        if self.router is not None:
            self.router.tick()
        self.expire_keys()
        self._answer_saves()
        self.rates.sample(self.now, self.commands_processed(), self.stats.input_bytes, self.stats.output_bytes)
        if self.now - self._last_tick >= 1.0:
            self._last_tick = self.now
            self._close_idle()
            for session in list(self.by_id.values()):
                if session.unsent_bytes:
                    self.check_output_limit(session)
        self.refresh_special()

    def may_expire(self) -> bool:
        """While nothing can or may be written, a key past its deadline is hidden instead of deleted."""
        return self.node.write_refusal is None and not self.pause.is_on()

    def expire_keys(self) -> None:
        """Deletes keys and fields of hashes past their deadline, a bounded number of keys at a time."""
        if self.router is not None:
            if self.active_expire and self.may_expire():
                self.router.expire_keys()
            return
        host = self.node.host
        if not host.is_complete() or not self.active_expire or not self.may_expire():
            return
        access = host.access
        access.now_ms, access.origin, access.is_replica = self.now_ms, 0, False
        budget = EXPIRE_KEYS_PER_TICK
        for number, database in enumerate(host.space.databases):
            if not database.expires and not database.hash_deadlines.by_name:
                continue
            access.select(number)
            due = database.take_due(self.now_ms, budget)
            for key in due:
                access.expire(key)
            for key in database.take_due_hashes(self.now_ms, budget):
                access.peek(key)  # deletes its fields past their deadline
            budget -= len(due)
        effects = access.effects
        if effects:
            host.executor.commit(access, self.wall_us)
            if self.observes_effects:
                self.after_commit(effects)
                self.blocking.serve()

    def _close_idle(self) -> None:
        timeout = self.config.timeout_seconds
        if not timeout:
            return
        for session in list(self.by_id.values()):
            waits = session.blocked is not None or session.subscription_count() or session.is_monitor
            if not waits and self.now - session.last_active > timeout:
                self.reactor.close(session, "idle")

    def close(self) -> None:
        """Ends all connections, writes what is left, and releases the directory."""
        self.node.disconnect()
        self.reactor.close_all()
        self.node.close(saves=self.saves_at_stop)
        self.reactor.epoll.close()  # the node's connections to its peers are in it until then


PROTECTED_MODE_TEXT = (
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the "
    b"default user. In this mode connections are only accepted from the loopback interface. If you want to connect "
    b"from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode "
    b"sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the "
    b"same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. "
    b"Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by "
    b"editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the "
    b"server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' "
    b"option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one of the above "
    b"things in order for the server to start accepting connections from the outside.\r\n"
)


def is_local(sock: socket.socket) -> bool:
    """Whether a connection comes from this machine."""
    if sock.family == socket.AF_UNIX:
        return True
    host: Any = sock.getpeername()[0]
    return bool(host.startswith("127.") or host == "::1" or host.startswith("::ffff:127."))


def _escape(argument: bytes) -> bytes:
    """A byte string as Redis's sdscatrepr shows it, without the quotes."""
    if argument.isalnum():
        return argument
    return b"".join(_ESCAPES[byte] for byte in argument)


def _escape_byte(byte: int) -> bytes:
    named = {7: b"\\a", 8: b"\\b", 9: b"\\t", 10: b"\\n", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}
    if byte in named:
        return named[byte]
    return bytes((byte,)) if 32 <= byte < 127 else b"\\x%02x" % byte


_ESCAPES = [_escape_byte(byte) for byte in range(256)]
