"""Commands on whole databases. Emptying one costs the same for any size, so SYNC and ASYNC make no difference."""

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import SYNTAX_ERROR, parse_int64
from makoredis.commands.registry import command
from makoredis.data.access import Access
from makoredis.data.effects import FlushDatabase
from resp.replies import OK, Reply

DATABASE_OUT_OF_RANGE = ClientError("ERR DB index is out of range")


@command("DBSIZE", "Returns the number of keys in the database.")
def dbsize(access: Access) -> int:
    return access.database.size


@command("FLUSHDB", "Removes all keys from the current database.")
def flushdb(access: Access, *mode: bytes) -> Reply:
    _check_mode(mode)
    if access.database.size:
        access.apply(FlushDatabase(access.database.id))
    return OK


@command("FLUSHALL", "Removes all keys from all databases.")
def flushall(access: Access, *mode: bytes) -> Reply:
    _check_mode(mode)
    for database in access.space.by_id:
        if database.size:
            access.apply(FlushDatabase(database.id))
    return OK


def _check_mode(mode: tuple[bytes, ...]) -> None:
    if len(mode) > 1 or (mode and mode[0].upper() not in (b"SYNC", b"ASYNC")):
        raise SYNTAX_ERROR


@command("SWAPDB", "Swaps two Redis databases.")
def swapdb(access: Access, first: bytes, second: bytes) -> Reply:
    numbers = [_number(first, "first"), _number(second, "second")]
    if not all(0 <= number < len(access.space.databases) for number in numbers):
        raise DATABASE_OUT_OF_RANGE
    if numbers[0] != numbers[1]:
        access.swap(*numbers)
    return OK


def _number(raw: bytes, which: str) -> int:
    number = parse_int64(raw)
    if number is None or not -(2**31) <= number < 2**31:
        raise ClientError(f"ERR invalid {which} DB index")
    return number
