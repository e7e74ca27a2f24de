"""MONITOR: sessions that are shown every request."""

import socket
import time
from collections.abc import Sequence

from makoredis.commands.table import CommandRow
from makoredis.server.redaction import redacted
from makoredis.server.session import Session


class Monitors:
    """The sessions that have said MONITOR, by id."""

    def __init__(self) -> None:
        self.sessions: dict[int, Session] = {}

    def feed(self, session: Session, row: CommandRow, argv: Sequence[bytes], *, script_db: int = -1) -> None:
        """Shows a request to all of them.

        Args:
            script_db: for a command of a script, the number of the database that it runs on.
        """
        is_skipped = "skip_monitor" in row.flags and row.group != "scripting" and row.name != "EXEC"
        if "admin" in row.flags or is_skipped:
            return
        seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        words = b" ".join(b'"' + _escape(argument) + b'"' for argument in redacted(argv))
        number, source = session.database, session.address
        if script_db >= 0:
            number, source = script_db, "lua"
        elif session.sock is not None and session.sock.family == socket.AF_UNIX:
            source = "unix:" + str(session.sock.getsockname())
        line = b"+%d.%06d [%d %b] %b\r\n" % (seconds, microseconds, number, source.encode(), words)
        for monitor in self.sessions.values():
            monitor.push(line)


def _escape(argument: bytes) -> bytes:
    """A byte string as Redis's sdscatrepr shows it, without the quotes."""
    if argument.isalnum():
        return argument
    return b"".join(_ESCAPES[byte] for byte in argument)


def _escape_byte(byte: int) -> bytes:
    named = {7: b"\\a", 8: b"\\b", 9: b"\\t", 10: b"\\n", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}
    if byte in named:
        return named[byte]
    return bytes((byte,)) if 32 <= byte < 127 else b"\\x%02x" % byte


_ESCAPES = [_escape_byte(byte) for byte in range(256)]
