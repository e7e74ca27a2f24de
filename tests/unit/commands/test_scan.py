"""SCAN: complete under changes, in small steps, whatever the slots look like."""

from random import Random

import pytest

from makoredis.commands.scan import keys, randomkey, scan
from makoredis.commands.strings import set_
from makoredis.data.access import Access
from makoredis.data.effects import Delete
from makoredis.data.keyspace import SLOT_KEYS_MAX, Keyspace
from makoredis.data.slots import slot_of
from makoredis.data.values.scan_dict import ScanDict


def _access(names: list[bytes], now_ms: int = 1000) -> Access:
    access = Access(Keyspace(), Random(1), now_ms=now_ms)
    for name in names:
        set_(access, name, b"v")
    return access


def _walk(access: Access, *options: bytes, seed: int = 0, new: bytes = b"new") -> tuple[list[bytes], int]:
    """Everything a scan returns, and the most keys that one call gave. With a seed, keys come and go between calls."""
    rng = Random(seed)
    cursor, found, most = b"0", [], 0
    while True:
        cursor, names = scan(access, cursor, *options)
        found += names
        most = max(most, len(names))
        if cursor == b"0":
            return found, most
        if seed:
            for _ in range(5):
                set_(access, new + b"%d" % rng.randrange(10_000), b"v")
            gone = [name for name in keys(access, new + b"*") if rng.random() < 0.3]
            for name in gone:
                access.apply(Delete(0, name))


SHAPES = {
    "spread": [b"key:%d" % number for number in range(3000)],
    "one_slot": [b"{tag}%d" % number for number in range(600)],
    "one_big_slot": [b"{tag}%d" % number for number in range(SLOT_KEYS_MAX + 500)],
    "few": [b"a", b"b", b""],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 10, 1000])
def test_returns_every_key_once(shape: str, count: int) -> None:
    found, most = _walk(_access(SHAPES[shape]), b"COUNT", b"%d" % count)
    assert sorted(found) == sorted(SHAPES[shape])
    assert most <= count + 16


@pytest.mark.parametrize("shape", ["one_slot", "one_big_slot"])
@pytest.mark.parametrize("seed", [1, 2])
def test_keys_that_stay_are_returned_whatever_changes(shape: str, seed: int) -> None:
    access = _access(SHAPES[shape])
    found, _ = _walk(access, b"COUNT", b"20", seed=seed, new=b"{tag}new")
    assert set(SHAPES[shape]) <= set(found)


def test_a_slot_may_become_big_during_a_scan() -> None:
    names = SHAPES["one_slot"]
    access = _access(names)
    cursor, found = scan(access, b"0", b"COUNT", b"50")
    for number in range(SLOT_KEYS_MAX):
        set_(access, b"{tag}more%d" % number, b"v")
    assert type(access.database.slots[slot_of(b"{tag}")]) is ScanDict
    while cursor != b"0":
        cursor, some = scan(access, cursor, b"COUNT", b"50")
        found += some
    assert set(names) <= set(found)


def test_a_big_slot_can_be_emptied_and_undone() -> None:
    names = SHAPES["one_big_slot"]
    access = _access(names)
    for name in names:
        access.apply(Delete(0, name))
    assert access.database.size == 0 and scan(access, b"0") == [b"0", []]
    access.rollback()
    assert access.database.size == 0 and not any(access.database.block_sizes)


def test_match_and_type() -> None:
    access = _access(SHAPES["spread"])
    found, _ = _walk(access, b"MATCH", b"key:1?", b"TYPE", b"STRING")
    assert sorted(found) == [b"key:1%d" % number for number in range(10)]
    assert _walk(access, b"TYPE", b"list") == ([], 0)


def test_a_pattern_with_a_tag_looks_at_one_slot_only() -> None:
    access = _access(SHAPES["spread"] + SHAPES["one_slot"])
    calls_max = len(SHAPES["one_slot"]) // 10 + 1
    cursor, found = b"0", []
    for _ in range(calls_max):
        cursor, some = scan(access, cursor, b"MATCH", b"{tag}*")
        found += some
        if cursor == b"0":
            break
    assert cursor == b"0" and sorted(found) == sorted(SHAPES["one_slot"])
    assert sorted(keys(access, b"{tag}*")) == sorted(SHAPES["one_slot"])


def test_expired_keys_are_not_returned() -> None:
    access = _access([b"a", b"b"])
    access.database.set_deadline(b"a", 500)
    assert keys(access, b"*") == [b"b"]
    assert _walk(access)[0] == [b"b"]
    assert access.effects[-1] == Delete(0, b"a")


@pytest.mark.parametrize("cursor", [str(20000 << 32).encode(), b"18446744073709551615"])
def test_a_cursor_beyond_the_last_slot_ends(cursor: bytes) -> None:
    assert scan(_access([b"a"]), cursor) == [b"0", []]


def test_random_key_is_fair() -> None:
    names = [b"{tag}%d" % number for number in range(8)] + [b"x", b"y"]
    access = _access(names)
    counts = dict.fromkeys(names, 0)
    for _ in range(5000):
        key = randomkey(access)
        assert key is not None
        counts[key] += 1
    assert min(counts.values()) > 350 and max(counts.values()) < 650


def test_random_key_skips_expired_ones() -> None:
    access = _access([b"a", b"b", b"c"])
    for name in (b"a", b"b"):
        access.database.set_deadline(name, 500)
    assert randomkey(access) == b"c"
    access.database.set_deadline(b"c", 500)
    assert randomkey(access) is None
