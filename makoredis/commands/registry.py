"""Which function answers which command on keys, and the two ways a command can end other than with a reply.

A handler is a synchronous function `handler(access, *arguments) -> Reply`, where the arguments are those behind the
command's (and subcommand's) name, as bytes. Arity was checked before, so a fixed arity becomes named parameters and an
open one `*rest`. It reads and changes only through `Access`; it raises `ClientError` for an error reply, before or
after effects (what it changed until then stays, as in Redis).
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

from makoredis import commands
from makoredis.base.record import record
from makoredis.commands.table import TABLE, CommandRow

Handler = Callable[..., Any]
_Bound = TypeVar("_Bound", bound=Handler)


@record
class WouldBlock:
    """What a blocking command returns when it has to wait (only if `access.may_block`; else it answers at once).

    The request is parked until one of `keys` may have become ready, then runs again from the start as `argv` says. It
    keeps its place in the queues of its keys while it goes on returning WouldBlock.
    """

    keys: tuple[bytes, ...]
    timeout_ms: int
    """0 = for ever."""
    on_timeout: Any = None
    """The reply when the time is over."""
    argv: list[bytes] | None = None
    """What to run when woken, if not the request itself (XREAD with `$` resolved)."""
    wakes_for: tuple[type, ...] = ()
    """Types of value that can serve it; a key that holds another type does not wake it. () = any change of the key,
    also that it is gone (XREADGROUP, which then answers with an error)."""


@record
class Command:
    """A row of the table with its handler."""

    row: CommandRow
    handler: Handler
    summary: str


COMMANDS: dict[str, Command] = {}
"""All commands on keys that are implemented, by upper-case name. Sealed once `load` has run."""


def command(name: str, summary: str) -> Callable[[_Bound], _Bound]:
    """Binds a handler to the row of that name.

    Args:
        name: as in the table, upper case; `OBJECT|ENCODING` for a subcommand.
        summary: one sentence, for COMMAND DOCS and the docs.
    """

    def bind(handler: _Bound) -> _Bound:
        assert name not in COMMANDS, name
        COMMANDS[name] = Command(TABLE[name], handler, summary)
        return handler

    return bind


SERIES: dict[str, Handler] = {}
"""Handlers for several requests of one command, by its name. Sealed once `load` has run."""


def series(name: str) -> Callable[[_Bound], _Bound]:
    """Binds what answers several requests of a command at once, as its handler would one after the other.

    It is a function `handler(access, *columns) -> Sequence[Reply] | None`: a column has one argument of all requests,
    which have the same number of arguments. None, or a ClientError, means that each is to be answered by itself;
    nothing must have been changed then.
    """

    def bind(handler: _Bound) -> _Bound:
        assert name not in SERIES, name
        SERIES[name] = handler
        return handler

    return bind


def sole_key(keys: Sequence[bytes]) -> bytes | None:
    """The key that all requests of a series name; None if they name several."""
    return keys[0] if keys.count(keys[0]) == len(keys) else None


def load() -> dict[str, Command]:
    """Imports every module of this package (each family binds its handlers then), and returns the sealed table."""
    for module in iter_modules(commands.__path__, f"{commands.__name__}."):
        import_module(module.name)
    return COMMANDS
