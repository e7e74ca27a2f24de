"""Which command is answered where: one lookup from a request's first words to what runs it.

A *data* route runs a handler of `makoredis.commands` on the keyspace; a *session* route runs one of
`makoredis.server.commands`, which see the server and the connection instead.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from makoredis.base.errors import ClientError, printable
from makoredis.commands.registry import COMMANDS, SERIES, load
from makoredis.commands.table import TABLE, CommandRow
from makoredis.server import commands
from makoredis.server.latencies import no_latencies, record_latency

NO_REPLY = object()
"""Returned by a session command that has answered by itself, or whose answer comes later."""


class Route:
    """One command as dispatch sees it, with its counters."""

    __slots__ = (
        "allowed_in_subscribe",
        "arity",
        "calls",
        "failed",
        "handler",
        "is_data",
        "is_in_series",
        "is_write",
        "latencies",
        "missed",
        "name",
        "reads",
        "rejected",
        "row",
        "runs_scripts",
        "seconds",
        "series",
        "skip",
        "summary",
        "whole_keyspace",
    )

    def __init__(self, row: CommandRow, handler: Callable[..., Any], summary: str, *, is_data: bool) -> None:
        self.row = row
        self.name = row.name
        self.handler = handler
        self.summary = summary
        self.is_data = is_data
        self.arity = row.arity
        self.is_write = row.is_write
        self.reads = row.name in _WRITES_THAT_READ or ("readonly" in row.flags and row.name not in _SILENT)
        """Whether a missing key is a miss."""
        self.skip = 2 if "|" in row.name else 1
        """How many words the name has: the arguments begin there."""
        self.whole_keyspace = is_data and not (row.key_specs and row.names_all_keys)
        self.runs_scripts = row.group == "scripting" and bool(row.key_specs)
        self.series = SERIES.get(row.name) if is_data else None
        """Answers several requests at once."""
        is_quick = self.series is not None or "fast" in row.flags
        self.is_in_series = (
            is_data and is_quick and not self.whole_keyspace and row.group not in ("scripting", "pubsub")
        )
        """Whether several requests that are there at once may be run as one transaction (`makoredis.server.series`)."""
        self.allowed_in_subscribe = row.name in _SUBSCRIBER_COMMANDS
        self.calls = 0
        self.seconds = 0.0
        """Time spent in it."""
        self.latencies = no_latencies()
        self.missed = 0
        """How often its reply was null."""
        self.rejected = 0
        self.failed = 0

    def ran(self, seconds: float, count: int = 1) -> None:
        """It was executed, or several times together."""
        self.calls += count
        self.seconds += seconds
        record_latency(self.latencies, seconds / count, count)


_SUBSCRIBER_COMMANDS = frozenset(
    ("SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE", "PING", "QUIT", "RESET")
)

_WRITES_THAT_READ = frozenset(
    ("GETDEL", "GETEX", "GETSET", "XREADGROUP", "SORT", "GEORADIUS", "GEORADIUSBYMEMBER", "PFMERGE", "ZRANGESTORE")
)
FLUSHES = ("FLUSHALL", "FLUSHDB")
_SILENT = frozenset(("OBJECT|ENCODING", "OBJECT|FREQ", "OBJECT|IDLETIME", "OBJECT|REFCOUNT", "MEMORY|USAGE"))

_SESSION_COMMANDS: dict[str, tuple[Callable[..., Any], str]] = {}


def session_command(name: str, summary: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Binds `handler(server, session, *arguments) -> Reply | NO_REPLY` to a row of the table."""

    def bind(handler: Callable[..., Any]) -> Callable[..., Any]:
        assert name not in _SESSION_COMMANDS, name
        _SESSION_COMMANDS[name] = (handler, summary)
        return handler

    return bind


class Routes:
    """All routes of a server, by name in any case. Counters are per server, so that tests can run several."""

    def __init__(self) -> None:
        load()
        for module in iter_modules(commands.__path__, f"{commands.__name__}."):
            import_module(module.name)
        self.by_name: dict[str, Route] = {
            name: Route(command.row, command.handler, command.summary, is_data=True)
            for name, command in COMMANDS.items()
        }
        for name, (handler, summary) in _SESSION_COMMANDS.items():
            assert name not in self.by_name, name
            self.by_name[name] = Route(TABLE[name], handler, summary, is_data=False)
        self.containers = {name.split("|")[0] for name in self.by_name if "|" in name}
        self.direct: dict[bytes, Route] = {}
        """The fast path: plain commands by the spellings that clients use."""
        for name, route in self.by_name.items():
            if route.is_data and "|" not in name and "blocking" not in route.row.flags and name not in FLUSHES:
                self.direct[name.encode()] = route
                self.direct[name.lower().encode()] = route

    def find(self, argv: Sequence[bytes]) -> Route:
        """The route of a request.

        Raises: ClientError with Redis's texts for an unknown command, subcommand or a wrong number of arguments.
        """
        route = self.find_any_arity(argv)
        count = len(argv)
        if not (count == route.arity if route.arity >= 0 else count >= -route.arity):
            route.rejected += 1
            raise ClientError(f"ERR wrong number of arguments for '{route.name.lower()}' command")
        return route

    def row(self, name: str) -> CommandRow:
        """The table's row of an implemented command or container."""
        return TABLE[name]

    def find_any_arity(self, argv: Sequence[bytes]) -> Route:
        """The same without looking at the number of arguments."""
        name = argv[0].decode("latin-1").upper()
        route = None if "|" in name else self.by_name.get(name)
        if name in self.containers and (route is None or len(argv) > 1):
            route = self._subcommand(name, argv)
        if route is None:
            raise ClientError(_unknown_command(argv))
        return route

    def display_name(self, argv: Sequence[bytes]) -> str:
        """How CLIENT LIST names a request: `get`, `client|list`, `NULL` for none."""
        if not argv:
            return "NULL"
        name = argv[0].decode("latin-1").upper()
        if name in self.containers and len(argv) > 1:
            name += "|" + argv[1].decode("latin-1").upper()
        return name.lower() if name in self.by_name else "NULL"

    def _subcommand(self, name: str, argv: Sequence[bytes]) -> Route:
        if len(argv) == 1:
            raise ClientError(f"ERR wrong number of arguments for '{name.lower()}' command")
        word = argv[1]
        route = self.by_name.get(f"{name}|{word.decode('latin-1').upper()}")
        if route is None:
            raise ClientError(f"ERR unknown subcommand '{printable(word[:128])}'. Try {name} HELP.")
        return route


def _unknown_command(argv: Sequence[bytes]) -> str:
    arguments = b""
    for argument in argv[1:]:
        if len(arguments) >= 128:
            break
        arguments += b"'" + argument[: 128 - len(arguments)].partition(b"\0")[0] + b"' "
    return f"ERR unknown command '{printable(argv[0][:128])}', with args beginning with: {printable(arguments)}"
