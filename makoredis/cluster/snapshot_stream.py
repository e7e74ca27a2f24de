"""A snapshot as a stream of bytes: what a leader sends to a replica that is too far behind.

    stream = frame(header) frame(row)* frame()  count(8) crc(4)
    frame  = length(4) body

The header has the checkpoint's blob, each row is one of the state table's, tombstones too. The checksum covers all
before it, so that a stream that was cut, or damaged while it was kept aside, is noticed before it takes effect.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO
from zlib import crc32

import msgspec

from makoredis.base.record import Wire, wire_decoder, wire_encode
from makoredis.storage.errors import Damaged
from makoredis.storage.state import Row

STREAM_VERSION = 1

_LENGTH = struct.Struct(">I")
_END = struct.Struct(">QI")
_decode_row = wire_decoder(tuple[int, int, bytes, int, int | None, int, bytes])


class StreamHeader(Wire):
    """What comes before the rows."""

    version: int
    blob: bytes


_decode_header = wire_decoder(StreamHeader)


class StreamWriter:
    """Gives out a snapshot's bytes in pieces of any size, each once."""

    def __init__(self, blob: bytes, rows: Iterable[Row]) -> None:
        self._frames = _frames(blob, rows)
        self._buffer = bytearray()
        self._is_exhausted = False

    def read(self, bytes_max: int) -> tuple[bytes, bool]:
        """The next bytes, and whether they are the last ones."""
        buffer = self._buffer
        while len(buffer) <= bytes_max and not self._is_exhausted:
            frame = next(self._frames, None)
            if frame is None:
                self._is_exhausted = True
            else:
                buffer += frame
        data = bytes(buffer[:bytes_max])
        del buffer[:bytes_max]
        return data, self._is_exhausted and not buffer


def _frames(blob: bytes, rows: Iterable[Row]) -> Iterator[bytes]:
    header = wire_encode(StreamHeader(STREAM_VERSION, blob))
    crc = 0
    count = 0
    frame = _LENGTH.pack(len(header)) + header
    for row in rows:
        crc = crc32(frame, crc)
        yield frame
        body = wire_encode(row)
        frame = _LENGTH.pack(len(body)) + body
        count += 1
    crc = crc32(frame, crc)
    yield frame
    end = _LENGTH.pack(0)
    yield end + _END.pack(count, crc32(end, crc))


class StreamReader:
    """Reads a stream back from a file. `blob` is there at once; `rows` checks the end."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises: Damaged when the file does not begin with a header of this version."""
        self._file = file
        self._crc = 0
        body = self._frame()
        try:
            header: StreamHeader = _decode_header(body)
        except msgspec.DecodeError as error:
            raise Damaged(file.name, f"is no snapshot ({error})") from error
        if header.version != STREAM_VERSION:
            raise Damaged(file.name, f"a snapshot of version {header.version}, this makoredis reads {STREAM_VERSION}")
        self.blob = header.blob

    def rows(self) -> Iterator[Row]:
        """All rows in their order.

        Raises: Damaged, at the latest at the end, if these are not the bytes that were sent.
        """
        count = 0
        while body := self._frame():
            try:
                row: Row = _decode_row(body)
            except msgspec.DecodeError as error:
                raise Damaged(self._file.name, f"row {count} cannot be read ({error})") from error
            yield row
            count += 1
        if self._file.read() != _END.pack(count, self._crc):
            raise Damaged(self._file.name, "the snapshot's end does not fit what comes before it")

    def _frame(self) -> bytes:
        head = self._file.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            raise Damaged(self._file.name, "the snapshot is cut off")
        (length,) = _LENGTH.unpack(head)
        body = self._file.read(length)
        if len(body) < length:
            raise Damaged(self._file.name, "the snapshot is cut off")
        self._crc = crc32(body, crc32(head, self._crc))
        return body
