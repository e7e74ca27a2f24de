"""Points on the earth: a sorted set whose scores are geohashes. The arithmetic is in `geohash`."""

from collections.abc import Iterator
from itertools import islice

from makoredis.base.record import record
from makoredis.commands.arguments import SYNTAX_ERROR
from makoredis.commands.geo_arguments import (
    GeoCommand,
    GeoQuery,
    centre_of_member,
    coordinates,
    parse_options,
    radius,
    unit_in_metres,
)
from makoredis.commands.geohash import (
    cells_to_search,
    decode,
    distance,
    encode,
    integer_score,
    standard_geohash,
)
from makoredis.commands.registry import command
from makoredis.commands.sorted_set_changes import store_scores
from makoredis.commands.sorted_sets import put_scores
from makoredis.data.access import Access
from makoredis.data.values import SortedSet
from resp.replies import NULL_ARRAY, Raw, Reply

_GEOADD_OPTIONS = frozenset((b"NX", b"XX", b"CH"))


@command("GEOADD", "Adds one or more members to a geospatial index.")
def geoadd(access: Access, key: bytes, *rest: bytes) -> Reply:
    at = 0
    options = set()
    while at < len(rest) and (option := rest[at].upper()) in _GEOADD_OPTIONS:
        options.add(option)
        at += 1
    triples = rest[at:]
    if not triples or len(triples) % 3 or options >= {b"NX", b"XX"}:
        raise SYNTAX_ERROR
    scores = [
        float(encode(*coordinates(longitude, latitude)).bits)
        for longitude, latitude in zip(triples[::3], triples[1::3])
    ]
    return put_scores(access, key, triples[2::3], scores, options)


def _score(value: SortedSet | None, member: bytes) -> float | None:
    return None if value is None else value.get(member)


@command("GEOPOS", "Returns the longitude and latitude of members from a geospatial index.")
def geopos(access: Access, key: bytes, *members: bytes) -> Reply:
    value = access.sorted_set(key)
    scores = [_score(value, member) for member in members]
    return [NULL_ARRAY if score is None else _position_reply(access, *decode(score)) for score in scores]


@command("GEOHASH", "Returns members from a geospatial index as geohash strings.")
def geohash(access: Access, key: bytes, *members: bytes) -> Reply:
    value = access.sorted_set(key)
    scores = [_score(value, member) for member in members]
    return [None if score is None else standard_geohash(score) for score in scores]


@command("GEODIST", "Returns the distance between two members of a geospatial index.")
def geodist(access: Access, key: bytes, first: bytes, second: bytes, *unit: bytes) -> Reply:
    if len(unit) > 1:
        raise SYNTAX_ERROR
    unit_m = unit_in_metres(unit[0]) if unit else 1.0
    value = access.sorted_set(key)
    score1, score2 = _score(value, first), _score(value, second)
    if score1 is None or score2 is None:
        return None
    return _distance_reply(distance(*decode(score1), *decode(score2)) / unit_m)


def _distance_reply(length: float) -> bytes:
    """Four decimals, rounded half to even."""
    digits = round(length * 10000.0)
    return b"%d.%04d" % divmod(digits, 10000)


def _position_reply(access: Access, longitude: float, latitude: float) -> Reply:
    """Both with 17 decimals, without the zeros at the end; that many digits also in RESP3."""
    pair = [_human(longitude), _human(latitude)]
    return pair if access.protocol == 2 else [Raw(b",%b\r\n" % each) for each in pair]


def _human(value: float) -> bytes:
    digits = (b"%.17f" % value).rstrip(b"0").rstrip(b".")
    return b"0" if digits == b"-0" else digits


@record
class Point:
    """A member that was found."""

    member: bytes
    score: float
    distance_m: float
    longitude: float
    latitude: float


def _points(query: GeoQuery) -> Iterator[Point]:
    """The members within the query's shape, in the order in which Redis comes upon them."""
    value, shape = query.value, query.shape()
    assert value is not None
    for cell in cells_to_search(shape):
        low, high = cell.scores()
        start = value.rank_of_score(low, False)
        stop = max(start, value.rank_of_score(high, False))
        for member, score in zip(value.members(start, stop), value.scores(start, stop)):
            position = decode(score)
            metres = shape.distance_within(*position)
            if metres is not None:
                yield Point(member, score, metres, *position)


def _search(query: GeoQuery) -> list[Point]:
    """The answer to a query: sorted if it asks for that, or for the nearest so many."""
    points = _points(query)
    if query.is_any:
        points = islice(points, query.count)
    found = list(points)
    is_descending = query.is_descending
    if is_descending is None and query.count and not query.is_any:
        is_descending = False
    if is_descending is not None:
        found.sort(key=lambda point: point.distance_m, reverse=is_descending)
    return found[: query.count] if query.count else found


def _answer(access: Access, query: GeoQuery) -> Reply:
    """Replies with what a query finds, or stores it."""
    found = [] if query.value is None else _search(query)
    if query.destination is not None:
        return _store(access, query, query.destination, found)
    if not (query.with_distance or query.with_hash or query.with_coordinates):
        return [point.member for point in found]
    return [_point_reply(access, query, point) for point in found]


def _point_reply(access: Access, query: GeoQuery, point: Point) -> list[Reply]:
    reply: list[Reply] = [point.member]
    if query.with_distance:
        reply.append(_distance_reply(point.distance_m / query.shape().unit_m))
    if query.with_hash:
        reply.append(integer_score(point.score))
    if query.with_coordinates:
        reply.append(_position_reply(access, point.longitude, point.latitude))
    return reply


def _store(access: Access, query: GeoQuery, destination: bytes, found: list[Point]) -> int:
    if query.stores_distance and found:
        unit_m = query.shape().unit_m
        scores = {point.member: point.distance_m / unit_m for point in found}
    else:
        scores = {point.member: point.score for point in found}
    event = b"geosearchstore" if query.centre_option else b"georadiusstore"
    return store_scores(access, destination, scores, event)


def _search_command(
    access: Access, name: str, key: bytes, destination: bytes | None, options: tuple[bytes, ...]
) -> Reply:
    query = GeoQuery(access.sorted_set(key), destination=destination)
    parse_options(query, GeoCommand(name, is_search=True), options)
    return _answer(access, query)


@command("GEOSEARCH", "Queries a geospatial index for members inside an area of a box or a circle.")
def geosearch(access: Access, key: bytes, *options: bytes) -> Reply:
    return _search_command(access, "geosearch", key, None, options)


@command("GEOSEARCHSTORE", "Queries a geospatial index for members inside an area of a box or a circle, stores them.")
def geosearchstore(access: Access, destination: bytes, key: bytes, *options: bytes) -> Reply:
    return _search_command(access, "geosearchstore", key, destination, options)


def _radius_command(
    access: Access, key: bytes, where: tuple[bytes, ...], rest: tuple[bytes, ...], store: bool
) -> Reply:
    """Answers `radius unit [option …]` around a position, or around a member if `where` is only one argument."""
    query = GeoQuery(access.sorted_set(key))
    if len(where) == 2:
        query.centre = coordinates(where[0], where[1])
        radius(query, rest[0], rest[1])
    elif query.value is not None:
        centre_of_member(query, where[0])
        radius(query, rest[0], rest[1])
    parse_options(query, GeoCommand("georadius", takes_store=store), rest[2:])
    return _answer(access, query)


@command("GEORADIUS", "Queries a geospatial index for members within a distance from a coordinate.")
def georadius(access: Access, key: bytes, longitude: bytes, latitude: bytes, *rest: bytes) -> Reply:
    return _radius_command(access, key, (longitude, latitude), rest, store=True)


@command("GEORADIUS_RO", "Returns members from a geospatial index that are within a distance from a coordinate.")
def georadius_ro(access: Access, key: bytes, longitude: bytes, latitude: bytes, *rest: bytes) -> Reply:
    return _radius_command(access, key, (longitude, latitude), rest, store=False)


@command("GEORADIUSBYMEMBER", "Queries a geospatial index for members within a distance from a member.")
def georadiusbymember(access: Access, key: bytes, member: bytes, *rest: bytes) -> Reply:
    return _radius_command(access, key, (member,), rest, store=True)


@command("GEORADIUSBYMEMBER_RO", "Returns members from a geospatial index that are within a distance from a member.")
def georadiusbymember_ro(access: Access, key: bytes, member: bytes, *rest: bytes) -> Reply:
    return _radius_command(access, key, (member,), rest, store=False)
