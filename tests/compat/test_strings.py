"""Strings against a real redis-server."""

from typing import Any

import pytest
from hypothesis import given

from tests.compat.harness import (
    Differential,
    floats,
    integers,
    keys,
    optional,
    request,
    sequences,
    several,
    values,
)

CASES: dict[str, list[Any]] = {
    "set": ["SET k v", "GET k", "SET k v EX 100", "TTL k", "SET k w KEEPTTL", "TTL k", "SET k w", "TTL k", "GET nope"],
    "set_conditions": [
        "SET k 1 XX", "GET k", "SET k 1 NX", "SET k 2 NX", "SET k 3 XX", "GET k", "SET k 4 NX GET", "SET n 1 NX GET",
        "GET n", "SET m 1 XX GET", "GET m", "SET k 5 GET", "SET k 6 XX GET", "GET k", "SET k 7 nx xx",
        "SET k 7 get get",
    ],
    "set_options": [
        "SET k v EX", "SET k v EX 0", "SET k v EX -1", "SET k v EX abc", "SET k v EX 9223372036854775807",
        "SET k v PX 9223372036854775807", "SET k v EX 10 PX 10", "SET k v EX 10 EX 20", "TTL k",
        "SET k v KEEPTTL EX 10",
        "SET k v PERSIST", "SET k v EXAT 1", "GET k", "SET k v PXAT 0", "SET k v EXAT 99999999999", "PEXPIRETIME k",
        "SET k v FOO", "SET k v KEEPTTL KEEPTTL", "SET k v PX 100000 NX", "SET k",
    ],
    "setex": [
        "SETEX k 100 v", "TTL k", "SETEX k 0 v", "SETEX k -1 v", "SETEX k x v", "PSETEX k 100000 v", "TTL k",
        "PSETEX k 0 v",
        "SETEX k 9223372036854775 v", "SETNX k 1", "SETNX n 1", "GET n", "GETSET n 2", "GETSET z 1", "GETDEL z",
        "GETDEL z",
        "SET k v EX 100", "GETSET k w", "TTL k",
    ],
    "getex": [
        "GETEX k", "GETEX k EX 0", "GETEX k EX", "SET k v", "GETEX k EX 100", "TTL k", "GETEX k PERSIST", "TTL k",
        "GETEX k EX 0", "GETEX k EX 100 PERSIST", "GETEX k PERSIST PERSIST", "GETEX k EX 10 EX 20", "TTL k",
        "GETEX k PX abc",
        "GETEX k KEEPTTL", "GETEX k EXAT 1", "GETEX k",
    ],
    "many": [
        "MSET a 1 b 2 a 3", "MGET a b c a", "MSET a", "MSET a 1 b", "MSETNX a 1 z 2", "GET z", "MSETNX y 1 y 2",
        "GET y",
        "MSETNX y", "MSETNX y 1 z", "MSET",
    ],
    "counters": [
        "INCR k", "INCRBY k 41", "DECR k", "DECRBY k 50", "GET k", "SET k 9223372036854775807", "INCR k", "INCRBY k 1",
        "SET k -9223372036854775808", "DECR k", "DECRBY k 1", "DECRBY k -9223372036854775808", "INCRBY k abc",
        "INCRBY k 1.5",
        "INCRBY k 9223372036854775808", ["SET", "k", " 1"], "INCR k", ["SET", "k", "1 "], "INCR k", "SET k 01",
        "INCR k",
        "SET k -0", "INCR k", ["SET", "k", ""], "INCR k", "SET k 1_000", "INCR k", "SET k 1 EX 100", "INCR k", "TTL k",
        "STRLEN k", "STRLEN nope",
    ],
    "floats": [
        "INCRBYFLOAT k 0.1", "INCRBYFLOAT k 0.2", "INCRBYFLOAT k -0.3", "INCRBYFLOAT k 1e17", "INCRBYFLOAT k 1e300",
        "INCRBYFLOAT k inf", "INCRBYFLOAT k nan", "INCRBYFLOAT k abc", "SET k 3.0e3", "INCRBYFLOAT k 1e-20",
        "INCRBYFLOAT k 0x10", "INCRBYFLOAT k 0x1.8p1", "SET k 1", "INCRBYFLOAT k 1e4931", "SET k 1e4932",
        "INCRBYFLOAT k 1e4932", "SET k 0", "INCRBYFLOAT k 1e5000", "INCRBYFLOAT k 1e-4950", "INCRBYFLOAT k 1e-6000",
        "INCRBYFLOAT k 0e99999", "INCRBYFLOAT k .", "INCRBYFLOAT k .5", "INCRBYFLOAT k 5.", "INCRBYFLOAT k -",
        "INCRBYFLOAT k 0x", "INCRBYFLOAT k -0", ["INCRBYFLOAT", "k", " 1"], ["INCRBYFLOAT", "k", "1 "],
        ["INCRBYFLOAT", "k", ""], "INCRBYFLOAT k 0.00000000000000001", "INCRBYFLOAT k 0.000000000000000005",
        ["INCRBYFLOAT", "k", "1" * 255], ["INCRBYFLOAT", "k", "1" * 256], "SET k 123456789012345678",
        "INCRBYFLOAT k 0.5",
        "SET k 99999999999999999999", "INCRBYFLOAT k 1", "INCRBYFLOAT k infinity", "INCRBYFLOAT k 1e",
        "INCRBYFLOAT k 1e+2",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cases(differential: Differential, name: str) -> None:
    differential.check(CASES[name])


lifetimes = integers.filter(lambda word: not 0 < int(word) <= 100)
"""None so short that it ends between two requests."""

REQUESTS = (
    request("SET", keys, values),
    request("SET", keys, values, optional("NX"), optional("GET"), optional("EX", "100")),
    request("SET", keys, values, optional("XX"), optional("KEEPTTL"), optional("PX", lifetimes)),
    request("GET", keys),
    request("GETSET", keys, values),
    request("GETDEL", keys),
    request("GETEX", keys, optional("PERSIST")),
    request("MGET", several(keys)),
    request("MSET", several(values)),
    request("MSETNX", keys, values, keys, values),
    request("STRLEN", keys),
    request("INCR", keys),
    request("DECRBY", keys, integers),
    request("INCRBY", keys, integers),
    request("INCRBYFLOAT", keys, floats),
    request("TTL", keys),
    request("DEL", several(keys)),
    request("EXISTS", several(keys)),
)


@given(requests=sequences(*REQUESTS))
def test_random(differential: Differential, requests: list[list[bytes]]) -> None:
    differential.check(requests)
