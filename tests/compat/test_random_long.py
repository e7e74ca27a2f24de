"""Ten thousand random sequences per type against a real redis-server: replies, and at the end every value's DUMP.

The default run has the same commands in a few dozen sequences that are always the same ones (`test_<type>.py`); here
they are new ones each time. DIFFERENTIAL_EXAMPLES changes their number. What was found is kept in `FOUND`.
"""

import gc
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from makoredis.data.rdb.writer import COMPRESSIBLE_BYTES
from tests.compat import (
    test_bits,
    test_geo,
    test_hashes,
    test_hyperloglog,
    test_keys,
    test_lists,
    test_sets,
    test_sorted_sets,
    test_streams,
    test_strings,
)
from tests.compat.conftest import RunningServer, connect
from tests.compat.harness import (
    Differential,
    NetworkSide,
    Request,
    Tree,
    arguments,
    floats,
    keys,
    members,
    optional,
    request,
    sequences,
    several,
    values,
)
from tests.compat.open_answers import nearest, removes_entries, stream_payload, whole_scan, without_lowered_ids

EXAMPLES = int(os.environ.get("DIFFERENTIAL_EXAMPLES", "10000"))

_HASH_TABLES = (2, 4)
"""Types of payloads whose elements are in the order of Redis's hash table."""
_INTSET = 11
"""The type of a payload that has a set of numbers."""
_FRAME_BYTES = 12
"""Of a short payload, beside its text: type, length, version and checksum."""
_FORMATS = {2: "h", 4: "i", 8: "q"}
"""By the bytes of each."""


def _payload(tree: Tree) -> object:
    """A DUMP as far as there is but one.

    A hash table has Redis's own order, much text is compressed in parts, and a set of numbers is in Redis as wide as
    the widest that it ever had.
    """
    payload = tree[1]
    if tree[0] != b"$" or payload is None:
        return tree
    if payload[0] in _HASH_TABLES or len(payload) >= COMPRESSIBLE_BYTES:
        return payload[0]
    if payload[0] == _INTSET:
        if payload[1] != len(payload) - _FRAME_BYTES:
            return payload[0]  # compressed
        width, count = struct.unpack_from("<II", payload, 2)
        return struct.unpack_from(f"<{count}{_FORMATS[width]}", payload, 10)
    return payload


_KEYS = (b"a", b"b", b"c", b"{t}1", b"{t}2", b"", b"g", b"d")
LAST: list[Any] = [each for key in _KEYS for each in (["TYPE", key], Request([b"DUMP", key], _payload))]
"""Asked at the end of each sequence."""


def _ending(kind: str, requests: list[Any]) -> list[Any]:
    """What is asked at the end of a sequence. Payloads of groups hold times, and consumers that only 7.2 creates."""
    if kind == "groups":
        return []
    if kind == "streams" and removes_entries(requests):
        return [Request(each.argv, stream_payload) if isinstance(each, Request) else each for each in LAST]
    return LAST


_ordered = [*test_strings.REQUESTS, *test_bits.REQUESTS, *test_sorted_sets.CHANGES[:9], *test_sorted_sets.READS]
_lists = [
    request("RPUSH", keys, several(members)), request("LPUSH", keys, several(members)), request("LPOP", keys),
    request("LRANGE", keys, "0", "-1"), request("LPOS", keys, members), request("LREM", keys, "0", members),
    request("XADD", keys, "*-1", members, values), request("XADD", keys, "1-*", members, values),
    request("XRANGE", keys, "-", "+"), request("XLEN", keys), request("TYPE", keys), request("EXPIRE", keys, "100"),
    request("LMOVE", keys, keys, "LEFT", "RIGHT"), request("PERSIST", keys), request("INCRBYFLOAT", keys, floats),
]  # fmt: skip

_BODIES = st.sampled_from(
    [
        b"return redis.pcall(unpack(ARGV))",
        b"return redis.call(unpack(ARGV))",
        b"redis.setresp(3) return redis.pcall(unpack(ARGV))",
        b"local r = redis.call(unpack(ARGV)) return {type(r), r}",
        b"return cjson.encode(redis.call(unpack(ARGV)))",
        b"return cmsgpack.pack(redis.call(unpack(ARGV)))",
        b"redis.call('incr', 'c') local r = redis.pcall(unpack(ARGV)) redis.pcall('rpush', 'b', 'x') return r",
        b"local r = redis.pcall(unpack(ARGV)) return type(r) == 'table' and (r.ok or r.err or #r) or r",
    ]
)
_script_requests = st.tuples(_BODIES, st.one_of(*_ordered, *_lists)).map(
    lambda parts: [b"EVAL", parts[0], b"0", *parts[1]]
)

SEQUENCES: dict[str, Any] = {
    "strings": sequences(*test_strings.REQUESTS),
    "bits": sequences(*test_bits.REQUESTS),
    "keys": sequences(*test_keys.REQUESTS),
    "lists": test_lists.list_requests,
    "hashes": test_hashes.hash_requests,
    "sets": test_sets.set_requests.map(lambda some: [whole_scan(one) for one in some]),
    "zsets": sequences(*test_sorted_sets.CHANGES, *test_sorted_sets.READS, max_size=30).map(
        lambda some: [one for one in some if one[0] != b"ZREMRANGEBYLEX"]  # defined for equal scores only
    ),
    "geo": st.tuples(test_geo._MANY_POINTS, sequences(*test_geo.QUERIES, max_size=12)).map(
        lambda parts: [parts[0], *(nearest(parts[0], query) for query in parts[1])]
    ),
    "hll": sequences(*test_hyperloglog.CHANGES, max_size=20),
    "streams": sequences(*test_streams.change_requests, *test_streams.read_requests, max_size=30).map(
        lambda some: [test_streams.comparable(one) for one in without_lowered_ids(some)]
    ),
    "groups": sequences(
        *test_streams.group_requests, *test_streams.group_requests, *test_streams.change_requests[:3],
        *test_streams.read_requests, test_streams.change_requests[7], max_size=30,
    ).map(lambda some: [test_streams.comparable(one) for one in [*test_streams.START, *some]]),
    "scripts": st.lists(_script_requests, min_size=1, max_size=20),
}  # fmt: skip

_BATCH = 500
"""Examples of one run of Hypothesis, which remembers all that it has tried: ten thousand take gigabytes."""
BATCHES = range(max(1, EXAMPLES // _BATCH))
long_run = settings(
    max_examples=min(EXAMPLES, _BATCH),
    derandomize=False,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)

FOUND: list[tuple[str, list[Any]]] = [
    ("whole scores above 2^52 in a listpack", ["ZADD a 1e17 m1 -1e17 m2 4611686018427387904 m3 9e18 m4 1e300 m5"]),
    ("a long value makes a hash table, also if replaced at once", [["HSET", "a", "f", "y" * 70, "f", "0"]]),
    ("a set that a STORE has made is no set of numbers later", ["SADD c m3 0", "SINTERSTORE b c", "SREM b m3"]),
    ("a HyperLogLog that ends within a run", ["PFADD a x", "APPEND a d", "PFCOUNT a", "PFMERGE b a", "PFADD a y"]),
    ("SORT makes a skip list of a sorted set", ["ZADD a 0 m1", "SORT a ALPHA", "OBJECT ENCODING a"]),
]
"""What random sequences found: the shortest one that failed, by the fault's name. All run by default."""


@pytest.mark.parametrize("name", [name for name, _ in FOUND])
def test_found(differential: Differential, name: str) -> None:
    differential.check([*dict(FOUND)[name], *LAST])


@pytest.mark.long
@pytest.mark.parametrize("kind", SEQUENCES)
def test_random(differential: Differential, kind: str) -> None:
    for _ in BATCHES:

        @long_run
        @given(requests=SEQUENCES[kind])
        def run(requests: list[Any]) -> None:
            differential.check([*requests, *_ending(kind, requests)], [2 + len(requests) % 2])

        run()
        gc.collect()


# -- transactions: three clients of each server ---------------------------------------------------------------------

_CLIENTS = 3
_TRANSACTION_REQUESTS = [
    *[request("MULTI")] * 6,
    *[request("EXEC")] * 6,
    request("DISCARD"),
    *[request("WATCH", several(keys, 1, 3))] * 4,
    request("UNWATCH"),
    request("NOSUCH", keys),
    request("GET"),
    request("SELECT", st.sampled_from([b"0", b"1", b"99"])),
    request("SWAPDB", "0", "1"),
    request("FLUSHDB"),
    request("BLPOP", keys, "0.001"),
    request("RENAME", keys, keys),
    request("COPY", keys, keys, optional("REPLACE")),
    request("EXPIRE", keys, st.sampled_from([b"100", b"-1", b"0"])),
    request("PERSIST", keys),
    request("TOUCH", keys),
    request("DEL", several(keys)),
    request("EVAL", "return redis.call('incr', KEYS[1])", "1", keys),
    request("SADD", keys, members),
    request("SREM", keys, members),
    request("HSET", keys, members, values),
    request("HDEL", keys, members),
    request("ZADD", keys, floats, members),
    request("ZPOPMIN", keys),
    *[st.one_of(*test_strings.REQUESTS)] * 5,
    *[st.one_of(*_lists)] * 3,
]
_steps = st.tuples(st.integers(0, _CLIENTS - 1), st.one_of(*_TRANSACTION_REQUESTS))


@pytest.fixture
def clients(redis_server: Path, makoredis_process: RunningServer) -> Iterator[list[tuple[NetworkSide, NetworkSide]]]:
    """Pairs of a connection to makoredis and one to the real server."""
    pairs = [
        (NetworkSide(makoredis_process.connect), NetworkSide(lambda: connect(redis_server))) for _ in range(_CLIENTS)
    ]
    yield pairs
    for pair in pairs:
        for side in pair:
            side.close()


@pytest.mark.long
def test_random_transactions(clients: list[tuple[NetworkSide, NetworkSide]]) -> None:
    """What WATCH, MULTI and EXEC of several clients do to each other."""

    for _ in BATCHES:

        @long_run
        @given(protocol=st.sampled_from([2, 3]), steps=st.lists(_steps, min_size=1, max_size=40))
        def run(protocol: int, steps: list[tuple[int, list[bytes]]]) -> None:
            for pair in clients:
                for side in pair:
                    side.execute([b"RESET"])
                    side.reset(protocol)
            told = []
            for number, words in [*steps, *((0, arguments(each)) for each in LAST)]:
                ours, theirs = (side.execute(words) for side in clients[number])
                told.append(f"{number}> {words}")
                if ours != theirs and words[0] not in (b"TTL", b"PTTL", b"DUMP", b"KEYS", b"SMEMBERS"):
                    raise AssertionError("\n".join([*told, f"ours:   {ours!r}", f"theirs: {theirs!r}"]))

        run()
        gc.collect()
