"""Hashes, compared with a real redis-server (which, before 7.4, has no deadlines for fields)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compat.harness import (
    Differential,
    Request,
    Tree,
    floats,
    integers,
    members,
    optional,
    request,
    sequences,
    several,
    shape_of,
    values,
)

keys = st.sampled_from([b"a", b"b"])
fields = st.sampled_from([b"f1", b"f2", b"f3", b""])
contents = st.one_of(values, floats, integers)
pairs = several(st.tuples(fields, contents), 1, 3).map(lambda some: [word for pair in some for word in pair])
amounts = st.one_of(integers, st.just(b"x"), floats)



def scanned(argv: list[bytes]) -> Request:
    """The pairs of a scan's second part may come in any order: a hash table has its own."""

    def pairs(tree: Tree) -> object:
        if tree[0] == b"-":
            return tree
        cursor, (_, words) = tree[1]
        return cursor, sorted(zip(words[::2], words[1::2]))

    return Request(argv, pairs)


hash_requests = sequences(
    request("HSET", keys, pairs),
    request("HSET", keys, pairs),
    request("HMSET", keys, pairs),
    request("HSET", keys, fields, contents, fields),
    request("HSETNX", keys, fields, contents),
    request("HGET", keys, fields),
    request("HMGET", keys, several(fields)),
    request("HGETALL", keys),
    request("HKEYS", keys),
    request("HVALS", keys),
    request("HLEN", keys),
    request("HEXISTS", keys, fields),
    request("HSTRLEN", keys, fields),
    request("HDEL", keys, several(fields)),
    request("HINCRBY", keys, fields, amounts),
    request("HINCRBYFLOAT", keys, fields, st.one_of(floats, contents)),
    request("HSCAN", keys, "0", optional("MATCH", "f[12]")).map(scanned),
    request("SET", keys, members),
    request("DEL", keys),
)


@settings(max_examples=120)
@given(requests=hash_requests)
def test_random_sequences(differential: Differential, requests: list[list[bytes]]) -> None:
    differential.check(requests)


def test_picks_have_the_same_shape(differential: Differential) -> None:
    differential.check(
        [
            "HRANDFIELD nothing",
            "HRANDFIELD nothing 3",
            "HRANDFIELD nothing 3 WITHVALUES",
            "HSET k a 1 b 2 c 3 d 4",
            *(shape_of(["HRANDFIELD", "k", count]) for count in (0, 1, 3, -1, -20)),
            *(shape_of(["HRANDFIELD", "k", count, "withvalues"]) for count in (0, 1, 3, -1, -20)),
            "HRANDFIELD k 4",
            "HRANDFIELD k 100 WITHVALUES",
            "HRANDFIELD k 1 x",
            "HRANDFIELD k 1 WITHVALUES x",
            "HRANDFIELD k x",
            "HRANDFIELD k x y z",
            "HRANDFIELD k -9223372036854775808",
            "HRANDFIELD k -9223372036854775807 WITHVALUES",
            "HRANDFIELD k 9223372036854775807 WITHVALUES",
            shape_of("HRANDFIELD k"),
            "SET s x",
            "HRANDFIELD s",
            "HRANDFIELD s 0",
        ]
    )


@pytest.mark.parametrize("amount", ["1", "x", "inf", "nan", "1e400", "0x10", "-0", " 1", "1 ", "", "3.0e3"])
@pytest.mark.parametrize("old", ["10", "x", "inf", "9223372036854775807", "1e3", ""])
def test_increments(differential: Differential, old: str, amount: str) -> None:
    differential.check(
        [
            ["HSET", "k", "f", old],
            ["HINCRBY", "k", "f", amount],
            "HGET k f",
            ["HINCRBYFLOAT", "k", "f", amount],
            "HGET k f",
            ["HINCRBYFLOAT", "new", "f", amount],
            ["HINCRBY", "new2", "f", amount],
            "SET s x",
            ["HINCRBY", "s", "f", amount],
            ["HINCRBYFLOAT", "s", "f", amount],
        ]
    )
