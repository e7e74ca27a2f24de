"""Reading RDB's primitives from a file or from the bytes of a payload, and knowing where one is."""

from struct import Struct
from typing import Protocol

from makoredis.data.rdb.crc64 import crc64
from makoredis.data.rdb.errors import BadFormat
from makoredis.data.rdb.lzf import decompress

_DOUBLE = Struct("<d")
_CHUNK_BYTES = 1 << 20
"""No more is asked of a file at once, whatever length it announces."""

STRING_BYTES_MAX = 1 << 32
"""A longer string is taken for damage."""

_INTEGER_WIDTHS = {0: 1, 1: 2, 2: 4}
_COMPRESSED = 3
_SPECIAL_DOUBLES = {253: float("nan"), 254: float("inf"), 255: float("-inf")}


class BinarySource(Protocol):
    """A file opened for reading, or `io.BytesIO`."""

    def read(self, size: int, /) -> bytes: ...


class Reader:
    """Takes primitives off a source. Every method raises BadFormat where the source ends or makes no sense."""

    __slots__ = ("_crc", "_source", "_unsummed", "_unsummed_bytes", "position")

    def __init__(self, source: BinarySource) -> None:
        self._source = source
        self.position = 0
        self._crc = 0
        self._unsummed: list[bytes] = []
        self._unsummed_bytes = 0

    def fail(self, text: str) -> BadFormat:
        """The error for what stands here."""
        return BadFormat(text, self.position)

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        if size > _CHUNK_BYTES:
            data = self._take_large(size)
        else:
            data = self._source.read(size)
        if len(data) != size:
            raise self.fail("it ends too early")
        self.position += size
        self._unsummed.append(data)
        self._unsummed_bytes += size
        if self._unsummed_bytes > _CHUNK_BYTES:
            self.checksum()
        return data

    def _take_large(self, size: int) -> bytes:
        chunks = []
        while size:
            chunk = self._source.read(min(size, _CHUNK_BYTES))
            if not chunk:
                raise self.fail("it ends too early")
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)

    def checksum(self) -> int:
        """CRC64 of all that was taken."""
        self._crc = crc64(b"".join(self._unsummed), self._crc)
        self._unsummed.clear()
        self._unsummed_bytes = 0
        return self._crc

    def byte(self) -> int:
        return self.take(1)[0]

    def integer(self, size: int, signed: bool = False) -> int:
        """A little-endian integer of so many bytes."""
        return int.from_bytes(self.take(size), "little", signed=signed)

    def length(self) -> int:
        """A length or count."""
        value, is_special = self._length()
        if is_special:
            raise self.fail("a string where a length should be")
        return value

    def _length(self) -> tuple[int, bool]:
        """A length; or a special form of string, and True."""
        first = self.byte()
        kind = first >> 6
        if kind == 0:
            return first, False
        if kind == 1:
            return (first & 63) << 8 | self.byte(), False
        if kind == 3:
            return first & 63, True
        if first == 0x80:
            return int.from_bytes(self.take(4), "big"), False
        if first == 0x81:
            return int.from_bytes(self.take(8), "big"), False
        raise self.fail("a length of an unknown form")

    def string(self) -> bytes:
        size, is_special = self._length()
        if not is_special:
            if size > STRING_BYTES_MAX:
                raise self.fail("a string of an impossible length")
            return self.take(size)
        width = _INTEGER_WIDTHS.get(size)
        if width is not None:
            return b"%d" % self.integer(width, signed=True)
        if size != _COMPRESSED:
            raise self.fail("a string of an unknown form")
        compressed_size, size = self.length(), self.length()
        if compressed_size > STRING_BYTES_MAX or size > STRING_BYTES_MAX:
            raise self.fail("a string of an impossible length")
        return decompress(self.take(compressed_size), size)

    def double(self) -> float:
        """A double in binary form."""
        value: float = _DOUBLE.unpack(self.take(8))[0]
        return value

    def printed_double(self) -> float:
        """A double as the oldest versions wrote it: a byte of length, then digits."""
        size = self.byte()
        if size in _SPECIAL_DOUBLES:
            return _SPECIAL_DOUBLES[size]
        digits = self.take(size)
        try:
            return float(digits)
        except ValueError:
            raise self.fail("a number that is none") from None
