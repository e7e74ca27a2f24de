"""DUMP and RESTORE, and whole RDB files, in both directions between makoredis and a real redis-server."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makoredis.data.config import DataConfig
from makoredis.data.rdb.file import Entry, FileWriter, Library, read_file
from makoredis.data.rdb.writer import COMPRESSIBLE_BYTES
from tests.compat.harness import Differential, InProcessSide, NetworkSide, arguments, parse_reply

short = st.one_of(
    st.binary(max_size=12),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: b"%d" % value),
    st.integers(-300, 300).map(lambda value: b"%d" % value),
    st.sampled_from([b"", b"-0", b"00", b"-1", b"4294967296", b"12345678901", b"a" * 63, b"b" * 64, b"1" * 21]),
)
long = st.one_of(
    st.binary(min_size=1, max_size=40).map(lambda part: part * 8),
    st.tuples(st.binary(max_size=60), st.integers(1, 9)).map(lambda pair: (pair[0] + b"abcabcabc") * pair[1]),
    st.sampled_from([b"x" * 4096, b"xy" * 3000, bytes(range(256)) * 9, b"q" * 20000]),
)
texts = st.one_of(short, short, short, long)
scores = st.one_of(
    st.floats(allow_nan=False).map(lambda value: repr(value).encode()),
    st.integers(-(2**53), 2**53).map(lambda value: b"%d" % value),
    st.sampled_from([b"inf", b"-inf", b"0", b"-0", b"0.1", b"4503599627370496", b"-4503599627370497"]),
)


def words_of(strategy: st.SearchStrategy[bytes], count_min: int = 1, count_max: int = 12) -> Any:
    return st.lists(strategy, min_size=count_min, max_size=count_max)


def pairs(left: Any, right: Any) -> Any:
    return words_of(st.tuples(left, right)).map(lambda many: [word for pair in many for word in pair])


values = st.one_of(
    st.tuples(st.just([b"SET", b"k"]), st.tuples(texts)),
    st.tuples(st.just([b"RPUSH", b"k"]), words_of(texts)),
    st.tuples(st.just([b"SADD", b"k"]), words_of(texts)),
    st.tuples(st.just([b"SADD", b"k"]), words_of(st.integers(-70000, 70000).map(lambda value: b"%d" % value))),
    st.tuples(st.just([b"HSET", b"k"]), pairs(texts, texts)),
    st.tuples(st.just([b"HSET", b"k"]), pairs(short, short)),
    st.tuples(st.just([b"ZADD", b"k"]), pairs(scores, texts)),
    st.tuples(st.just([b"ZADD", b"k"]), pairs(scores, short)),
    st.tuples(st.just([b"XADD", b"k", b"5-5"]), pairs(short, texts)),
).map(lambda parts: [*parts[0], *parts[1]])

READS = [
    "TYPE k",
    "GET k",
    "LRANGE k 0 -1",
    "SMEMBERS k",
    "HGETALL k",
    "ZRANGE k 0 -1 WITHSCORES",
    "XRANGE k - +",
    "XINFO GROUPS k",
    "PTTL k",
]


def content(reply: bytes) -> Any:
    parsed = parse_reply(reply)
    assert parsed is not None
    return parsed[0][1]


def read_all(side: Any, key: str = "k") -> list[bytes]:
    replies = [side.execute(arguments(line.replace(" k", " " + key))) for line in READS]
    sets = [sorted(map(repr, content(reply))) if reply.startswith(b"*") else reply for reply in replies[3:5]]
    return [*replies[:3], repr(sets).encode(), *replies[5:]]


@pytest.fixture
def sides(differential: Differential) -> Iterator[tuple[InProcessSide, NetworkSide]]:
    ours, theirs = differential.ours, differential.theirs
    assert isinstance(ours, InProcessSide) and isinstance(theirs, NetworkSide)
    yield ours, theirs


def is_determined(argv: list[bytes], dumped: bytes) -> bool:
    """Whether there is but one payload: a hash table is in Redis's own order, and we do not compress all of much."""
    return dumped[0] not in (2, 4) and sum(map(len, argv)) < COMPRESSIBLE_BYTES


@settings(max_examples=250)
@given(argv=values)
def test_payloads_are_the_same_and_go_both_ways(sides: tuple[InProcessSide, NetworkSide], argv: list[bytes]) -> None:
    ours, theirs = sides
    for side in sides:
        side.reset(2)
        side.execute(argv)
    our_dump, their_dump = content(ours.execute([b"DUMP", b"k"])), content(theirs.execute([b"DUMP", b"k"]))
    if is_determined(argv, their_dump):
        assert our_dump == their_dump
    _swap(ours, theirs, our_dump, their_dump)


def _swap(ours: InProcessSide, theirs: NetworkSide, our_dump: bytes, their_dump: bytes) -> None:
    """Each side restores what the other one dumped, and then answers as the other one does."""
    before = read_all(theirs)
    assert read_all(ours) == before
    assert ours.execute([b"RESTORE", b"k", b"0", their_dump, b"REPLACE"]) == b"+OK\r\n"
    assert theirs.execute([b"RESTORE", b"k", b"0", our_dump, b"REPLACE"]) == b"+OK\r\n"
    assert read_all(ours) == before
    assert read_all(theirs) == before


def large_values() -> dict[str, list[list[Any]]]:
    random = Random(3)
    elements = [random.randbytes(random.randrange(60)) + b"%d" % at for at in range(3000)]
    integers = [b"%d" % random.randrange(-(10 ** random.randrange(1, 18)), 10**15) for _ in range(2000)]
    stream: list[list[Any]] = []
    stream += [["XADD", "k", f"{at}-{at * 7 % 5}", "f", at, "g", "v" * (at % 50)] for at in range(1, 500)]
    stream += [["XADD", "k", f"{at}-1", *[f"f{at % 3}", "x"] * (1 + at % 3)] for at in range(500, 600)]
    stream += [["XDEL", "k", *(f"{at}-{at * 7 % 5}" for at in range(1, 200, 3))]]
    stream += [["XGROUP", "CREATE", "k", group, "50-1", "ENTRIESREAD", "7"] for group in ("g", "h")]
    stream += [["XREADGROUP", "GROUP", "g", c, "COUNT", "60", "STREAMS", "k", ">"] for c in ("alice", "bob")]
    return {
        "string": [["SET", "k", b"".join(elements)]],
        "list": [["RPUSH", "k", *elements], ["LPUSH", "k", "x" * 10000, "y" * 5000]],
        "intset": [["SADD", "k", *integers[:400]]],
        "set of integers": [["SADD", "k", *integers]],
        "set": [["SADD", "k", *elements]],
        "hash": [["HSET", "k", *elements]],
        "sorted set": [["ZADD", "k", *(word for element in elements for word in (random.random() * 9, element))]],
        "stream": stream,
        "hyperloglog": [["PFADD", "k", *elements]],
    }


@pytest.mark.parametrize("name", list(large_values()))
def test_large_values_go_both_ways(sides: tuple[InProcessSide, NetworkSide], name: str) -> None:
    ours, theirs = sides
    for side in sides:
        side.reset(2)
        for request in large_values()[name]:
            side.execute([word if isinstance(word, bytes) else str(word).encode() for word in request])
    _swap(ours, theirs, *(content(side.execute([b"DUMP", b"k"])) for side in sides))


def test_errors(differential: Differential) -> None:
    payload = base64.b64decode("AMAFCgA=")  # without a checksum
    differential.check(
        [
            "DUMP none",
            ["RESTORE", "k", "0", payload],
            ["RESTORE", "k", "0", ""],
            ["RESTORE", "k", "0", "x" * 30],
            ["RESTORE", "k", "-1", payload],
            ["RESTORE", "k", "x", payload],
            ["RESTORE", "k", "0", payload, "FOO"],
            ["RESTORE", "k", "0", payload, "IDLETIME", "-1"],
            ["RESTORE", "k", "0", payload, "IDLETIME", "1", "FREQ", "1"],
            ["RESTORE", "k", "0", payload, "FREQ", "256"],
            ["RESTORE", "k", "0", payload, "FREQ"],
            "SET k v",
            ["RESTORE", "k", "0", payload],
            ["RESTORE", "k", "0", payload, "replace"],
        ]
    )


def test_restore_with_times_to_live(differential: Differential) -> None:
    side = differential.theirs
    side.reset(2)
    side.execute([b"SET", b"k", b"7"])
    payload = content(side.execute([b"DUMP", b"k"]))
    differential.check(
        [
            ["RESTORE", "k", "100000", payload],
            "PTTL k",
            ["RESTORE", "k", "1", payload],
            ["RESTORE", "k", "1", payload, "REPLACE", "ABSTTL"],
            "EXISTS k",
            ["RESTORE", "k", "4000000000000", payload, "ABSTTL", "IDLETIME", "5"],
            "PEXPIRETIME k",
            ["RESTORE", "k", "0", payload, "FREQ", "5", "REPLACE"],
            "PTTL k",
            "INCR k",
        ]
    )


def test_a_file_that_redis_saved(sides: tuple[InProcessSide, NetworkSide]) -> None:
    """SAVE there, read here; written here, loaded there (DEBUG RELOAD NOSAVE); all types, expiry, libraries."""
    ours, theirs = sides
    for side in sides:
        side.reset(2)
        for name, requests in large_values().items():
            for request in requests:
                words = [word if isinstance(word, bytes) else str(word).encode() for word in request]
                words = [f"k {name}".encode() if word == b"k" else word for word in words]
                side.execute(words)
    source = b"#!lua name=mylib\nredis.register_function('f', function() return 1 end)"
    theirs.execute([b"FUNCTION", b"LOAD", b"REPLACE", source])
    for argv in ([b"SELECT", b"3"], [b"SET", b"late", b"v", b"PXAT", b"4000000000000"]):
        for side in sides:
            side.execute(argv)
    assert theirs.execute([b"SAVE"]) == b"+OK\r\n"
    folder = content(theirs.execute([b"CONFIG", b"GET", b"dir"]))[1][1].decode()
    path = Path(folder) / "dump.rdb"
    with path.open("rb") as file:
        items = list(read_file(file))
    libraries = [item.source for item in items if isinstance(item, Library)]
    entries = [item for item in items if isinstance(item, Entry)]
    assert libraries == [source]
    assert sorted((entry.db, entry.key, entry.deadline_ms) for entry in entries) == sorted(
        [*((0, f"k {name}".encode(), 0) for name in large_values()), (3, b"late", 4000000000000)]
    )
    assert items[-1].position <= path.stat().st_size

    with path.open("wb") as file:
        writer = FileWriter(file, ours.space.config)
        writer.aux(b"redis-ver", b"7.0.15")
        writer.library(source)
        for entry in entries:
            writer.put(entry.db, entry.key, entry.value, entry.deadline_ms)
        writer.finish()
    assert writer.bytes_written == path.stat().st_size
    for side in sides:
        side.execute([b"SELECT", b"0"])
    before = {name: read_all(theirs, f"k {name}") for name in large_values()}
    theirs.execute([b"FLUSHALL"])
    assert theirs.execute([b"DEBUG", b"RELOAD", b"NOSAVE"]) == b"+OK\r\n"
    assert {name: read_all(theirs, f"k {name}") for name in large_values()} == before
    theirs.execute([b"SELECT", b"3"])
    assert theirs.execute([b"PEXPIRETIME", b"late"]) == b":4000000000000\r\n"
    theirs.execute([b"SELECT", b"0"])
    theirs.execute([b"FUNCTION", b"FLUSH"])


def test_an_empty_file() -> None:
    out = io.BytesIO()
    writer = FileWriter(out, DataConfig())
    writer.finish()
    assert list(read_file(io.BytesIO(out.getvalue()))) == []
