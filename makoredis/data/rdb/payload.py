"""The payloads of DUMP and RESTORE: a type and a value, or function libraries; then two bytes of version, and eight of
CRC64 of all before them."""

from collections.abc import Iterable
from io import BytesIO

from makoredis.data.config import DataConfig
from makoredis.data.rdb import types
from makoredis.data.rdb.crc64 import crc64
from makoredis.data.rdb.decode import read_value
from makoredis.data.rdb.encode import type_of, write_value
from makoredis.data.rdb.errors import BadFormat
from makoredis.data.rdb.reader import Reader
from makoredis.data.rdb.writer import Writer
from makoredis.data.values import Value

_VERSION_BYTES = 2
_CHECKSUM_BYTES = 8
FOOTER_BYTES = _VERSION_BYTES + _CHECKSUM_BYTES


def dump(value: Value, config: DataConfig) -> bytes:
    """The payload of a value."""
    writer = Writer()
    type = type_of(value, config)
    writer.byte(type)
    write_value(writer, type, value, config)
    is_newer = type == types.HASH_DEADLINES
    return _finish(writer, types.VERSION_WITH_FIELD_DEADLINES if is_newer else types.VERSION_WRITTEN)


def _finish(writer: Writer, version: int) -> bytes:
    writer.integer(version, _VERSION_BYTES)
    writer.integer(crc64(writer.out), _CHECKSUM_BYTES)
    return bytes(writer.out)


def is_intact(payload: bytes) -> bool:
    """Whether the version is one that we read, and the checksum right."""
    if len(payload) < FOOTER_BYTES:
        return False
    version = int.from_bytes(payload[-FOOTER_BYTES:-_CHECKSUM_BYTES], "little")
    checksum = int.from_bytes(payload[-_CHECKSUM_BYTES:], "little")
    return version <= types.VERSION_MAX and crc64(payload[:-_CHECKSUM_BYTES]) == checksum


def restore(payload: bytes) -> Value:
    """The value of an intact payload.

    Raises: BadFormat when there is none in it.
    """
    body = payload[:-FOOTER_BYTES]
    reader = Reader(BytesIO(body))
    value = read_value(reader, reader.byte())
    if reader.position != len(body):
        raise BadFormat("something behind the value", reader.position)
    return value


def dump_libraries(sources: Iterable[bytes]) -> bytes:
    """The payload of FUNCTION DUMP: the sources of libraries, each behind its opcode."""
    writer = Writer()
    for source in sources:
        writer.byte(types.OPCODE_FUNCTION)
        writer.string(source)
    return _finish(writer, types.VERSION_WRITTEN)


def restore_libraries(payload: bytes) -> list[bytes]:
    """The sources in an intact payload.

    Raises: BadFormat when something else is in it.
    """
    body = payload[:-FOOTER_BYTES]
    reader = Reader(BytesIO(body))
    sources = []
    while reader.position < len(body):
        opcode = reader.byte()
        if opcode == types.OPCODE_FUNCTION_OLD:
            raise BadFormat("Pre-release function format not supported.")
        if opcode != types.OPCODE_FUNCTION:
            raise BadFormat("given type is not a function")
        sources.append(reader.string())
    return sources
