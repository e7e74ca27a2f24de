"""The command table: which arguments are keys."""

import pytest

from makoredis.commands.table import TABLE


@pytest.mark.parametrize(
    ("request_line", "keys"),
    [
        (b"SORT k", [b"k"]),
        (b"SORT k STORE d", [b"k", b"d"]),
        (b"SORT k BY w GET # store d DESC", [b"k", b"d"]),
        (b"SORT k STORE d STORE e", [b"k", b"e"]),
        (b"SORT k GET store BY store LIMIT store store", [b"k"]),
        (b"SORT k STORE d GET STORE LIMIT 0 1", [b"k", b"d"]),
        (b"SORT k STORE", [b"k"]),
        (b"SORT_RO k BY w GET #", [b"k"]),
        (b"MSET a 1 b 2", [b"a", b"b"]),
        (b"BITOP AND d a b", [b"d", b"a", b"b"]),
        (b"COPY a b REPLACE", [b"a", b"b"]),
        (b"RENAME a b", [b"a", b"b"]),
        (b"LCS a b IDX", [b"a", b"b"]),
        (b"OBJECT ENCODING k", [b"k"]),
    ],
)
def test_keys_of_a_request(request_line: bytes, keys: list[bytes]) -> None:
    argv = request_line.split()
    name = argv[0].decode()
    row = TABLE[name] if name != "OBJECT" else TABLE["OBJECT|ENCODING"]
    assert row.keys(argv) == keys


def test_only_sort_reads_keys_that_it_does_not_name() -> None:
    assert {name for name, row in TABLE.items() if not row.names_all_keys} == {"SORT", "SORT_RO"}
