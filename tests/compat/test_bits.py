"""Bits, bit fields, parts of strings and LCS against a real redis-server."""

from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compat.harness import Differential, integers, keys, optional, request, sequences, several, values

CASES: dict[str, list[Any]] = {
    "ranges": [
        "APPEND k abc", ["APPEND", "k", b"\x00\xff"], "GET k", ["APPEND", "k", ""], ["APPEND", "n", ""],
        "EXISTS n", "SETRANGE k 1 XY", "GET k", "SETRANGE k 10 end", "GET k", "SETRANGE k -1 x", "SETRANGE k abc x",
        ["SETRANGE", "nope", 5, ""], ["SETRANGE", "k", 5, ""], "EXISTS nope", "SETRANGE new 3 x", "GET new",
        "SETRANGE k 536870911 xx", "SETRANGE k 9223372036854775807 x", "STRLEN k", "GETRANGE k 0 -1",
        "GETRANGE k -3 -1",
        "GETRANGE k -1 -3", "GETRANGE k 5 2", "GETRANGE k 100 200", "GETRANGE k -100 2", "GETRANGE k 0 -100",
        "GETRANGE k a b",
        "GETRANGE nope 0 -1", "SUBSTR k 0 1", "SET e 10", "APPEND e 5", "INCR e", "GETRANGE e 0 0",
        "GETRANGE k -100 -200",
        "GETRANGE k -200 -100", "GETRANGE k -9223372036854775808 9223372036854775807", "SET t x EX 100",
        "APPEND t y", "TTL t",
    ],
    "bits": [
        "SETBIT k 1 1", "SETBIT k 1 1", "SETBIT k 1 0", "SETBIT k 100 0", "STRLEN k", "GET k", "SETBIT k 7 1",
        "GETBIT k 7",
        "GETBIT k 8", "GETBIT k 100000", "GETBIT nope 1", "SETBIT k -1 1", "SETBIT k 4294967296 1", "SETBIT k abc 1",
        "SETBIT k 1 2", "SETBIT k 1 abc", "SETBIT k 1 01", "GETBIT k -1", "GETBIT k 4294967296", "GETBIT k x",
        "SETBIT n 0 0", "GET n",
    ],
    "bitcount": [
        ["SET", "k", b"\xff\x0f\x00\xaa\x55"], "BITCOUNT k", "BITCOUNT k 0 0", "BITCOUNT k 1 -1", "BITCOUNT k -2 -1",
        "BITCOUNT k 3 1", "BITCOUNT k 0", "BITCOUNT k 0 -1 BIT", "BITCOUNT k 5 30 BIT", "BITCOUNT k 5 6 bit",
        "BITCOUNT k 1 1 byte", "BITCOUNT k 0 1 foo", "BITCOUNT k a b", "BITCOUNT nope", "BITCOUNT nope 0",
        "BITCOUNT nope a b",
        "BITCOUNT k 0 100", "BITCOUNT k -100 -1", "BITCOUNT k -1 -100", "BITCOUNT k 0 1 BIT x", "BITCOUNT k -8 -1 BIT",
        "BITCOUNT k 39 39 BIT", "BITCOUNT k 40 50 BIT", "BITCOUNT k 100 50",
    ],
    "bitpos": [
        ["SET", "k", b"\x00\x0f\xff"], "BITPOS k 1", "BITPOS k 0", "BITPOS k 1 2", "BITPOS k 1 0 0", "BITPOS k 0 2",
        "BITPOS k 0 2 2", "BITPOS k 0 2 -1", "BITPOS k 1 -1", "BITPOS k 1 -100", "BITPOS k 1 5", "BITPOS k 0 5",
        "BITPOS k 2",
        "BITPOS k abc", "BITPOS k 1 x", "BITPOS k 1 9 10 BIT", "BITPOS k 1 12 15 BIT", "BITPOS k 0 12 -1 BIT",
        "BITPOS k 1 0 -1 FOO", "BITPOS k 1 1 2 BYTE", "BITPOS nope 1", "BITPOS nope 0", "BITPOS nope 0 1 2",
        "BITPOS k 1 -1 -2", "BITPOS k 0 -100 -100", "BITPOS k 0 -50 -100", "BITPOS k 1 -100 -50",
        "BITPOS k 1 -50 -100 BIT",
        ["SET", "f", b"\xff\xff"], "BITPOS f 0", "BITPOS f 0 1", "BITPOS f 0 0 -1", "BITPOS f 0 0 -1 BIT",
        "BITPOS f 0 5 7 BIT",
        ["SET", "e", ""], "BITPOS e 0", "BITPOS e 1", "BITPOS e 0 0", "BITPOS e 0 0 -1", "BITPOS k 1 0 1 BIT x",
    ],
    "bitop": [
        ["SET", "a", b"\xff\x0f"], ["SET", "b", b"\x0f\xf0\xaa"], "BITOP AND d a b", "GET d", "BITOP OR d a b", "GET d",
        "BITOP XOR d a b nope", "GET d", "BITOP NOT d a", "GET d", "BITOP NOT d a b", "BITOP FOO d a",
        "BITOP AND d nope",
        "EXISTS d", "BITOP NOT d nope", "BITOP AND d a", "GET d", "SET d x EX 100", "BITOP OR d a", "TTL d",
        "BITOP NOT a a",
        "GET a", "BITOP AND d a nope", "GET d",
    ],
    "bitfield": [
        "BITFIELD k SET u8 0 255", "BITFIELD k GET u8 0 GET i8 0 GET u4 4", "GET k", "BITFIELD k INCRBY u8 0 1",
        "BITFIELD k SET i5 3 -7 GET i5 3", "BITFIELD k SET u8 #2 200 GET u8 #2 GET u8 16", "BITFIELD k INCRBY i64 0 1",
        "BITFIELD k OVERFLOW SAT INCRBY u8 0 1000 OVERFLOW FAIL INCRBY u8 0 1 OVERFLOW WRAP INCRBY u8 0 3",
        "BITFIELD k OVERFLOW SAT INCRBY i8 0 -1000 INCRBY i8 0 1000", "BITFIELD k OVERFLOW FOO", "BITFIELD k GET u64 0",
        "BITFIELD k GET i65 0", "BITFIELD k GET u0 0", "BITFIELD k GET x8 0", "BITFIELD k GET I8 0",
        "BITFIELD k GET u8 -1",
        "BITFIELD k GET u8 abc", "BITFIELD k GET u8 #-1", "BITFIELD k GET u8 4294967296", "BITFIELD k GET u8",
        "BITFIELD k SET u8 0",
        "BITFIELD k SET u8 0 abc", "BITFIELD k FOO u8 0", "BITFIELD k", "BITFIELD_RO k GET u8 0",
        "BITFIELD_RO k SET u8 0 1",
        "BITFIELD n GET u8 100", "EXISTS n", "BITFIELD n OVERFLOW FAIL SET u8 0 256", "EXISTS n", "GET n",
        "BITFIELD n SET u8 0 -1 GET u8 0", "BITFIELD n OVERFLOW SAT SET u8 0 -1 GET u8 0 SET i8 0 -1000 GET i8 0",
        "BITFIELD n OVERFLOW SAT SET u63 0 -1 GET u63 0 INCRBY i64 64 9223372036854775807 INCRBY i64 64 1",
        "BITFIELD n OVERFLOW FAIL INCRBY i64 64 9223372036854775807 INCRBY i64 64 9223372036854775807", "GET n",
        "BITFIELD k OVERFLOW", "BITFIELD k SET u8 4294967295 1 GET",
    ],
    "lcs": [
        "MSET a ohmytext b mynewtext", "LCS a b", "LCS a b LEN", "LCS a b IDX", "LCS a b IDX MINMATCHLEN 4",
        "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN", "LCS a b IDX WITHMATCHLEN", "LCS a b IDX LEN", "LCS a nope",
        "LCS a nope LEN",
        "LCS nope nope IDX", "LCS a b FOO", "LCS a b IDX MINMATCHLEN", "LCS a b IDX MINMATCHLEN x",
        "LCS a b IDX MINMATCHLEN -1",
        "LCS a a", "LCS a a IDX", "LCS a b WITHMATCHLEN", "LCS a b MINMATCHLEN 3",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cases(differential: Differential, name: str) -> None:
    differential.check(CASES[name])


_offsets = st.one_of(st.integers(0, 70), st.integers(-1, 70)).map(lambda value: b"%d" % value)
_bits = st.sampled_from([b"0", b"1"])
_units = st.sampled_from([[], [b"BIT"], [b"BYTE"]])
_types = st.sampled_from([b"u1", b"u8", b"i8", b"u13", b"i5", b"i64", b"u63", b"i32", b"u33"])
_places = st.sampled_from([b"0", b"#1", b"3", b"#3", b"65", b"9"])
_field_operations = st.one_of(
    st.tuples(st.just(b"GET"), _types, _places),
    st.tuples(st.just(b"SET"), _types, _places, integers),
    st.tuples(st.just(b"INCRBY"), _types, _places, integers),
    st.tuples(st.just(b"OVERFLOW"), st.sampled_from([b"WRAP", b"SAT", b"FAIL"])),
)

REQUESTS = (
    request("SET", keys, values),
    request("APPEND", keys, values),
    request("SETRANGE", keys, _offsets, values),
    request("GETRANGE", keys, integers, integers),
    request("SETBIT", keys, _offsets, _bits),
    request("GETBIT", keys, _offsets),
    request("BITCOUNT", keys, optional(integers, integers, _units)),
    request("BITPOS", keys, _bits, optional(integers, optional(integers, _units))),
    request("BITOP", st.sampled_from([b"AND", b"OR", b"XOR"]), keys, several(keys)),
    request("BITOP", "NOT", keys, keys),
    request("BITFIELD", keys, st.lists(_field_operations, max_size=4).map(lambda many: [*chain(*many)])),
    request("LCS", keys, keys, st.sampled_from([[], [b"LEN"], [b"IDX"], [b"IDX", b"WITHMATCHLEN"]])),
    request("GET", keys),
    request("INCR", keys),
    request("DEL", keys),
)


@given(requests=sequences(*REQUESTS))
def test_random(differential: Differential, requests: list[list[bytes]]) -> None:
    differential.check(requests)
