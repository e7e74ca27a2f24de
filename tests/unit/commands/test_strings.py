"""Strings and deadlines in process, where the time is what the test says."""

from random import Random

import pytest

from makoredis.base.errors import ClientError
from makoredis.commands import bits, databases, expiry, keys, objects, string_ranges, strings
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import Delete, SetDeadline, SetRange, SetString
from makoredis.data.keyspace import TOUCHED_MAX, Keyspace

NOW_MS = 1_000_000


@pytest.fixture
def access() -> Access:
    space = Keyspace()
    space.config.notify_events = events.ALL
    return Access(space, Random(1), now_ms=NOW_MS)


def _events(access: Access) -> list[tuple[bytes, bytes]]:
    return [(event, key) for _, event, key, _ in access.notices]


def test_an_expired_key_is_gone_at_its_deadline_and_not_before(access: Access) -> None:
    strings.set_(access, b"k", b"v", b"PX", b"10")
    access.now_ms = NOW_MS + 9
    assert strings.get(access, b"k") == b"v"
    access.now_ms = NOW_MS + 10
    assert strings.get(access, b"k") is None
    assert access.effects[-1] == Delete(0, b"k")
    assert _events(access) == [(b"set", b"k"), (b"expire", b"k"), (b"expired", b"k")]


@pytest.mark.parametrize(
    ("write", "value"),
    [
        (lambda access: strings.set_(access, b"k", b"new"), b"new"),
        (lambda access: strings.incr(access, b"k"), b"1"),
        (lambda access: string_ranges.append(access, b"k", b"x"), b"x"),
        (lambda access: strings.set_(access, b"k", b"new", b"KEEPTTL"), b"new"),
        (lambda access: bits.bitop(access, b"OR", b"k", b"other"), b"o"),
    ],
    ids=["set", "incr", "append", "keepttl", "bitop"],
)
def test_a_write_to_an_expired_key_starts_anew(access: Access, write: object, value: bytes) -> None:
    strings.set_(access, b"other", b"o")
    strings.set_(access, b"k", b"41", b"PX", b"10")
    access.now_ms += 10
    write(access)  # type: ignore[operator]
    assert strings.get(access, b"k") == value
    assert expiry.pttl(access, b"k") == -1
    assert (b"expired", b"k") in _events(access)


def test_a_replica_hides_an_expired_key_and_deletes_nothing(access: Access) -> None:
    strings.set_(access, b"k", b"v", b"PX", b"10")
    access.now_ms += 10
    access.is_replica = True
    assert strings.get(access, b"k") is None
    assert expiry.ttl(access, b"k") == -2
    assert len(access.effects) == 1 and access.database.size == 1


def test_a_deadline_in_the_past_deletes_at_once(access: Access) -> None:
    strings.set_(access, b"k", b"v")
    assert expiry.pexpireat(access, b"k", b"%d" % NOW_MS) == 1
    assert access.effects[-1] == Delete(0, b"k")
    assert _events(access)[-1] == (b"del", b"k")


def test_relative_deadlines_become_absolute_effects(access: Access) -> None:
    strings.set_(access, b"k", b"v")
    expiry.expire(access, b"k", b"5")
    assert access.effects[-1] == SetDeadline(0, b"k", NOW_MS + 5000)
    strings.setex(access, b"k", b"7", b"v")
    assert access.effects[-1] == SetString(0, b"k", b"v", NOW_MS + 7000)


@pytest.mark.parametrize(("milliseconds", "seconds"), [(499, 0), (500, 1), (1499, 1), (1500, 2)])
def test_ttl_rounds(access: Access, milliseconds: int, seconds: int) -> None:
    strings.psetex(access, b"k", b"%d" % milliseconds, b"v")
    assert expiry.ttl(access, b"k") == seconds
    assert expiry.expiretime(access, b"k") == (NOW_MS + milliseconds + 500) // 1000


def test_setting_a_bit_of_a_large_bitmap_touches_one_byte(access: Access) -> None:
    bits.setbit(access, b"k", b"8000000", b"1")
    bitmap = access.database.get(b"k")
    bits.setbit(access, b"k", b"5", b"1")
    assert access.effects[-1] == SetRange(0, b"k", 0, b"\x04")
    assert access.database.get(b"k") is bitmap
    access.undo.pop().apply(access.space)
    assert access.database.get(b"k") is bitmap and bits.bitcount(access, b"k") == 1


def test_replies_do_not_change_with_the_string(access: Access) -> None:
    strings.set_(access, b"k", b"abc")
    string_ranges.append(access, b"k", b"d")
    part = string_ranges.getrange(access, b"k", b"0", b"-1")
    replies = [strings.get(access, b"k"), strings.mget(access, b"k")[0], part]
    string_ranges.setrange(access, b"k", b"0", b"X")
    assert replies == [b"abcd"] * 3 and all(type(reply) is bytes for reply in replies)


def test_a_string_may_not_outgrow_the_limit(access: Access) -> None:
    access.space.config.proto_max_bulk_len = 10
    strings.set_(access, b"k", b"12345678")
    assert string_ranges.append(access, b"k", b"90") == 10
    for change in (
        lambda: string_ranges.append(access, b"k", b"x"),
        lambda: string_ranges.setrange(access, b"k", b"10", b"x"),
        lambda: bits.setbit(access, b"k", b"80", b"1"),
    ):
        with pytest.raises(ClientError):
            change()
    assert strings.strlen(access, b"k") == 10


def test_idle_time_counts_from_the_last_use(access: Access) -> None:
    strings.set_(access, b"k", b"v")
    access.now_ms += 5000
    for look in (expiry.ttl, keys.exists, keys.type_):
        look(access, b"k")
    assert objects.object_idletime(access, b"k") == 5
    keys.touch(access, b"k")
    assert objects.object_idletime(access, b"k") == 0


def test_idle_times_are_bounded_in_memory_and_never_too_short(access: Access) -> None:
    strings.set_(access, b"first", b"v")
    for number in range(2 * TOUCHED_MAX + 10):
        access.get(b"%d" % number)
        if number == TOUCHED_MAX:
            access.now_ms += 60_000
    access.now_ms += 1000
    database = access.database
    assert len(database.touched) <= TOUCHED_MAX
    assert objects.object_idletime(access, b"first") == 61


def test_flush_is_undone_whole(access: Access) -> None:
    strings.set_(access, b"k", b"v", b"EX", b"5")
    start = len(access.undo)
    databases.flushdb(access)
    assert access.database.size == 0 and strings.get(access, b"k") is None
    strings.set_(access, b"k", b"other")
    databases.flushall(access)
    for undo in reversed(access.undo[start:]):
        undo.apply(access.space)
    assert access.database is access.space.databases[0]
    assert strings.get(access, b"k") == b"v" and expiry.ttl(access, b"k") == 5
