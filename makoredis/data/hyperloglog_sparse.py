"""The sparse form of a HyperLogLog: runs of equal registers.

    ZERO   00nnnnnn            n + 1 registers of 0 (1–64)
    XZERO  01nnnnnn nnnnnnnn   n + 1 registers of 0 (1–16384)
    VAL    1vvvvvnn            n + 1 registers (1–4) of value v + 1 (1–32)

How runs are cut and joined depends on the order of the changes, and clients can see the bytes (GET, DUMP); so a change
follows the steps of Redis: cut the run in up to three, then try to join equal VALs in five runs from the one before.
"""

import re
from bisect import bisect_right
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


class SparseEditor:
    """Raises registers of a copy of a sparse HyperLogLog, and knows which bytes have become different.

    Attributes:
        data: the whole string as it is now.
        size_max: the bytes that the sparse form may take.
        start, tail: the bytes before `start`, and the last `tail` ones, are those of the original.
    """

    __slots__ = ("_at", "_first", "_index", "data", "size_max", "start", "tail")

    def __init__(self, data: bytes | bytearray, size_max: int) -> None:
        self.data = bytearray(data)
        self.size_max = size_max
        self.start = self.tail = len(data)
        # Where a search for a higher register than the last one may begin: a run, and its first register.
        self._index = -1
        self._at, self._first = HEADER_SIZE, 0

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
        is_xzero = 0x40 <= byte < 0x80
        length = _xzero_length(data, at) if is_xzero else _LENGTHS[byte]
        value = _value(byte) if byte >= 0x80 else 0
        if value >= count:
            return False
        left, right = index - first, first + length - 1 - index
        replacement = (_run(value, left) if left else b"") + _run(count, 1) + (_run(value, right) if right else b"")
        old_size = 2 if is_xzero else 1
        if len(replacement) > old_size and len(data) + len(replacement) - old_size > self.size_max:
            return None
        start = at if before < 0 else before
        self._remember(index, before, first)
        data[at : at + old_size] = replacement
        end = max(at + len(replacement), _join(data, start))
        self.start = min(self.start, start)
        self.tail = min(self.tail, len(data) - end)
        return True

    def _remember(self, index: int, before: int, first: int) -> None:
        """The run before the one that is cut stays where it is, whatever it joins: searches may begin there."""
        self._index = index
        if before < 0:
            self._at, self._first = HEADER_SIZE, 0
            return
        byte = self.data[before]
        length = _xzero_length(self.data, before) if 0x40 <= byte < 0x80 else _LENGTHS[byte]
        self._at, self._first = before, first - length

    def _find(self, index: int) -> tuple[int, int, int]:
        """The run that covers a register: where it starts, where the one before does (-1: none), its first register."""
        if index > self._index:
            found = self._search(index, self._at, self._first)
            if found[1] >= 0 or found[0] == HEADER_SIZE:
                return found
        return self._search(index, HEADER_SIZE, 0)

    def _search(self, index: int, at: int, first: int) -> tuple[int, int, int]:
        """The same from a run on; what is before that run is not known."""
        data = self.data
        before = -1
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


def _join(data: bytearray, at: int) -> int:
    """Joins neighbouring VALs of one value that fit in one run, looking at five runs. Returns where it stopped."""
    for _ in range(_JOIN_STEPS):
        if at >= len(data):
            break
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
    return min(at, len(data))


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
