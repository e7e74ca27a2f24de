"""What SCAN, HSCAN, SSCAN and ZSCAN share: the cursor and the options."""

import re
from collections.abc import Callable, Sequence

from makoredis.base.errors import ClientError
from makoredis.base.globs import glob
from makoredis.base.record import record
from makoredis.commands.arguments import SYNTAX_ERROR, int64

COUNT_DEFAULT = 10

_CURSOR = re.compile(rb"[+-]?[0-9]+\Z")
_CURSOR_MODULUS = 1 << 64
_INVALID_CURSOR = ClientError("ERR invalid cursor")


@record
class ScanOptions:
    """COUNT, MATCH and TYPE."""

    count: int
    """At least 1."""
    matches: Callable[[bytes], object] | None
    """None: every name does."""
    type: bytes | None
    """As given, None when not."""


def cursor(raw: bytes) -> int:
    """A cursor, as strtoul reads it: 64 bit, a minus sign wraps around, nothing is 0. Raises: ClientError."""
    if not raw:
        return 0
    if not _CURSOR.match(raw):
        raise _INVALID_CURSOR
    value = int(raw) if len(raw) <= 21 else _CURSOR_MODULUS
    if abs(value) >= _CURSOR_MODULUS:
        raise _INVALID_CURSOR
    return value % _CURSOR_MODULUS


def scan_options(options: Sequence[bytes], has_type: bool = False) -> ScanOptions:
    """Parses `[MATCH pattern] [COUNT count] [TYPE type]`; TYPE only where `has_type`. The last of each counts.

    Raises: ClientError for a syntax error, or a count that is no integer.
    """
    count = COUNT_DEFAULT
    pattern = type_name = None
    if len(options) % 2:
        # The pairs before the odd one are looked at first, as Redis does.
        scan_options(options[:-1], has_type)
        raise SYNTAX_ERROR
    for name, argument in zip(options[::2], options[1::2]):
        option = name.upper()
        if option == b"COUNT":
            count = int64(argument)
            if count < 1:
                raise SYNTAX_ERROR
        elif option == b"MATCH":
            pattern = argument
        elif option == b"TYPE" and has_type:
            type_name = argument
        else:
            raise SYNTAX_ERROR
    return ScanOptions(count, None if pattern in (None, b"*") else glob(pattern), type_name)
