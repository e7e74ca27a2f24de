"""The sparse form of a HyperLogLog: runs of equal registers.

    ZERO   00nnnnnn            n + 1 registers of 0 (1–64)
    XZERO  01nnnnnn nnnnnnnn   n + 1 registers of 0 (1–16384)
    VAL    1vvvvvnn            n + 1 registers (1–4) of value v + 1 (1–32)

How runs are cut and joined depends on the order of the changes, and clients can see the bytes (GET, DUMP); so a change
follows the steps of Redis: cut the run in up to three, then try to join equal VALs in five runs from the one before.
"""

import re
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


def _is_xzero(byte: int) -> bool:
    return 0x40 <= byte < 0x80


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


def registers(data: bytes | bytearray) -> bytes:
    """All registers, one byte each. Raises: Corrupted when the runs do not add up."""
    pieces = []
    at, end = HEADER_SIZE, len(data)
    total = 0
    while at < end:
        byte = data[at]
        if byte >= 0x80:
            length = (byte & 3) + 1
            pieces.append(_value(byte).to_bytes(1, "little") * length)
        elif byte >= 0x40:
            at += 1
            if at == end:
                raise Corrupted
            length = _xzero_length(data, at - 1)
            pieces.append(bytes(length))
        else:
            length = byte + 1
            pieces.append(bytes(length))
        at += 1
        total += length
    if total != REGISTER_COUNT:
        raise Corrupted
    return b"".join(pieces)


def to_dense(data: bytes | bytearray) -> bytearray:
    """The dense form. Raises: Corrupted."""
    dense = bytearray(data[:HEADER_SIZE]) + pack_dense(registers(data))
    dense[4] = DENSE
    assert len(dense) == DENSE_SIZE
    return dense


def _find(data: bytearray, index: int) -> tuple[int, int, int]:
    """The run that covers a register: where it starts, where the one before starts (-1: none), its first register."""
    at, first = HEADER_SIZE, 0
    before = -1
    while True:
        match = _XZERO.search(data, at)
        stop = match.start() if match else len(data)
        while at < stop:
            chunk = data[at : min(at + _CHUNK, stop)].translate(_LENGTHS)
            total = sum(chunk)
            if first + total > index:
                return _find_in_chunk(chunk, at, before, first, index)
            first += total
            at += len(chunk)
            before = at - 1
        if match is None:
            raise Corrupted
        length = _xzero_length(data, at)
        if first + length > index:
            return at, before, first
        first += length
        before = at
        at += 2


def _find_in_chunk(lengths: bytearray, start: int, before: int, first: int, index: int) -> tuple[int, int, int]:
    """The same among runs of one byte each, of which one covers the register."""
    for at, end in enumerate(accumulate(lengths, initial=first)):
        if end > index:
            run = at - 1
            return start + run, start + run - 1 if run else before, end - lengths[run]
    raise Corrupted


def raise_register(data: bytearray, index: int, count: int, size_max: int) -> bool | None:
    """Sets a register to `count` if it is lower.

    Args:
        data: the whole string; changed in place.
        size_max: the bytes that the sparse form may take.
    Returns: whether it changed; None when it must, but only the dense form can hold it (nothing is changed then).
    Raises: Corrupted.
    """
    if count > VALUE_MAX:
        return None
    at, before, first = _find(data, index)
    byte = data[at]
    is_xzero = _is_xzero(byte)
    length = _xzero_length(data, at) if is_xzero else _LENGTHS[byte]
    value = _value(byte) if byte >= 0x80 else 0
    if value >= count:
        return False
    parts = (index - first, first + length - 1 - index)
    left, right = (_run(value, part) if part else b"" for part in parts)
    replacement = left + _run(count, 1) + right
    old_size = 2 if is_xzero else 1
    if len(replacement) > old_size and len(data) + len(replacement) - old_size > size_max:
        return None
    data[at : at + old_size] = replacement
    _join(data, before if before >= 0 else HEADER_SIZE)
    return True


def _join(data: bytearray, at: int) -> None:
    """Joins neighbouring VALs of one value where both fit in one run, looking at five runs."""
    for _ in range(_JOIN_STEPS):
        if at >= len(data):
            return
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


def describe(data: bytes | bytearray) -> bytes:
    """The runs in words, as PFDEBUG DECODE has them: `Z:1000 v:2,1 z:19`."""
    words = []
    at = HEADER_SIZE
    while at < len(data):
        byte = data[at]
        if _is_xzero(byte):
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
