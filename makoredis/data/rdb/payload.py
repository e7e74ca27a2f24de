"""The payload of DUMP and RESTORE: a type, a value, then two bytes of version and eight of CRC64 of all before them."""

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
_FOOTER_BYTES = _VERSION_BYTES + _CHECKSUM_BYTES


def dump(value: Value, config: DataConfig) -> bytes:
    """The payload of a value."""
    writer = Writer()
    type = type_of(value, config)
    writer.byte(type)
    write_value(writer, type, value, config)
    is_newer = type == types.HASH_DEADLINES
    writer.integer(types.VERSION_WITH_FIELD_DEADLINES if is_newer else types.VERSION_WRITTEN, _VERSION_BYTES)
    writer.integer(crc64(writer.out), _CHECKSUM_BYTES)
    return bytes(writer.out)


def is_intact(payload: bytes) -> bool:
    """Whether the version is one that we read, and the checksum right."""
    if len(payload) < _FOOTER_BYTES:
        return False
    version = int.from_bytes(payload[-_FOOTER_BYTES:-_CHECKSUM_BYTES], "little")
    checksum = int.from_bytes(payload[-_CHECKSUM_BYTES:], "little")
    return version <= types.VERSION_MAX and crc64(payload[:-_CHECKSUM_BYTES]) == checksum


def restore(payload: bytes) -> Value:
    """The value of an intact payload.

    Raises: BadFormat when there is none in it.
    """
    body = payload[:-_FOOTER_BYTES]
    reader = Reader(BytesIO(body))
    value = read_value(reader, reader.byte())
    if reader.position != len(body):
        raise BadFormat("something behind the value", reader.position)
    return value
