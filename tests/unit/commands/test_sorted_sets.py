"""Sorted sets: what a comparison with a real server does not show: effects, undo, waiting, notifications, encodings."""

import math
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makoredis.base.record import wire_encode
from makoredis.commands.registry import WouldBlock, load
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import SortedSetPut, SortedSetRemove, SortedSetRemoveRange, decode_effects
from makoredis.data.encoding import decode_value, encode_value
from makoredis.data.keyspace import Keyspace
from makoredis.data.values import SortedSet, sorted_set
from resp.replies import NULL_ARRAY, Double

COMMANDS = load()


def run(space: Keyspace, line: str, may_block: bool = False, protocol: int = 2) -> tuple[Any, Access]:
    access = Access(space, Random(1), protocol=protocol)
    access.may_block = may_block
    name, *arguments = line.encode().split()
    return COMMANDS[name.decode()].handler(access, *arguments), access


def encoding(space: Keyspace, key: bytes = b"z") -> bytes:
    value = space.databases[0].get(key)
    assert isinstance(value, SortedSet)
    return value.encoding(space.config)


MEMBERS = st.integers(0, 12).map(lambda number: b"m%d" % number) | st.just(b"x" * 65)
SCORES = st.sampled_from([-math.inf, -1.0, -0.0, 0.0, 1.0, 2.0, math.inf])
CHANGES = st.one_of(
    st.tuples(st.just("put"), st.dictionaries(MEMBERS, SCORES, min_size=1, max_size=4)),
    st.tuples(st.just("remove"), st.sets(MEMBERS, min_size=1, max_size=4)),
    st.tuples(st.just("range"), st.integers(0, 5), st.integers(1, 4)),
)


def _state(space: Keyspace) -> list[tuple[bytes, bytes, str]]:
    database = space.databases[0]
    return [
        (key, encoding(space, key), repr(list(value.items())))
        for key in database.keys()  # noqa: SIM118
        if isinstance(value := database.get(key), SortedSet)
    ]


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(CHANGES, max_size=25), flat_max=st.sampled_from([2, 64]))
def test_every_effect_can_be_undone_and_sent(changes: list[tuple[Any, ...]], flat_max: int) -> None:
    """Encoding included: undoing takes back also that a listpack became a skip list."""
    with patch.object(sorted_set, "FLAT_MAX", flat_max):
        space, replica = Keyspace(), Keyspace()
        for each in (space, replica):
            each.config.zset_max_listpack_entries = 5
        history = []
        for kind, *arguments in changes:
            value = space.databases[0].get(b"z")
            size = len(value) if isinstance(value, SortedSet) else 0
            if kind == "put":
                effect: Any = SortedSetPut(0, b"z", list(arguments[0].items()))
            elif kind == "remove":
                present = [member for member in sorted(arguments[0]) if size and member in value]
                effect = SortedSetRemove(0, b"z", present) if present else None
            else:
                start, stop = min(arguments[0], size), min(arguments[0] + arguments[1], size)
                effect = SortedSetRemoveRange(0, b"z", start, stop) if start < stop else None
            if effect is None:
                continue
            before = _state(space)
            history.append((before, effect.apply(space)))
            (decode_effects(wire_encode([effect]))[0]).apply(replica)
            assert _state(replica) == _state(space)
        for before, undo in reversed(history):
            undo.apply(space)
            assert _state(space) == before


def test_a_value_survives_encoding() -> None:
    value = SortedSet({b"%d" % number: number / 7 for number in range(300)} | {b"inf": math.inf, b"zero": -0.0})
    again = decode_value(encode_value(value))
    assert again == value
    assert list(again) == list(value)


ENCODINGS = [
    (["ZADD z 1 a"], b"listpack"),
    (["ZADD z " + " ".join(f"{n} m{n}" for n in range(128))], b"listpack"),
    (["ZADD z " + " ".join(f"{n} m{n}" for n in range(129))], b"skiplist"),
    (["ZADD z 1 " + "x" * 64], b"listpack"),
    (["ZADD z 1 " + "x" * 65], b"skiplist"),
    (["ZADD z 1 a 1 " + "x" * 65, "ZREM z " + "x" * 65], b"skiplist"),
    (["ZADD z " + " ".join(f"{n} m{n}" for n in range(129)), "ZREMRANGEBYRANK z 1 -1"], b"skiplist"),
    (["ZADD z 1 a 1 " + "x" * 65, "ZPOPMAX z", "ZPOPMAX z", "ZADD z 1 a"], b"listpack"),
    (["ZADD y 1 a 1 " + "x" * 65, "ZRANGESTORE z y 0 0"], b"listpack"),
    (["ZADD y 1 a 1 " + "x" * 65, "ZUNIONSTORE z 1 y"], b"skiplist"),
]


@pytest.mark.parametrize(("lines", "expected"), ENCODINGS, ids=range(len(ENCODINGS)))
def test_encoding(lines: list[str], expected: bytes) -> None:
    space = Keyspace()
    for line in lines:
        run(space, line)
    assert encoding(space) == expected


def test_zero_loses_its_sign_in_a_listpack_only() -> None:
    space = Keyspace()
    run(space, "ZADD z -0 a")
    assert run(space, "ZSCORE z a")[0] == b"0"
    space.config.zset_max_listpack_entries = 0
    run(space, "ZADD s -0 a")
    assert run(space, "ZSCORE s a")[0] == b"-0"


EVENTS = [
    (["ZADD z 1 a"], [b"zadd"]),
    (["ZADD z 1 a", "ZADD z 1 a"], [b"zadd"]),
    (["ZADD z 1 a", "ZADD z INCR 1 a", "ZINCRBY z 1 a", "ZINCRBY z 0 a"], [b"zadd", b"zincr", b"zincr"]),
    (["ZADD z 1 a 2 b", "ZREM z a", "ZREM z b"], [b"zadd", b"zrem", b"zrem", b"del"]),
    (["ZADD z 1 a 2 b", "ZPOPMIN z", "ZPOPMAX z"], [b"zadd", b"zpopmin", b"zpopmax", b"del"]),
    (["ZADD z 1 a 2 b", "ZREMRANGEBYRANK z 0 0", "ZREMRANGEBYSCORE z 2 2"],
     [b"zadd", b"zremrangebyrank", b"zremrangebyscore", b"del"]),
    (["ZADD z 1 a", "ZREMRANGEBYLEX z - +"], [b"zadd", b"zremrangebylex", b"del"]),
    (["ZADD z 1 a", "ZUNIONSTORE d 1 z", "ZINTERSTORE d 2 z nope"], [b"zadd", b"zunionstore", b"del"]),
    (["ZADD z 1 a", "ZRANGESTORE d z 0 0", "ZDIFFSTORE d 1 z"], [b"zadd", b"zrangestore", b"zdiffstore"]),
    (["ZADD z 1 a 2 b 3 c", "ZMPOP 1 z MAX COUNT 9"], [b"zadd", b"zpopmax", b"del"]),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "expected"), EVENTS, ids=range(len(EVENTS)))
def test_notifications(lines: list[str], expected: list[bytes]) -> None:
    space = Keyspace()
    space.config.notify_events = events.ZSET | events.GENERIC
    notices = [notice for line in lines for notice in run(space, line)[1].notices]
    assert [event for _, event, _, _ in notices] == expected


@pytest.mark.parametrize("line", ["BZPOPMIN a b 0.5", "BZPOPMAX a b 0.5", "BZMPOP 0.5 2 a b MIN"])
def test_blocking_commands_wait_only_if_they_may(line: str) -> None:
    space = Keyspace()
    assert run(space, line)[0] is NULL_ARRAY
    waiting, access = run(space, line, may_block=True)
    assert waiting == WouldBlock((b"a", b"b"), 500, NULL_ARRAY, None, (SortedSet,))
    assert not access.effects
    run(space, "ZADD b 1 m")
    reply, _ = run(space, line, may_block=True)
    assert reply == ([b"b", [[b"m", b"1"]]] if line.startswith("BZMPOP") else [b"b", b"m", b"1"])
    assert space.is_empty()


def test_rank_with_score() -> None:
    space = Keyspace()
    run(space, "ZADD z 1 a 2.5 b")
    assert run(space, "ZRANK z b WITHSCORE")[0] == [1, b"2.5"]
    assert run(space, "ZREVRANK z b withscore", protocol=3)[0] == [0, Double(2.5)]
    assert run(space, "ZRANK z nope WITHSCORE")[0] is NULL_ARRAY
    assert run(space, "ZRANK nope a WITHSCORE")[0] is NULL_ARRAY


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 30), flat_max=st.sampled_from([0, 64]))
def test_random_members(count: int, flat_max: int) -> None:
    with patch.object(sorted_set, "FLAT_MAX", flat_max):
        space = Keyspace()
        run(space, "ZADD z " + " ".join(f"{n} m{n}" for n in range(20)))
        members, _ = run(space, f"ZRANDMEMBER z {count}")
        assert len(members) == len(set(members)) == min(count, 20)
        assert len(run(space, f"ZRANDMEMBER z -{count}")[0]) == count
        assert len(run(space, f"ZRANDMEMBER z -{count} WITHSCORES", protocol=3)[0]) == count


def test_a_scan_returns_every_member_once_when_nothing_changes() -> None:
    space = Keyspace()
    run(space, "ZADD z " + " ".join(f"{n} m{n}" for n in range(500)))
    cursor, found = b"0", []
    while True:
        (cursor, pairs), _ = run(space, f"ZSCAN z {cursor.decode()} COUNT 7")
        found += pairs[::2]
        if cursor == b"0":
            break
        assert 7 <= len(pairs) // 2 <= 9
    assert sorted(found) == sorted(b"m%d" % number for number in range(500))
