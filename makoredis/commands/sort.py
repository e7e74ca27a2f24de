"""SORT and SORT_RO: the elements of a list, set or sorted set, ordered by themselves or by values at other keys.

`BY` and `GET` read keys that the request does not name, as Redis does without a cluster: patterns like `weight_*` or
`object_*->field`, in which the first star stands for the element.
"""

from typing import Any

from makoredis.base.errors import ClientError
from makoredis.base.record import record
from makoredis.commands.arguments import SYNTAX_ERROR, int64
from makoredis.commands.registry import command
from makoredis.data import events
from makoredis.data.access import WRONG_TYPE, Access
from makoredis.data.effects import Delete, PutValue
from makoredis.data.encoding import encode_value
from makoredis.data.values import Hash, List, Set, SortedSet
from resp.numbers import parse_double

NOT_DOUBLES = ClientError("ERR One or more scores can't be converted into double")

_SPACES = b" \t\n\v\f\r"

Sortable = List | Set | SortedSet | None


@record
class _Options:
    is_descending: bool
    is_alphabetic: bool
    start: int
    count: int
    """Negative: all."""
    by: bytes | None
    gets: list[bytes]
    store: bytes | None

    @property
    def keeps_order(self) -> bool:
        """BY with a constant: nothing to sort by."""
        return self.by is not None and b"*" not in self.by


@command("SORT", "Sorts the elements in a list, a set, or a sorted set, optionally storing the result.")
def sort(access: Access, key: bytes, *words: bytes) -> int | list[Any]:
    options = _parse(words, may_store=True)
    result = _sort(access, key, options)
    return result if options.store is None else _store(access, options.store, result)


@command("SORT_RO", "Returns the sorted elements of a list, a set, or a sorted set.")
def sort_ro(access: Access, key: bytes, *words: bytes) -> list[Any]:
    return _sort(access, key, _parse(words, may_store=False))


def _parse(words: tuple[bytes, ...], may_store: bool) -> _Options:
    is_descending = is_alphabetic = False
    start, count = 0, -1
    by = store = None
    gets: list[bytes] = []
    at = 0
    while at < len(words):
        word = words[at].upper()
        following = len(words) - at - 1
        if word in (b"ASC", b"DESC"):
            is_descending = word == b"DESC"
        elif word == b"ALPHA":
            is_alphabetic = True
        elif word == b"LIMIT" and following >= 2:
            start, count = int64(words[at + 1]), int64(words[at + 2])
            at += 2
        elif following >= 1 and (word in (b"BY", b"GET") or (word == b"STORE" and may_store)):
            at += 1
            if word == b"BY":
                by = words[at]
            elif word == b"GET":
                gets.append(words[at])
            else:
                store = words[at]
        else:
            raise SYNTAX_ERROR
        at += 1
    return _Options(is_descending, is_alphabetic, start, count, by, gets, store)


def _sort(access: Access, key: bytes, options: _Options) -> list[Any]:
    """The elements in order, or what GET says of them."""
    value = access.get(key)
    if value is not None and not isinstance(value, List | Set | SortedSet):
        raise WRONG_TYPE
    if isinstance(value, SortedSet):
        value.is_skiplist = True  # Redis converts it; only OBJECT ENCODING and DUMP tell
    length = 0 if value is None else len(value)
    start = min(max(options.start, 0), length)
    stop = length if options.count < 0 else min(start + options.count, length)
    # A set has no order of its own: what is stored or goes to a script must not depend on chance.
    needs_order = isinstance(value, Set) and (options.store is not None or access.in_script)
    if not options.keeps_order:
        elements = _ordered(access, list(value or ()), options)[start:stop]
    elif needs_order:
        elements = sorted(value or (), reverse=options.is_descending)[start:stop]
    else:
        elements = _as_they_are(value, start, stop, options.is_descending)
    if not options.gets:
        return elements
    return [_look_up(access, pattern, element) for element in elements for pattern in options.gets]


def _as_they_are(value: Sortable, start: int, stop: int, is_descending: bool) -> list[bytes]:
    if value is None or start >= stop:
        return []
    if isinstance(value, Set):
        return value.members[start:stop]
    length = len(value)
    first, last = (length - stop, length - start) if is_descending else (start, stop)
    chosen = value.slice(first, last) if isinstance(value, List) else value.members(first, last)
    return chosen[::-1] if is_descending else chosen


def _ordered(access: Access, elements: list[bytes], options: _Options) -> list[bytes]:
    by = options.by
    if by is None and options.is_alphabetic:
        return sorted(elements, reverse=options.is_descending)
    weights = elements if by is None else [_look_up(access, by, element) for element in elements]
    if options.is_alphabetic:
        keyed: list[Any] = [(weight is not None, weight or b"") for weight in weights]
    else:
        keyed = [(0.0 if weight is None else _score(weight), element) for weight, element in zip(weights, elements)]
    order = sorted(range(len(elements)), key=keyed.__getitem__, reverse=options.is_descending)
    return [elements[at] for at in order]


def _score(raw: bytes) -> float:
    """What C's strtod makes of a whole text.

    Raises: ClientError when it isn't a number, or one out of range.
    """
    text = raw.partition(b"\x00")[0]
    if not text:
        return 0.0
    value = parse_double(text.lstrip(_SPACES))
    if value is None:
        raise NOT_DOUBLES
    return value


def _look_up(access: Access, pattern: bytes, element: bytes) -> bytes | None:
    """The string, or field of a hash, at the key that a pattern names for an element; `#` is the element itself."""
    if pattern == b"#":
        return element
    prefix, star, rest = pattern.partition(b"*")
    if not star:
        return None
    suffix, arrow, field = rest.partition(b"->")
    if not field:
        suffix, arrow = rest, b""
    value = access.get(prefix + element + suffix)
    if arrow:
        return value.fields.get(field) if isinstance(value, Hash) else None
    return bytes(value) if isinstance(value, bytes | bytearray) else None


def _store(access: Access, destination: bytes, result: list[Any]) -> int:
    """Makes the result a list; what was missing becomes an empty string."""
    access.notes_misses = False
    if result:
        access.get(destination)
        elements = [b"" if element is None else element for element in result]
        access.apply(PutValue(access.database.id, destination, encode_value(List(elements))))
        access.notify(events.LIST, b"sortstore", destination)
    elif access.get(destination) is not None:
        access.apply(Delete(access.database.id, destination))
        access.notify(events.GENERIC, b"del", destination)
    return len(result)
