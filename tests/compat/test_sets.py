"""Sets, compared with a real redis-server."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compat.harness import (
    Differential,
    Request,
    integers,
    members,
    optional,
    request,
    sequences,
    several,
    shape_of,
    unordered,
)

keys = st.sampled_from([b"a", b"b", b"c"])
counts = st.one_of(st.integers(0, 6).map(lambda value: b"%d" % value), integers, st.just(b"x"))
numbers = st.integers(-3, 8).map(lambda value: b"%d" % value)
some = several(st.one_of(members, numbers), 1, 6)


def scanned(argv: list[bytes]) -> Request:
    """The elements of a scan's second part may come in any order."""
    return Request(argv, lambda tree: repr(tree) if tree[0] == b"-" else (tree[1][0], sorted(tree[1][1][1])))


set_requests = sequences(
    request("SADD", keys, some),
    request("SADD", keys, some),
    request("SREM", keys, some),
    request("SISMEMBER", keys, members),
    request("SMISMEMBER", keys, some),
    request("SCARD", keys),
    request("SMEMBERS", keys),
    request("SMOVE", keys, keys, members),
    request("SPOP", keys, st.sampled_from([b"0", b"-1", b"x", b"1000"])).map(unordered),
    request("SINTER", several(keys)),
    request("SUNION", several(keys)),
    request("SDIFF", several(keys)),
    request("SINTERSTORE", keys, several(keys)),
    request("SUNIONSTORE", keys, several(keys)),
    request("SDIFFSTORE", keys, several(keys)),
    request("SINTERCARD", st.sampled_from([b"1", b"2", b"0", b"9", b"x"]), several(keys), optional("LIMIT", counts)),
    request("SSCAN", keys, "0", optional("MATCH", st.sampled_from([b"m*", b"*", b"[12]"]))).map(scanned),
    request("SET", keys, members),
    request("EXPIRE", keys, "1000"),
    request("TTL", keys),
    request("EXISTS", keys),
)


@settings(max_examples=100)
@given(requests=set_requests)
def test_random_sequences(differential: Differential, requests: list[list[bytes]]) -> None:
    differential.check(requests)


def test_picks_have_the_same_shape(differential: Differential) -> None:
    differential.check(
        [
            shape_of("SPOP nothing"),
            "SPOP nothing 3",
            "SRANDMEMBER nothing",
            "SRANDMEMBER nothing 3",
            "SADD k 1 2 3 4 5 6 7 8",
            *(shape_of(["SRANDMEMBER", "k", count]) for count in (0, 1, 3, 8, 9, -1, -20)),
            unordered("SRANDMEMBER k 100"),
            "SRANDMEMBER k -9223372036854775808",
            "SRANDMEMBER k x",
            "SRANDMEMBER k 1 2",
            shape_of("SRANDMEMBER k"),
            shape_of("SPOP k"),
            shape_of("SPOP k 3"),
            "SPOP k 1 2",
            "SCARD k",
            shape_of("SPOP k 1000"),
            "EXISTS k",
            "SET s x",
            "SPOP s",
            "SPOP s 0",
            "SRANDMEMBER s 0",
        ]
    )


@pytest.mark.parametrize("options", ["COUNT 0", "COUNT x", "MATCH", "TYPE set", "BAD 1", "COUNT 5 MATCH"])
@pytest.mark.parametrize("scan", ["SSCAN", "HSCAN"])
def test_bad_scan_options(differential: Differential, scan: str, options: str) -> None:
    differential.check(
        [
            "SADD SSCAN a",
            "HSET HSCAN f v",
            f"{scan} {scan} 0 {options}",
            f"{scan} {scan} x {options}",
            f"{scan} missing -1",
            f"{scan} missing 5 {options}",
            f"{scan} missing 99999999999999999999999",
        ]
    )


def test_members_that_are_no_strings_of_text(differential: Differential) -> None:
    requests: list[object] = [["SADD", "k", b"\x00\xff", b"", b"\r\n"], ["SISMEMBER", "k", b""], "SMEMBERS k"]
    assert not isinstance(requests[0], Request)
    differential.check([*requests, ["SREM", "k", b"\x00\xff"], "SCARD k"])
