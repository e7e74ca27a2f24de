"""FUNCTION and FCALL: libraries of Lua functions that are part of the data.

What is stored, replicated and persisted is each library's source; every node compiles it when it is first needed.
"""

from makoredis.base.errors import ClientError, SubcommandError, printable
from makoredis.commands.glob import matches
from makoredis.commands.lua.engine import engine_of
from makoredis.commands.lua.function_libraries import ENGINE_NAME, Function, Library
from makoredis.commands.registry import command
from makoredis.commands.scripting import key_count
from makoredis.data.access import Access
from makoredis.data.effects import DeleteLibrary, PutLibrary
from makoredis.data.rdb.errors import BadFormat
from makoredis.data.rdb.payload import dump_libraries, is_intact, restore_libraries
from resp.replies import OK, Map, Reply, SetReply, Simple

_NOT_FOUND = ClientError("ERR Function not found")
_BAD_KEY_COUNT = ClientError("ERR Bad number of keys provided")
_NO_LIBRARY = ClientError("ERR Library not found")
_BAD_POLICY = ClientError("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.")
_BAD_PAYLOAD = ClientError("ERR DUMP payload version or checksum are wrong")
_BAD_FLUSH = ClientError("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")


@command("FCALL", "Invokes a function.")
def fcall(access: Access, name: bytes, raw_count: bytes, *rest: bytes) -> Reply:
    return _fcall(access, name, raw_count, rest, read_only=False)


@command("FCALL_RO", "Invokes a read-only function.")
def fcall_ro(access: Access, name: bytes, raw_count: bytes, *rest: bytes) -> Reply:
    return _fcall(access, name, raw_count, rest, read_only=True)


def _fcall(access: Access, name: bytes, raw_count: bytes, rest: tuple[bytes, ...], *, read_only: bool) -> Reply:
    engine = engine_of(access)
    function = engine.find_function(access, name)
    if function is None:
        raise _NOT_FOUND
    count = key_count(raw_count, rest, _BAD_KEY_COUNT)
    return engine.run_function(access, function, rest, count, read_only=read_only)


@command("FUNCTION|LOAD", "Creates a library.")
def function_load(access: Access, *arguments: bytes) -> Reply:
    for option in arguments[:-1]:
        if option.upper() != b"REPLACE":
            raise ClientError(f"ERR Unknown option given: {printable(option)}")
    library = engine_of(access).load_library(access, arguments[-1], replace=len(arguments) > 1)
    access.apply(PutLibrary(library.name, library.source))
    return library.name


@command("FUNCTION|DELETE", "Deletes a library and its functions.")
def function_delete(access: Access, name: bytes) -> Reply:
    if name not in access.space.libraries:
        raise _NO_LIBRARY
    access.apply(DeleteLibrary(name))
    return OK


@command("FUNCTION|FLUSH", "Deletes all libraries and functions.")
def function_flush(access: Access, *mode: bytes) -> Reply:
    if len(mode) > 1:
        raise SubcommandError("FUNCTION", "FLUSH")
    if mode and mode[0].upper() not in (b"SYNC", b"ASYNC"):
        raise _BAD_FLUSH
    _delete_all(access)
    return OK


def _delete_all(access: Access) -> None:
    for name in list(access.space.libraries):
        access.apply(DeleteLibrary(name))


@command("FUNCTION|DUMP", "Dumps all libraries into a serialized binary payload.")
def function_dump(access: Access) -> Reply:
    return dump_libraries(access.space.libraries.values())


@command("FUNCTION|RESTORE", "Restores all libraries from a payload.")
def function_restore(access: Access, payload: bytes, *rest: bytes) -> Reply:
    if len(rest) > 1:
        raise SubcommandError("FUNCTION", "RESTORE")
    policy = rest[0].upper() if rest else b"APPEND"
    if policy not in (b"APPEND", b"REPLACE", b"FLUSH"):
        raise _BAD_POLICY
    if not is_intact(payload):
        raise _BAD_PAYLOAD
    try:
        sources = restore_libraries(payload)
    except BadFormat as error:
        raise ClientError(f"ERR {error.text}") from None
    libraries = engine_of(access).restore_libraries(access, sources, policy)
    if policy == b"FLUSH":
        _delete_all(access)
    for library in libraries:
        access.apply(PutLibrary(library.name, library.source))
    return OK


@command("FUNCTION|LIST", "Returns information about all libraries.")
def function_list(access: Access, *arguments: bytes) -> Reply:
    with_code, pattern = _list_options(arguments)
    table = engine_of(access).synchronize(access)
    libraries = [table.libraries[name] for name in access.space.libraries]
    if pattern is not None:
        libraries = [library for library in libraries if matches(pattern, library.name, ignores_case=True)]
    return [_describe(library, with_code) for library in libraries]


def _list_options(arguments: tuple[bytes, ...]) -> tuple[bool, bytes | None]:
    with_code = False
    pattern: bytes | None = None
    words = iter(arguments)
    for word in words:
        option = word.upper()
        if option == b"WITHCODE" and not with_code:
            with_code = True
        elif option == b"LIBRARYNAME" and pattern is None:
            pattern = next(words, None)
            if pattern is None:
                raise ClientError("ERR library name argument was not given")
        else:
            raise ClientError(f"ERR Unknown argument {printable(word)}")
    return with_code, pattern


def _describe(library: Library, with_code: bool) -> Reply:
    functions = [_describe_function(function) for function in library.functions]
    pairs: list[tuple[Reply, Reply]] = [
        (b"library_name", library.name),
        (b"engine", ENGINE_NAME),
        (b"functions", functions),
    ]
    if with_code:
        pairs.append((b"library_code", library.source))
    return Map(pairs)


def _describe_function(function: Function) -> Reply:
    return Map(
        [
            (b"name", function.name),
            (b"description", function.description),
            (b"flags", SetReply([Simple(flag) for flag in function.flags_in_order()])),
        ]
    )


_FUNCTION_HELP = """\
FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
LOAD [REPLACE] <FUNCTION CODE>
    Create a new library with the given library name and code.
DELETE <LIBRARY NAME>
    Delete the given library.
LIST [LIBRARYNAME PATTERN] [WITHCODE]
    Return general information on all the libraries:
    * Library name
    * The engine used to run the Library
    * Library description
    * Functions list
    * Library code (if WITHCODE is given)
    It also possible to get only function that matches a pattern using LIBRARYNAME argument.
STATS
    Return information about the current function running:
    * Function name
    * Command used to run the function
    * Duration in MS that the function is running
    If no function is running, return nil
    In addition, returns a list of available engines.
KILL
    Kill the current running function.
FLUSH [ASYNC|SYNC]
    Delete all the libraries.
    When called without the optional mode argument, the behavior is determined by the
    lazyfree-lazy-user-flush configuration directive. Valid modes are:
    * ASYNC: Asynchronously flush the libraries.
    * SYNC: Synchronously flush the libraries.
DUMP
    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE command
RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]
    Restore the libraries represented by the given payload, it is possible to give a restore policy to
    control how to handle existing libraries (default APPEND):
    * FLUSH: delete all existing libraries.
    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.
    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old
      libraries with the new libraries (notice that even on this option there is a chance of failure
      in case of functions name collision with another library).
HELP
    Prints this help."""


@command("FUNCTION|HELP", "Returns helpful text about the different subcommands.")
def function_help(access: Access) -> Reply:
    return [Simple(line) for line in _FUNCTION_HELP.splitlines()]
