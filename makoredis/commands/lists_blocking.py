"""Commands on lists that wait until there is something to take.

A request that waits is run again when one of its keys may hold a list, so these are the plain commands with another
answer for "nothing there". Where waiting is not possible (MULTI, scripts) they answer as if the time were over.
"""

from makoredis.commands.arguments import timeout_ms
from makoredis.commands.lists import is_left, lmpop_arguments, move, pop, pop_first
from makoredis.commands.registry import WouldBlock, command
from makoredis.data.access import Access
from makoredis.data.values import List
from resp.replies import NULL_ARRAY, Reply

_LISTS = (List,)


@command("BLPOP", "Removes and returns the first element in a list. Blocks until an element is available otherwise.")
def blpop(access: Access, *arguments: bytes) -> Reply | WouldBlock:
    return _pop_or_wait(access, arguments, True)


@command("BRPOP", "Removes and returns the last element in a list. Blocks until an element is available otherwise.")
def brpop(access: Access, *arguments: bytes) -> Reply | WouldBlock:
    return _pop_or_wait(access, arguments, False)


def _pop_or_wait(access: Access, arguments: tuple[bytes, ...], left: bool) -> Reply | WouldBlock:
    keys = arguments[:-1]
    timeout = timeout_ms(arguments[-1])
    for key in keys:
        value = access.list(key)
        if value is not None:
            return [key, pop(access, key, value, left)]
    return WouldBlock(keys, timeout, NULL_ARRAY, None, _LISTS) if access.may_block else NULL_ARRAY


@command("BLMPOP", "Pops elements from the first list that has some. Blocks until an element is available otherwise.")
def blmpop(access: Access, timeout: bytes, *arguments: bytes) -> Reply | WouldBlock:
    keys, left, count = lmpop_arguments(arguments)
    timeout_in_ms = timeout_ms(timeout)
    reply = pop_first(access, keys, left, count)
    if reply is NULL_ARRAY and access.may_block:
        return WouldBlock(keys, timeout_in_ms, NULL_ARRAY, None, _LISTS)
    return reply


@command("BLMOVE", "Moves an element from one list to another. Blocks until an element is available otherwise.")
def blmove(
    access: Access, source: bytes, destination: bytes, whence: bytes, whither: bytes, timeout: bytes
) -> Reply | WouldBlock:
    from_left, to_left = is_left(whence), is_left(whither)
    return _move_or_wait(access, source, destination, from_left, to_left, timeout_ms(timeout))


@command("BRPOPLPUSH", "Moves the last element of a list to the front of another. Blocks until one is available.")
def brpoplpush(access: Access, source: bytes, destination: bytes, timeout: bytes) -> Reply | WouldBlock:
    return _move_or_wait(access, source, destination, False, True, timeout_ms(timeout))


def _move_or_wait(
    access: Access, source: bytes, destination: bytes, from_left: bool, to_left: bool, timeout: int
) -> Reply | WouldBlock:
    value = access.list(source)
    if value is not None:
        return move(access, source, value, destination, from_left, to_left)
    return WouldBlock((source,), timeout, NULL_ARRAY, None, _LISTS) if access.may_block else None
