"""What one run of a script may do: commands on the transaction's access, under the rules for scripts."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Protocol

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import database_number
from makoredis.commands.registry import COMMANDS
from makoredis.commands.table import DENY_OOM, NO_SCRIPT, READONLY, TABLE, CommandRow
from makoredis.data.access import Access
from resp.replies import OK, Error, Reply

_FORBIDDEN_BEFORE_7_2: Final = frozenset(
    ("BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BZPOPMIN", "BZPOPMAX", "WAIT"),
)
"""Redis 7.0 forbids them in scripts; later versions run them without waiting, and the table is theirs."""

_UNKNOWN: Final = ClientError("ERR Unknown Redis command called from script")
_WRONG_ARITY: Final = ClientError("ERR Wrong number of args calling Redis command from script")
_NOT_ALLOWED: Final = ClientError("ERR This Redis command is not allowed from script")
_READ_ONLY: Final = ClientError("ERR Write commands are not allowed from read-only scripts.")


class RunEnded(Exception):
    """The server ends a run that has not written: `interrupt` raises it. `text` is the error reply's."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class RunKind(Enum):
    """What runs."""

    SCRIPT = "script"
    FUNCTION = "function"
    LIBRARY = "library"
    """The code of a library, while it is loaded."""


class Surroundings(Protocol):
    """What scripts need of the server beyond the keyspace."""

    def begin(self, kind: RunKind, name: bytes, run: "ScriptRun") -> None:
        """A run begins: of the script with that SHA1, or the function with that name."""

    def end(self) -> None:
        """It is over."""

    def interrupt(self) -> None:
        """Is called every 100,000 instructions. Raises: RunEnded."""

    def run(self, row: CommandRow, argv: Sequence[bytes], protocol: int) -> Reply:
        """Executes a command that is not one on keys. Raises: ClientError."""

    def is_plain(self) -> bool:
        """Whether nothing has to be looked at for a single command: permissions, monitors, refused writes."""

    def is_restricted(self) -> bool:
        """Whether the caller's permissions have to be looked at."""

    def permission_refusal(self, row: CommandRow, argv: Sequence[bytes]) -> str | None:
        """Which permission the caller lacks for a command, in Redis's words, noted in the log; None: it is allowed."""

    def is_permitted(self, row: CommandRow, argv: Sequence[bytes]) -> bool:
        """The same without taking note."""

    def write_refusal(self, *, is_write: bool, denies_oom: bool) -> ClientError | None:
        """Why a command that writes (disk) or takes memory (limit) may not run now."""

    def error_reply(self, error: ClientError) -> Error:
        """The reply for a command's error, which is counted."""

    def has_monitors(self) -> bool:
        """Whether somebody wants to see every command."""

    def monitor(self, row: CommandRow, number: int, argv: Sequence[bytes]) -> None:
        """Shows a command on the database with that number."""

    def log(self, level: int, message: bytes) -> None:
        """A line for the server's log; 0 = debug … 3 = warning."""


class Counters(Protocol):
    """Where the calls of a command are counted."""

    calls: int
    failed: int
    rejected: int


class ScriptCommand:
    """A command as scripts see it, with all that does not depend on the run worked out before."""

    __slots__ = (
        "arity", "calls", "changes", "counters", "denies_oom", "failed", "handler", "is_container", "is_forbidden",
        "is_plain", "is_write", "name", "reads", "rejected", "row", "skip",
    )  # fmt: skip

    def __init__(self, row: CommandRow, handler: Callable[..., Any] | None, counters: Counters | None) -> None:
        self.row = row
        self.name = row.name
        self.handler = handler
        """None for commands that are not on keys."""
        self.arity = row.arity
        self.is_forbidden = NO_SCRIPT in row.flags or row.name in _FORBIDDEN_BEFORE_7_2
        self.is_container = bool(row.row.get("has_subcommands"))
        self.is_write = row.is_write
        self.reads = READONLY in row.flags
        self.changes = row.is_write or "may_replicate" in row.flags
        """Whether read-only scripts may not call it."""
        self.denies_oom = DENY_OOM in row.flags
        self.skip = 2 if "|" in row.name else 1
        self.is_plain = handler is not None and not self.is_forbidden and not self.is_container and self.skip == 1
        """Whether nothing but the arity has to be looked at, in a script that may do what it wants."""
        self.calls = self.failed = self.rejected = 0
        self.counters: Counters = self if counters is None else counters


def script_commands(counters: Mapping[str, Counters], *, has_server: bool) -> dict[bytes, ScriptCommand]:
    """All commands as scripts find them: by name in upper and lower case; subcommands in upper case, with `|`."""
    found: dict[bytes, ScriptCommand] = {}
    for name, row in TABLE.items():
        command = COMMANDS.get(name)
        handler = command.handler if command is not None else None
        if name == "SELECT":
            handler = _select
        known = ScriptCommand(row, handler, counters.get(name))
        if handler is None and not has_server and not known.is_forbidden and not known.is_container:
            continue
        found[name.encode()] = known
        if "|" not in name:
            found[name.lower().encode()] = known
    return found


def _select(access: Access, number: bytes) -> Reply:
    """SELECT within a script holds until its end."""
    access.select(database_number(number, len(access.space.databases)))
    return OK


class ScriptRun:
    """The host of one run.

    Attributes:
        has_written: whether it called a command that writes. Then it has to be left to its end: half a script would be
            worse than waiting, or than a little more memory.
    """

    __slots__ = (
        "_access", "_allows_oom", "_commands", "_is_free", "_is_monitored", "_is_read_only", "_is_restricted",
        "_surroundings", "has_written",
    )  # fmt: skip

    def __init__(
        self,
        access: Access,
        commands: Mapping[bytes, ScriptCommand],
        surroundings: Surroundings | None,
        *,
        is_read_only: bool,
        allows_oom: bool,
    ) -> None:
        self._access = access
        self._commands = commands
        self._surroundings = surroundings
        self._is_read_only = is_read_only
        self._allows_oom = allows_oom
        is_plain = surroundings is None or surroundings.is_plain()
        self._is_restricted = not is_plain and surroundings is not None and surroundings.is_restricted()
        self._is_monitored = not is_plain and surroundings is not None and surroundings.has_monitors()
        self._is_free = is_plain and not is_read_only
        self.has_written = False

    def renew(self, access: Access) -> bool:
        """Makes this the run of another script, if nothing has to be looked at there either."""
        if self._access is not access or (self._surroundings is not None and not self._surroundings.is_plain()):
            return False
        self.has_written = False
        return True

    def call(self, argv: Sequence[bytes], protocol: int) -> Reply:
        """One command. Its errors are replies; what raises anything else ends the run."""
        command = self._commands.get(argv[0])
        if command is None or not (
            self._is_free and command.is_plain and (len(argv) == command.arity or 0 > command.arity >= -len(argv))
        ):
            return self._call_checked(command, argv, protocol)
        command.counters.calls += 1
        if command.is_write:
            self.has_written = True
        access = self._access
        access.protocol = protocol
        if command.reads:
            access.script_reads = True
        try:
            reply: Reply = command.handler(access, *argv[1:])  # type: ignore[misc]  # plain commands have a handler
            return reply
        except ClientError as error:
            command.counters.failed += 1
            return self._error(error)

    def _call_checked(self, command: ScriptCommand | None, argv: Sequence[bytes], protocol: int) -> Reply:
        if command is None or command.is_container:
            command = self._find(argv)
            if command is None:
                return self._error(_UNKNOWN)
        arity, count = command.arity, len(argv)
        if count != arity and (arity > 0 or count < -arity):
            return self._reject(command, _WRONG_ARITY)
        if command.is_forbidden:
            return self._reject(command, _NOT_ALLOWED)
        refusal = self._refusal(command, argv)
        if refusal is not None:
            return self._reject(command, refusal)
        return self._execute(command, argv, protocol)

    def _find(self, argv: Sequence[bytes]) -> ScriptCommand | None:
        """A command that is written in mixed case or has a subcommand."""
        name = argv[0].upper()
        command = self._commands.get(name)
        if b"|" in name:
            return None
        if command is not None and command.is_container and len(argv) > 1:
            return self._commands.get(name + b"|" + argv[1].upper())
        return command

    def _reject(self, command: ScriptCommand, error: ClientError) -> Error:
        command.counters.rejected += 1
        return self._error(error)

    def _refusal(self, command: ScriptCommand, argv: Sequence[bytes]) -> ClientError | None:
        surroundings = self._surroundings
        if self._is_restricted and surroundings is not None:
            lacking = surroundings.permission_refusal(command.row, argv)
            if lacking is not None:
                return ClientError(f"ERR The user executing the script {lacking}")
        if command.changes and self._is_read_only:
            return _READ_ONLY
        if surroundings is None or not (command.is_write or command.denies_oom):
            return None
        if self.has_written:
            return None
        denies_oom = command.denies_oom and not self._allows_oom
        return surroundings.write_refusal(is_write=command.is_write, denies_oom=denies_oom)

    def _execute(self, command: ScriptCommand, argv: Sequence[bytes], protocol: int) -> Reply:
        command.counters.calls += 1
        if command.is_write:
            self.has_written = True
        access, surroundings = self._access, self._surroundings
        if self._is_monitored and surroundings is not None:
            surroundings.monitor(command.row, access.number, argv)
        access.protocol = protocol
        access.script_reads = access.script_reads or command.reads
        try:
            if command.handler is not None:
                reply: Reply = command.handler(access, *argv[command.skip :])
                return reply
            if surroundings is None:
                raise _UNKNOWN
            return surroundings.run(command.row, argv, protocol)
        except ClientError as error:
            command.counters.failed += 1
            return self._error(error)

    def _error(self, error: ClientError) -> Error:
        if self._surroundings is not None:
            return self._surroundings.error_reply(error)
        error.__traceback__ = None  # constants would gather tracebacks for ever
        return Error(error.text)

    def may_run(self, argv: Sequence[bytes]) -> bool | None:
        command = self._find(argv)
        if command is None:
            return None
        if not self._is_restricted or self._surroundings is None:
            return True
        return self._surroundings.is_permitted(command.row, argv)

    def log(self, level: int, message: bytes) -> None:
        if self._surroundings is not None:
            self._surroundings.log(level, message)

    def lacking(self) -> int:
        """How many keys it has touched that it does not have; if any, it will have to be repeated."""
        return self._access.lacking()

    def interrupt(self) -> None:
        if self._surroundings is not None:
            self._surroundings.interrupt()
