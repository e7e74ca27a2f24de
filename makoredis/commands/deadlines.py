"""Expiration times as options of other commands: `EX seconds`, `PX milliseconds`, `EXAT` and `PXAT` for Unix times."""

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import INT64_MAX, int64
from makoredis.data.access import Access

KEYWORDS = frozenset((b"EX", b"PX", b"EXAT", b"PXAT"))


def deadline_from(access: Access, keyword: bytes, raw: bytes, command_name: str) -> int:
    """The absolute deadline in Unix milliseconds that a keyword and its argument say.

    Raises: ClientError when it is no integer, not positive, or beyond 64 bits.
    """
    value = int64(raw)
    if keyword in (b"EX", b"EXAT"):
        value *= 1000
    if value > 0 and keyword in (b"EX", b"PX"):
        value += access.now_ms
    if not 0 < value <= INT64_MAX:
        raise ClientError(f"ERR invalid expire time in '{command_name}' command")
    return value
