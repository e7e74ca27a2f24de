"""Function libraries: what FUNCTION LOAD checks, and the compiled form of what the keyspace stores.

The keyspace's table of sources is the truth: it is replicated and persisted. This table holds, for the sources seen so
far, the functions that they registered. It is brought up to date when something is looked up, so rolled-back loads and
libraries that arrive through the log need no special care.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final

from makoredis.base.errors import ClientError
from makoredis.base.record import record
from makoredis.commands.lua.interpreter import (
    SCRIPT_FLAGS,
    CompileError,
    FunctionDeclaration,
    Host,
    Interpreter,
    LibraryError,
)
from resp.inline import split_words

_NAME_CHARACTERS: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_BAD_NAME: Final = (
    "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long"
)
ENGINE_NAME: Final = b"LUA"


@record
class Function:
    """A registered function."""

    name: bytes
    description: bytes | None
    flags: frozenset[bytes]
    handle: int
    library: "Library"

    def flags_in_order(self) -> list[bytes]:
        """Its flags as FUNCTION LIST names them."""
        return [flag for flag in SCRIPT_FLAGS if flag in self.flags]


@record
class Library:
    """A library that was loaded, with the functions that it registered."""

    name: bytes
    source: bytes
    functions: list[Function]


class LibraryTable:
    """The loaded libraries of one node."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self.libraries: dict[bytes, Library] = {}
        self._functions: dict[bytes, Function] = {}
        """By lower-case name."""

    @property
    def function_count(self) -> int:
        return len(self._functions)

    def find(self, name: bytes, stored: Mapping[bytes, bytes], host: Host) -> Function | None:
        """A function by its name, in upper or lower case."""
        function = self._functions.get(name.lower())
        if function is not None and stored.get(function.library.name) is function.library.source:
            return function
        self.synchronize(stored, host)
        return self._functions.get(name.lower())

    def synchronize(self, stored: Mapping[bytes, bytes], host: Host) -> None:
        """Drops libraries that are not stored any more, and loads those that are new."""
        for library in list(self.libraries.values()):
            if stored.get(library.name) is not library.source:
                self._unlink(library)
        for name, source in stored.items():
            if name not in self.libraries:
                self._link(self._create(name, source, host))

    def load(self, source: bytes, stored: Mapping[bytes, bytes], host: Host, *, replace: bool) -> Library:
        """Loads a library in place of the one that has its name. The caller stores its source.

        Raises: ClientError with Redis's texts when the source or its names are not acceptable.
        """
        self.synchronize(stored, host)
        name = _checked_name(source)
        if name in stored and not replace:
            raise ClientError(f"ERR Library '{name.decode()}' already exists")
        library = self._create(name, source, host)
        try:
            self._check_functions(library, {name})
        except ClientError:
            self._forget(library)
            raise
        self._exchange([name], [library])
        return library

    def restore(
        self, sources: Sequence[bytes], stored: Mapping[bytes, bytes], host: Host, policy: bytes
    ) -> list[Library]:
        """Loads dumped libraries beside or in place of the present ones, all or none. The caller stores them.

        Raises: ClientError.
        """
        self.synchronize(stored, host)
        created: list[Library] = []
        try:
            self._create_all(sources, host, created)
            names = {library.name for library in created}
            if policy == b"APPEND":
                for name in names & stored.keys():
                    raise ClientError(f"ERR Library {name.decode()} already exists")
            replaced = set(self.libraries) if policy == b"FLUSH" else names
            for library in created:
                self._check_functions(library, replaced)
        except ClientError:
            for library in created:
                self._forget(library)
            raise
        self._exchange(replaced, created)
        return created

    def _create_all(self, sources: Sequence[bytes], host: Host, created: list[Library]) -> None:
        """Runs the sources, which may not collide with each other."""
        functions: set[bytes] = set()
        for source in sources:
            name = _checked_name(source)
            if any(library.name == name for library in created):
                raise ClientError(f"ERR Library '{name.decode()}' already exists")
            library = self._create(name, source, host)
            created.append(library)
            for function in library.functions:
                if function.name.lower() in functions:
                    raise ClientError(f"ERR Function {function.name.decode()} already exists")
            functions.update(function.name.lower() for function in library.functions)

    def _check_functions(self, library: Library, replaced: Container[bytes]) -> None:
        """Whether a library has functions, and none that one which stays has too."""
        if not library.functions:
            raise ClientError("ERR No functions registered")
        for function in library.functions:
            other = self._functions.get(function.name.lower())
            if other is not None and other.library.name not in replaced:
                raise ClientError(f"ERR Function {function.name.decode()} already exists")

    def _exchange(self, replaced: Iterable[bytes], libraries: Iterable[Library]) -> None:
        for name in replaced:
            if name in self.libraries:
                self._unlink(self.libraries[name])
        for library in libraries:
            self._link(library)

    def _create(self, name: bytes, source: bytes, host: Host) -> Library:
        """Runs a library's source. Raises: ClientError."""
        library = Library(name, source, [])

        def declare(declaration: FunctionDeclaration) -> bytes | None:
            if not is_name(declaration.name):
                return _BAD_NAME.encode()
            if any(function.name == declaration.name for function in library.functions):
                return b"Function already exists in the library"
            flags = frozenset(declaration.flags)
            library.functions.append(
                Function(declaration.name, declaration.description, flags, declaration.handle, library)
            )
            return None

        try:
            self._interpreter.load_library(source[source.index(b"\n") :], declare, host)
        except CompileError as error:
            raise ClientError(f"ERR Error compiling function: {_text(error.text)}") from None
        except LibraryError as error:
            self._forget(library)
            raise ClientError(f"ERR Error registering functions: {_text(error.text)}") from None
        return library

    def _link(self, library: Library) -> None:
        self.libraries[library.name] = library
        for function in library.functions:
            self._functions.setdefault(function.name.lower(), function)  # of f and F the first is called, as in Redis

    def _unlink(self, library: Library) -> None:
        del self.libraries[library.name]
        for function in library.functions:
            if self._functions.get(function.name.lower()) is function:
                del self._functions[function.name.lower()]
        self._forget(library)

    def _forget(self, library: Library) -> None:
        for function in library.functions:
            self._interpreter.forget_function(function.handle)


def _checked_name(source: bytes) -> bytes:
    """The name that a library's first line gives. Raises: ClientError."""
    name, engine = read_metadata(source)
    if not is_name(name):
        raise ClientError(f"ERR {_BAD_NAME}")
    if engine.upper() != ENGINE_NAME:
        raise ClientError(f"ERR Engine '{engine.decode('latin-1')}' not found")
    return name


def is_name(name: bytes) -> bool:
    """Whether a library or function may be called so."""
    return bool(name) and _NAME_CHARACTERS.issuperset(name)


def read_metadata(source: bytes) -> tuple[bytes, bytes]:
    """The name and the engine that a library's first line gives (`#!lua name=mylib`).

    Raises: ClientError.
    """
    if not source.startswith(b"#!"):
        raise ClientError("ERR Missing library metadata")
    end = source.find(b"\n")
    words = split_words(source[:end]) if end >= 0 else None
    if not words:
        raise ClientError("ERR Invalid library metadata")
    name: bytes | None = None
    for word in words[1:]:
        if word[:5].lower() != b"name=":
            raise ClientError(f"ERR Invalid metadata value given: {_text(word)}")
        if name is not None:
            raise ClientError("ERR Invalid metadata value, name argument was given multiple times")
        name = word[5:]
    if name is None:
        raise ClientError("ERR Library name was not given")
    return name, words[0][2:]


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")
