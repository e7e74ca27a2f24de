"""What SCAN, SSCAN, HSCAN and ZSCAN share: the cursor and the options."""

import re

from makoredis.base.errors import ClientError
from makoredis.base.record import record
from makoredis.commands.arguments import SYNTAX_ERROR, int64
from makoredis.commands.glob import Matcher, matcher

INVALID_CURSOR = ClientError("ERR invalid cursor")
COUNT_DEFAULT = 10

_CURSOR = re.compile(rb"([+-]?[0-9]{1,20})(?:\0|\Z)")
_CURSOR_MAX = 2**64 - 1


@record
class ScanOptions:
    """How much to return, and which."""

    count: int
    pattern: bytes | None
    """None also for `*`."""
    matches: Matcher | None
    """The pattern as a function; None takes everything."""
    type_name: bytes | None
    """Lower case; SCAN only."""
    has_values: bool
    """False after NOVALUES; HSCAN only."""


def parse_cursor(raw: bytes) -> int:
    """Raises: ClientError `ERR invalid cursor`."""
    if not raw:
        return 0
    found = _CURSOR.match(raw)
    if found is None or abs(int(found[1])) > _CURSOR_MAX:
        raise INVALID_CURSOR
    return int(found[1]) & _CURSOR_MAX


def parse_scan_options(options: tuple[bytes, ...], takes: frozenset[bytes] = frozenset()) -> ScanOptions:
    """Reads `MATCH pattern`, `COUNT count`, and what else the command `takes` of `TYPE` and `NOVALUES`.

    Raises: ClientError for a bad count or an unknown option.
    """
    count, pattern, type_name, has_values = COUNT_DEFAULT, None, None, True
    at = 0
    while at < len(options):
        option = options[at].upper()
        if option == b"NOVALUES" and option in takes:
            has_values = False
            at += 1
            continue
        if at + 1 == len(options):
            raise SYNTAX_ERROR
        value = options[at + 1]
        if option == b"COUNT":
            count = int64(value)
            if count < 1:
                raise SYNTAX_ERROR
        elif option == b"MATCH":
            pattern = None if value == b"*" else value
        elif option == b"TYPE" and option in takes:
            type_name = value.lower()
        else:
            raise SYNTAX_ERROR
        at += 2
    return ScanOptions(count, pattern, matcher(pattern) if pattern is not None else None, type_name, has_values)
