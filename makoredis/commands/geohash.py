"""Geohashes: longitude and latitude interleaved into 52 bits, which a sorted set keeps as a score without loss.

Points that share a prefix of bits lie in one cell of a grid; a cell of n bits per axis is one range of scores, so that
a search by area is nine such ranges (the cell of the centre and its neighbours) and a check of each point within.

Every expression follows the order of operations of Redis 7: the same doubles come out, to the last digit.
"""

import math
from collections.abc import Iterator
from functools import reduce

from makoredis.base.record import record

STEP_MAX = 26
"""Bits per axis of a stored point."""
LONGITUDE_MAX = 180.0
LATITUDE_MAX = 85.05112878
"""Web Mercator (EPSG:3857) has no poles."""

_EARTH_RADIUS_M = 6372797.560856
_MERCATOR_MAX_M = 20037726.37
_RADIANS = math.pi / 180.0
_CERTAINLY = 1.000001
"""A point this much too far north or south is outside a circle whatever the rounding."""
_ALPHABET = b"0123456789bcdefghjkmnpqrstuvwxyz"
_UINT32_MASK = 2**32 - 1
_UINT64_MASK = 2**64 - 1
_LATITUDE_BITS = 0x5555555555555555
_LONGITUDE_BITS = 0xAAAAAAAAAAAAAAAA

_SPREAD = ((16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF), (4, 0x0F0F0F0F0F0F0F0F), (2, 0x3333333333333333),
           (1, 0x5555555555555555))  # fmt: skip
"""Steps that put a zero bit between each two bits of a number of 32 bits."""
_EVEN_OF_BYTE = [sum((byte >> 2 * at & 1) << at for at in range(4)) for byte in range(256)]
_EVEN_BITS = bytes(high << 4 | low for high in _EVEN_OF_BYTE for low in _EVEN_OF_BYTE)
"""Every second bit, from the lowest on, of each number of 16 bits."""
_STORED_CELLS = float(1 << STEP_MAX)
_STORED_SCORES = float(1 << 2 * STEP_MAX)


@record
class Cell:
    """A cell of the grid with 2 ** step rows and columns."""

    bits: int
    step: int

    def scores(self) -> tuple[float, float]:
        """The scores of the points in it: from the first up to, but without, the second."""
        shift = 2 * (STEP_MAX - self.step)
        return float(self.bits << shift & _UINT64_MASK), float(self.bits + 1 << shift & _UINT64_MASK)

    def moved(self, east: int, north: int) -> "Cell":
        """The neighbour in a direction, -1 to 1 each; the grid has no edges."""
        width = 64 - 2 * self.step
        longitude_mask, latitude_mask = _LONGITUDE_BITS >> width, _LATITUDE_BITS >> width
        longitude, latitude = self.bits & _LONGITUDE_BITS, self.bits & _LATITUDE_BITS
        if east:
            longitude = _moved(longitude, latitude_mask, east) & longitude_mask
        if north:
            latitude = _moved(latitude, longitude_mask, north) & latitude_mask
        return Cell(longitude | latitude, self.step)

    def area(self) -> tuple[float, float, float, float]:
        """Its lowest longitude, lowest latitude, highest longitude, highest latitude."""
        latitude, longitude = _gather(self.bits), _gather(self.bits >> 1)
        cells = 1 << self.step
        return (
            -LONGITUDE_MAX + (longitude / cells) * (2 * LONGITUDE_MAX),
            -LATITUDE_MAX + (latitude / cells) * (2 * LATITUDE_MAX),
            -LONGITUDE_MAX + ((longitude + 1 & _UINT32_MASK) / cells) * (2 * LONGITUDE_MAX),
            -LATITUDE_MAX + ((latitude + 1 & _UINT32_MASK) / cells) * (2 * LATITUDE_MAX),
        )


def _moved(axis: int, other_mask: int, direction: int) -> int:
    """One axis a cell further; the other axis' bits are filled so that the carry passes them."""
    return axis + (other_mask + 1) if direction > 0 else (axis | other_mask) - (other_mask + 1)


def _gather(bits: int) -> int:
    """Every second bit, from the lowest on, of a number of 64 bits."""
    even = _EVEN_BITS
    low = even[bits & 0xFFFF] | even[bits >> 16 & 0xFFFF] << 8
    return low | even[bits >> 32 & 0xFFFF] << 16 | even[bits >> 48] << 24


def _spread(value: int) -> int:
    return reduce(lambda bits, step: (bits | bits << step[0]) & step[1], _SPREAD, value)


def encode(longitude: float, latitude: float, step: int = STEP_MAX, latitude_max: float = LATITUDE_MAX) -> Cell:
    """The cell in which a point lies."""
    north = (latitude + latitude_max) / (2 * latitude_max) * (1 << step)
    east = (longitude + LONGITUDE_MAX) / (2 * LONGITUDE_MAX) * (1 << step)
    return Cell(_spread(int(north)) | _spread(int(east)) << 1, step)


def decode(score: float) -> tuple[float, float]:
    """Longitude and latitude of a score: the middle of its cell."""
    if 0.0 <= score < _STORED_SCORES:  # as `Cell.area`, spelled out: a search decodes every point that it looks at
        bits = int(score)
        column, row = _gather(bits >> 1), _gather(bits)
        west = -LONGITUDE_MAX + (column / _STORED_CELLS) * (2 * LONGITUDE_MAX)
        east = -LONGITUDE_MAX + ((column + 1) / _STORED_CELLS) * (2 * LONGITUDE_MAX)
        south = -LATITUDE_MAX + (row / _STORED_CELLS) * (2 * LATITUDE_MAX)
        north = -LATITUDE_MAX + ((row + 1) / _STORED_CELLS) * (2 * LATITUDE_MAX)
        return (west + east) / 2, (south + north) / 2
    west, south, east, north = Cell(_uint64(score), STEP_MAX).area()
    longitude, latitude = (west + east) / 2, (south + north) / 2
    return (
        min(max(longitude, -LONGITUDE_MAX), LONGITUDE_MAX),
        min(max(latitude, -LATITUDE_MAX), LATITUDE_MAX),
    )


def integer_score(score: float) -> int:
    """A score as a signed integer of 64 bits, as the processor converts it: out of range is the lowest one."""
    return int(score) if -(2.0**63) <= score < 2.0**63 else -(2**63)


def _uint64(score: float) -> int:
    if score < 2.0**63:
        return integer_score(score) & _UINT64_MASK
    return (integer_score(score - 2.0**63) ^ 2**63) & _UINT64_MASK


def standard_geohash(score: float) -> bytes:
    """The 11 characters of geohash.org, where latitudes go from -90 to 90. 52 bits make 10 of them; the last is 0."""
    longitude, latitude = decode(score)
    bits = encode(longitude, latitude, latitude_max=90.0).bits
    return bytes(_ALPHABET[bits >> 52 - 5 * at & 31] for at in range(1, 11)) + b"0"


def latitude_distance(latitude1: float, latitude2: float) -> float:
    """Metres along a meridian."""
    return _EARTH_RADIUS_M * abs(latitude2 * _RADIANS - latitude1 * _RADIANS)


def distance(longitude1: float, latitude1: float, longitude2: float, latitude2: float) -> float:
    """Metres along the great circle, by the haversine formula."""
    east = math.sin((longitude2 * _RADIANS - longitude1 * _RADIANS) / 2)
    if east == 0.0:
        return latitude_distance(latitude1, latitude2)
    latitude1, latitude2 = latitude1 * _RADIANS, latitude2 * _RADIANS
    north = math.sin((latitude2 - latitude1) / 2)
    a = north * north + math.cos(latitude1) * math.cos(latitude2) * east * east
    return 2.0 * _EARTH_RADIUS_M * math.asin(math.sqrt(min(a, 1.0)))


@record
class Shape:
    """A circle or a box around a point. Of a circle, both halves are the radius."""

    longitude: float
    latitude: float
    is_box: bool
    half_width: float
    half_height: float
    unit_m: float
    """Metres in one unit of the halves."""

    def distance_within(self, longitude: float, latitude: float) -> float | None:
        """Metres from the centre to a point, None if it lies outside."""
        if self.is_box:
            if latitude_distance(latitude, self.latitude) > self.half_height * self.unit_m:
                return None
            if distance(longitude, latitude, self.longitude, latitude) > self.half_width * self.unit_m:
                return None
        elif latitude_distance(latitude, self.latitude) > self.half_width * self.unit_m * _CERTAINLY:
            return None
        metres = distance(self.longitude, self.latitude, longitude, latitude)
        return metres if self.is_box or metres <= self.half_width * self.unit_m else None

    def bounds(self) -> tuple[float, float, float, float]:
        """Lowest longitude and latitude, highest longitude and latitude."""
        north = self.half_height * self.unit_m / _EARTH_RADIUS_M / _RADIANS
        # Meridians come closer towards the pole: the edge on that side counts.
        edge = self.latitude - north if self.latitude < 0 else self.latitude + north
        east = self.half_width * self.unit_m / _EARTH_RADIUS_M / _cos(edge * _RADIANS) / _RADIANS
        return self.longitude - east, self.latitude - north, self.longitude + east, self.latitude + north

    def reach_m(self) -> float:
        """Metres from the centre to the farthest point."""
        if not self.is_box:
            return self.half_width * self.unit_m
        return math.sqrt(self.half_width * self.half_width + self.half_height * self.half_height) * self.unit_m


def _cos(angle: float) -> float:
    return math.cos(angle) if math.isfinite(angle) else math.nan


def _estimated_step(range_m: float, latitude: float) -> int:
    """How fine a grid may be so that nine cells cover a range."""
    if range_m == 0:
        return STEP_MAX
    step = 1
    while range_m < _MERCATOR_MAX_M:
        range_m *= 2
        step += 1
    step -= 2
    if abs(latitude) > 66:
        step -= 2 if abs(latitude) > 80 else 1
    return min(max(step, 1), STEP_MAX)


_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
"""East and north of the eight neighbours, in the order in which they are searched."""


def cells_to_search(shape: Shape) -> Iterator[Cell]:
    """The cells that cover a shape, in the order in which Redis looks at them."""
    west, south, east, north = shape.bounds()
    step = _estimated_step(shape.reach_m(), shape.latitude)
    centre = encode(shape.longitude, shape.latitude, step)
    if step > 1 and not _reaches(centre, west, south, east, north):
        step -= 1
        centre = encode(shape.longitude, shape.latitude, step)
    area = centre.area()
    is_fine = step >= 2
    needless_east = {-1} if is_fine and area[0] < west else set()
    needless_north = {-1} if is_fine and area[1] < south else set()
    if is_fine and area[2] > east:
        needless_east.add(1)
    if is_fine and area[3] > north:
        needless_north.add(1)
    yield centre
    previous: Cell | None = None
    for to_east, to_north in _DIRECTIONS:
        if to_east in needless_east or to_north in needless_north:
            continue
        cell = centre.moved(to_east, to_north)
        # On a grid of two columns, east is west. The centre is not compared: Redis does not, so points may come twice.
        if cell != previous:
            yield cell
            previous = cell


def _reaches(centre: Cell, west: float, south: float, east: float, north: float) -> bool:
    """Whether the neighbours of a cell reach the bounds."""
    return not (
        centre.moved(0, 1).area()[3] < north
        or centre.moved(0, -1).area()[1] > south
        or centre.moved(1, 0).area()[2] < east
        or centre.moved(-1, 0).area()[0] > west
    )
