"""CONFIG: parameters at run time."""

from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError, printable
from makoredis.server.commands.help import help_reply
from makoredis.server.config_file import rewrite
from makoredis.server.routes import session_command
from makoredis.server.session import Session
from resp.replies import OK, Map

if TYPE_CHECKING:
    from makoredis.server.server import Server


@session_command("CONFIG|GET", "Returns the effective values of configuration parameters.")
def config_get(server: "Server", session: Session, *patterns: bytes) -> Any:
    return Map([(name.encode(), _bytes(value)) for name, value in server.config.table.matching(patterns)])


@session_command("CONFIG|SET", "Sets configuration parameters in-flight.")
def config_set(server: "Server", session: Session, *pairs: bytes) -> Any:
    if len(pairs) % 2:
        raise ClientError("ERR wrong number of arguments for 'config|set' command")
    changes = [(printable(name), _text(value)) for name, value in zip(pairs[::2], pairs[1::2])]
    server.config.set_many(changes)
    return OK


@session_command("CONFIG|RESETSTAT", "Resets the server's statistics.")
def config_resetstat(server: "Server", session: Session) -> Any:
    server.reset_statistics()
    return OK


@session_command("CONFIG|REWRITE", "Persists the effective configuration to file.")
def config_rewrite(server: "Server", session: Session) -> Any:
    if server.config.file is None:
        raise ClientError("ERR The server is running without a config file")
    rewrite(server.config.file, server.config.table)
    return OK


@session_command("CONFIG|HELP", "Returns helpful text about the different subcommands.")
def config_help(server: "Server", session: Session) -> Any:
    return help_reply(
        "CONFIG",
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
