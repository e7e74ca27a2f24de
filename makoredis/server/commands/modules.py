"""MODULE: there are none, and none can be loaded. Clients and tools ask for the list."""

from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError
from makoredis.server.commands.help import help_reply
from makoredis.server.routes import session_command
from makoredis.server.session import Session

if TYPE_CHECKING:
    from makoredis.server.server import Server


@session_command("MODULE|LIST", "Returns all loaded modules.")
def module_list(server: "Server", session: Session) -> Any:
    return []


@session_command("MODULE|LOAD", "Loads a module.")
def module_load(server: "Server", session: Session, path: bytes, *arguments: bytes) -> Any:
    raise ClientError("ERR Error loading the extension. makoredis has no modules.")


@session_command("MODULE|LOADEX", "Loads a module using extended parameters.")
def module_loadex(server: "Server", session: Session, path: bytes, *arguments: bytes) -> Any:
    raise ClientError("ERR Error loading the extension. makoredis has no modules.")


@session_command("MODULE|UNLOAD", "Unloads a module.")
def module_unload(server: "Server", session: Session, name: bytes) -> Any:
    raise ClientError("ERR Error unloading module: no such module with that name")


@session_command("MODULE|HELP", "Returns helpful text about the different subcommands.")
def module_help(server: "Server", session: Session) -> Any:
    return help_reply("MODULE", "LIST", "    Return a list of loaded modules.")
