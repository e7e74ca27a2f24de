"""The server: one node, its clients, and what is common to them."""

import secrets
import socket
import time
from collections.abc import Sequence

import trio

from makoredis.base import console
from makoredis.base.errors import ClientError, CountedError
from makoredis.cluster.backup import Backup
from makoredis.cluster.node import Node
from makoredis.data import events
from makoredis.data.effects import Effect
from makoredis.server.acl import DEFAULT, EXEC_REASONS, AccessControl
from makoredis.server.admission import is_local
from makoredis.server.blocking import Blocking
from makoredis.server.config import Config
from makoredis.server.dispatch import Dispatcher
from makoredis.server.eviction import Eviction
from makoredis.server.expiry import ActiveExpiry
from makoredis.server.forwarding import Forwarding
from makoredis.server.full_copy import FullCopies
from makoredis.server.info_cluster import live_peers
from makoredis.server.latencies import no_latencies
from makoredis.server.latency import LatencyMonitor
from makoredis.server.listeners import Listeners
from makoredis.server.memory import MemoryMeter
from makoredis.server.monitors import Monitors
from makoredis.server.pause import Pause
from makoredis.server.pubsub import PubSub
from makoredis.server.rates import Rates
from makoredis.server.reactor import Reactor
from makoredis.server.redaction import redacted
from makoredis.server.routes import Route, Routes
from makoredis.server.scripting import NO_REPLICAS, OUT_OF_MEMORY, Scripting
from makoredis.server.series import SeriesRunner
from makoredis.server.session import Session
from makoredis.server.shards.router import Router
from makoredis.server.slowlog import SlowLog
from makoredis.server.stats import Stats
from makoredis.server.timer import Timer
from makoredis.server.tracking import TrackingTable
from makoredis.server.waits import Waits
from makoredis.server.watches import WatchTable
from resp.replies import OK, Error


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
        self.series = SeriesRunner(self)
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
        self.slow_threshold_us = 10_000
        """What takes longer is for `note_slow`: the lower threshold of the slow log's and LATENCY's; -1: none."""
        self.replicas_min = config.table.integer("min-replicas-to-write")
        self.latency = LatencyMonitor()
        self.rates = Rates()
        self.run_id = secrets.token_hex(20)
        self.memory = MemoryMeter() if memory is None else memory
        self.keys_loaded = sum(database.size for space in node.spaces() for database in space.by_id)
        self.expiry = ActiveExpiry(self)
        self.timer = Timer(self)
        self.checkpoint_waiters: list[Session] = []
        self.migrations = 0
        """Under way."""
        self.copies = FullCopies()
        self.backups: dict[int, Backup] = {}
        """Being read, by session."""
        self.stop_event = trio.Event()
        self.saves_at_stop = True
        self.eviction = Eviction(self)
        config.attach(self)
        self.monitors = Monitors()
        self.by_id: dict[int, Session] = {}
        self.is_special = False
        self.observes_effects = False
        self.notes_misses = False
        """Whether notifications about reads of missing keys are wanted: no request is on the fast path then."""
        self._next_session_id = 0
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
            bool(self.monitors.sessions)
            or self.pause.is_on()
            or self.eviction.is_refusing
            or self.node.full_disk.refusal is not None
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
        if self.node.full_disk.refusal is not None and route.is_write and self._writes_here():
            return ClientError(self.node.full_disk.refusal)
        if route.is_write and self.lacks_replicas():
            return NO_REPLICAS
        if self.eviction.is_refusing and "denyoom" in route.row.flags:
            return OUT_OF_MEMORY
        return None

    def lacks_replicas(self) -> bool:
        """Whether fewer replicas are alive than `min-replicas-to-write` asks for; only the leader knows."""
        return self.replicas_min > 0 and not self._is_written_elsewhere() and live_peers(self) < self.replicas_min

    def _writes_here(self) -> bool:
        """Whether what a client of this node writes goes to this node's disk. Of several shards each leader says it."""
        return self.node.shards is None and not self._is_written_elsewhere()

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
        self.copies.forget(session)
        self.tracking.disable(session)
        if session.is_monitor:
            self.monitors.sessions.pop(session.id, None)
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
                session.soft_limit_since = self.node.now()
            elif self.node.now() - session.soft_limit_since > soft_seconds:
                self.reactor.close(session, "output buffer limit")
        else:
            session.soft_limit_since = 0.0

    # -- slow log, log

    def note_slow(self, session: Session, argv: list[bytes], duration_us: float) -> None:
        """Takes note of a slow request, in the slow log and for LATENCY, as far as it is slow enough for either."""
        flags = self.routes.find(argv).row.flags
        if duration_us > self.slowlog.threshold_us >= 0 and "skip_slowlog" not in flags:
            self.slowlog.add(int(self.now), int(duration_us), list(redacted(argv)), session.address, session.name)
        milliseconds = int(duration_us) // 1000
        if milliseconds >= self.latency.threshold_ms > 0:
            self.latency.add("fast-command" if "fast" in flags else "command", int(self.now), milliseconds)

    def slowlog_resize(self, length: int) -> None:
        """CONFIG SET slowlog-max-len."""
        self.slowlog.length_max = length
        self.slowlog.trim()

    def config_changed(self) -> None:
        """Takes over what CONFIG SET has changed."""
        self.latency.threshold_ms = self.config.table.integer("latency-monitor-threshold")
        self.slowlog.threshold_us = self.config.table.integer("slowlog-log-slower-than")
        thresholds_us = [self.slowlog.threshold_us] if self.slowlog.threshold_us >= 0 else []
        if self.latency.threshold_ms:
            thresholds_us.append(1000 * self.latency.threshold_ms - 1)  # what takes exactly as long counts
        self.slow_threshold_us = min(thresholds_us, default=-1)
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
        rng = self.node.host.access.rng if self.config.data.counts_uses else None
        for space in self.node.spaces():
            for database in space.by_id:
                database.count_uses(rng)

    def commands_processed(self) -> int:
        """Since start or CONFIG RESETSTAT."""
        return sum(route.calls for route in self.routes.by_name.values())

    def changes_since_save(self) -> int:
        """Transactions that no checkpoint holds yet."""
        return self.node.keepers.changes()

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

    def answer_saves(self) -> None:
        """Lets those go on who wait for a checkpoint that is on the disk now."""
        if self.checkpoint_waiters and not self.node.keepers.is_busy():
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
            route.latencies = no_latencies()

    def log(self, level: str, text: str) -> None:
        """One line on the console."""
        console.log(level, text)

    def close(self) -> None:
        """Ends all connections, writes what is left, and releases the directory."""
        self.node.disconnect()
        self.reactor.close_all()
        self.node.close(saves=self.saves_at_stop)
        self.reactor.epoll.close()  # the node's connections to its peers are in it until then
