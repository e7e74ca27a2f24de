"""What GEOSEARCH, GEORADIUS and their relatives take: where, which shape, and how to answer."""

from dataclasses import dataclass

from makoredis.base.errors import ClientError
from makoredis.base.record import record
from makoredis.commands.arguments import SYNTAX_ERROR, double, int64
from makoredis.commands.geohash import LATITUDE_MAX, LONGITUDE_MAX, Shape, decode
from makoredis.data.values import SortedSet

_UNITS_M = {b"m": 1.0, b"km": 1000.0, b"ft": 0.3048, b"mi": 1609.34}
_UNSUPPORTED_UNIT = ClientError("ERR unsupported unit provided. please use M, KM, FT, MI")
_RADIUS_NOT_NUMERIC = ClientError("ERR need numeric radius")
_RADIUS_NEGATIVE = ClientError("ERR radius cannot be negative")
_WIDTH_NOT_NUMERIC = ClientError("ERR need numeric width")
_HEIGHT_NOT_NUMERIC = ClientError("ERR need numeric height")
_BOX_NEGATIVE = ClientError("ERR height or width cannot be negative")
_NO_SUCH_MEMBER = ClientError("ERR could not decode requested zset member")
_COUNT_NOT_POSITIVE = ClientError("ERR COUNT must be > 0")
_ANY_WITHOUT_COUNT = ClientError("ERR the ANY argument requires COUNT argument")


@record
class GeoCommand:
    """Which options a command of the family takes."""

    name: str
    is_search: bool = False
    """Centre and shape are options (GEOSEARCH, GEOSEARCHSTORE)."""
    takes_store: bool = False
    """STORE and STOREDIST with a key (GEORADIUS, GEORADIUSBYMEMBER)."""


@dataclass(slots=True)
class GeoQuery:
    """A query as it is being parsed. Without a sorted set there may be no centre, but errors are found all the same."""

    value: SortedSet | None
    centre: tuple[float, float] | None = None
    size: tuple[float, float, float] | None = None
    """Half of the width, half of the height (of a circle: the radius), metres in one unit of them."""
    with_distance: bool = False
    with_hash: bool = False
    with_coordinates: bool = False
    is_any: bool = False
    is_descending: bool | None = None
    """None: unsorted."""
    count: int = 0
    """0: all."""
    destination: bytes | None = None
    stores_distance: bool = False
    centre_option: bytes = b""
    """FROMMEMBER or FROMLONLAT, whichever came."""
    shape_option: bytes = b""
    """BYRADIUS or BYBOX, whichever came."""

    def shape(self) -> Shape:
        """What to search, once everything is parsed and there is a sorted set."""
        assert self.centre is not None and self.size is not None
        return Shape(*self.centre, self.shape_option == b"BYBOX", *self.size)


def unit_in_metres(raw: bytes) -> float:
    """Raises: ClientError `ERR unsupported unit provided. …`."""
    unit = _UNITS_M.get(raw.lower())
    if unit is None:
        raise _UNSUPPORTED_UNIT
    return unit


def coordinates(longitude: bytes, latitude: bytes) -> tuple[float, float]:
    """A position. Raises: ClientError that it is no float, or lies outside of the map."""
    east, north = double(longitude), double(latitude)
    if abs(east) > LONGITUDE_MAX or abs(north) > LATITUDE_MAX:
        raise ClientError(f"ERR invalid longitude,latitude pair {east:f},{north:f}")
    return east, north


def centre_of_member(query: GeoQuery, member: bytes) -> None:
    """Takes a member's position as the centre. Raises: ClientError when there is no such member."""
    if query.value is None:
        return
    score = query.value.get(member)
    if score is None:
        raise _NO_SUCH_MEMBER
    query.centre = decode(score)


def radius(query: GeoQuery, raw: bytes, unit: bytes) -> None:
    """Takes a circle as the shape."""
    length = double(raw, _RADIUS_NOT_NUMERIC)
    if length < 0:
        raise _RADIUS_NEGATIVE
    query.size = (length, length, unit_in_metres(unit))


def _box(query: GeoQuery, raw_width: bytes, raw_height: bytes, unit: bytes) -> None:
    width, height = double(raw_width, _WIDTH_NOT_NUMERIC), double(raw_height, _HEIGHT_NOT_NUMERIC)
    if width < 0 or height < 0:
        raise _BOX_NEGATIVE
    query.size = (width / 2, height / 2, unit_in_metres(unit))


def parse_options(query: GeoQuery, command: GeoCommand, options: tuple[bytes, ...]) -> None:
    """Reads the options into the query, in their order, and checks that they go together.

    Raises: ClientError for the first fault.
    """
    at = 0
    while at < len(options):
        option, following = options[at].upper(), options[at + 1 :]
        at += 1
        if not _flag(query, command, option):
            at += _option(query, command, option, following)
    _check(query, command)


def _flag(query: GeoQuery, command: GeoCommand, option: bytes) -> bool:
    """Reads an option that stands alone; False if it is none."""
    if option == b"WITHDIST":
        query.with_distance = True
    elif option == b"WITHHASH":
        query.with_hash = True
    elif option == b"WITHCOORD":
        query.with_coordinates = True
    elif option == b"ANY":
        query.is_any = True
    elif option in (b"ASC", b"DESC"):
        query.is_descending = option == b"DESC"
    elif option == b"STOREDIST" and command.name == "geosearchstore":
        query.stores_distance = True
    else:
        return False
    return True


def _option(query: GeoQuery, command: GeoCommand, option: bytes, following: tuple[bytes, ...]) -> int:
    """Reads an option with arguments. Returns how many it took."""
    left = len(following)
    if option == b"COUNT" and left >= 1:
        query.count = int64(following[0])
        if query.count <= 0:
            raise _COUNT_NOT_POSITIVE
        return 1
    if option in (b"STORE", b"STOREDIST") and left >= 1 and command.takes_store:
        query.destination = following[0]
        query.stores_distance = option == b"STOREDIST"
        return 1
    if command.is_search:
        if option in (b"FROMMEMBER", b"FROMLONLAT") and query.centre_option in (b"", option):
            return _centre(query, option, following)
        if option in (b"BYRADIUS", b"BYBOX") and query.shape_option in (b"", option):
            return _shape(query, option, following)
    raise SYNTAX_ERROR


def _centre(query: GeoQuery, option: bytes, following: tuple[bytes, ...]) -> int:
    taken = 1 if option == b"FROMMEMBER" else 2
    if len(following) < taken:
        raise SYNTAX_ERROR
    query.centre_option = option
    if option == b"FROMMEMBER":
        centre_of_member(query, following[0])
    else:
        query.centre = coordinates(following[0], following[1])
    return taken


def _shape(query: GeoQuery, option: bytes, following: tuple[bytes, ...]) -> int:
    taken = 2 if option == b"BYRADIUS" else 3
    if len(following) < taken:
        raise SYNTAX_ERROR
    query.shape_option = option
    if option == b"BYRADIUS":
        radius(query, following[0], following[1])
    else:
        _box(query, following[0], following[1], following[2])
    return taken


def _check(query: GeoQuery, command: GeoCommand) -> None:
    """Checks what was read for contradictions and gaps."""
    if query.destination is not None and (query.with_distance or query.with_hash or query.with_coordinates):
        who = "GEOSEARCHSTORE" if command.is_search else "STORE option in GEORADIUS"
        raise ClientError(f"ERR {who} is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
    if command.is_search and not query.centre_option:
        raise ClientError(f"ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {command.name}")
    if command.is_search and not query.shape_option:
        raise ClientError(f"ERR exactly one of BYRADIUS and BYBOX can be specified for {command.name}")
    if query.is_any and not query.count:
        raise _ANY_WITHOUT_COUNT
