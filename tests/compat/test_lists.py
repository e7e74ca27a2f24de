"""Lists, compared with a real redis-server."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compat.harness import Differential, integers, members, optional, request, sequences, several

keys = st.sampled_from([b"a", b"b", b"c"])
sides = st.sampled_from([b"LEFT", b"RIGHT", b"left", b"UP"])
small = st.integers(-4, 6).map(lambda value: b"%d" % value)
counts = st.one_of(small, integers, st.just(b"x"))
ranks = counts.filter(lambda word: word != b"-9223372036854775808")
"""Only 7.2 refuses the least one."""

list_requests = sequences(
    request("RPUSH", keys, several(members, 1, 6)),
    request("LPUSH", keys, several(members, 1, 6)),
    request("LPUSHX", keys, several(members)),
    request("RPUSHX", keys, several(members)),
    request("LPOP", keys, optional(counts)),
    request("RPOP", keys, optional(counts)),
    request("LLEN", keys),
    request("LINDEX", keys, counts),
    request("LSET", keys, counts, members),
    request("LINSERT", keys, st.sampled_from([b"BEFORE", b"after", b"x"]), members, members),
    request("LREM", keys, counts, members),
    request("LRANGE", keys, counts, counts),
    request("LTRIM", keys, small, small),
    request("LPOS", keys, members, optional("RANK", ranks), optional("COUNT", counts), optional("MAXLEN", counts)),
    request("LMOVE", keys, keys, sides, sides),
    request("RPOPLPUSH", keys, keys),
    request("LMPOP", st.sampled_from([b"1", b"2", b"0", b"x"]), several(keys, 1, 2), sides, optional("COUNT", counts)),
    request("SET", keys, members),
    request("EXPIRE", keys, "1000"),
    request("TTL", keys),
    request("EXISTS", keys),
)


@settings(max_examples=150)
@given(requests=list_requests)
def test_random_sequences(differential: Differential, requests: list[list[bytes]]) -> None:
    differential.check(requests)


@pytest.mark.parametrize("name", ["BLMPOP", "BZMPOP"])
def test_which_of_several_wrong_arguments_is_named(differential: Differential, name: str) -> None:
    side = "LEFT" if name == "BLMPOP" else "MAX"
    wrong = ["-1 a k {}", "x 0 k {}", "-1 2 k {}", "x 1 k {} COUNT -2", "-1 1 k {} COUNT 1 0", "-1 1 k {}", "x 1 k {}"]
    differential.check([f"{name} {each.format(side)}" for each in wrong])
