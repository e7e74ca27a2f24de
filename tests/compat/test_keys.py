"""Commands on keys of any type, deadlines, databases, SORT and OBJECT against a real redis-server."""

from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compat.harness import (
    Differential,
    integers,
    keys,
    members,
    optional,
    request,
    scores,
    sequences,
    several,
    shape_of,
    unchecked,
    unordered,
    values,
)

CASES: dict[str, list[Any]] = {
    "wrong_types": [
        "LPUSH l a", "SET l v GET", "SET l v NX GET", "GETSET l v", "GETEX l", "GETEX l EX 0", "GETDEL l",
        "MGET l nope",
        "INCR l", "INCRBYFLOAT l 1", "DECRBY l x", "STRLEN l", "APPEND l x", "SETRANGE l 0 x", "GETRANGE l 0 1",
        "SETBIT l 0 1",
        "GETBIT l 0", "BITCOUNT l", "BITPOS l 1", "BITOP AND d l", "BITFIELD l GET u8 0", "LCS l l", "SETNX l v",
        "MSETNX l v",
        "LRANGE l 0 -1", "SETRANGE l -1 x", "BITPOS l 2", "BITCOUNT l a b", "GETRANGE l a b", "SET l v", "GET l",
    ],
    "existence": [
        "DEL a", "SET a 1", "EXISTS a a b", "TOUCH a b a", "TYPE a", "TYPE nope", "DEL a a b", "EXISTS a",
        "UNLINK a", "RPUSH l x",
        "TYPE l", "HSET h f v", "TYPE h", "SADD s m", "TYPE s", "ZADD z 1 m", "TYPE z",
        "DBSIZE",
        "UNLINK l h s z", "DBSIZE", "EXISTS", "DEL", "RANDOMKEY", "SET only 1", "RANDOMKEY", "SETBIT bits 1 1",
        "TYPE bits",
    ],
    "rename": [
        "RENAME a b", "SET a 1 EX 100", "SET b 2", "RENAME a b", "GET b", "TTL b", "EXISTS a", "RENAME b b",
        "RENAMENX b b",
        "SET c 3", "RENAMENX b c", "RENAMENX b d", "GET d", "RENAMENX nope d", "RPUSH l 1 2 3", "RENAME l d",
        "LRANGE d 0 -1",
        "TTL d", "RENAME nope nope", "SETBIT r 3 1", "RENAME r r2", "OBJECT ENCODING r2",
    ],
    "copy": [
        "COPY a b", "SET a 1 EX 100", "COPY a b", "GET b", "TTL b", "COPY a b", "SET a 2", "COPY a b REPLACE",
        "GET b", "TTL b",
        "COPY a a", "COPY a a DB 1", "COPY a c DB 1 REPLACE", "COPY a b DB", "COPY a b DB abc", "COPY a b DB 99",
        "COPY a b DB -1",
        "COPY a b DB 99999999999", "COPY a b FOO", "COPY a c DB 1", "SELECT 1", "GET c", "SELECT 0", "COPY nope nope",
        "HSET h f v", "COPY h g", "HGETALL g", "COPY a b REPLACE REPLACE",
    ],
    "move": [
        "MOVE a 1", "SET a 1 EX 100", "MOVE a 0", "MOVE a 99", "MOVE a abc", "MOVE a 99999999999", "MOVE a 1",
        "EXISTS a",
        "SELECT 1", "GET a", "TTL a", "SELECT 0", "SET a 2", "MOVE a 1", "GET a",
    ],
    "databases": [
        "SET a 0", "SELECT 1", "SET a 1", "SET b 1", "DBSIZE", "SWAPDB 0 1", "GET a", "DBSIZE", "SELECT 0",
        "GET a", "DBSIZE",
        "SWAPDB 0 0", "SWAPDB 0 99", "SWAPDB abc 0", "SWAPDB 0 abc", "SWAPDB 99 abc", "SWAPDB -1 0", "FLUSHDB",
        "DBSIZE",
        "SELECT 1", "GET a", "SET c 1", "FLUSHDB ASYNC", "FLUSHDB SYNC", "FLUSHDB FOO", "FLUSHDB SYNC ASYNC",
        "SET d 1", "SELECT 0",
        "SET e 1", "FLUSHALL", "DBSIZE", "SELECT 1", "DBSIZE", "FLUSHALL async", "FLUSHALL x", "SET f 1", "GET f",
    ],
    "expire": [
        "EXPIRE a 10", "SET a 1", "EXPIRE a 100", "TTL a", "PTTL a", "EXPIRETIME a", "PEXPIRETIME a",
        "PEXPIRE a 100000", "TTL a",
        "EXPIREAT a 99999999999", "EXPIRETIME a", "PEXPIREAT a 99999999999999", "PEXPIRETIME a", "PERSIST a",
        "PERSIST a", "TTL a",
        "PERSIST nope", "TTL nope", "EXPIRE a -1", "EXISTS a", "SET a 1", "EXPIREAT a 1", "EXISTS a", "SET a 1",
        "PEXPIRE a 0",
        "EXISTS a", "SET a 1", "EXPIRE a abc", "EXPIRE a 9223372036854775807", "EXPIRE a -9223372036854775808",
        "PEXPIRE a 9223372036854775807", "EXPIREAT a 9223372036854775807", "PEXPIREAT a 9223372036854775807",
        "EXPIRE a 1.5",
        "EXPIRE a 9223372036854775", "EXPIRE nope 9223372036854775807", "TTL a", "EXPIRE a 9223370000000000",
    ],
    "expire_conditions": [
        "SET a 1", "EXPIRE a 100 XX", "EXPIRE a 100 GT", "TTL a", "EXPIRE a 100 LT", "EXPIRE a 200 NX",
        "EXPIRE a 200 GT", "TTL a",
        "EXPIRE a 150 GT", "EXPIRE a 150 LT", "TTL a", "EXPIRE a 300 XX", "EXPIRE a 300 NX XX", "EXPIRE a 300 NX GT",
        "EXPIRE a 300 GT LT", "EXPIRE a 350 XX GT", "EXPIRE a 400 XX LT", "EXPIRE a 400 XX GT", "EXPIRE a 1 FOO",
        "EXPIRE a abc FOO", "EXPIRE a 1 gt gt", ["EXPIRE", "a", 1, b"\xff\n"], "EXPIRE nope 1 NX",
        "EXPIRE a -1 GT", "EXPIRE a -1 LT", "EXISTS a",
        "SET a 1",
        "EXPIRE a -1 XX", "EXISTS a", "EXPIRE a -1 GT", "EXISTS a", "EXPIRE a -1 NX", "EXISTS a",
    ],
    "writes_and_deadlines": [
        "SET a 1 EX 100", "INCR a", "TTL a", "APPEND a 1", "TTL a", "SETRANGE a 0 9", "TTL a", "SETBIT a 1 1",
        "TTL a", "SET a 1",
        "TTL a", "SET a 1 EX 100", "MSET a 2", "TTL a", "RPUSH l 1", "EXPIRE l 100", "RPUSH l 2", "TTL l",
        "LPOP l 2", "RPUSH l 1",
        "TTL l", "SET b 1 EX 100", "SET a 2", "RENAME a b", "TTL b", "SADD s 1", "SET d 1 EX 100",
        "SUNIONSTORE d s", "TTL d",
        "SET d 1 EX 100", "SORT s STORE d", "TTL d", "SET a 1 EX 100", "BITFIELD a SET u8 0 1", "TTL a",
        "INCRBYFLOAT a 1",
    ],
    "encodings": [
        "SET a 12345", "OBJECT ENCODING a", "SET a 99999999999999999999", "OBJECT ENCODING a", ["SET", "a", "x" * 44],
        "OBJECT ENCODING a", ["SET", "a", "x" * 45], "OBJECT ENCODING a", "SET a 1", "APPEND a 2",
        "OBJECT ENCODING a", "INCR a",
        "OBJECT ENCODING a", "SETRANGE n 0 1", "OBJECT ENCODING n", "APPEND m 1", "OBJECT ENCODING m", "SET a 01",
        "GETSET a 5",
        "OBJECT ENCODING a", "OBJECT ENCODING nope", "OBJECT REFCOUNT a", "OBJECT REFCOUNT m",
        "OBJECT REFCOUNT nope", "SET a 10000",
        "OBJECT REFCOUNT a", "SET a x", "OBJECT REFCOUNT a", "OBJECT IDLETIME a", "OBJECT IDLETIME nope",
        "OBJECT FREQ a",
        "OBJECT FREQ nope", "OBJECT ENCODING", "OBJECT ENCODING a b", "MSET a 1 b xxx", "OBJECT ENCODING a",
        "SET k 1 NX GET",
        "OBJECT ENCODING k", "COPY n n2", "OBJECT ENCODING n2", "SADD si 1 2", "OBJECT ENCODING si", "HSET h f v",
        "OBJECT ENCODING h", "ZADD z 1 m", "OBJECT ENCODING z", ["HSET", "h", "f", "x" * 65], "OBJECT ENCODING h",
        "OBJECT HELP", "MEMORY USAGE nope", "MEMORY USAGE a SAMPLES", "MEMORY USAGE a SAMPLES -1",
        "MEMORY USAGE a SAMPLES x",
        "MEMORY USAGE a FOO 1",
    ],
    "encodings_of_what_moves": [
        ["HSET", "h", "f", "x" * 65], "HSET h f v", "RENAME h h2", "OBJECT ENCODING h2", "COPY h2 h3",
        "OBJECT ENCODING h3", "MOVE h3 1", "SELECT 1", "OBJECT ENCODING h3", "COPY h3 h4 DB 0", "SELECT 0",
        "OBJECT ENCODING h4", "HSET h4 f2 v", "OBJECT ENCODING h4", "HDEL h4 f f2", "HSET h4 f v", "OBJECT ENCODING h4",
        ["ZADD", "z", "1", "x" * 65, "2", "m"], ["ZREM", "z", "x" * 65], "RENAME z z2", "OBJECT ENCODING z2",
        "COPY z2 z3", "OBJECT ENCODING z3", "RENAMENX z3 z4", "OBJECT ENCODING z4",
        ["SADD", "s", "x" * 65, "1"], ["SREM", "s", "x" * 65], "RENAME s s2", "OBJECT ENCODING s2", "COPY s2 s3",
        "OBJECT ENCODING s3", "SADD i 1 2", "COPY i i2", "OBJECT ENCODING i2", "SADD i2 3", "OBJECT ENCODING i2",
    ],
    "memory_of_strings": list(
        chain.from_iterable(
            (["SET", "key", "x" * size], "MEMORY USAGE key") for size in (0, 1, 10, 44, 45, 60, 100, 300, 1000, 5000)
        )
    ),
    "sort_out_of_range": ["RPUSH e 1e400", "SORT e"],
    "keys": [
        "MSET foo 1 foobar 2 bar 3 {t}a 4 {t}b 5", "KEYS *", "KEYS foo*", "KEYS f?o", "KEYS [fb]*", "KEYS {t}*",
        "KEYS {t}a", "KEYS x",
        ["KEYS", ""], "KEYS [^f]*", "KEYS \\foo", unordered("KEYS *a*"), "SET gone 1 PX 1", unchecked("GET gone"),
        "SCAN abc", "SCAN 0 COUNT 0", "SCAN 0 COUNT abc", "SCAN 0 FOO", "SCAN 0 COUNT",
        "SCAN 99999999999999999999999 COUNT 10",
        "SCAN 0 MATCH", "SCAN -1x", "SCAN 0 TYPE",
    ],
    "sort": [
        "RPUSH l 3 1 10 2", "SORT l", "SORT l DESC", "SORT l ALPHA", "SORT l ALPHA DESC", "SORT l LIMIT 1 2",
        "SORT l LIMIT 0 0",
        "SORT l LIMIT 0 -1", "SORT l LIMIT -5 2", "SORT l LIMIT 10 2", "SORT l LIMIT 1 -5", "SORT l LIMIT a b",
        "SORT l LIMIT 1",
        "SORT l BY nosort", "SORT l BY nosort DESC", "SORT l BY nosort DESC LIMIT 1 2", "SORT l BY nosort GET #",
        "SORT l BY nosort LIMIT 1 2",
        "MSET w1 30 w2 20 w3 10 w10 40 o1 one o2 two o3 three", "SORT l BY w*", "SORT l BY w* DESC",
        "SORT l BY w* GET o* GET # GET nope*",
        "SORT l GET o*", "SORT l GET const", "SORT l BY w* STORE d", "LRANGE d 0 -1", "TYPE d",
        "SORT l GET o* STORE d", "LRANGE d 0 -1",
        "SORT nope STORE d", "EXISTS d", "SORT nope", "HSET h1 f 3 g x", "HSET h2 f 2", "HSET h3 f 1",
        "SORT l BY h*->f",
        "SORT l BY h*->f GET h*->g", "SORT l BY h*->", "SORT l GET h*->", "SORT l BY nope*", "SORT l BY nope* ALPHA",
        "SORT l BY o* ALPHA", "SORT l BY o*", "RPUSH m a b c", "SORT m", "SORT m ALPHA", "SORT m BY nosort",
        ["RPUSH", "n", "", "1", " 2"],
        "SORT n", "RPUSH f 1.5 1e3 -inf inf 0x10", "SORT f", "RPUSH g nan", "SORT g",
        "SET s x", "SORT s",
        "SADD set 3 1 2", "SORT set", "SORT set BY nosort STORE d", "LRANGE d 0 -1",
        "SORT set BY nosort DESC STORE d", "LRANGE d 0 -1",
        "ZADD z 1 c 2 b 3 a", "SORT z ALPHA", "SORT z BY nosort", "SORT z BY nosort DESC", "SORT z BY nosort LIMIT 1 1",
        "SORT z BY nosort DESC LIMIT 1 5", "SORT z", "SORT_RO l", "SORT_RO l BY w* GET o*", "SORT_RO l STORE d",
        "SORT l FOO",
        "SORT l BY", "SORT l GET", "SORT l STORE", "SORT l STORE d STORE d2", "EXISTS d2", "SORT l STORE l",
        "LRANGE l 0 -1",
        "SET d x EX 100", "SORT l STORE d", "TTL d", "SORT l ASC DESC ASC", "SORT l LIMIT 0 1 LIMIT 1 2",
        "SORT s STORE d",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cases(differential: Differential, name: str) -> None:
    differential.check(CASES[name])


EVENTS: dict[str, list[Any]] = {
    "strings": [
        "SET a 1", "SET a 1 EX 100", "SET a 1 NX", "SET a 1 XX GET", "SETEX a 100 1", "PSETEX a 100000 1",
        "SETNX b 1", "SETNX b 1",
        "GETSET a 2", "GETEX a EX 100", "GETEX a PERSIST", "GETEX a PERSIST", "GETEX a EXAT 1", "GETDEL a",
        "SET a 1", "GETDEL a",
        "MSET a 1 b 2 a 3", "MSETNX c 1 d 2", "INCR a", "DECR a", "INCRBY a 5", "DECRBY a 5", "INCRBYFLOAT a 1.5",
        "APPEND a x",
        "APPEND n x", "SETRANGE a 2 y", ["SETRANGE", "a", 2, ""], "GET a", "STRLEN a", "SET x 1 PXAT 1",
    ],
    "bits": [
        "SETBIT a 1 1", "SETBIT a 1 1", "SETBIT a 100 0", "BITOP NOT b a", "BITOP AND b nope", "BITOP AND b nope",
        "BITFIELD a SET u8 0 1", "BITFIELD a SET u8 0 1", "BITFIELD a GET u8 0",
        "BITFIELD n OVERFLOW FAIL SET u8 0 256",
        "BITFIELD a INCRBY u8 0 1 INCRBY u8 8 1",
    ],
    "keys": [
        "MSET a 1 b 2", "DEL a nope", "UNLINK b", "SET a 1", "RENAME a b", "RENAME b b", "SET a 1", "RENAME a b",
        "RENAMENX b c",
        "COPY c d", "COPY c d", "COPY c d REPLACE", "COPY c d DB 1", "MOVE c 1", "MOVE d 1", "TOUCH d", "EXISTS d",
        "SWAPDB 0 1",
        "FLUSHDB", "FLUSHALL",
    ],
    "expiry": [
        "SET a 1", "EXPIRE a 100", "PEXPIRE a 100000", "EXPIREAT a 99999999999", "PERSIST a", "PERSIST a",
        "EXPIRE a 100 XX",
        "EXPIRE a -1", "EXPIRE a 1", "SET a 1", "EXPIREAT a 1",
    ],
    "sort": ["RPUSH l 2 1", "SORT l", "SORT l STORE d", "SORT nope STORE d", "SORT nope STORE d"],
}  # fmt: skip


@pytest.mark.parametrize("name", EVENTS)
def test_events(differential: Differential, name: str) -> None:
    differential.check_events(EVENTS[name])


def test_memory_of_collections_is_near(differential: Differential) -> None:
    """An estimate may differ by a quarter."""
    differential.ours.reset(2)
    differential.theirs.reset(2)
    for size in (1, 20, 120, 1000):
        for number in range(size):
            for side in (differential.ours, differential.theirs):
                side.execute([b"HSET", b"h%d" % size, b"field%d" % number, b"value%d" % number])
                side.execute([b"ZADD", b"z%d" % size, b"%d" % number, b"member%d" % number])
                side.execute([b"SADD", b"i%d" % size, b"%d" % number])
        for kind in b"hzi":
            request = [b"MEMORY", b"USAGE", b"%c%d" % (kind, size)]
            ours, theirs = int(differential.ours.execute(request)[1:]), int(differential.theirs.execute(request)[1:])
            assert abs(ours - theirs) < theirs / 4, (request, ours, theirs)


_conditions = st.sampled_from([[], [b"NX"], [b"XX"], [b"GT"], [b"LT"], [b"XX", b"LT"]])
_times = st.sampled_from([b"9999999999", b"9999999998", b"0", b"-1", b"9999990000"])
"""Absolute ones, as GT and LT compare to the millisecond."""

REQUESTS = (
    request("SET", keys, values),
    request("SETRANGE", keys, "3", values),
    request("RPUSH", keys, several(members)),
    request("SADD", keys, several(members)),
    request("ZADD", keys, scores, members),
    request("HSET", keys, members, values),
    request("DEL", several(keys)),
    request("EXISTS", several(keys)),
    request("TYPE", keys),
    request("RENAME", keys, keys),
    request("RENAMENX", keys, keys),
    request("COPY", keys, keys, optional("REPLACE"), optional("DB", "1")),
    request("MOVE", keys, "1"),
    request("SELECT", st.sampled_from([b"0", b"1"])),
    request("SWAPDB", "0", "1"),
    request("FLUSHDB"),
    request("DBSIZE"),
    request("KEYS", st.sampled_from([b"*", b"{t}*", b"?", b"[ab]"])),
    request("EXPIREAT", keys, _times, _conditions),
    request("EXPIRE", keys, st.sampled_from([b"100", b"0", b"-1"])),
    request("TTL", keys),
    request("PERSIST", keys),
    request("SORT", keys, "ALPHA", optional("DESC"), optional("LIMIT", integers, integers)),
    request("SORT", keys, optional("DESC"), optional("LIMIT", "1", integers)),
    request("SORT", keys, "ALPHA", "STORE", keys),
)


@given(requests=sequences(*REQUESTS))
def test_random(differential: Differential, requests: list[list[bytes]]) -> None:
    differential.check(requests)


def test_scan_returns_all_keys(differential: Differential) -> None:
    """Redis walks in another order; what comes together is the same."""
    differential.check([["SET", f"key:{number}", "v"] for number in range(50)] + [shape_of("SCAN 0 COUNT 1000")])


def test_how_often_and_how_long_ago_a_key_was_used(network_differential: Differential) -> None:
    """What OBJECT answers depends on the policy, and RESTORE may say it."""
    side = network_differential.theirs
    side.reset(2)
    side.execute([b"SET", b"k", b"abc"])
    dumped = side.execute([b"DUMP", b"k"])
    payload = dumped[dumped.index(b"\r\n") + 2 : -2]
    network_differential.check(
        [
            "CONFIG SET maxmemory-policy allkeys-lfu",
            "SET k abc",
            "OBJECT FREQ k",
            "GET k",
            "OBJECT FREQ k",
            "OBJECT IDLETIME k",
            "OBJECT FREQ nothing",
            "OBJECT IDLETIME nothing",
            ["RESTORE", "often", 0, payload, "FREQ", 100],
            "OBJECT FREQ often",
            "CONFIG SET maxmemory-policy noeviction",
            "OBJECT FREQ k",
            ["RESTORE", "idle", 0, payload, "IDLETIME", 1000],
            "OBJECT IDLETIME idle",
            "GET idle",
            "OBJECT IDLETIME idle",
        ]
    )
