"""EVAL, EVALSHA and SCRIPT: running Lua scripts as part of a transaction, and the cache of their texts."""

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import int64
from makoredis.commands.lua.engine import engine_of
from makoredis.commands.lua.scripts import Script
from makoredis.commands.registry import command
from makoredis.data.access import Access
from resp.replies import OK, Reply, Simple

_SMALL = {b"%d" % count: count for count in range(10)}
_NO_SCRIPT = ClientError("NOSCRIPT No matching script. Please use EVAL.")
_BAD_FLUSH = ClientError("ERR SCRIPT FLUSH only support SYNC|ASYNC option")


def key_count(raw: bytes, rest: tuple[bytes, ...], error: ClientError | None = None) -> int:
    """How many of the arguments are keys. Raises: ClientError."""
    count = _SMALL.get(raw)
    if count is None:
        count = int64(raw) if error is None else int64(raw, error)
    if count > len(rest):
        raise ClientError("ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise ClientError("ERR Number of keys can't be negative")
    return count


@command("EVAL", "Executes a server-side Lua script.")
def eval_(access: Access, body: bytes, raw_count: bytes, *rest: bytes) -> Reply:
    return _eval(access, body, raw_count, rest, read_only=False)


@command("EVAL_RO", "Executes a read-only server-side Lua script.")
def eval_ro(access: Access, body: bytes, raw_count: bytes, *rest: bytes) -> Reply:
    return _eval(access, body, raw_count, rest, read_only=True)


def _eval(access: Access, body: bytes, raw_count: bytes, rest: tuple[bytes, ...], *, read_only: bool) -> Reply:
    count = key_count(raw_count, rest)
    engine = engine_of(access)
    script = engine.scripts.load(body)
    return engine.run_script(access, script, rest, count, read_only=read_only)


@command("EVALSHA", "Executes a server-side Lua script by SHA1 digest.")
def evalsha(access: Access, sha: bytes, raw_count: bytes, *rest: bytes) -> Reply:
    return _evalsha(access, sha, raw_count, rest, read_only=False)


@command("EVALSHA_RO", "Executes a read-only server-side Lua script by SHA1 digest.")
def evalsha_ro(access: Access, sha: bytes, raw_count: bytes, *rest: bytes) -> Reply:
    return _evalsha(access, sha, raw_count, rest, read_only=True)


def _evalsha(access: Access, sha: bytes, raw_count: bytes, rest: tuple[bytes, ...], *, read_only: bool) -> Reply:
    if len(sha) != 40:
        raise _NO_SCRIPT
    count = key_count(raw_count, rest)
    engine = engine_of(access)
    script: Script | None = engine.scripts.find(sha)
    if script is None:
        raise _NO_SCRIPT
    return engine.run_script(access, script, rest, count, read_only=read_only)


@command("SCRIPT|LOAD", "Loads a server-side Lua script to the script cache.")
def script_load(access: Access, body: bytes) -> Reply:
    return engine_of(access).scripts.load(body).sha


@command("SCRIPT|EXISTS", "Determines whether server-side Lua scripts exist in the script cache.")
def script_exists(access: Access, *shas: bytes) -> Reply:
    scripts = engine_of(access).scripts
    return [int(scripts.has(sha)) for sha in shas]


@command("SCRIPT|FLUSH", "Removes all server-side Lua scripts from the script cache.")
def script_flush(access: Access, *mode: bytes) -> Reply:
    if len(mode) > 1 or (mode and mode[0].upper() not in (b"SYNC", b"ASYNC")):
        raise _BAD_FLUSH
    engine_of(access).scripts.flush()
    return OK


_SCRIPT_HELP = """\
SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
DEBUG (YES|SYNC|NO)
    Set the debug mode for subsequent scripts executed.
EXISTS <sha1> [<sha1> ...]
    Return information about the existence of the scripts in the script cache.
FLUSH [ASYNC|SYNC]
    Flush the Lua scripts cache. Very dangerous on replicas.
    When called without the optional mode argument, the behavior is determined by the
    lazyfree-lazy-user-flush configuration directive. Valid modes are:
    * ASYNC: Asynchronously flush the scripts cache.
    * SYNC: Synchronously flush the scripts cache.
KILL
    Kill the currently executing Lua script.
LOAD <script>
    Load a script into the scripts cache without executing it.
HELP
    Prints this help."""


@command("SCRIPT|HELP", "Returns helpful text about the different subcommands.")
def script_help(access: Access) -> Reply:
    return [Simple(line) for line in _SCRIPT_HELP.splitlines()]
