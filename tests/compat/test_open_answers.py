"""The comparisons of `open_answers` let pass what Redis leaves open, and nothing else."""

from makoredis.data.config import DataConfig
from makoredis.data.rdb.payload import dump
from makoredis.data.values.stream import Stream
from tests.compat.harness import Request, Tree
from tests.compat.open_answers import nearest, removes_entries, stream_payload, whole_scan, without_lowered_ids

_POINTS = ["GEOADD", "g", "1", "1", "near", "2", "0", "tie1", "2", "0", "tie2", "9", "9", "far"]


def _answer(*members: bytes) -> Tree:
    return b"*", [(b"$", member) for member in members]


def _differ(one: Tree, other: Tree, count: int) -> bool:
    query = nearest(_POINTS, ["GEOSEARCH", "g", "FROMLONLAT", "1", "1", "BYRADIUS", "1e6", "km", "COUNT", count])
    assert isinstance(query, Request)
    return query.normal(one) != query.normal(other)


def test_points_at_the_same_distance() -> None:
    assert not _differ(_answer(b"near", b"tie1"), _answer(b"near", b"tie2"), 2), "either is the second one"
    assert not _differ(_answer(b"near", b"tie1", b"tie2", b"far"), _answer(b"near", b"tie2", b"tie1", b"far"), 4)
    assert _differ(_answer(b"tie1"), _answer(b"near"), 1), "another distance"
    assert _differ(_answer(b"near", b"tie1"), _answer(b"near"), 2), "fewer"
    assert _differ(_answer(b"near", b"tie1", b"tie1", b"far"), _answer(b"near", b"tie1", b"tie2", b"far"), 4), "twice"


def test_a_search_without_count_is_compared_as_it_is() -> None:
    words = b"GEOSEARCH g FROMLONLAT 1 1 BYRADIUS 1 km ASC".split()
    assert nearest(_POINTS, words) == words
    assert nearest(_POINTS, [*words, b"COUNT", b"1", b"ANY"]) == [*words, b"COUNT", b"1", b"ANY"]


def _payload(stream: Stream) -> Tree:
    return b"$", dump(stream, DataConfig())


def _stream(*ids: int, added: int) -> Stream:
    stream = Stream()
    for id in ids:
        stream.append(id, (b"f", b"v"), 4096, 100)
    stream.entries_added = added
    return stream


def test_payloads_of_streams() -> None:
    theirs = stream_payload(_payload(_stream(5, 6, added=2)))
    assert theirs == stream_payload(_payload(_stream(5, 6, added=2)))
    assert theirs != stream_payload(_payload(_stream(5, 6, added=3)))
    assert theirs != stream_payload(_payload(_stream(5, 7, added=2)))
    assert theirs != stream_payload((b"$", None))
    assert removes_entries([[b"XADD", b"a", b"maxlen", b"1", b"*", b"f", b"v"]])
    assert not removes_entries([b"XADD a * f v".split()])


def test_only_ids_below_deleted_ones_are_left_out() -> None:
    deletion, below, above = [b"XDEL", b"a", b"5-1"], [b"XSETID", b"a", b"5-0"], [b"XSETID", b"a", b"5-1"]
    assert without_lowered_ids([below, deletion, above, below]) == [below, deletion, above]


def test_only_scans_are_widened() -> None:
    scan = Request([b"SSCAN", b"a", b"0"], lambda tree: tree)
    widened = whole_scan(scan)
    assert isinstance(widened, Request)
    assert widened.argv == [*scan.argv, b"COUNT", b"1000"] and widened.normal is scan.normal
    assert whole_scan([b"SADD", b"a", b"1"]) == [b"SADD", b"a", b"1"]
