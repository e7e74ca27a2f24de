"""Lists, hashes and sets: every effect, taken back, leaves what was there; applied elsewhere, it builds the same.

The commands run in random sequences; after each, the state is noted, and at the end all is undone step by step.
"""

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from makoredis.base.errors import ClientError
from makoredis.base.record import wire_encode
from makoredis.commands.registry import load
from makoredis.data.access import Access
from makoredis.data.config import DataConfig
from makoredis.data.effects import decode_effects
from makoredis.data.encoding import decode_value, encode_value
from makoredis.data.keyspace import Keyspace
from makoredis.data.values import Hash, List, Set

COMMANDS = load()

keys = st.sampled_from([b"a", b"b"])
words = st.sampled_from([b"1", b"2", b"3", b"word", b"", b"x" * 70])
some = st.lists(words, min_size=1, max_size=5)
many = st.integers(1, 700).map(lambda count: [b"%d" % number for number in range(count)])
indexes = st.integers(-6, 6).map(lambda index: b"%d" % index)
sides = st.sampled_from([b"LEFT", b"RIGHT"])


def _counted(fields: list[bytes]) -> list[bytes]:
    return [b"FIELDS", b"%d" % len(fields), *fields]


def _request(name: str, *parts: st.SearchStrategy[object]) -> st.SearchStrategy[list[bytes]]:
    def flat(drawn: tuple[object, ...]) -> list[bytes]:
        argv = [name.encode()]
        for part in drawn:
            argv += part if isinstance(part, list) else [part]  # type: ignore[list-item]
        return argv

    return st.tuples(*parts).map(flat)


LIST_REQUESTS = st.lists(
    st.one_of(
        _request("RPUSH", keys, st.one_of(some, many)),
        _request("LPUSH", keys, st.one_of(some, many)),
        _request("LPOP", keys),
        _request("RPOP", keys, st.sampled_from([b"1", b"3", b"600", b"2000"])),
        _request("LREM", keys, indexes, words),
        _request("LTRIM", keys, indexes, indexes),
        _request("LSET", keys, indexes, words),
        _request("LINSERT", keys, st.sampled_from([b"BEFORE", b"AFTER"]), words, words),
        _request("LMOVE", keys, keys, sides, sides),
        _request("PEXPIRE", keys, st.just(b"5000")),
    ),
    max_size=20,
)
SET_REQUESTS = st.lists(
    st.one_of(
        _request("SADD", keys, st.one_of(some, many)),
        _request("SREM", keys, st.one_of(some, many)),
        _request("SPOP", keys, st.sampled_from([b"1", b"3", b"300"])),
        _request("SMOVE", keys, keys, words),
        _request("SUNIONSTORE", keys, keys, keys),
        _request("SDIFFSTORE", keys, keys, keys),
        _request("PEXPIRE", keys, st.just(b"5000")),
    ),
    max_size=20,
)
HASH_REQUESTS = st.lists(
    st.one_of(
        _request("HSET", keys, st.lists(words, min_size=1, max_size=4).map(lambda fields: fields * 2)),
        _request("HSET", keys, many.map(lambda fields: [word for field in fields for word in (field, field)])),
        _request("HDEL", keys, st.one_of(some, many)),
        _request("HINCRBY", keys, words, st.just(b"7")),
        _request("HRANDFIELD", keys),
        _request("HPEXPIRE", keys, st.sampled_from([b"0", b"3", b"100000"]), some.map(_counted)),
        _request("HPERSIST", keys, some.map(_counted)),
        _request("PEXPIRE", keys, st.just(b"5000")),
    ),
    max_size=20,
)


def _state(space: Keyspace) -> object:
    """Keys, deadlines, and contents; in the order that clients can rely on or that scans go by.

    A hash table has no order that anybody could rely on, and what once was one stays one (also after a roll-back).
    """
    database = space.databases[0]
    return {key: (_content(database.get(key)), database.expires.get(key, 0)) for key in list(database.keys())}


def _content(value: object) -> object:
    if isinstance(value, List):
        assert all(value.blocks) and sum(map(len, value.blocks)) == value.length
        return list(value)
    if isinstance(value, Set):
        assert [value.positions[member] for member in value.members] == list(range(len(value.members)))
        return list(value.members)
    assert isinstance(value, Hash)
    if value.index is not None:
        assert len(set(value.index.order)) == len(value.index.order)
        assert set(value.index.order) - value.index.dead == value.fields.keys()
    deadlines = {} if value.deadlines is None else dict(value.deadlines.by_name)
    assert deadlines.keys() <= value.fields.keys()
    return Fields(list(value.fields.items()), value.encoding(DataConfig()) == b"hashtable"), deadlines


class Fields:
    """The fields of a hash, in order unless it is a hash table on one of the sides."""

    def __init__(self, pairs: list[tuple[bytes, bytes]], is_table: bool) -> None:
        self.pairs, self.is_table = pairs, is_table

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Fields)
        if self.is_table or other.is_table:
            return sorted(self.pairs) == sorted(other.pairs)
        return self.pairs == other.pairs


def _run(space: Keyspace, rng: Random, now_ms: int, argv: list[bytes]) -> Access:
    access = Access(space, rng, 0, now_ms)
    try:
        COMMANDS[argv[0].decode()].handler(access, *argv[1:])
    except ClientError:
        access.notices.clear()
    return access


def _check(requests: list[list[bytes]]) -> None:
    space, replica, rng = Keyspace(), Keyspace(), Random(7)
    history: list[tuple[object, Access]] = []
    for step, argv in enumerate(requests):
        before = _state(space)
        access = _run(space, rng, 1_000 + step, argv)
        history.append((before, access))
        for effect in decode_effects(wire_encode(access.effects)):
            effect.apply(replica)
        assert _state(replica) == _state(space)
    database = space.databases[0]
    for key in list(database.keys()):
        value = database.get(key)
        assert value is not None
        assert encode_value(decode_value(encode_value(value))) == encode_value(value)
    for before, access in reversed(history):
        access.rollback()
        assert _state(space) == before


run_quickly = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@run_quickly
@given(LIST_REQUESTS)
def test_lists(requests: list[list[bytes]]) -> None:
    _check(requests)


@run_quickly
@given(SET_REQUESTS)
def test_sets(requests: list[list[bytes]]) -> None:
    _check(requests)


@run_quickly
@given(HASH_REQUESTS)
def test_hashes(requests: list[list[bytes]]) -> None:
    _check(requests)
