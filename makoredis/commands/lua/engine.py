"""Scripts and functions of one keyspace on this node: the Lua state, what is compiled, and how a run is set up."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from makoredis.base.errors import ClientError, CountedError
from makoredis.commands.lua.crossing import PassedOnError
from makoredis.commands.lua.function_libraries import Function, Library, LibraryTable
from makoredis.commands.lua.interpreter import MEMORY_BYTES_MAX, Interpreter
from makoredis.commands.lua.run import Counters, RunEnded, RunKind, ScriptRun, Surroundings, script_commands
from makoredis.commands.lua.scripts import Script, ScriptCache
from makoredis.data.access import Access
from resp.replies import Error, Reply

_WRITES_IN_READ_ONLY = ClientError("ERR Can not execute a script with write flag using *_ro command.")


class ScriptEngine:
    """Runs scripts and functions."""

    def __init__(
        self,
        surroundings: Surroundings | None = None,
        counters: Mapping[str, Counters] | None = None,
        memory_bytes_max: int = MEMORY_BYTES_MAX,
    ) -> None:
        """
        Args:
            surroundings: what the server offers; None without one.
            counters: by upper-case name of the command, where calls in scripts are counted too.
        """
        self.surroundings = surroundings
        self.interpreter = Interpreter(memory_bytes_max)
        self.scripts = ScriptCache(self.interpreter)
        self.libraries = LibraryTable(self.interpreter)
        self._last_host: ScriptRun | None = None
        self._commands = script_commands(counters or {}, has_server=surroundings is not None)

    def run_script(
        self, access: Access, script: Script, arguments: Sequence[bytes], key_count: int, *, read_only: bool
    ) -> Reply:
        """Runs a script as part of a transaction.

        Args:
            arguments: keys first.

        Raises: ClientError when it may not run or fails; whatever else a command raises.
        """
        host = self._host(access, script.flags, read_only=read_only)
        runner = self.interpreter.run_script
        return self._run(access, RunKind.SCRIPT, runner, script.compiled, script.sha, arguments, key_count, host)

    def run_function(
        self, access: Access, function: Function, arguments: Sequence[bytes], key_count: int, *, read_only: bool
    ) -> Reply:
        """Runs a function of a library; as `run_script`."""
        host = self._host(access, function.flags, read_only=read_only)
        runner = self.interpreter.run_function
        return self._run(access, RunKind.FUNCTION, runner, function.handle, function.name, arguments, key_count, host)

    def find_function(self, access: Access, name: bytes) -> Function | None:
        """A function by its name, in upper or lower case."""
        return self.libraries.find(name, access.space.libraries, self._loading_host(access))

    def load_library(self, access: Access, source: bytes, *, replace: bool) -> Library:
        """Loads a library and checks that it fits to the others; the caller stores it.

        Raises: ClientError.
        """
        host = self._loading_host(access)
        surroundings = self.surroundings
        if surroundings is not None:
            surroundings.begin(RunKind.LIBRARY, b"", host)
        try:
            return self.libraries.load(source, access.space.libraries, host, replace=replace)
        except RunEnded as ended:
            raise ClientError(f"ERR Error registering functions: {ended.text}") from None
        finally:
            if surroundings is not None:
                surroundings.end()

    def restore_libraries(self, access: Access, sources: Sequence[bytes], policy: bytes) -> list[Library]:
        """Loads libraries that were dumped, and checks that they fit; the caller stores them.

        Args:
            policy: what becomes of the present ones: `FLUSH`, `APPEND` or `REPLACE`.

        Raises: ClientError.
        """
        return self.libraries.restore(sources, access.space.libraries, self._loading_host(access), policy)

    def synchronize(self, access: Access) -> LibraryTable:
        """The libraries as the keyspace has them."""
        self.libraries.synchronize(access.space.libraries, self._loading_host(access))
        return self.libraries

    def _host(self, access: Access, flags: frozenset[bytes] | None, *, read_only: bool) -> ScriptRun:
        if flags is None and not read_only:
            return self._plain_host(access)
        allows_oom = False
        if flags is not None:
            if b"no-writes" not in flags:
                if read_only:
                    raise _WRITES_IN_READ_ONLY
                self._check_writable(b"allow-oom" in flags)
            read_only = read_only or b"no-writes" in flags
            allows_oom = b"allow-oom" in flags
        return ScriptRun(access, self._commands, self.surroundings, is_read_only=read_only, allows_oom=allows_oom)

    def _plain_host(self, access: Access) -> ScriptRun:
        """The host of a script that may do anything: mostly the one of the last such script."""
        host = self._last_host
        if host is None or not host.renew(access):
            host = ScriptRun(access, self._commands, self.surroundings, is_read_only=False, allows_oom=False)
            self._last_host = host if self.surroundings is None or self.surroundings.is_plain() else None
        return host

    def _check_writable(self, allows_oom: bool) -> None:
        """A script that says it writes is refused before it begins, when nothing may be written."""
        if self.surroundings is not None:
            refused = self.surroundings.write_refusal(is_write=True, denies_oom=not allows_oom)
            if refused is not None:
                raise refused

    def _loading_host(self, access: Access) -> ScriptRun:
        return ScriptRun(access, {}, self.surroundings, is_read_only=True, allows_oom=False)

    def _run(
        self,
        access: Access,
        kind: RunKind,
        runner: Callable[..., Reply],
        subject: Any,
        name: bytes,
        arguments: Sequence[bytes],
        key_count: int,
        host: ScriptRun,
    ) -> Reply:
        surroundings = self.surroundings
        number, protocol, may_block = access.number, access.protocol, access.may_block
        access.in_script, access.may_block = True, False
        if surroundings is not None:
            surroundings.begin(kind, name, host)
        try:
            reply = runner(subject, name, arguments, key_count, host)
        except RunEnded as ended:
            where = self.interpreter.interrupted_at
            reply = Error(b"%b script: %b, on %b." % (ended.text.encode(), name, where) if where else ended.text)
        finally:
            if surroundings is not None:
                surroundings.end()
            access.in_script, access.may_block, access.protocol = False, may_block, protocol
            if access.number != number:
                access.select(number)
        kind_of_reply = type(reply)
        return _raised(reply) if kind_of_reply is Error or kind_of_reply is PassedOnError else reply


def _raised(reply: Any) -> Reply:
    """A run that ends in an error has failed, unless its text is none that an exception can carry.

    Raises: ClientError.
    """
    try:
        text = reply.text.decode()
    except UnicodeDecodeError:
        return Error(reply.text)
    raise (CountedError if type(reply) is PassedOnError else ClientError)(text)


def engine_of(access: Access) -> ScriptEngine:
    """The engine of the keyspace that a transaction works on, made now if the server has not provided one."""
    space = access.space
    engine = space.scripting
    if engine is None:
        engine = space.scripting = ScriptEngine()
    assert isinstance(engine, ScriptEngine)
    return engine
