"""HyperLogLogs: facts taken from a real server once, and the arithmetic on all registers against plain loops."""

from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makoredis.data import hyperloglog as dense
from makoredis.data import hyperloglog_sparse as sparse
from makoredis.data.hyperloglog_sparse import SparseEditor

ELEMENTS = [b"a", b"b", b"c", b"d", b"e", b"", b"hello", b"0123456789abcdef"]
RUNS = b"Z:5938 v:2,1 z:10 v:1,1 Z:1342 v:1,1 Z:1143 v:1,1 Z:779 v:1,1 Z:3494 v:2,1 Z:2445 v:1,1 Z:622 v:1,1 Z:603"
"""What PFDEBUG DECODE of a Redis 7.0.15 says after PFADD of these elements."""


def _sparse(elements: list[bytes]) -> bytearray:
    editor = SparseEditor(sparse.EMPTY, 3000)
    for element in elements:
        assert editor.raise_register(*dense.register_of(element)) is not None
    return editor.data


def test_known_runs() -> None:
    data = _sparse(ELEMENTS)
    assert sparse.describe(data) == RUNS
    assert dense.estimate(dense.histogram(sparse.registers(data))) == 8


def test_both_forms_hold_the_same_registers() -> None:
    rng = Random(3)
    elements = [rng.randbytes(rng.randrange(20)) for _ in range(1500)]
    data = _sparse(elements)
    as_dense = sparse.to_dense(sparse.EMPTY)
    for index, count in map(dense.register_of, elements):
        if dense.dense_register(as_dense, index) < count:
            at, changed = dense.dense_change(as_dense, index, count)
            as_dense[at : at + len(changed)] = changed
    assert dense.dense_registers(as_dense) == sparse.registers(data)
    assert len(as_dense) == dense.DENSE_SIZE
    assert sparse.to_dense(data)[16:] == as_dense[16:]


@given(seed=st.integers(0, 2**32))
def test_registers_packed_and_merged(seed: int) -> None:
    rng = Random(seed)
    one, other = (bytes(rng.choices(range(64), k=dense.REGISTER_COUNT)) for _ in range(2))
    value = bytes(dense.HEADER_SIZE) + dense.pack_dense(one)
    assert dense.dense_registers(value) == one
    for index in (0, 1, 2, 3, 16383, rng.randrange(16384)):
        assert dense.dense_register(value, index) == one[index]
    assert dense.merged(one, other) == bytes(map(max, one, other))
    counts = dense.histogram(one)
    assert [one.count(value) for value in range(64)] == counts


@pytest.mark.parametrize("count", [10, 1000, 100_000])
def test_the_estimate_is_near(count: int) -> None:
    registers = bytearray(dense.REGISTER_COUNT)
    for number in range(count):
        index, zeros = dense.register_of(b"%d" % number)
        registers[index] = max(registers[index], zeros)
    assert abs(dense.estimate(dense.histogram(bytes(registers))) - count) <= count * 0.03


def test_what_does_not_fit_changes_nothing() -> None:
    before = bytes(_sparse(ELEMENTS))
    editor = SparseEditor(before, len(before))
    assert editor.raise_register(5, sparse.VALUE_MAX + 1) is None
    assert editor.raise_register(5, 1) is None
    assert editor.data == before
    assert editor.start == editor.tail == len(before)


@given(seed=st.integers(0, 2**32), is_sorted=st.booleans(), index_max=st.sampled_from([12, 200, 16383]))
def test_an_editor_knows_what_it_changed(seed: int, is_sorted: bool, index_max: int) -> None:
    """And registers in ascending order, which it finds faster, give the same bytes as one editor for each."""
    rng = Random(seed)
    before = _sparse([rng.randbytes(8) for _ in range(rng.randrange(300))])
    changes = [(rng.randint(0, index_max), rng.randrange(1, 4)) for _ in range(rng.randrange(80))]
    if is_sorted:
        changes.sort()
    editor, one_by_one = SparseEditor(before, 3000), before
    for change in changes:
        single = SparseEditor(one_by_one, 3000)
        assert single.raise_register(*change) == editor.raise_register(*change)
        one_by_one = single.data
    assert editor.data == one_by_one
    assert editor.data[: editor.start] == before[: editor.start]
    assert editor.data[len(editor.data) - editor.tail :] == before[len(before) - editor.tail :]
    assert editor.start + editor.tail <= len(before) or editor.data == before


@pytest.mark.parametrize("runs", [b"", b"\x7f", b"\x7f\xfe", b"\x7f\xff\x00", b"\x40"])
def test_runs_that_do_not_add_up(runs: bytes) -> None:
    with pytest.raises(sparse.Corrupted):
        sparse.registers(sparse.EMPTY[:16] + runs)


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("runs", [b"", b"\x7f", b"\x00\x40", b"\x80" * 30 + b"\x7f"])
def test_damage_is_no_surprise(runs: bytes, count: int) -> None:
    """Only the error that says so may come of it."""
    editor = SparseEditor(sparse.EMPTY[:16] + runs, 3000)
    with suppress(sparse.Corrupted):
        for index in range(count):
            editor.raise_register(index, 3)
    assert editor.data.startswith(b"HYLL\x01")
