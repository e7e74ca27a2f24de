"""Runs scripts and functions in a sandboxed Lua 5.1, as redis-server 7.0 does.

One `Interpreter` holds one Lua state (lupa's `lua51`; 0.4 MB, 1 ms to make, the first 11). It runs one script at a
time, and all that the script does to the world goes through the `Host` of that run. Nothing stays in the Lua state from
run to run but compiled code, the variables of function libraries, and the state of `math.random`.

Invariants

* User code never holds a Python object: what crosses are strings, numbers, booleans and nil.
* An exception raised by the host ends the run, whatever pcall the script is in, and comes out of `run_script`.
* Memory is bounded. Where Lua code allocates, an exhausted limit is an error of the script. Where Python does, on a
  crossing, the same would end the process (lupa 2.8 panics or hangs), so Python is entered only while a reserve is
  left that is larger than anything that crosses.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final, NoReturn, Protocol

from lupa import lua51

from makoredis.base.record import record
from makoredis.commands.lua import crossing
from makoredis.commands.lua.tailcalls import keep_all_frames, keep_library_frames
from resp.replies import OK, Error, Reply

MEMORY_BYTES_MAX: Final = 256 << 20
"""What scripts may allocate, unless told otherwise."""
RESERVE_BYTES: Final = 1280 << 20
"""What is kept free for crossings, and is what a script may exceed its limit by between two looks at it. Nothing larger
crosses at once: a request has at most 1 GB, a string 512 MB, and replies are cut into pieces."""
_COLLECT_BYTES: Final = 32 << 20
"""A run that starts with more than this in use, mostly garbage, first collects."""
_ARGUMENTS_MAX: Final = 4000
"""More keys and arguments than this are handed over in pieces."""

RESULT_DEPTH_MAX: Final = 200
"""Results nested deeper end in an error; both ends recurse, three Python frames a level."""

_REDIS_VERSION: Final = (7, 0, 15)

SCRIPT_FLAGS: Final = (b"no-writes", b"allow-oom", b"allow-stale", b"no-cluster", b"allow-cross-slot-keys")
"""In the order in which FUNCTION LIST names them."""

LIBRARY_CHUNKS: Final = ("sandbox", "values", "libraries", "bit", "struct", "cmsgpack", "cjson", "redis")
"""The Lua chunks, in the order in which they build on each other."""

_ABORTED: Final = (0, crossing.ABORT)
_NOT_TEXT: Final = (b"ERR Lua redis lib command arguments must be strings or integers", crossing.REFUSED)
_NO_ARGUMENTS: Final = (b"ERR Please specify at least one argument for this redis lib call", crossing.REFUSED)
_UNKNOWN_COMMAND: Final = (b"ERR Invalid command passed to redis.acl_check_cmd()", crossing.REFUSED)
_NO_RUN: Final = (b"ERR redis.call/pcall can only be called inside a script invocation", crossing.REFUSED)


class Host(Protocol):
    """What a run may do. Any exception that a method raises ends the run and is raised by it."""

    def call(self, argv: Sequence[bytes], protocol: int) -> Reply:
        """Executes a command; `protocol` is 2 or 3 as the script chose. A command's error is returned, not raised."""

    def may_run(self, argv: Sequence[bytes]) -> bool | None:
        """Whether the caller's permissions allow a command. None: there is no such command."""

    def log(self, level: int, message: bytes) -> None:
        """Takes a line for the server's log; 0 = debug … 3 = warning."""

    def interrupt(self) -> None:
        """Is called every 100,000 instructions."""


class LibraryError(Exception):
    """Running a library's source failed. `text` is the error that its code raised."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


class CompileError(Exception):
    """A source text is not Lua. `text` says why, as Lua does."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


@record
class FunctionDeclaration:
    """What a library said of a function when it registered it."""

    handle: int
    name: bytes
    description: bytes | None
    flags: tuple[bytes, ...]


class _Bridge:
    """The Python functions that the Lua chunks call, and the state of the run that they serve."""

    def __init__(self) -> None:
        self.host: Host | None = None
        self.protocol = 2
        self.failure: BaseException | None = None
        self.pieces: Iterator[tuple[crossing.Token, ...]] = iter(())
        """What Lua is about to fetch."""
        self.kept: list[crossing.Token] = []
        """What Lua gave in pieces: a result, or the arguments of a command."""
        self.position: bytes | None = None
        """The source and line at which the run was ended."""
        self.declare: Callable[[FunctionDeclaration], bytes | None] | None = None

    def functions(self) -> dict[bytes, Callable[..., Any]]:
        return {
            b"call": self.call,
            b"call_kept": self.call_kept,
            b"may_run": self.may_run,
            b"log": self.log,
            b"is_interrupted": self.is_interrupted,
            b"interrupted_at": self.interrupted_at,
            b"set_protocol": self.set_protocol,
            b"fetch": self.fetch,
            b"keep": self.keep,
            b"register": self.register,
            b"keep_library_frames": keep_library_frames,
            b"sha1hex": _sha1hex,
            b"pack_float": _pack_float,
            b"pack_double": struct.Struct(">d").pack,
            b"unpack_float": lambda raw: struct.unpack(">f", raw)[0],
            b"unpack_double": lambda raw: struct.unpack(">d", raw)[0],
            b"bit_and": lambda first, second: first & second,
            b"bit_or": lambda first, second: first | second,
            b"bit_xor": lambda first, second: first ^ second,
        }

    def call(self, *values: Any) -> Any:
        arguments: tuple[bytes, ...] | None = values
        for value in values:
            if type(value) is not bytes:
                arguments = _as_arguments(values)
                if arguments is None:
                    return _NOT_TEXT
                break
        if not arguments:
            return _NO_ARGUMENTS
        if self.host is None or self.failure is not None:
            return _ABORTED if self.failure else _NO_RUN
        try:
            reply: Any = self.host.call(arguments, self.protocol)
            kind = type(reply)
            if kind is bytes or kind is int:
                return reply
            if reply is OK:
                return True
            if reply is None:
                return False if self.protocol == 2 else None
            crossed = crossing.outgoing(reply, self.protocol)
        except BaseException as failure:  # noqa: BLE001 - it ends the run and is raised there
            self.failure = failure
            return _ABORTED
        if type(crossed) is tuple:
            return crossed
        self.pieces = crossing.chunks(crossed)
        return 0, crossing.CHUNKED

    def call_kept(self) -> Any:
        arguments, self.kept = self.kept, []
        return self.call(*arguments)

    def may_run(self, *arguments: Any) -> Any:
        texts = _as_arguments(arguments)
        if texts is None:
            return _NOT_TEXT
        if not texts:
            return _NO_ARGUMENTS
        if self.host is None:
            return _NO_RUN
        return self._attempt(self._may_run, texts)

    def _may_run(self, argv: Sequence[bytes]) -> Any:
        assert self.host is not None
        allowed = self.host.may_run(argv)
        return _UNKNOWN_COMMAND if allowed is None else allowed

    def log(self, level: int, message: bytes) -> Any:
        return None if self.host is None else self._attempt(self.host.log, level, message)

    def interrupted_at(self, source: bytes, line: int) -> None:
        self.position = b"%b:%d" % (source, line)

    def is_interrupted(self) -> bool:
        if self.failure is None and self.host is not None:
            self._attempt(self.host.interrupt)
        return self.failure is not None

    def _attempt(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls something of the host; if it raises, the run is over."""
        try:
            return function(*arguments)
        except BaseException as failure:  # noqa: BLE001 - it ends the run and is raised there
            self.failure = failure
            return _ABORTED

    def set_protocol(self, protocol: int) -> None:
        self.protocol = protocol

    def fetch(self) -> tuple[crossing.Token, ...]:
        return next(self.pieces, ())

    def keep(self, *tokens: crossing.Token) -> None:
        self.kept.extend(tokens)

    def register(self, handle: int, name: bytes, description: bytes | None, flags: bytes) -> bytes | None:
        assert self.declare is not None
        chosen = set(flags.split(b","))
        ordered = tuple(flag for flag in SCRIPT_FLAGS if flag in chosen)
        return self.declare(FunctionDeclaration(handle, name, description, ordered))


class Interpreter:
    """One Lua state with the environments of scripts and of functions."""

    def __init__(self, memory_bytes_max: int = MEMORY_BYTES_MAX, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._runtime = lua51.LuaRuntime(
            encoding=None,
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_no_attributes,
            max_memory=memory_bytes_max + reserve_bytes,
        )
        self._memory_used: Callable[[], int] = self._runtime.get_memory_used
        self._bridge = _Bridge()
        core = self._boot(memory_bytes_max)
        self._run_script = core[b"run_script"]
        self._run_function = core[b"run_function"]
        self._compile_source = core[b"compile_source"]
        self._bind_script = core[b"bind_script"]
        self._load_library = core[b"load_library"]
        self._forget_function = core[b"forget_function"]
        self._rearm = core[b"rearm"]
        self._rearm()
        self._runtime.gccollect()
        self._memory_at_start = self._memory_used()

    def _boot(self, memory_bytes_max: int) -> Any:
        table = self._runtime.table_from
        major, minor, patch = _REDIS_VERSION
        core = table(
            {
                b"host": table(self._bridge.functions()),
                b"kinds": table(crossing.KINDS),
                b"script_flags": table(dict.fromkeys(SCRIPT_FLAGS, True)),
                b"chunk_tokens": crossing.CHUNK_TOKENS,
                b"result_depth_max": RESULT_DEPTH_MAX,
                b"script_kb_max": memory_bytes_max // 1024,
                b"version": b"%d.%d.%d" % _REDIS_VERSION,
                b"version_number": major << 16 | minor << 8 | patch,
            }
        )
        load = self._runtime.globals()[b"loadstring"]
        for name in LIBRARY_CHUNKS:
            load(_library_code(name))(core)
        return core

    def memory_bytes(self) -> int:
        """What scripts keep: the Lua state without its libraries, and without garbage, which is collected now."""
        self._runtime.gccollect()
        used: int = self._memory_used() - self._memory_at_start
        return max(0, used)

    @property
    def interrupted_at(self) -> bytes | None:
        """The source and line at which the host ended the last run, None if it did not."""
        return self._bridge.position

    def compile_script(self, source: bytes) -> Any:
        """Compiles a script's source. Returns what `run_script` takes.

        Raises: CompileError.
        """
        return self._bind_script(self._compile(source, b"@user_script"))

    def run_script(self, script: Any, name: bytes, arguments: Sequence[bytes], key_count: int, host: Host) -> Reply:
        """Runs a compiled script with the globals KEYS and ARGV.

        Args:
            name: what errors call it: its SHA1.
            arguments: keys first.
        """
        return self._run(self._run_script, script, name, arguments, key_count, host)

    def load_library(self, source: bytes, declare: Callable[[FunctionDeclaration], bytes | None], host: Host) -> None:
        """Runs a library's source, which registers its functions.

        Args:
            declare: takes each function, or returns why it refuses it.

        Raises:
            CompileError: the source is not Lua.
            LibraryError: running it failed. Functions that it registered until then are the caller's to forget.
        """
        binary = self._compile(source, b"@user_function")
        bridge = self._bridge
        bridge.declare = declare
        try:
            failure = self._guarded(self._load_library, (binary,), host)
        finally:
            bridge.declare = None
        if failure is not None:
            raise LibraryError(failure.text if isinstance(failure, Error) else bytes(failure))

    def run_function(self, handle: int, name: bytes, arguments: Sequence[bytes], key_count: int, host: Host) -> Reply:
        """Calls a registered function with the tables of keys and arguments."""
        return self._run(self._run_function, handle, name, arguments, key_count, host)

    def forget_function(self, handle: int) -> None:
        self._forget_function(handle)

    def _compile(self, source: bytes, name: bytes) -> bytes:
        compiled = self._compile_source(source, name)
        if type(compiled) is tuple:
            raise CompileError(compiled[1])
        return keep_library_frames(compiled)

    def _run(
        self, function: Any, subject: Any, name: bytes, arguments: Sequence[bytes], key_count: int, host: Host
    ) -> Reply:
        if len(arguments) <= _ARGUMENTS_MAX:
            result = self._guarded(function, (subject, name, key_count, *arguments), host)
        else:
            self._bridge.pieces = crossing.chunks(arguments)
            result = self._guarded(function, (subject, name, -1 - key_count), host)
        kind = type(result)
        if kind is bytes or kind is Error:
            reply: Reply = result
            return reply
        return crossing.incoming(result, self._bridge.kept)

    def _guarded(self, function: Any, values: Sequence[Any], host: Host) -> Any:
        """Calls into Lua on behalf of a host. Returns what Lua returns, or an `Error` when Lua itself failed.

        Raises: whatever the host raised.
        """
        bridge = self._bridge
        if self._memory_used() > _COLLECT_BYTES:
            self._runtime.gccollect()
        bridge.host, bridge.protocol, bridge.kept, bridge.position = host, 2, [], None
        try:
            result = function(*values)
        except lua51.LuaError as error:
            result = Error(b"ERR Error running script: " + str(error).encode())
        finally:
            bridge.host = None
        if bridge.failure is not None:
            failure, bridge.failure = bridge.failure, None
            self._rearm()
            raise failure
        return result


def _as_arguments(values: Sequence[Any]) -> tuple[bytes, ...] | None:
    """Lua values as a command's arguments; None if one of them is neither a string nor a number."""
    arguments = []
    for value in values:
        kind = type(value)
        if kind is bytes:
            arguments.append(value)
        elif kind is int or kind is float:
            arguments.append(crossing.number_argument(value))
        else:
            return None
    return tuple(arguments)


def _no_attributes(subject: object, name: object, is_setting: bool) -> NoReturn:
    raise AttributeError("Lua code does not see into Python")


@cache
def _library_code(name: str) -> bytes:
    """A chunk of the library, compiled: 90 % of the cost of a Lua state, were it not kept."""
    runtime = lua51.LuaRuntime(encoding=None)
    load, dump = runtime.globals()[b"loadstring"], runtime.globals()[b"string"][b"dump"]
    return keep_all_frames(dump(load(library_source(name), b"=[makoredis]")))


def library_source(name: str) -> bytes:
    """The text of a chunk of the library."""
    return files(__package__).joinpath(f"{name}.lua").read_bytes()


def _sha1hex(text: bytes) -> bytes:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


def _pack_float(number: float) -> bytes:
    try:
        return struct.pack(">f", number)
    except OverflowError:
        return struct.pack(">f", float("inf") if number > 0 else float("-inf"))
