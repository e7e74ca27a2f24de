"""SSCAN and HSCAN: what is there all the time is returned, whatever is added, removed or taken back meanwhile."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makoredis.commands.registry import load
from makoredis.data.access import Access
from makoredis.data.encoding import decode_value, encode_value
from makoredis.data.keyspace import Keyspace

COMMANDS = load()


def run(space: Keyspace, *argv: str | bytes | int) -> tuple[Access, object]:
    name, *arguments = (word if isinstance(word, bytes) else str(word).encode() for word in argv)
    access = Access(space, Random(1), 0, 1_000)
    return access, COMMANDS[name.decode()].handler(access, *arguments)


def add(space: Keyspace, kind: str, names: list[int]) -> Access:
    words = [f"m{name}" for name in names]
    if kind == "SSCAN":
        return run(space, "SADD", "k", *words)[0]
    return run(space, "HSET", "k", *(word for name in words for word in (name, "v" + name)))[0]


def remove(space: Keyspace, kind: str, names: list[int]) -> Access:
    return run(space, "SREM" if kind == "SSCAN" else "HDEL", "k", *(f"m{name}" for name in names))[0]


def step(space: Keyspace, kind: str, cursor: bytes, count: int) -> tuple[bytes, list[bytes]]:
    _, reply = run(space, kind, "k", cursor, "COUNT", count)
    assert isinstance(reply, list)
    found = reply[1]
    if kind == "HSCAN":
        assert all(value == b"v" + field for field, value in zip(found[::2], found[1::2]))
        found = found[::2]
    return reply[0], found


changes = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "void"]), st.lists(st.integers(200, 460), min_size=1, max_size=60)),
    max_size=30,
)


@pytest.mark.parametrize("kind", ["SSCAN", "HSCAN"])
@settings(max_examples=60, deadline=None)
@given(changes=changes, count=st.integers(1, 40))
def test_nothing_that_stays_is_missed(kind: str, changes: list[tuple[str, list[int]]], count: int) -> None:
    """Members below 200 stay; the others come and go, and some removals are rolled back."""
    space = Keyspace()
    space.config.hash_max_listpack_entries = space.config.set_max_listpack_entries = 128
    add(space, kind, list(range(0, 200)) + list(range(200, 400, 2)))
    cursor, seen = b"0", set()
    pending = list(changes)
    for _ in range(1000):
        cursor, found = step(space, kind, cursor, count)
        assert len(found) <= count
        seen.update(found)
        if cursor == b"0":
            break
        if pending:
            what, names = pending.pop()
            access = add(space, kind, names) if what == "add" else remove(space, kind, names)
            if what == "void":
                access.rollback()
    assert cursor == b"0"
    assert {b"m%d" % name for name in range(200)} <= seen


@pytest.mark.parametrize("kind", ["SSCAN", "HSCAN"])
@settings(max_examples=60, deadline=None)
@given(changes=changes, early=changes, count=st.integers(1, 40))
def test_a_scan_goes_on_on_another_replica(
    kind: str, changes: list[tuple[str, list[int]]], early: list[tuple[str, list[int]]], count: int
) -> None:
    """Two replicas with the same effects, one of which has taken some back; and one that was loaded from the disk."""
    leader, follower = Keyspace(), Keyspace()

    def change(what: str, names: list[int]) -> None:
        access = remove(leader, kind, names) if what == "remove" else add(leader, kind, names)
        if what == "void":
            access.rollback()
        for effect in access.effects:
            effect.apply(follower)

    for space in (leader, follower):
        space.config.hash_max_listpack_entries = space.config.set_max_listpack_entries = 128
    change("add", list(range(0, 200)) + list(range(200, 400, 2)))
    step(leader, kind, b"0", 1)  # makes its indexes earlier than the others do
    for what, names in early:
        change(what, [name % 200 for name in names])
    change("add", list(range(0, 200)))
    cursor, seen = b"0", set()
    pending = list(changes)
    for number in range(1000):
        loaded = Keyspace()
        loaded.config = leader.config
        value = follower.databases[0].get(b"k")
        assert value is not None
        loaded.databases[0].put(b"k", decode_value(encode_value(value)))
        cursor, found = step((leader, follower, loaded)[number % 3], kind, cursor, count)
        seen.update(found)
        if cursor == b"0":
            break
        if pending:
            change(*pending.pop())
    assert cursor == b"0"
    assert {b"m%d" % name for name in range(200)} <= seen


@pytest.mark.parametrize("kind", ["SSCAN", "HSCAN"])
def test_a_voided_removal_is_still_scanned(kind: str) -> None:
    space = Keyspace()
    add(space, kind, list(range(300)))
    cursor, seen = step(space, kind, b"0", 100)
    voided = remove(space, kind, [0, 1, 2, 150])
    again = remove(space, kind, [3])
    again.rollback()
    voided.rollback()
    while cursor != b"0":
        cursor, found = step(space, kind, cursor, 100)
        seen += found
    assert set(seen) == {b"m%d" % name for name in range(300)}


@pytest.mark.parametrize("kind", ["SSCAN", "HSCAN"])
def test_a_small_one_comes_at_once_and_a_filter_applies(kind: str) -> None:
    space = Keyspace()
    add(space, kind, list(range(100)))
    assert len(step(space, kind, b"0", 1)[1]) == 100
    _, reply = run(space, kind, "k", 0, "MATCH", "m[12]")
    members = [b"m1", b"m2"] if kind == "SSCAN" else [b"m1", b"vm1", b"m2", b"vm2"]
    assert reply == [b"0", members]


def test_hscan_without_values() -> None:
    space = Keyspace()
    add(space, "HSCAN", [1, 2])
    assert run(space, "HSCAN", "k", 0, "NOVALUES")[1] == [b"0", [b"m1", b"m2"]]


def test_an_indexed_hash_takes_a_new_field_once() -> None:
    space = Keyspace()
    add(space, "HSCAN", list(range(200)))
    step(space, "HSCAN", b"0", 10)
    run(space, "HSET", "k", "new", "vnew", "new", "vnew")
    run(space, "HDEL", "k", "m1")
    run(space, "HSET", "k", "m1", "vm1")
    assert sorted(step(space, "HSCAN", b"0", 1000)[1]) == sorted([*(b"m%d" % n for n in range(200)), b"new"])


def test_random_fields_of_a_thinned_out_hash_are_all_different_and_there() -> None:
    space = Keyspace()
    add(space, "HSCAN", list(range(1000)))
    run(space, "HRANDFIELD", "k")
    remove(space, "HSCAN", list(range(0, 800, 2)))
    left = {b"m%d" % n for n in range(1000)} - {b"m%d" % n for n in range(0, 800, 2)}
    for count in (1, 50, 500, 599, 600):
        _, fields = run(space, "HRANDFIELD", "k", count)
        assert (
            isinstance(fields, list) and len(fields) == count and len(set(fields)) == count and left.issuperset(fields)
        )
    _, fields = run(space, "HRANDFIELD", "k", -2000)
    assert isinstance(fields, list) and len(fields) == 2000 and left.issuperset(fields) and len(set(fields)) > 400


@pytest.mark.parametrize("cursor", ["18446744073709551615", "-1", "1000000"])
def test_any_cursor_ends(cursor: str) -> None:
    space = Keyspace()
    add(space, "SSCAN", list(range(200)))
    position = step(space, "SSCAN", cursor.encode(), 50)[0]
    while position != b"0":
        position = step(space, "SSCAN", position, 50)[0]
