"""The sorted set's structures against a plain dict."""

from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from makoredis.data.config import DataConfig
from makoredis.data.values import SortedSet, ranking, scan_dict, sorted_set
from makoredis.data.values.scan_dict import ScanDict

MEMBERS = st.integers(0, 60).map(lambda number: b"m%d" % number)
SCORES = st.sampled_from([float("-inf"), -1.5, -0.0, 0.0, 1.0, 2.0, 3.0, float("inf")])
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), MEMBERS, SCORES),
        st.tuples(st.just("remove"), MEMBERS),
        st.tuples(st.just("range"), st.integers(0, 40), st.integers(0, 9)),
    ),
    max_size=120,
)


def _check(value: SortedSet, model: dict[bytes, float]) -> None:
    ordered = sorted(model, key=lambda member: (model[member], member))
    size = len(ordered)
    assert list(value) == ordered
    assert value.to_dict() == model
    for rank, member in enumerate(ordered):
        assert value.rank(member) == rank
        assert value.get(member) == model[member]
        assert value.members(rank, min(rank + 3, size)) == ordered[rank : rank + 3]
    for score in (-2.0, -1.5, 0.0, 1.5, 3.0, float("inf")):
        assert value.rank_of_score(score, False) == sum(one < score for one in model.values())
        assert value.rank_of_score(score, True) == sum(one <= score for one in model.values())


@settings(max_examples=150, deadline=None)
@given(changes=CHANGES, flat_max=st.sampled_from([0, 8, 1000]), check_each=st.booleans())
def test_like_a_sorted_dict(changes: list[tuple], flat_max: int, check_each: bool) -> None:
    """Small limits, so that blocks and buckets are cut and dropped all the time."""
    with (
        patch.object(sorted_set, "FLAT_MAX", flat_max),
        patch.object(ranking, "BLOCK_MAX", 4),
        patch.object(scan_dict, "BUCKET_MAX", 4),
    ):
        value = SortedSet()
        model: dict[bytes, float] = {}
        for what, *arguments in changes:
            if what == "put":
                member, score = arguments
                assert value.put(member, score) == model.get(member)
                model[member] = score
            elif what == "remove":
                assert value.remove(arguments[0]) == model.pop(arguments[0], None)
            else:
                ordered = sorted(model, key=lambda member: (model[member], member))
                start = min(arguments[0], len(model))
                stop = min(start + arguments[1], len(model))
                assert value.remove_range(start, stop) == [(name, model.pop(name)) for name in ordered[start:stop]]
            if check_each:
                _check(value, model)
        _check(value, model)
        assert SortedSet(model) == value


@settings(max_examples=100, deadline=None)
@given(names=st.lists(st.binary(max_size=2), unique=True, min_size=1, max_size=80))
def test_rank_of_member_with_one_score(names: list[bytes]) -> None:
    with patch.object(sorted_set, "FLAT_MAX", len(names) // 2), patch.object(ranking, "BLOCK_MAX", 4):
        value = SortedSet()
        for name in names:
            value.put(name, 0.0)
        for bound in [*names, b"", b"a", b"\xff\xff\xff"]:
            assert value.rank_of_member(bound, False) == sum(name < bound for name in names)
            assert value.rank_of_member(bound, True) == sum(name <= bound for name in names)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), count=st.integers(1, 12))
def test_a_scan_returns_what_is_there_throughout(data: st.DataObject, count: int) -> None:
    """Whatever else is added and removed between two steps."""
    with patch.object(scan_dict, "BUCKET_MAX", 4):
        stays = {b"stays%d" % number: number for number in range(40)}
        table = ScanDict(dict(stays))
        found: set[bytes] = set()
        cursor = 0
        while True:
            cursor, pairs = table.scan(cursor, count)
            found.update(key for key, _ in pairs)
            if cursor == 0:
                break
            assert len(pairs) >= count
            for number in data.draw(st.lists(st.integers(0, 50), max_size=20)):
                key = b"comes%d" % number
                if key in table:
                    table.pop(key)
                else:
                    table.swap(key, number)
        assert found >= set(stays)


def test_keys_of_one_hash_share_a_bucket() -> None:
    with patch.object(scan_dict, "crc32", lambda key: 7), patch.object(scan_dict, "BUCKET_MAX", 4):
        table: ScanDict[int] = ScanDict()
        for number in range(20):
            table.swap(b"%d" % number, number)
        assert len(table) == 20
        assert table.scan(0, 1) == (0, list(table.items())) or len(table.scan(0, 1)[1]) == 20


def test_encoding_goes_up_and_not_back() -> None:
    config = DataConfig(zset_max_listpack_entries=2, zset_max_listpack_value=3)
    assert SortedSet({b"abc": 1.0}).encoding(config) == b"listpack"
    assert SortedSet({b"abcd": 1.0}).encoding(config) == b"skiplist"
    value = SortedSet({b"a": 1.0, b"b": 2.0, b"c": 3.0})
    assert value.encoding(config) == b"skiplist"
    value.remove(b"a")
    assert value.encoding(config) == b"skiplist"
