"""What the server does for scripts: time, permissions, other commands, and clients that wait while one runs.

A script stops the turn until it ends. After `busy-reply-threshold` milliseconds the server serves other clients from
within the interpreter's hook, but only to tell them that it is busy, and to take SCRIPT KILL, FUNCTION KILL and
SHUTDOWN.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from makoredis.base.errors import ClientError
from makoredis.commands.lua.engine import ScriptEngine
from makoredis.commands.lua.run import RunEnded, RunKind, ScriptRun
from makoredis.commands.table import CommandRow
from makoredis.server.acl import Denied
from makoredis.server.routes import NO_REPLY
from makoredis.server.session import Session
from resp.replies import OK, Error, Reply

if TYPE_CHECKING:
    from makoredis.server.server import Server

OUT_OF_MEMORY: Final = ClientError("OOM command not allowed when used memory > 'maxmemory'.")
NO_REPLICAS: Final = ClientError("NOREPLICAS Not enough good replicas to write.")

_VOID_SECONDS_MAX: Final = 0.05
"""After this long a script ends that has touched keys which it did not name, and comes upon no others: it saw what is
not so, and may loop."""
_LOAD_SECONDS_MAX: Final = 0.5
"""How long FUNCTION LOAD may run a library's code, which only has to register functions."""

BUSY_WITH_SCRIPT: Final = ClientError(
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
)
BUSY_WITH_FUNCTION: Final = ClientError(
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
)
_NOT_BUSY: Final = ClientError("NOTBUSY No scripts in execution right now.")
_UNKILLABLE: Final = ClientError(
    "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script "
    "termination or kill the server in a hard way using the SHUTDOWN NOSAVE command."
)
_LACKING: Final = {
    Denied.COMMAND: "can't run this command or subcommand",
    Denied.KEY: "can't access at least one of the keys mentioned in the command arguments",
    Denied.CHANNEL: "can't publish to the channel mentioned in the command",
}
_LOG_LEVELS: Final = ("debug", "verbose", "notice", "warning")


class ServerStops(Exception):
    """SHUTDOWN while a script runs: the transaction that it is part of is taken back, as nobody heard of it yet."""


class Scripting:
    """The surroundings of scripts on one node."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.run_of_now: ScriptRun | None = None
        self.kind = RunKind.SCRIPT
        self.name = b""
        self.caller: Session | None = None
        """Whose request it is."""
        self.is_busy = False
        """Whether other clients are being told that a script runs."""
        self._started = 0.0
        self._is_killed = False
        self.disk_refusal: Callable[[], str | None] = self.refusal_here
        """The error for writes of the present run: this node's disk, or those of the shards' leaders, is full."""
        self._held: list[Callable[[], None]] | None = None
        """What scripts have said, and nobody may hear yet."""
        self._lacking = 0
        """How many keys the run lacked when it was looked at last."""
        self.engine = ScriptEngine(self, server.routes.by_name)
        server.node.host.space.scripting = self.engine

    def refusal_here(self) -> str | None:
        """Why this node's disk takes no writes."""
        return self.server.node.full_disk.refusal

    # -- a run

    def begin(self, kind: RunKind, name: bytes, run: ScriptRun) -> None:
        """Takes the time, and remembers who asked."""
        self.kind, self.name, self.run_of_now = kind, name, run
        self._started = time.monotonic()
        self._lacking = 0
        self.caller = self.server.dispatcher.session

    def end(self) -> None:
        """Lets other clients go on."""
        self.run_of_now = None
        self._is_killed = False
        if self.is_busy:
            self.is_busy = False
            self.server.refresh_special()

    def running_seconds(self) -> float:
        """How long the present run takes."""
        return time.monotonic() - self._started

    def interrupt(self) -> None:
        """Raises: RunEnded when the run took too long or is to be killed."""
        if self.run_of_now is None:
            return
        elapsed = self.running_seconds()
        if self.kind is RunKind.LIBRARY:
            if elapsed > _LOAD_SECONDS_MAX:
                raise RunEnded("ERR FUNCTION LOAD timeout")
            return
        earlier, self._lacking = self._lacking, self.run_of_now.lacking()
        if elapsed > _VOID_SECONDS_MAX and 0 < self._lacking == earlier:
            raise RunEnded("ERR the keys that it has touched come first")  # nobody gets to see this
        threshold_ms = self.server.config.table.integer("busy-reply-threshold")
        if threshold_ms <= 0 or elapsed * 1000 < threshold_ms:
            return
        if not self.is_busy:
            self._become_busy(elapsed)
        self._serve_others()
        if self.server.stop_event.is_set():
            raise ServerStops
        if self._is_killed:
            raise RunEnded("ERR Script killed by user with SCRIPT KILL...")

    def _become_busy(self, elapsed: float) -> None:
        self.is_busy = True
        self.server.refresh_special()
        command = "SCRIPT KILL" if self.kind is RunKind.SCRIPT else "FUNCTION KILL"
        name, duration_ms = self.name.decode("latin-1"), int(elapsed * 1000)
        self.server.log("warning", f"slow script {name}: still running after {duration_ms} ms; {command} ends it")

    def _serve_others(self) -> None:
        """Answers other clients. They share the access with the script, so what it had selected is put back."""
        dispatcher = self.server.dispatcher
        session = dispatcher.session
        access = self.server.node.host.access
        number, protocol, origin, now_ms = access.number, access.protocol, access.origin, access.now_ms
        is_replica = access.is_replica
        self.server.reactor.serve_while_busy(session)
        dispatcher.session = session
        access.select(number)
        access.protocol, access.origin, access.now_ms, access.is_replica = protocol, origin, now_ms, is_replica

    # -- what scripts may do

    def is_plain(self) -> bool:
        session = self.server.dispatcher.session
        return session is not None and not (session.is_special or self.server.is_special)

    def is_restricted(self) -> bool:
        session = self.server.dispatcher.session
        return session is not None and session.user is not None and not session.user.is_unrestricted

    def permission_refusal(self, row: CommandRow, argv: Sequence[bytes]) -> str | None:
        session = self.caller
        denied = None if session is None else self.server.acl.check(session, row, list(argv), "lua")
        return None if denied is None else _LACKING[denied]

    def is_permitted(self, row: CommandRow, argv: Sequence[bytes]) -> bool:
        user = None if self.caller is None else self.caller.user
        return user is None or user.check(row, list(argv)) is None

    def write_refusal(self, *, is_write: bool, denies_oom: bool) -> ClientError | None:
        server = self.server
        full = self.disk_refusal() if is_write else None
        if full is not None:
            return ClientError(full)
        if is_write and server.lacks_replicas():
            return NO_REPLICAS
        if denies_oom and server.eviction.is_refusing:
            return OUT_OF_MEMORY
        return None

    def run(self, row: CommandRow, argv: Sequence[bytes], protocol: int) -> Reply:
        server = self.server
        session, route = server.dispatcher.session, server.routes.by_name.get(row.name)
        if session is None or route is None:
            raise ClientError("ERR Unknown Redis command called from script")
        reply: Reply = route.handler(server, session, *argv[route.skip :])
        return None if reply is NO_REPLY else reply

    def has_monitors(self) -> bool:
        return bool(self.server.monitors.sessions)

    def monitor(self, row: CommandRow, number: int, argv: Sequence[bytes]) -> None:
        if self._held is not None:
            self._held.append(partial(self._monitor, self.caller, row, number, argv))
        else:
            self._monitor(self.caller, row, number, argv)

    def _monitor(self, caller: Session | None, row: CommandRow, number: int, argv: Sequence[bytes]) -> None:
        if caller is not None:
            self.server.monitors.feed(caller, row, argv, script_db=number)

    def error_reply(self, error: ClientError) -> Error:
        return self.server.error_reply(error)

    def log(self, level: int, message: bytes) -> None:
        show = partial(self.server.log, _LOG_LEVELS[level], message.decode("utf-8", "replace"))
        if self._held is not None:
            self._held.append(show)
        else:
            show()

    # -- runs that may count for nothing

    def hold(self) -> None:
        """What scripts say from now on is not heard before it is known that their run counts."""
        self._held = []

    def let_go(self, *, is_void: bool) -> None:
        """It is known."""
        held, self._held = self._held, None
        for show in () if is_void else held or ():
            show()

    # -- from other clients

    def busy_error(self) -> ClientError:
        """What other clients are told meanwhile."""
        return BUSY_WITH_SCRIPT if self.kind is RunKind.SCRIPT else BUSY_WITH_FUNCTION

    def kill(self, kind: RunKind) -> Reply:
        """SCRIPT KILL and FUNCTION KILL. Raises: ClientError when there is nothing that may be killed."""
        run = self.run_of_now
        if run is None:
            raise _NOT_BUSY
        if run.has_written:
            raise _UNKILLABLE
        if self.kind is not kind:
            raise self.busy_error()
        self._is_killed = True
        return OK
