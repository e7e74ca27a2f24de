"""What one run of a script may do: commands on the transaction's access, under the rules for scripts."""

from collections.abc import Callable, Mapping, Sequence
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

_UNKNOWN: Final = Error(b"ERR Unknown Redis command called from script")
_WRONG_ARITY: Final = Error(b"ERR Wrong number of args calling Redis command from script")
_NOT_ALLOWED: Final = Error(b"ERR This Redis command is not allowed from script")
_READ_ONLY: Final = Error(b"ERR Write commands are not allowed from read-only scripts.")


class RunEnded(Exception):
    """The server ends a run: `interrupt` raises it. `text` is the error reply's."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Surroundings(Protocol):
    """What scripts need of the server beyond the keyspace."""

    def begin(self, kind: str, name: bytes) -> None:
        """A run begins: `eval`, `function` or `load`, of the script or function with that name."""

    def end(self) -> None:
        """It is over."""

    def interrupt(self) -> None:
        """Is called every 100,000 instructions. Raises: RunEnded."""

    def run(self, row: CommandRow, argv: Sequence[bytes], protocol: int) -> Reply:
        """Executes a command that is not one on keys. Raises: ClientError."""

    def is_restricted(self) -> bool:
        """Whether the caller's permissions have to be looked at."""

    def permission_refusal(self, row: CommandRow, argv: Sequence[bytes]) -> str | None:
        """Which permission the caller lacks for a command, in Redis's words; None: it is allowed."""

    def write_refusal(self, *, is_write: bool, denies_oom: bool) -> ClientError | None:
        """Why a command that writes (disk) or takes memory (limit) may not run now."""

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
        "is_write", "name", "rejected", "row", "skip",
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
        self.changes = row.is_write or "may_replicate" in row.flags
        """Whether read-only scripts may not call it."""
        self.denies_oom = DENY_OOM in row.flags
        self.skip = 2 if "|" in row.name else 1
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
    """The host of one run."""

    __slots__ = (
        "_access", "_allows_oom", "_commands", "_effects_before", "_is_read_only", "_is_restricted", "_surroundings",
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
        self._is_restricted = surroundings is not None and surroundings.is_restricted()
        self._effects_before = len(access.effects)

    def call(self, argv: Sequence[bytes], protocol: int) -> Reply:
        """One command. Its errors are replies; what raises anything else ends the run."""
        command = self._commands.get(argv[0])
        if command is None or command.is_container:
            command = self._find(argv)
            if command is None:
                return _UNKNOWN
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

    def _reject(self, command: ScriptCommand, error: Error) -> Error:
        command.counters.rejected += 1
        return error

    def _refusal(self, command: ScriptCommand, argv: Sequence[bytes]) -> Error | None:
        surroundings = self._surroundings
        if self._is_restricted and surroundings is not None:
            lacking = surroundings.permission_refusal(command.row, argv)
            if lacking is not None:
                return Error(f"ERR The user executing the script {lacking}")
        if command.changes and self._is_read_only:
            return _READ_ONLY
        if surroundings is None or not (command.is_write or command.denies_oom):
            return None
        # Once a script has written, it may go on: half a script would be worse than a little more memory.
        if len(self._access.effects) > self._effects_before:
            return None
        denies_oom = command.denies_oom and not self._allows_oom
        refused = surroundings.write_refusal(is_write=command.is_write, denies_oom=denies_oom)
        return None if refused is None else Error(refused.text)

    def _execute(self, command: ScriptCommand, argv: Sequence[bytes], protocol: int) -> Reply:
        command.counters.calls += 1
        access = self._access
        access.protocol = protocol
        if READONLY in command.row.flags:
            access.script_reads = True
        try:
            if command.handler is not None:
                reply: Reply = command.handler(access, *argv[command.skip :])
                return reply
            if self._surroundings is not None:
                return self._surroundings.run(command.row, argv, protocol)
        except ClientError as error:
            command.counters.failed += 1
            error.__traceback__ = None  # constants would gather tracebacks for ever
            return Error(error.text)
        return _UNKNOWN

    def may_run(self, argv: Sequence[bytes]) -> bool | None:
        command = self._find(argv)
        if command is None:
            return None
        if not self._is_restricted or self._surroundings is None:
            return True
        return self._surroundings.permission_refusal(command.row, argv) is None

    def log(self, level: int, message: bytes) -> None:
        if self._surroundings is not None:
            self._surroundings.log(level, message)

    def interrupt(self) -> None:
        if self._surroundings is not None:
            self._surroundings.interrupt()
