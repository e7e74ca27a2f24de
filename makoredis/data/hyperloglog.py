"""HyperLogLog in a string, byte for byte as Redis keeps it: the header, the dense form, hashing and estimating.

16384 registers of 6 bits; an element's hash says which register and how long a run of zeros it saw, and a register
keeps the longest (Flajolet et al., 2007). The estimate is Ertl's (arXiv:1702.01284). The string is

* 16 bytes of header: `HYLL`, the encoding (0 dense, 1 sparse), three zero bytes, and the last estimate as a
  little-endian 64-bit integer whose highest bit says that it is out of date;
* dense: 12288 bytes, registers from the lowest bit up;
* sparse: run lengths (`makoredis.data.hyperloglog_sparse`).

Work on all registers goes through C: base64 cuts 12 kB into groups of 6 bits, and the larger of two registers is found
for all of them at once by arithmetic on one integer of 16 kB. Measured: an estimate 0.2 ms, a merge 0.15 ms, hashing
an element of 16 bytes 1.7 µs.
"""

import math
from binascii import a2b_base64, b2a_base64
from struct import iter_unpack

REGISTER_COUNT = 16384
HEADER_SIZE = 16
DENSE_SIZE = HEADER_SIZE + REGISTER_COUNT * 6 // 8
MAGIC = b"HYLL"
DENSE, SPARSE = 0, 1
CACHE_AT = 8
"""Where the last estimate stands."""
STALE_AT = 15
STALE = 0x80
"""In the byte at `STALE_AT`: the estimate is out of date."""

_INDEX_BITS = 14
_HASH_BITS = 64 - _INDEX_BITS
_ALPHA = 0.721347520444481703680

_MURMUR_SEED = 0xADC83B19
_MURMUR_FACTOR = 0xC6A4A7935BD1E995
_MASK = 2**64 - 1

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_FROM_BASE64 = bytes.maketrans(_BASE64, bytes(range(64)))
_TO_BASE64 = bytes(_BASE64) + bytes(192)

_HIGH_BITS = int.from_bytes(b"\x80" * REGISTER_COUNT, "little")


class Corrupted(Exception):
    """The bytes are no HyperLogLog though the header says so."""


def is_valid(value: bytes | bytearray) -> bool:
    """Whether a string looks like a HyperLogLog: the header, and the length when it is dense."""
    if len(value) < HEADER_SIZE or value[:4] != MAGIC or value[4] > SPARSE:
        return False
    return value[4] == SPARSE or len(value) == DENSE_SIZE


def murmur_hash(data: bytes) -> int:
    """MurmurHash64A with Redis's seed."""
    length = len(data)
    hashed = _MURMUR_SEED ^ (length * _MURMUR_FACTOR & _MASK)
    whole = length & ~7
    for (word,) in iter_unpack("<Q", data[:whole]):
        word = word * _MURMUR_FACTOR & _MASK
        word = (word ^ word >> 47) * _MURMUR_FACTOR & _MASK
        hashed = (hashed ^ word) * _MURMUR_FACTOR & _MASK
    if length != whole:
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * _MURMUR_FACTOR & _MASK
    hashed = (hashed ^ hashed >> 47) * _MURMUR_FACTOR & _MASK
    return hashed ^ hashed >> 47


def register_of(element: bytes) -> tuple[int, int]:
    """An element's register, and the count (from 1) that it wants to see there: the zeros of its hash up to a one."""
    hashed = murmur_hash(element)
    rest = hashed >> _INDEX_BITS | 1 << _HASH_BITS
    return hashed & REGISTER_COUNT - 1, (rest & -rest).bit_length()


def dense_register(value: bytes | bytearray, index: int) -> int:
    """One register of a dense HyperLogLog."""
    at, shift = HEADER_SIZE + index * 6 // 8, index * 6 & 7
    return int.from_bytes(value[at : at + 2], "little") >> shift & 63


def dense_change(value: bytes | bytearray, index: int, count: int) -> tuple[int, bytes]:
    """What has to be written where (offset, bytes) so that a register of a dense HyperLogLog is `count`."""
    at, shift = HEADER_SIZE + index * 6 // 8, index * 6 & 7
    old = value[at : at + 2]
    changed = int.from_bytes(old, "little") & ~(63 << shift) | count << shift
    return at, changed.to_bytes(len(old), "little")


def dense_registers(value: bytes | bytearray) -> bytes:
    """All registers of a dense HyperLogLog, one byte each."""
    return b2a_base64(value[: HEADER_SIZE - 1 : -1], newline=False).translate(_FROM_BASE64)[::-1]


def pack_dense(registers: bytes | bytearray) -> bytes:
    """The dense form of the registers, without the header."""
    return a2b_base64(registers[::-1].translate(_TO_BASE64))[::-1]


def merged(first: bytes, second: bytes) -> bytes:
    """The larger of each two registers, given one byte each."""
    one, other = int.from_bytes(first, "little"), int.from_bytes(second, "little")
    # In each byte: 128 + one - other has the high bit exactly if one ≥ other, and never borrows from its neighbour.
    at_least = (one | _HIGH_BITS) - other & _HIGH_BITS
    take_one = at_least - (at_least >> 7)
    return (other ^ (one ^ other) & take_one).to_bytes(REGISTER_COUNT, "little")


def histogram(registers: bytes) -> list[int]:
    """How many registers hold each of the values 0 to 63."""
    found = [0] * 64
    left = REGISTER_COUNT
    for count in range(64):
        found[count] = registers.count(count)
        left -= found[count]
        if not left:
            break
    return found


def estimate(histogram: list[int]) -> int:
    """How many different elements were seen, from a histogram of the registers."""
    z = REGISTER_COUNT * _tau((REGISTER_COUNT - histogram[_HASH_BITS + 1]) / REGISTER_COUNT)
    for count in range(_HASH_BITS, 0, -1):
        z = (z + histogram[count]) * 0.5
    z += REGISTER_COUNT * _sigma(histogram[0] / REGISTER_COUNT)
    if z == 0.0:
        # Registers that no hash can give, all of them: infinity as the processor makes an integer of it.
        return -(2**63)
    result = _ALPHA * REGISTER_COUNT * REGISTER_COUNT / z
    whole = math.floor(result)
    return whole + 1 if result - whole >= 0.5 else whole


def _sigma(x: float) -> float:
    if x == 1.0:
        return math.inf
    y = 1.0
    z = x
    while True:
        x *= x
        before = z
        z += x * y
        y += y
        if z == before:
            return z


def _tau(x: float) -> float:
    if x == 0.0 or x == 1.0:
        return 0.0
    y = 1.0
    z = 1 - x
    while True:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= math.pow(1 - x, 2) * y
        if z == before:
            return z / 3
