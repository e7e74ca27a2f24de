"""Commands on lists that never wait. Those that do are in `lists_blocking`."""

from collections.abc import Sequence
from itertools import islice

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import INT64_MAX, INT64_MIN, SYNTAX_ERROR, int64, ranged, wrong_arity
from makoredis.commands.registry import command, series, sole_key
from makoredis.data import events
from makoredis.data.access import WRONG_TYPE, Access
from makoredis.data.effects import ListInsert, ListPop, ListPush, ListRemove, ListSet
from makoredis.data.values import List, Value
from resp.replies import NULL_ARRAY, OK, Reply

_NO_SUCH_KEY = ClientError("ERR no such key")
_INDEX_OUT_OF_RANGE = ClientError("ERR index out of range")
_NOT_POSITIVE = ClientError("ERR value is out of range, must be positive")
_RANK_ZERO = ClientError(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
    "or use negative to start from the end of the list"
)
_COUNT_NEGATIVE = ClientError("ERR COUNT can't be negative")
_MAXLEN_NEGATIVE = ClientError("ERR MAXLEN can't be negative")
_NUMKEYS_TOO_SMALL = ClientError("ERR numkeys should be greater than 0")
_COUNT_TOO_SMALL = ClientError("ERR count should be greater than 0")


@command("LPUSH", "Prepends one or more elements to a list. Creates the key if it doesn't exist.")
def lpush(access: Access, key: bytes, *elements: bytes) -> Reply:
    return push(access, key, access.get(key), True, list(elements))


@command("RPUSH", "Appends one or more elements to a list. Creates the key if it doesn't exist.")
def rpush(access: Access, key: bytes, *elements: bytes) -> Reply:
    return push(access, key, access.get(key), False, list(elements))


@series("LPUSH")
def _lpush_series(access: Access, keys: Sequence[bytes], *columns: Sequence[bytes]) -> Sequence[int] | None:
    return _push_series(access, keys, columns, True)


@series("RPUSH")
def _rpush_series(access: Access, keys: Sequence[bytes], *columns: Sequence[bytes]) -> Sequence[int] | None:
    return _push_series(access, keys, columns, False)


def _push_series(
    access: Access, keys: Sequence[bytes], columns: tuple[Sequence[bytes], ...], left: bool
) -> Sequence[int] | None:
    key = sole_key(keys)
    if key is None or len(columns) != 1:
        return None
    length = push(access, key, access.get(key), left, list(columns[0]))
    return range(length - len(keys) + 1, length + 1)


@command("LPUSHX", "Prepends one or more elements to a list only when the list exists.")
def lpushx(access: Access, key: bytes, *elements: bytes) -> Reply:
    value = access.list(key)
    return 0 if value is None else push(access, key, value, True, list(elements))


@command("RPUSHX", "Appends one or more elements to a list only when the list exists.")
def rpushx(access: Access, key: bytes, *elements: bytes) -> Reply:
    value = access.list(key)
    return 0 if value is None else push(access, key, value, False, list(elements))


def push(access: Access, key: bytes, value: Value | None, left: bool, elements: list[bytes]) -> int:
    """Pushes elements to one end of what `key` holds. Returns the length then."""
    effect = ListPush(access.database.id, key, left, elements)
    config = access.space.config
    if type(value) is List:
        access.note(effect, effect.change(value, config))
        length = value.length
    elif value is None:
        access.apply(effect)
        length = len(elements)
    else:
        raise WRONG_TYPE
    if config.notify_events:
        access.notify(events.LIST, b"lpush" if left else b"rpush", key)
    return length


@command("LPOP", "Returns and removes the first elements of a list. Deletes the list if the last element was popped.")
def lpop(access: Access, key: bytes, *count: bytes) -> Reply:
    return _pop_command(access, "lpop", key, True, count)


@command("RPOP", "Returns and removes the last elements of a list. Deletes the list if the last element was popped.")
def rpop(access: Access, key: bytes, *count: bytes) -> Reply:
    return _pop_command(access, "rpop", key, False, count)


@series("LPOP")
def _lpop_series(access: Access, keys: Sequence[bytes], *counts: object) -> list[bytes] | None:
    return _pop_series(access, keys, counts, True)


@series("RPOP")
def _rpop_series(access: Access, keys: Sequence[bytes], *counts: object) -> list[bytes] | None:
    return _pop_series(access, keys, counts, False)


def _pop_series(access: Access, keys: Sequence[bytes], counts: tuple[object, ...], left: bool) -> list[bytes] | None:
    key = sole_key(keys)
    value = None if key is None or counts else access.list(key)
    if key is None or value is None or value.length < len(keys):
        return None
    return pop_many(access, key, value, left, len(keys))


def _pop_command(access: Access, name: str, key: bytes, left: bool, counts: tuple[bytes, ...]) -> Reply:
    if not counts:
        value = access.list(key)
        return None if value is None else pop(access, key, value, left)
    if len(counts) > 1:
        raise wrong_arity(name)
    count = ranged(counts[0], 0, INT64_MAX, _NOT_POSITIVE)
    value = access.list(key)
    if value is None:
        return NULL_ARRAY
    return pop_many(access, key, value, left, min(count, value.length)) if count else []


def pop(access: Access, key: bytes, value: List, left: bool) -> bytes:
    """Takes the element at one end of the list at `key`."""
    element = value.blocks[0][0] if left else value.blocks[-1][-1]
    effect = ListPop(access.database.id, key, left, 1)
    config = access.space.config
    is_last = value.length == 1
    if is_last:
        access.apply(effect)
    else:
        access.note(effect, effect.change(value, config))
    if config.notify_events:
        access.notify(events.LIST, b"lpop" if left else b"rpop", key)
        if is_last:
            access.notify(events.GENERIC, b"del", key)
    return element


def pop_many(access: Access, key: bytes, value: List, left: bool, count: int) -> list[bytes]:
    """Takes `count` elements, at least one and not more than there are, from one end of the list at `key`."""
    elements = value.ends(left, count)
    is_last = count == value.length
    access.apply(ListPop(access.database.id, key, left, count))
    access.notify(events.LIST, b"lpop" if left else b"rpop", key)
    if is_last:
        access.notify(events.GENERIC, b"del", key)
    return elements


@command("LLEN", "Returns the length of a list.")
def llen(access: Access, key: bytes) -> Reply:
    value = access.list(key)
    return 0 if value is None else value.length


@command("LINDEX", "Returns an element from a list by its index.")
def lindex(access: Access, key: bytes, index: bytes) -> Reply:
    value = access.list(key)
    if value is None:
        return None
    at = int64(index)
    if at < 0:
        at += value.length
    return value[at] if 0 <= at < value.length else None


@command("LSET", "Sets the value of an element in a list by its index.")
def lset(access: Access, key: bytes, index: bytes, element: bytes) -> Reply:
    value = access.list(key)
    if value is None:
        raise _NO_SUCH_KEY
    at = int64(index)
    if at < 0:
        at += value.length
    if not 0 <= at < value.length:
        raise _INDEX_OUT_OF_RANGE
    access.apply(ListSet(access.database.id, key, at, element))
    access.notify(events.LIST, b"lset", key)
    return OK


@command("LINSERT", "Inserts an element before or after another element in a list.")
def linsert(access: Access, key: bytes, where: bytes, pivot: bytes, element: bytes) -> Reply:
    side = where.upper()
    if side not in (b"BEFORE", b"AFTER"):
        raise SYNTAX_ERROR
    value = access.list(key)
    if value is None:
        return 0
    at = next(value.positions(pivot), -1)
    if at < 0:
        return -1
    access.apply(ListInsert(access.database.id, key, at + (side == b"AFTER"), element))
    access.notify(events.LIST, b"linsert", key)
    return value.length


@command("LREM", "Removes elements from a list. Deletes the list if the last element was removed.")
def lrem(access: Access, key: bytes, count: bytes, element: bytes) -> Reply:
    limit = int64(count)
    value = access.list(key)
    if value is None:
        return 0
    found = list(islice(value.positions(element, limit >= 0), min(abs(limit) or value.length, value.length)))
    if not found:
        return 0
    found.sort()
    is_last = len(found) == value.length
    access.apply(ListRemove(access.database.id, key, found))
    access.notify(events.LIST, b"lrem", key)
    if is_last:
        access.notify(events.GENERIC, b"del", key)
    return len(found)


@command("LRANGE", "Returns a range of elements from a list.")
def lrange(access: Access, key: bytes, start: bytes, stop: bytes) -> Reply:
    first, last = int64(start), int64(stop)
    value = access.list(key)
    if value is None:
        return []
    first, end = _clip(first, last, value.length)
    return value.slice(first, end) if first < end else []


def _clip(first: int, last: int, length: int) -> tuple[int, int]:
    """A range as clients give it (both ends belong to it, negative from the end) → begin and end behind it."""
    if first < 0:
        first = max(first + length, 0)
    if last < 0:
        last += length
    return first, min(last + 1, length)


@command("LTRIM", "Removes elements from both ends a list. Deletes the list if all elements were trimmed.")
def ltrim(access: Access, key: bytes, start: bytes, stop: bytes) -> Reply:
    first, last = int64(start), int64(stop)
    value = access.list(key)
    if value is None:
        return OK
    length = value.length
    first, end = _clip(first, last, length)
    if first >= end:
        first, end = length, length
    if first:
        access.apply(ListPop(access.database.id, key, True, first))
    if end < length:
        access.apply(ListPop(access.database.id, key, False, length - end))
    access.notify(events.LIST, b"ltrim", key)
    if first == length:
        access.notify(events.GENERIC, b"del", key)
    return OK


@command("LPOS", "Returns the index of matching elements in a list.")
def lpos(access: Access, key: bytes, element: bytes, *options: bytes) -> Reply:
    rank, count, looked_at_max = _lpos_options(options)
    value = access.list(key)
    if value is None:
        return None if count is None else []
    from_left, length = rank > 0, value.length
    matches = value.positions(element, from_left)
    found: list[int] = []
    wanted = 1 if count is None else count or length
    for number, at in enumerate(matches, 1):
        if looked_at_max and (at if from_left else length - 1 - at) >= looked_at_max:
            break
        if number >= abs(rank):
            found.append(at)
            if len(found) == wanted:
                break
    if count is None:
        return found[0] if found else None
    return found


def _lpos_options(options: tuple[bytes, ...]) -> tuple[int, int | None, int]:
    """RANK (default 1), COUNT (0 = all) and MAXLEN (0 = no limit)."""
    rank, count, looked_at_max = 1, None, 0
    for at in range(0, len(options), 2):
        name = options[at].upper()
        if at + 1 == len(options) or name not in (b"RANK", b"COUNT", b"MAXLEN"):
            raise SYNTAX_ERROR
        if name == b"RANK":
            rank = ranged(options[at + 1], INT64_MIN + 1, INT64_MAX)
            if rank == 0:
                raise _RANK_ZERO
        elif name == b"COUNT":
            count = ranged(options[at + 1], 0, INT64_MAX, _COUNT_NEGATIVE)
        else:
            looked_at_max = ranged(options[at + 1], 0, INT64_MAX, _MAXLEN_NEGATIVE)
    return rank, count, looked_at_max


@command("LMOVE", "Returns an element after popping it from one list and pushing it to another.")
def lmove(access: Access, source: bytes, destination: bytes, whence: bytes, whither: bytes) -> Reply:
    from_left, to_left = is_left(whence), is_left(whither)
    value = access.list(source)
    return None if value is None else move(access, source, value, destination, from_left, to_left)


@command("RPOPLPUSH", "Returns the last element of a list after removing and pushing it to another list.")
def rpoplpush(access: Access, source: bytes, destination: bytes) -> Reply:
    value = access.list(source)
    return None if value is None else move(access, source, value, destination, False, True)


def is_left(side: bytes) -> bool:
    """LEFT or RIGHT. Raises: ClientError `ERR syntax error`."""
    name = side.upper()
    if name not in (b"LEFT", b"RIGHT"):
        raise SYNTAX_ERROR
    return name == b"LEFT"


def move(access: Access, source: bytes, value: List, destination: bytes, from_left: bool, to_left: bool) -> bytes:
    """Moves an element. It is pushed before it is popped, so that a list of one that is moved onto itself stays, with
    its deadline."""
    element = value.blocks[0][0] if from_left else value.blocks[-1][-1]
    push(access, destination, access.list(destination), to_left, [element])
    pop(access, source, value, from_left)
    return element


@command("LMPOP", "Returns multiple elements from a list after removing them. Deletes the list if it becomes empty.")
def lmpop(access: Access, *arguments: bytes) -> Reply:
    keys, left, count = lmpop_arguments(arguments)
    return pop_first(access, keys, left, count)


def lmpop_arguments(arguments: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], bool, int]:
    """`numkeys key … LEFT|RIGHT [COUNT n]` → keys, whether LEFT, n."""
    key_count = ranged(arguments[0], 1, INT64_MAX, _NUMKEYS_TOO_SMALL)
    if key_count + 1 >= len(arguments):
        raise SYNTAX_ERROR
    keys, options = arguments[1 : key_count + 1], arguments[key_count + 2 :]
    left = is_left(arguments[key_count + 1])
    if not options:
        return keys, left, 1
    if options[0].upper() != b"COUNT" or len(options) == 1:
        raise SYNTAX_ERROR
    count = ranged(options[1], 1, INT64_MAX, _COUNT_TOO_SMALL)
    if len(options) > 2:
        raise SYNTAX_ERROR
    return keys, left, count


def pop_first(access: Access, keys: tuple[bytes, ...], left: bool, count: int) -> Reply:
    """Pops up to `count` elements from the first of these lists that exists."""
    for key in keys:
        value = access.list(key)
        if value is not None:
            return [key, pop_many(access, key, value, left, min(count, value.length))]
    return NULL_ARRAY
