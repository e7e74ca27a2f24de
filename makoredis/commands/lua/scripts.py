"""Scripts by the SHA1 of their text, and what their first line says of them."""

import hashlib
from typing import Any, Final

from makoredis.base.errors import ClientError
from makoredis.base.record import record
from makoredis.commands.lua.interpreter import SCRIPT_FLAGS, CompileError, Interpreter
from resp.inline import split_words

_NO_FLAGS: Final[frozenset[bytes]] = frozenset()


@record
class Script:
    """A compiled script."""

    sha: bytes
    body: bytes
    flags: frozenset[bytes] | None
    """What its first line (`#!lua flags=…`) declares; None if it has none. Then it is checked by what it does."""
    compiled: Any


class ScriptCache:
    """The scripts that this node knows. Not replicated: EVALSHA of an unknown one is the client's cue to send it."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._by_sha: dict[bytes, Script] = {}
        self._by_body: dict[bytes, Script] = {}
        """Spares EVAL the SHA1 of a known text."""

    def find(self, sha: bytes) -> Script | None:
        """The script with a SHA1, in upper or lower case."""
        return self._by_sha.get(sha) or self._by_sha.get(sha.lower())

    def has(self, sha: bytes) -> bool:
        """Whether SCRIPT EXISTS knows it: unlike EVALSHA, it takes the SHA1 in either case too."""
        return self.find(sha) is not None

    def load(self, body: bytes) -> Script:
        """The script with this text, compiled if it is new.

        Raises: ClientError when the first line or the rest is not understood.
        """
        script = self._by_body.get(body)
        if script is None:
            script = self._compile(body)
            self._by_sha[script.sha] = self._by_body[body] = script
        return script

    def flush(self) -> None:
        """Forgets all scripts."""
        self._by_sha.clear()
        self._by_body.clear()

    def __len__(self) -> int:
        return len(self._by_sha)

    def _compile(self, body: bytes) -> Script:
        flags, length = _read_first_line(body)
        try:
            compiled = self._interpreter.compile_script(body[length:])
        except CompileError as error:
            text = error.text.decode(errors="surrogateescape")
            raise ClientError(f"ERR Error compiling script (new function): {text}") from None
        sha = hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()
        return Script(sha, body, flags, compiled)


def _read_first_line(body: bytes) -> tuple[frozenset[bytes] | None, int]:
    """The flags that a script declares, and the length of the line that does, its line feed not counted."""
    if not body.startswith(b"#!"):
        return None, 0
    end = body.find(b"\n")
    if end < 0:
        raise ClientError("ERR Invalid script shebang")
    words = split_words(body[:end])
    if not words:
        raise ClientError("ERR Invalid engine in script shebang")
    if words[0] != b"#!lua":
        raise ClientError(f"ERR Unexpected engine in script shebang: {words[0].decode('latin-1')}")
    flags = _NO_FLAGS
    for word in words[1:]:
        if not word.startswith(b"flags="):
            raise ClientError(f"ERR Unknown lua shebang option: {word.decode('latin-1')}")
        flags |= _read_flags(word[6:])
    return flags, end


def _read_flags(text: bytes) -> frozenset[bytes]:
    flags = text.split(b",") if text else []
    for flag in flags:
        if flag not in SCRIPT_FLAGS:
            raise ClientError(f"ERR Unexpected flag in script shebang: {flag.decode('latin-1')}")
    return frozenset(flags)
