"""The sparse form of a HyperLogLog: runs of equal registers.

    ZERO   00nnnnnn            n + 1 registers of 0 (1–64)
    XZERO  01nnnnnn nnnnnnnn   n + 1 registers of 0 (1–16384)
    VAL    1vvvvvnn            n + 1 registers (1–4) of value v + 1 (1–32)

How runs are cut and joined depends on the order of the changes, and clients can see the bytes (GET, DUMP); so a change
follows the steps of Redis: cut the run in up to three, then try to join equal VALs in five runs from the one before.
"""

import re
from bisect import bisect_left, bisect_right
from itertools import accumulate

from makoredis.data.hyperloglog import (
    DENSE,
    DENSE_SIZE,
    HEADER_SIZE,
    MAGIC,
    REGISTER_COUNT,
    SPARSE,
    Corrupted,
    pack_dense,
)

VALUE_MAX = 32
_ZERO_LENGTH_MAX = 64
_VALUE_LENGTH_MAX = 4
_JOIN_STEPS = 5
_CHUNK = 128
"""So many bytes of runs are summed up at a time on the way to a register."""

EMPTY = MAGIC + bytes([SPARSE]) + bytes(11) + b"\x7f\xff"
"""A HyperLogLog that has seen nothing."""

_SEARCHES_MAX = 8
"""With so many registers to raise an index is built: that takes about as long as four searches."""

_GROWTH_MAX = 4
"""Bytes that raising one register may take: an XZERO of two becomes XZERO, VAL, XZERO."""

_XZERO = re.compile(rb"[\x40-\x7f].", re.DOTALL)
"""Found from left to right this matches true XZEROs only: what precedes the first is one byte each."""
_LENGTHS = bytes(byte + 1 if byte < 0x40 else (byte & 3) + 1 if byte >= 0x80 else 0 for byte in range(256))
"""Registers that a run of one byte stands for."""


def _xzero_length(data: bytes | bytearray, at: int) -> int:
    return ((data[at] & 63) << 8 | data[at + 1]) + 1


def _value(byte: int) -> int:
    return (byte >> 2 & 31) + 1


def _run(value: int, length: int) -> bytes:
    """A run of registers."""
    if value:
        return bytes([0x80 | value - 1 << 2 | length - 1])
    if length > _ZERO_LENGTH_MAX:
        return bytes([0x40 | length - 1 >> 8, length - 1 & 0xFF])
    return bytes([length - 1])


_REGISTERS = [
    bytes(length) if value < 0x80 else bytes([(value >> 2 & 31) + 1]) * length for value, length in enumerate(_LENGTHS)
]
"""The registers that a run of one byte stands for."""


def registers(data: bytes | bytearray) -> bytes:
    """All registers, one byte each. Raises: Corrupted when the runs do not add up."""
    pieces: list[bytes] = []
    at = HEADER_SIZE
    for match in _XZERO.finditer(data, at):
        pieces += map(_REGISTERS.__getitem__, data[at : match.start()])
        pieces.append(bytes(_xzero_length(data, match.start())))
        at = match.end()
    if data[at:] and 0x40 <= data[-1] < 0x80:
        raise Corrupted  # an XZERO without its second byte
    pieces += map(_REGISTERS.__getitem__, data[at:])
    joined = b"".join(pieces)
    if len(joined) != REGISTER_COUNT:
        raise Corrupted
    return joined


def to_dense(data: bytes | bytearray) -> bytearray:
    """The dense form. Raises: Corrupted."""
    dense = bytearray(data[:HEADER_SIZE]) + pack_dense(registers(data))
    dense[4] = DENSE
    assert len(dense) == DENSE_SIZE
    return dense


def overflown(data: bytes | bytearray, wanted: list[tuple[int, int]], size_max: int) -> bytearray | None:
    """The dense form with these registers raised, if that is where it certainly ends; None if that is not certain.

    It is when even the shortest runs for what comes out would take too much. The order of the changes, which decides
    on the sparse form, then does not matter.
    """
    if len(data) > size_max or len(data) + _GROWTH_MAX * len(wanted) <= size_max:
        return None
    try:
        raised = bytearray(registers(data))
    except Corrupted:
        return None
    for index, count in wanted:
        if raised[index] < count:
            raised[index] = count
    if HEADER_SIZE + _different_neighbours(raised) <= size_max:
        return None
    dense = bytearray(data[:HEADER_SIZE]) + pack_dense(raised)
    dense[4] = DENSE
    return dense


def _different_neighbours(registers: bytearray) -> int:
    """How many registers differ from the one before: so many runs begin, and one more."""
    joined = int.from_bytes(registers, "little")
    changes = (joined ^ joined >> 8).to_bytes(REGISTER_COUNT, "little")[:-1]
    return len(changes) - changes.count(0)


class SparseEditor:
    """Raises registers of a copy of a sparse HyperLogLog, and knows which bytes have become different.

    The first few registers are searched for from the beginning; for more it keeps an index of the runs.

    Attributes:
        data: the whole string as it is now.
        size_max: the bytes that the sparse form may take.
        start, tail: the bytes before `start`, and the last `tail` ones, are those of the original.
    """

    __slots__ = ("_index", "_searches", "data", "size_max", "start", "tail")

    def __init__(self, data: bytes | bytearray, size_max: int) -> None:
        self.data = bytearray(data)
        self.size_max = size_max
        self.start = self.tail = len(data)
        self._searches = 0
        self._index: _RunIndex | None = None

    def raise_register(self, index: int, count: int) -> bool | None:
        """Sets a register to `count` if it is lower.

        Returns: whether it changed; None when it must, but only the dense form can hold it (nothing is changed then).
        Raises: Corrupted.
        """
        if count > VALUE_MAX:
            return None
        data = self.data
        at, before, first = self._find(index)
        byte = data[at]
        length, old_size = _span(data, at)
        value = _value(byte) if byte >= 0x80 else 0
        if value >= count:
            return False
        left, right = index - first, first + length - 1 - index
        replacement = (_run(value, left) if left else b"") + _run(count, 1) + (_run(value, right) if right else b"")
        if len(replacement) > old_size and len(data) + len(replacement) - old_size > self.size_max:
            return None
        data[at : at + old_size] = replacement
        start = at if before < 0 else before
        end = _join(data, start)
        if self._index is not None:
            self._index.replace(data, index, start, end)
        self.start = min(self.start, start)
        self.tail = min(self.tail, len(data) - end)
        return True

    def _find(self, index: int) -> tuple[int, int, int]:
        """The run that covers a register: where it starts, where the one before does (-1: none), its first register."""
        if self._index is None:
            self._searches += 1
            if self._searches < _SEARCHES_MAX:
                return _search(self.data, index)
            self._index = _RunIndex(self.data)
        return self._index.find(index)


def _search(data: bytearray, index: int) -> tuple[int, int, int]:
    """Finds the run that covers a register by adding up those before it."""
    at, first, before = HEADER_SIZE, 0, -1
    while True:
        match = _XZERO.search(data, at)
        stop = match.start() if match else len(data)
        while at < stop:
            lengths = data[at : min(at + _CHUNK, stop)].translate(_LENGTHS)
            total = sum(lengths)
            if first + total > index:
                ends = list(accumulate(lengths, initial=first))
                run = bisect_right(ends, index) - 1
                return at + run, at + run - 1 if run else before, ends[run]
            first += total
            at += len(lengths)
            before = at - 1
        if match is None:
            raise Corrupted
        length = _xzero_length(data, at)
        if first + length > index:
            return at, before, first
        first += length
        before = at
        at += 2


class _RunIndex:
    """Where runs start, for many changes in a row. It holds registers, not offsets, so a change is local.

    `firsts` are the first registers of all runs, and the number of registers at the end; `xzeros` those of the XZEROs:
    the runs before a run take one byte each, and one more for each XZERO among them.
    """

    __slots__ = ("firsts", "xzeros")

    def __init__(self, data: bytearray) -> None:
        self.firsts: list[int] = [0]
        self.xzeros: list[int] = []
        at = HEADER_SIZE
        for match in _XZERO.finditer(data, at):
            self._extend(data[at : match.start()])
            self.xzeros.append(self.firsts[-1])
            self.firsts.append(self.firsts[-1] + _xzero_length(data, match.start()))
            at = match.end()
        if data[at:] and 0x40 <= data[-1] < 0x80:
            raise Corrupted
        self._extend(data[at:])

    def _extend(self, runs: bytearray) -> None:
        """Adds runs of one byte each."""
        self.firsts += accumulate(runs.translate(_LENGTHS), initial=self.firsts.pop())

    def find(self, index: int) -> tuple[int, int, int]:
        """As `SparseEditor._find`."""
        run = bisect_right(self.firsts, index) - 1
        if run == len(self.firsts) - 1:
            raise Corrupted
        return self._offset(run), self._offset(run - 1) if run else -1, self.firsts[run]

    def _offset(self, run: int) -> int:
        return HEADER_SIZE + run + bisect_left(self.xzeros, self.firsts[run])

    def replace(self, data: bytearray, index: int, start: int, end: int) -> None:
        """Takes notice that the run of a register was cut, and what is now between two offsets (whole runs; the first
        is that of the run before, if there is one)."""
        run = max(bisect_right(self.firsts, index) - 2, 0)
        first = register = self.firsts[run]
        firsts, xzeros = [], []
        at = start
        while at < end:
            firsts.append(register)
            if 0x40 <= data[at] < 0x80:
                xzeros.append(register)
            length, size = _span(data, at)
            register += length
            at += size
        self.firsts[run : bisect_left(self.firsts, register)] = firsts
        self.xzeros[bisect_left(self.xzeros, first) : bisect_left(self.xzeros, register)] = xzeros


def _span(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """How many registers the run at an offset stands for, and how many bytes it takes."""
    byte = data[at]
    return (_xzero_length(data, at), 2) if 0x40 <= byte < 0x80 else (_LENGTHS[byte], 1)


def _join(data: bytearray, at: int) -> int:
    """Joins neighbouring VALs of one value that fit in one run, looking at five runs.

    Returns: an offset between two runs behind all changes.
    """
    for _ in range(_JOIN_STEPS):
        if at >= len(data):
            return len(data)
        byte = data[at]
        if byte < 0x80:
            at += 2 if byte >= 0x40 else 1
            continue
        if at + 1 < len(data) and data[at + 1] & 0xFC == byte & 0xFC:
            length = (byte & 3) + (data[at + 1] & 3) + 2
            if length <= _VALUE_LENGTH_MAX:
                data[at : at + 2] = _run(_value(byte), length)
                continue
        at += 1
    return min(at + (2 if 0x40 <= data[at] < 0x80 else 1), len(data)) if at < len(data) else len(data)


def describe(data: bytes | bytearray) -> bytes:
    """The runs in words, as PFDEBUG DECODE has them: `Z:1000 v:2,1 z:19`."""
    words = []
    at = HEADER_SIZE
    while at < len(data):
        byte = data[at]
        if 0x40 <= byte < 0x80:
            if at + 1 == len(data):
                raise Corrupted
            words.append(b"Z:%d" % _xzero_length(data, at))
            at += 1
        elif byte >= 0x80:
            words.append(b"v:%d,%d" % (_value(byte), _LENGTHS[byte]))
        else:
            words.append(b"z:%d" % (byte + 1))
        at += 1
    return b" ".join(words)
