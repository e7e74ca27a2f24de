"""What Redis leaves open and long random runs come upon: compared as far as there is but one right answer."""

from collections.abc import Callable, Sequence
from typing import Any

from makoredis.commands.geohash import decode, distance, encode
from makoredis.commands.stream_arguments import parse_id
from makoredis.data.rdb.payload import restore
from makoredis.data.values.stream import Stream
from tests.compat.harness import Argument, Compare, Request, Tree, arguments

_ALL_ELEMENTS = (b"COUNT", b"1000")
"""More than any sequence makes."""


def whole_scan(one: Request | list[bytes]) -> Request | list[bytes]:
    """An SSCAN that answers everything at once: after which element it stops is left to the hash table."""
    if not isinstance(one, Request) or one.argv[0] != b"SSCAN":
        return one
    return Request([*one.argv, *_ALL_ELEMENTS], one.normal)


# -- streams


def stream_payload(tree: Tree) -> object:
    """The DUMP of a stream from which something was removed.

    Redis's nodes still have the entries, marked as deleted. What is left has to be the same, node by node.
    """
    payload = tree[1]
    if tree[0] != b"$" or payload is None:
        return tree
    stream = restore(payload)
    if not isinstance(stream, Stream):
        return tree
    assert not stream.groups, "their consumers are others in 7.2"
    nodes = [(node.key, node.ids, node.entries) for node in stream.nodes.values()]
    return nodes, stream.length, stream.last_id, stream.max_deleted_id, stream.entries_added


_REMOVES = {b"XDEL", b"MAXLEN", b"MINID"}


def removes_entries(requests: Sequence[Any]) -> bool:
    """Whether a stream may have lost some of its entries."""
    return any(word.upper() in _REMOVES for each in requests for word in arguments(each))


def without_lowered_ids(requests: Sequence[list[bytes]]) -> list[list[bytes]]:
    """The requests without XSETID below an id that was deleted before: refused by 7.2, but not yet by 7.0."""
    kept, deleted_max = [], 0
    for words in requests:
        if words[0] == b"XSETID" and (parse_id(words[2]) or 0) < deleted_max:
            continue
        kept.append(words)
        if words[0] == b"XDEL" or b"MAXDELETEDID" in words:
            deleted_max = max(deleted_max, *(parse_id(word) or 0 for word in words))
    return kept


# -- geo


def nearest(points: Sequence[Argument], query: Sequence[Argument]) -> Request | list[bytes]:
    """A GEOSEARCH of some points, which a GEOADD has added.

    With COUNT Redis sorts only as far as it has to, so points at the same distance come in any order, and only some of
    those that are as far as the last one.
    """
    words = arguments(query)
    if words[0] != b"GEOSEARCH" or b"COUNT" not in words or b"ANY" in words:
        return words
    return Request(words, _by_distance(_positions(arguments(points)), words))


def _positions(geoadd: list[bytes]) -> dict[bytes, tuple[float, float]]:
    """Where Redis takes the members to be."""
    triples = zip(geoadd[2::3], geoadd[3::3], geoadd[4::3])
    return {member: _rounded(float(longitude), float(latitude)) for longitude, latitude, member in triples}


def _rounded(longitude: float, latitude: float) -> tuple[float, float]:
    return decode(float(encode(longitude, latitude).bits))


def _by_distance(positions: dict[bytes, tuple[float, float]], words: list[bytes]) -> Compare:
    if b"FROMMEMBER" in words:
        centre = positions.get(words[words.index(b"FROMMEMBER") + 1], (0.0, 0.0))
    else:
        at = words.index(b"FROMLONLAT")
        centre = float(words[at + 1]), float(words[at + 2])

    def metres(item: Tree) -> float:
        member = item[1] if item[0] == b"$" else item[1][0][1]
        return distance(*centre, *positions[member])

    def normal(tree: Tree) -> object:
        if tree[0] != b"*" or not tree[1]:
            return tree
        return _without_ties(tree[1], metres)

    return normal


def _without_ties(items: list[Tree], metres: Callable[[Tree], float]) -> object:
    """The distances in their order; the items at each, but for the last one, in any order."""
    distances = [metres(item) for item in items]
    sure = [(far, repr(item)) for far, item in zip(distances, items) if far != distances[-1]]
    return distances, sorted(sure)
