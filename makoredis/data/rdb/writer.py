"""Writing RDB's primitives into a growing buffer."""

from struct import Struct

from makoredis.data.listpack import is_int64
from makoredis.data.rdb.lzf import compress

_DOUBLE = Struct("<d")
_INTEGER_TEXT_MAX = 11
"""Strings up to this length may be stored as an integer of up to 32 bits."""
_COMPRESSED_MIN = 21
"""Shorter strings never become shorter by compressing."""
COMPRESSIBLE_BYTES = 16 * 1024
"""How much a payload may have compressed. Compressing takes Python 0.5 µs a byte, which a large value is not worth:
the rest is stored as it is."""


class Writer:
    """Appends primitives to `out`."""

    __slots__ = ("compressible_bytes", "out")

    def __init__(self, compressible_bytes: int = COMPRESSIBLE_BYTES) -> None:
        self.out = bytearray()
        self.compressible_bytes = compressible_bytes

    def byte(self, value: int) -> None:
        self.out.append(value)

    def raw(self, data: bytes | bytearray) -> None:
        self.out += data

    def integer(self, value: int, size: int, signed: bool = False) -> None:
        """A little-endian integer of so many bytes."""
        self.out += value.to_bytes(size, "little", signed=signed)

    def length(self, value: int) -> None:
        """A length or count."""
        if value < 1 << 6:
            self.out.append(value)
        elif value < 1 << 14:
            self.out += (1 << 14 | value).to_bytes(2, "big")
        elif value < 1 << 32:
            self.out += b"\x80" + value.to_bytes(4, "big")
        else:
            self.out += b"\x81" + value.to_bytes(8, "big")

    def string(self, text: bytes | bytearray) -> None:
        """A string in its shortest form."""
        size = len(text)
        if size <= _INTEGER_TEXT_MAX:
            if is_int64(bytes(text)) and self._small_integer(int(text)):
                return
        elif _COMPRESSED_MIN <= size <= self.compressible_bytes:
            self.compressible_bytes -= size
            compressed = compress(bytes(text))
            if compressed is not None:
                self.byte(0xC3)
                self.length(len(compressed))
                self.length(size)
                self.raw(compressed)
                return
        self.length(size)
        self.raw(text)

    def _small_integer(self, value: int) -> bool:
        """Writes a string that prints an integer as that integer, if it has at most 32 bits."""
        for form, size in ((0xC0, 1), (0xC1, 2), (0xC2, 4)):
            limit = 1 << (8 * size - 1)
            if -limit <= value < limit:
                self.byte(form)
                self.integer(value, size, signed=True)
                return True
        return False

    def double(self, value: float) -> None:
        self.out += _DOUBLE.pack(value)
