"""RDB: checksums, compression, the old encodings, and that damage is refused and nothing worse.

That Redis reads what is written here, and the other way round, is in tests/compat/test_dump.py.
"""

import io
from random import Random

import pytest

from makoredis.data.config import DataConfig
from makoredis.data.encoding import decode_value, encode_value
from makoredis.data.rdb import listpack, lzf, types
from makoredis.data.rdb.crc64 import crc64
from makoredis.data.rdb.errors import BadFormat
from makoredis.data.rdb.file import Entry, FileWriter, read_file
from makoredis.data.rdb.payload import dump, is_intact, restore
from makoredis.data.rdb.writer import Writer
from makoredis.data.values import Hash, List, Set, SortedSet, Stream, Value
from makoredis.data.values.stream_group import Consumer, Group, Pending


def a_stream() -> Stream:
    stream = Stream()
    for at in range(1, 250):
        stream.append(at << 64 | at % 3, (b"f", b"%d" % at, b"g", b"x" * (at % 9)), 4096, 100)
    stream.append(300 << 64, (b"other", b"v"), 4096, 100)
    stream.max_deleted_id = 7 << 64
    group = stream.groups[b"g"] = Group(40 << 64, 40)
    group.consumers[b"c"] = Consumer(1000, 1000)
    group.consumers[b"idle"] = Consumer(5, 5)
    for at in (1, 2, 30):
        group.put(at << 64, Pending(b"c", 900 + at, at))
    return stream


def some_values() -> list[Value]:
    expiring = Hash({b"a": b"1", b"b": b"2", b"c": b"3"})
    expiring.set_deadline(b"b", 2_000_000_000_000)
    expiring.set_deadline(b"c", 1_900_000_000_000)
    return [
        b"",
        b"12345",
        b"-70000",
        b"9" * 30,
        b"ab" * 500,
        bytearray(b"changed in place"),
        List([b"a", b"1", b"-5000", b"x" * 70, b"y" * 5000, b"z" * 9000, b"70000", b"9999999", b"9" * 18]),
        Set([b"-70000", b"1", b"5000000000"]),
        Set([b"a", b"b", b"1"]),
        Hash({b"f": b"v", b"g": b"12"}),
        Hash({b"%d" % at: b"v" * at for at in range(200)}),
        expiring,
        SortedSet({b"a": 1.0, b"b": -0.5, b"c": float("inf"), b"d": 1e300}),
        SortedSet({b"%d" % at: at / 7 for at in range(300)}),
        a_stream(),
    ]


def same(value: Value) -> bytes:
    """What is equal for equal values, whether a string can be changed in place or not."""
    return encode_value(bytes(value) if isinstance(value, bytearray) else value)


@pytest.mark.parametrize("size", [0, 1, 9, 2047, 2048, 5000, 262_143, 300_001])
def test_checksum_in_lanes_is_the_one_byte_by_byte(size: int) -> None:
    data = Random(size).randbytes(size)
    assert crc64(b"123456789") == 0xE9C6D914C4B8D9CA
    byte_by_byte = 0
    for at in range(0, size, 1000):
        byte_by_byte = crc64(data[at : at + 1000], byte_by_byte)
    assert crc64(data) == byte_by_byte


@pytest.mark.parametrize("seed", range(50))
def test_compressing_and_back(seed: int) -> None:
    random = Random(seed)
    data = b"".join(random.choice([b"abc", b"a" * 50, random.randbytes(5), b"abcabc"]) for _ in range(seed * 3))
    compressed = lzf.compress(data)
    if compressed is not None:
        assert len(compressed) <= len(data) - 4
        assert lzf.decompress(compressed, len(data)) == data


@pytest.mark.parametrize("value", some_values(), ids=lambda value: type(value).__name__)
def test_a_dump_restores_the_same(value: Value) -> None:
    payload = dump(value, DataConfig())
    assert is_intact(payload)
    assert same(restore(payload)) == same(value)


def payload_of(type: int, *parts: bytes | int) -> bytes:
    """A payload of strings and lengths."""
    writer = Writer()
    writer.byte(type)
    for part in parts:
        if isinstance(part, int):
            writer.length(part)
        else:
            writer.string(part)
    return bytes(writer.out) + b"\x0a\x00" + bytes(8)


ZIPLIST = (
    b"\x2b\x00\x00\x00" b"\x25\x00\x00\x00" b"\x08\x00"
    b"\x00\x03abc" b"\x05\xfe\x9c" b"\x03\xc0\x39\x30" b"\x04\xf0\x40\x42\x0f"
    b"\x05\xd0\x15\xcd\x5b\x07" b"\x06\xf5" b"\x02\x40\x01q" b"\x04\xf1" b"\xff"
)  # fmt: skip
ZIPLIST_ELEMENTS = [b"abc", b"-100", b"12345", b"1000000", b"123456789", b"4", b"q", b"0"]


def test_ziplists_and_what_was_made_of_them() -> None:
    pack = bytearray(ZIPLIST)
    pack[0:4] = len(pack).to_bytes(4, "little")
    pack[4:8] = (len(pack) - 3).to_bytes(4, "little")
    data = bytes(pack)
    a_list = restore(payload_of(types.LIST_ZIPLIST, data))
    assert isinstance(a_list, List) and list(a_list) == ZIPLIST_ELEMENTS
    quick = restore(payload_of(types.LIST_QUICKLIST, 2, data, data))
    assert isinstance(quick, List) and list(quick) == ZIPLIST_ELEMENTS * 2
    hash = restore(payload_of(types.HASH_ZIPLIST, data))
    assert isinstance(hash, Hash) and hash.fields == dict(zip(ZIPLIST_ELEMENTS[::2], ZIPLIST_ELEMENTS[1::2]))
    ranking = restore(payload_of(types.SORTED_SET_ZIPLIST, data))
    assert isinstance(ranking, SortedSet) and ranking.get(b"abc") == -100.0
    with pytest.raises(BadFormat, match="not a number"):
        restore(payload_of(types.SORTED_SET_ZIPLIST, _with_text_for_score(data)))


def _with_text_for_score(pack: bytes) -> bytes:
    """The list with its first two elements exchanged, so that `abc` is a score."""
    changed = bytearray(pack)
    changed[10:19] = b"\x00\xfe\x9c" b"\x03\x03abc" b"\x05"
    return bytes(changed)


def test_a_zipmap() -> None:
    zipmap = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world??\xff"
    value = restore(payload_of(types.HASH_ZIPMAP, zipmap))
    assert isinstance(value, Hash) and value.fields == {b"foo": b"bar", b"hello": b"world"}


def test_printed_scores() -> None:
    body = b"\x03\x03" + b"\x01a" + b"\x031.5" + b"\x01b" + b"\xfe" + b"\x01c" + b"\xff"
    value = restore(body + b"\x0a\x00" + bytes(8))
    assert isinstance(value, SortedSet)
    assert value.to_dict() == {b"c": float("-inf"), b"a": 1.5, b"b": float("inf")}


def test_plain_nodes_and_set_listpacks() -> None:
    pack = listpack.encode([b"a", 5, b"77"])
    a_list = restore(payload_of(types.LIST_QUICKLIST_2, 2, 1, b"one big element", 2, pack))
    assert isinstance(a_list, List) and list(a_list) == [b"one big element", b"a", b"5", b"77"]
    a_set = restore(payload_of(types.SET_LISTPACK, pack))
    assert isinstance(a_set, Set) and a_set.members == [b"a", b"5", b"77"]


def test_field_deadlines_in_a_listpack() -> None:
    pack = listpack.encode([b"f", b"v", 0, b"g", b"w", 1_900_000_000_000])
    head = bytes((types.HASH_LISTPACK_DEADLINES,)) + (1_900_000_000_000).to_bytes(8, "little")
    value = restore(head + bytes((len(pack),)) + pack + b"\x0c\x00" + bytes(8))
    assert isinstance(value, Hash) and value.deadlines is not None
    assert value.fields == {b"f": b"v", b"g": b"w"}
    assert value.deadlines.by_name == {b"g": 1_900_000_000_000}


@pytest.mark.parametrize(
    "elements",
    [[], [b""], [0, 127, 128, -1, -4096, 4095, 4096, 2**15, -(2**23), 2**23, 2**31, 2**63 - 1, -(2**63)],
     [b"x" * size for size in (63, 64, 126, 127, 4095, 4096, 20000)]],
    ids=["none", "empty", "integers", "strings"],
)  # fmt: skip
def test_listpacks(elements: list[bytes | int]) -> None:
    assert listpack.decode(listpack.encode(elements)) == elements


@pytest.mark.parametrize("seed", range(40))
def test_damaged_payloads_are_refused_or_still_make_sense(seed: int) -> None:
    """Whatever a payload says, with a right checksum: either BadFormat, or a value like any other."""
    random = Random(seed)
    values = some_values()
    refused = 0
    for _ in range(60):
        body = bytearray(dump(random.choice(values), DataConfig())[:-10])
        for _ in range(random.randrange(1, 4)):
            at = random.randrange(len(body))
            change = random.randrange(4)
            if change == 0:
                body[at] = random.randrange(256)
            elif change == 1:
                body[at] ^= 1 << random.randrange(8)
            elif change == 2:
                del body[at : at + random.randrange(1, 5)]
            else:
                body[at:at] = random.choice([b"\xff", b"\x00", b"\x80\xff\xff\xff\xff", b"\x81" + b"\xff" * 8])
            if not body:
                body.append(0)
        try:
            value = restore(bytes(body) + b"\x0a\x00" + bytes(8))
        except BadFormat:
            refused += 1
            continue
        assert encode_value(decode_value(encode_value(value))) == encode_value(value)
        restore(dump(value, DataConfig()))
    assert refused > 10


def test_a_damaged_payload_is_noticed() -> None:
    payload = bytearray(dump(b"some text", DataConfig()))
    assert is_intact(bytes(payload))
    payload[3] ^= 1
    assert not is_intact(bytes(payload))
    assert not is_intact(b"")
    newer = dump(b"x", DataConfig())[:-10] + b"\x0d\x00"
    assert not is_intact(newer + crc64(newer).to_bytes(8, "little"))


# -- files


def a_file() -> bytes:
    out = io.BytesIO()
    writer = FileWriter(out, DataConfig(), has_field_deadlines=True)
    writer.aux(b"redis-ver", b"7.0.0")
    writer.library(b"#!lua name=lib\n")
    for at, value in enumerate(some_values()):
        writer.put(at % 2, b"key %d" % at, value, 1000 * at)
    writer.finish()
    assert writer.bytes_written == len(out.getvalue())
    return out.getvalue()


def test_a_file_comes_back() -> None:
    data = a_file()
    entries = [item for item in read_file(io.BytesIO(data)) if isinstance(item, Entry)]
    for at, (entry, value) in enumerate(zip(entries, some_values(), strict=True)):
        assert (entry.db, entry.key, entry.deadline_ms) == (at % 2, b"key %d" % at, 1000 * at)
        assert same(entry.value) == same(value)
    assert [entry.position for entry in entries] == sorted(entry.position for entry in entries)


def test_a_file_for_older_versions_refuses_what_they_cannot_read() -> None:
    value = Hash({b"f": b"v"})
    value.set_deadline(b"f", 5)
    with pytest.raises(ValueError, match="older version"):
        FileWriter(io.BytesIO(), DataConfig()).put(0, b"k", value, 0)


@pytest.mark.parametrize("cut", [0, 5, 9, 30, 200, -9, -8, -1])
def test_a_file_that_is_cut_off(cut: int) -> None:
    data = a_file()[:cut]
    with pytest.raises(BadFormat) as caught:
        list(read_file(io.BytesIO(data)))
    assert caught.value.position is not None and caught.value.position <= len(data)


def test_any_flipped_bit_in_a_file_is_noticed() -> None:
    data = a_file()
    random = Random(5)
    for _ in range(150):
        damaged = bytearray(data)
        damaged[random.randrange(9, len(data))] ^= 1 << random.randrange(8)
        with pytest.raises(BadFormat, match="at byte"):
            list(read_file(io.BytesIO(bytes(damaged))))


def test_other_files() -> None:
    with pytest.raises(BadFormat, match="not an RDB file"):
        list(read_file(io.BytesIO(b"SQLite format 3")))
    with pytest.raises(BadFormat, match="RDB version 13"):
        list(read_file(io.BytesIO(b"REDIS0013\xff")))


def test_hints_modules_and_empty_collections_are_passed_over() -> None:
    body = (
        b"REDIS0009"
        b"\xfa\x03ver\x01x" b"\xfb\x01\x00" b"\xf8\x05" b"\xf9\x07"
        b"\xf7\x01\x02\x05\x05\x03abc\x01\x07\x03\x00\x00\x00\x00\x00"
        b"\xfc" + (77).to_bytes(8, "little") + b"\x02\x05empty\x00"
        b"\xfd" + (9).to_bytes(4, "little") + b"\x00\x01k\x01v"
        b"\xff" + bytes(8)
    )  # fmt: skip
    items = [item for item in read_file(io.BytesIO(body)) if isinstance(item, Entry)]
    assert [(item.key, item.value, item.deadline_ms) for item in items] == [(b"k", b"v", 9000)]
