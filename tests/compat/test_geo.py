"""Points on the earth against a real redis-server: the same digits and the same order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compat.harness import Differential, members, optional, request, sequences

FILL = [
    "GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania 12.758489 38.788135 edge1",
    "GEOADD g 17.241510 38.788135 edge2",
    "GEOADD g 2.349014 48.864716 Paris -0.118092 51.509865 London 139.839478 35.652832 Tokyo -74.006 40.7128 NY",
    "GEOADD g -180 85 nw 180 -85 se 0 0 zero 179.9 0.1 east -179.9 -0.1 west",
]

CASES: dict[str, list[Any]] = {
    "geoadd": [
        *FILL,
        "ZRANGE g 0 -1 WITHSCORES", "GEOADD g NX 1 1 Paris", "GEOADD g XX CH 1 1 Paris", "GEOADD g XX 1 1 nobody",
        "GEOADD g NX XX 1 1 a", "GEOADD g 1 1", "GEOADD g 1 1 a 2", "GEOADD g CH NX XX", "GEOADD g ch ch ch",
        "GEOADD g 181 1 a", "GEOADD g 1 86 a", "GEOADD g -181 -86 a", "GEOADD g x 1 a", "GEOADD g 1 y a",
        "GEOADD g inf 1 a",
        "GEOADD g 1 nan a", "GEOADD g 180 85.05112878 corner", "GEOADD g -180 -85.05112878 corner2", "ZSCORE g corner",
        "ZSCORE g corner2", "GEOPOS g corner corner2", "SET s 1", "GEOADD s 1 1 a", "GEOADD s x 1 a",
        "GEOADD g GT 1 1 a",
        "GEOADD g 1 1 a 1 1 a 2 2 a", "GEOADD g CH 1 1 a 2 2 a",
    ],
    "positions": [
        *FILL,
        "GEOPOS g Palermo Catania nobody zero nw se", "GEOPOS nope a b", "GEOPOS g", "GEOHASH g Palermo nobody zero se",
        "GEOHASH nope a", "GEOHASH g", "SET s 1", "GEOPOS s a", "GEOHASH s a",
        "ZADD z -5 a 1e300 b inf c -inf d 0.5 e 1e19 f",
        "GEOPOS z a b c d e f", "GEOHASH z a b c d e f", "GEODIST z a e",
        "ZADD z 4503599627370495 max 4503599627370496 over",
        "GEOPOS z max over", "GEOHASH z max over", "GEOPOS g Tokyo NY London Paris east west",
    ],
    "distances": [
        *FILL,
        "GEODIST g Palermo Catania", "GEODIST g Palermo Catania km", "GEODIST g Palermo Catania MI",
        "GEODIST g Palermo Catania ft", "GEODIST g Palermo Catania m", "GEODIST g Palermo Catania x",
        "GEODIST g Palermo nobody",
        "GEODIST nope a b", "GEODIST g Palermo Palermo", "GEODIST g Palermo Catania km x", "SET s 1", "GEODIST s a b",
        "GEODIST s a b x", "GEODIST g nw se", "GEODIST g east west", "GEODIST g London NY mi", "GEODIST g a",
    ],
    "geosearch": [
        *FILL,
        "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km ASC",
        "GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km ASC WITHDIST",
        "GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km DESC WITHCOORD WITHHASH WITHDIST",
        "GEOSEARCH g FROMMEMBER Palermo BYRADIUS 200 km WITHDIST", "GEOSEARCH g FROMMEMBER nobody BYRADIUS 200 km",
        "GEOSEARCH nope FROMMEMBER nobody BYRADIUS 200 km", "GEOSEARCH nope FROMLONLAT 500 1 BYRADIUS 1 km",
        "GEOSEARCH g FROMMEMBER Palermo BYRADIUS 20000 km COUNT 3 WITHDIST",
        "GEOSEARCH g FROMMEMBER Palermo BYRADIUS 20000 km COUNT 3 ANY",
        "GEOSEARCH g FROMMEMBER Palermo BYRADIUS 20000 km",
        "GEOSEARCH g FROMMEMBER Palermo BYRADIUS 20000 km DESC COUNT 2",
        "GEOSEARCH g FROMMEMBER Palermo BYRADIUS 20000 km ANY",
        "GEOSEARCH g FROMMEMBER Palermo BYRADIUS 20000 km COUNT 0",
        "GEOSEARCH g FROMMEMBER Palermo BYRADIUS 20000 km COUNT x",
        "GEOSEARCH g FROMMEMBER Palermo BYRADIUS 1 km COUNT",
        "GEOSEARCH g FROMMEMBER Palermo BYRADIUS 1 km ANY COUNT 1 ASC",
        "geosearch g BYRADIUS 1 km WITHDIST WITHCOORD", "geosearch g FROMMEMBER Palermo WITHDIST WITHCOORD",
        "GEOSEARCH g FROMMEMBER Palermo FROMLONLAT 1 1 BYRADIUS 1 km",
        "GEOSEARCH g FROMLONLAT 1 1 FROMMEMBER Paris BYRADIUS 1 m",
        "GEOSEARCH g FROMMEMBER Palermo FROMMEMBER Paris BYRADIUS 1 km",
        "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 1 km BYBOX 1 1 m",
        "GEOSEARCH g FROMLONLAT 15 37 BYBOX 1 1 m BYRADIUS 1 km",
        "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 1 m BYRADIUS 900 km ASC",
        "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS -1 km", "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS x km",
        "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 1 xx", "GEOSEARCH g FROMLONLAT 15 37 BYBOX -1 1 km",
        "GEOSEARCH g FROMLONLAT 15 37 BYBOX 1 -1 km", "GEOSEARCH g FROMLONLAT 15 37 BYBOX x 1 km",
        "GEOSEARCH g FROMLONLAT 15 37 BYBOX 1 y km", "GEOSEARCH g FROMLONLAT 15 37 BYBOX 1 1 xx",
        "GEOSEARCH g FROMLONLAT 15 37 FOO",
        "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 1 km STORE d", "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 1 km STOREDIST",
        "GEOSEARCH g FROMLONLAT 0 0 BYRADIUS 30000 km ASC WITHDIST", "GEOSEARCH g FROMLONLAT 0 0 BYRADIUS 1e300 km",
        "GEOSEARCH g FROMLONLAT 0 0 BYRADIUS inf km ASC", "GEOSEARCH g FROMLONLAT 0 0 BYBOX inf inf km ASC",
        "GEOSEARCH g FROMLONLAT 0 0 BYRADIUS 0 m", "GEOSEARCH g FROMMEMBER zero BYRADIUS 0 m WITHDIST",
        "GEOSEARCH g FROMLONLAT 179.95 0 BYRADIUS 100 km WITHDIST",
        "GEOSEARCH g FROMLONLAT -180 85 BYRADIUS 1000 km WITHDIST",
        "GEOSEARCH g FROMLONLAT 180 -85 BYBOX 1000 1000 km WITHDIST",
        "GEOSEARCH g FROMLONLAT 0 85 BYBOX 9000 9000 km ASC",
        "SET s 1", "GEOSEARCH s FROMLONLAT 0 0 BYRADIUS 1 m", "GEOSEARCH s FOO BAR BAZ BAT BAZ",
        "GEOSEARCH g FROMMEMBER",
        "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200", "GEOSEARCH g FROMLONLAT 15 37 BYBOX 200 200",
        "GEOSEARCH g COUNT 1 ANY ASC x",
    ],
    "stores": [
        *FILL,
        "GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 200 km", "ZRANGE d 0 -1 WITHSCORES",
        "GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST", "ZRANGE d 0 -1 WITHSCORES",
        "GEOSEARCHSTORE d g FROMLONLAT 15 37 BYBOX 400 400 mi STOREDIST COUNT 1", "ZRANGE d 0 -1 WITHSCORES",
        "GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 200 km WITHDIST",
        "GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 200 km STORE x",
        "GEOSEARCHSTORE d g FROMLONLAT 50 50 BYRADIUS 1 m", "EXISTS d", "SET d 1",
        "GEOSEARCHSTORE d nope FROMLONLAT 5 5 BYRADIUS 1 m",
        "EXISTS d", "GEOSEARCHSTORE d nope FROMMEMBER x BYRADIUS 1 m", "GEOSEARCHSTORE d g FROMMEMBER x BYRADIUS 1 m",
        "geosearchstore d g BYRADIUS 1 m ASC COUNT 1", "geosearchstore d g FROMMEMBER Paris ASC COUNT 1",
        "GEORADIUS g 15 37 200 km STORE d", "ZRANGE d 0 -1 WITHSCORES", "GEORADIUS g 15 37 200 km STOREDIST d",
        "ZRANGE d 0 -1 WITHSCORES", "GEORADIUS g 15 37 200 km STORE d WITHDIST", "GEORADIUS g 15 37 200 km STORE",
        "GEORADIUS g 15 37 200 km STORE d STOREDIST e COUNT 1", "ZRANGE e 0 -1 WITHSCORES",
        "GEORADIUS nope 15 37 200 km STORE e",
        "EXISTS e", "GEORADIUSBYMEMBER g Palermo 300 km STORE g2", "ZRANGE g2 0 -1 WITHSCORES",
        "GEORADIUSBYMEMBER nope x 1 km STORE g2", "EXISTS g2", "GEORADIUS g 15 37 200 km STORE g", "ZRANGE g 0 -1",
    ],
    "georadius": [
        *FILL,
        "GEORADIUS g 15 37 200 km", "GEORADIUS g 15 37 200 km WITHDIST WITHCOORD WITHHASH ASC",
        "GEORADIUS g 15 37 200 km DESC",
        "GEORADIUS g 15 37 200 km COUNT 1", "GEORADIUS g 15 37 200 km COUNT 1 ANY", "GEORADIUS g 15 37 200 xx",
        "GEORADIUS g 15 37 x km", "GEORADIUS g 15 37 -1 km", "GEORADIUS g 500 37 1 km", "GEORADIUS nope 500 37 1 km",
        "GEORADIUS nope 15 37 1 km", "GEORADIUS nope 15 37 1 xx", "GEORADIUS g 15 37 200 km FOO",
        "GEORADIUS_RO g 15 37 200 km ASC",
        "GEORADIUS_RO g 15 37 200 km STORE d", "GEORADIUSBYMEMBER g Palermo 200 km WITHDIST",
        "GEORADIUSBYMEMBER g nobody 200 km", "GEORADIUSBYMEMBER nope nobody 200 xx",
        "GEORADIUSBYMEMBER nope nobody 200 km FOO",
        "GEORADIUSBYMEMBER_RO g Palermo 200 km ASC", "GEORADIUSBYMEMBER_RO g Palermo 200 km STORE d",
        "GEORADIUSBYMEMBER g Palermo 1 xx",
        "SET s 1", "GEORADIUS s 15 37 200 km", "GEORADIUSBYMEMBER s a 1 xx",
        "GEORADIUS g 15 37 200 km FROMMEMBER Paris",
        "GEORADIUS g 15 37 200 km BYBOX 1 1 m",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cases(differential: Differential, name: str) -> None:
    differential.check(CASES[name])


def _decimal(value: float) -> bytes:
    return b"%.7f" % value


_LONGITUDES = st.floats(-180, 180).map(_decimal) | st.sampled_from([b"0", b"180", b"-180", b"13.361389"])
_LATITUDES = st.floats(-85.05, 85.05).map(_decimal) | st.sampled_from([b"0", b"85.05112878", b"-85.05112878"])
_UNITS = st.sampled_from([b"m", b"km", b"ft", b"mi"])
_LENGTHS = st.sampled_from([b"0", b"1", b"250", b"5000", b"12000", b"1e6", b"2.5e7"]) | st.floats(0, 2e4).map(_decimal)
_MANY_POINTS = st.lists(st.tuples(_LONGITUDES, _LATITUDES, members).map(list), min_size=1, max_size=40).map(
    lambda points: [b"GEOADD", b"g", *[word for point in points for word in point]]
)
_FROM = st.one_of(
    st.tuples(_LONGITUDES, _LATITUDES).map(lambda pair: [b"FROMLONLAT", *pair]),
    members.map(lambda name: [b"FROMMEMBER", name]),
)
_BY = st.one_of(
    st.tuples(_LENGTHS, _UNITS).map(lambda pair: [b"BYRADIUS", *pair]),
    st.tuples(_LENGTHS, _LENGTHS, _UNITS).map(lambda triple: [b"BYBOX", *triple]),
)
_ORDER = st.sampled_from([[], [b"ASC"], [b"DESC"]])
_WITH = st.sampled_from([[], [b"WITHDIST"], [b"WITHCOORD", b"WITHHASH"], [b"WITHDIST", b"WITHCOORD", b"WITHHASH"]])
_COUNT = st.sampled_from([[], [b"COUNT", b"1"], [b"COUNT", b"3"], [b"COUNT", b"4", b"ANY"]])

QUERIES = [
    request("GEOSEARCH", "g", _FROM, _BY, _ORDER, _WITH),
    request("GEOSEARCH", "g", _FROM, _BY, _ORDER, _WITH, _COUNT),
    request("GEOSEARCHSTORE", "d", "g", _FROM, _BY, optional("STOREDIST"), optional("COUNT", "3", "ANY")),
    request("ZRANGE", "d", "0", "-1", "WITHSCORES"),
    request("GEODIST", "g", members, members, _UNITS),
    request("GEOPOS", "g", members),
    request("GEOHASH", "g", members),
]


@given(points=_MANY_POINTS, queries=sequences(*QUERIES, max_size=12))
def test_random(differential: Differential, points: list[bytes], queries: list[list[bytes]]) -> None:
    differential.check([points, *queries], protocols=(2,))
