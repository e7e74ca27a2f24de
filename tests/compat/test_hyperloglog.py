"""HyperLogLogs against a real redis-server: the same estimates and the same bytes."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compat.harness import Differential, keys, request, sequences, several, unchecked, values

EMPTY = b"HYLL\x01" + bytes(11) + b"\x7f\xff"


def _adds(key: str, first: int, last: int, step: int = 100) -> list[list[str]]:
    return [["PFADD", key, *[f"element:{n}" for n in range(at, at + step)]] for at in range(first, last, step)]


CASES: dict[str, list[Any]] = {
    "pfadd": [
        "PFADD h", "PFADD h", "GET h", "PFADD h a", "GET h", "PFADD h a", "PFADD h b c d", "GET h", "PFCOUNT h",
        "GET h",
        "PFADD h e", "GET h", "PFADD h a b", "PFCOUNT h", "PFADD g a b c d e", "GET g", "STRLEN g", "PFADD",
        "PFADD e2 ",
        ["PFADD", "h", ""], "GET h", ["PFADD", "h", b"\x00\xff" * 40], "GET h", "SET s x", "PFADD s a", "LPUSH l 1",
        "PFADD l a", "SET n 123", "PFADD n a", "PFADD l", "PFADD s", "EXPIRE h 100", "PFADD h zz yy xx", "TTL h",
        "TYPE h", *[["PFADD", f"len{n}", "x" * n] for n in range(20)], *[f"GET len{n}" for n in range(20)],
    ],
    "growth": [
        *[one for at in range(0, 3000, 100) for one in (*_adds("h", at, at + 100), "GET h", "PFCOUNT h")],
        "GET h", "PFDEBUG ENCODING h", *_adds("h", 3000, 9000, 500), "PFCOUNT h", "GET h", "PFCOUNT h",
        *_adds("h", 0, 900),
        *_adds("h", 9000, 9010, 1), "GET h",
    ],
    "pfcount": [
        *_adds("a", 0, 300), *_adds("b", 200, 700), *_adds("c", 0, 5000, 500), "PFCOUNT a", "PFCOUNT b", "PFCOUNT c",
        "PFCOUNT a b", "PFCOUNT a b c nope", "PFCOUNT nope", "PFCOUNT nope nada", "PFCOUNT a a", "GET a", "SET s x",
        "PFCOUNT s", "PFCOUNT a s", "LPUSH l x", "PFCOUNT l", "PFCOUNT a l", "PFCOUNT",
    ],
    "pfmerge": [
        *_adds("a", 0, 300), *_adds("b", 200, 700), *_adds("c", 0, 5000, 500), "PFMERGE d a b", "GET d", "PFCOUNT d",
        "PFMERGE d nope", "GET d", "PFMERGE e", "GET e", "PFMERGE e nope", "PFMERGE a b", "GET a", "PFMERGE a c",
        "GET a",
        "PFCOUNT a", "PFMERGE c b", "GET c", "PFMERGE f c", "GET f", "SET s x", "PFMERGE s a", "PFMERGE g s",
        "EXISTS g",
        "LPUSH l x", "PFMERGE g l", "EXPIRE b 100", "PFMERGE b a", "TTL b", *_adds("m1", 0, 1000),
        *_adds("m2", 1000, 2500),
        "PFMERGE m m1 m2", "GET m", "PFDEBUG ENCODING m",
    ],
    "invalid": [
        ["SET", "h", EMPTY], "PFCOUNT h", "PFADD h a", "PFCOUNT h", ["SET", "h", EMPTY[:16]], "PFADD h a",
        # Of a run that is cut off, Redis reads the missing byte behind the string; here it is damage.
        ["SET", "h", EMPTY[:-1]], unchecked("PFADD h a"), ["SET", "h", b"HYLL\x01" + bytes(10) + b"\x80\x7f\xfe"],
        "PFCOUNT h",
        "PFADD h a", "PFCOUNT h h", ["SET", "h", b"HYLL\x00" + bytes(11)], "PFCOUNT h", "PFADD h a",
        ["SET", "h", b"HYLL\x02" + bytes(11) + b"\x7f\xff"], "PFCOUNT h", ["SET", "h", b"HYLX\x01" + bytes(13)],
        "PFADD h a",
        ["SET", "h", b"HYLL\x01" + bytes(3) + b"\x39\x05" + bytes(6) + b"\x7f\xff"], "PFCOUNT h",
        ["SET", "h", EMPTY], "SETBIT h 127 1", "PFCOUNT h", "GET h",
        ["SET", "h", b"HYLL\x01" + bytes(10) + b"\x80\x40\x00"],
        "PFCOUNT h", "PFMERGE g h", ["SET", "h", b"HYLL\x00" + bytes(10) + b"\x80" + b"\xff" * 12288], "PFCOUNT h h",
        ["SET", "h", b"HYLL\x00" + bytes(10) + b"\x80" + b"\x00" * 12288], "PFCOUNT h", "GET h",
    ],
    "pfdebug": [
        *_adds("h", 0, 50, 10), "PFDEBUG ENCODING h", "PFDEBUG DECODE h", "PFDEBUG GETREG h", "PFDEBUG ENCODING h",
        "GET h", "PFDEBUG DECODE h", "PFDEBUG TODENSE h", *_adds("g", 0, 50, 10), "PFDEBUG TODENSE g", "GET g",
        "PFDEBUG TODENSE g", "PFDEBUG ENCODING nope", "PFDEBUG FOO h", "SET s x", "PFDEBUG ENCODING s",
        "PFDEBUG ENCODING", "PFDEBUG ENCODING h x", "pfdebug getreg g",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cases(differential: Differential, name: str) -> None:
    differential.check(CASES[name], protocols=(2,))


_SMALL = st.integers(0, 400).map(lambda number: b"%d" % number)
_RANGES = st.tuples(st.integers(0, 3000), st.integers(1, 400)).map(
    lambda pair: [b"%d" % number for number in range(pair[0], pair[0] + pair[1])]
)
CHANGES = [
    request("PFADD", keys, several(_SMALL, 0, 6)),
    request("PFADD", keys, several(values, 0, 6)),
    request("PFADD", keys, _RANGES),
    request("PFADD", keys, _RANGES),
    request("PFMERGE", keys, several(keys, 0, 3)),
    request("PFCOUNT", keys),
    request("PFCOUNT", several(keys, 2, 3)),
    request("GET", keys),
]


@given(requests=sequences(*CHANGES, max_size=20))
def test_random(differential: Differential, requests: list[list[bytes]]) -> None:
    differential.check([*requests, *[["GET", key] for key in (b"a", b"b", b"c", b"")]], protocols=(2,))


def test_every_form_of_run(differential: Differential) -> None:
    """Registers are set in every order that random elements take, and looked at all the way to the dense form."""
    rng = Random(7)
    requests: list[Any] = []
    for number in range(1700):
        requests.append(["PFADD", "h", rng.randbytes(rng.randrange(12))])
        if number % 25 == 0:
            requests.append("GET h")
    differential.check([*requests, "GET h", "PFCOUNT h", unchecked("PFSELFTEST")][:-1], protocols=(2,))
