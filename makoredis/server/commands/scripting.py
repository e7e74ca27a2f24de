"""SCRIPT KILL, SCRIPT DEBUG, FUNCTION KILL, FUNCTION STATS: what looks at the script that is running."""

from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError
from makoredis.commands.lua.function_libraries import ENGINE_NAME
from makoredis.commands.lua.run import RunKind
from makoredis.server.routes import session_command
from makoredis.server.scripting import BUSY_WITH_SCRIPT
from makoredis.server.session import Session
from resp.replies import OK, Map, Reply

if TYPE_CHECKING:
    from makoredis.server.server import Server


@session_command("SCRIPT|KILL", "Terminates a server-side Lua script during execution.")
def script_kill(server: "Server", session: Session) -> Any:
    return server.scripting.kill(RunKind.SCRIPT)


@session_command("SCRIPT|DEBUG", "Sets the debug mode of server-side Lua scripts.")
def script_debug(server: "Server", session: Session, mode: bytes) -> Any:
    word = mode.upper()
    if word in (b"YES", b"SYNC"):
        raise ClientError("ERR the Lua debugger is not available")
    if word != b"NO":
        raise ClientError("ERR Use SCRIPT DEBUG YES/SYNC/NO")
    return OK


@session_command("FUNCTION|KILL", "Terminates a function during execution.")
def function_kill(server: "Server", session: Session) -> Any:
    return server.scripting.kill(RunKind.FUNCTION)


@session_command("FUNCTION|STATS", "Returns information about a function during execution.")
def function_stats(server: "Server", session: Session) -> Any:
    scripting = server.scripting
    running: Reply = None
    if scripting.run_of_now is not None:
        if scripting.kind is RunKind.SCRIPT:
            raise BUSY_WITH_SCRIPT
        caller = scripting.caller
        running = Map(
            [
                (b"name", scripting.name),
                (b"command", [] if caller is None else list(caller.last_command)),
                (b"duration_ms", int(scripting.running_seconds() * 1000)),
            ]
        )
    table = scripting.engine.libraries
    if scripting.run_of_now is None:
        scripting.engine.synchronize(server.node.host.access)
    counts = Map([(b"libraries_count", len(table.libraries)), (b"functions_count", table.function_count)])
    return Map([(b"running_script", running), (b"engines", Map([(ENGINE_NAME, counts)]))])
