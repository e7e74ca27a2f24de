"""Whole RDB files: `read_file` goes through one item by item, `FileWriter` makes one.

Both work on a binary file that somebody else opened, keep no more than one value in memory, and say how far they are.
A damaged file is refused at the byte where it stops to make sense; what was handed out before is right up to there, but
only the end of the file has the checksum, so an import should not be visible before `read_file` has ended.
"""

from collections.abc import Iterator
from typing import Protocol

from makoredis.base.record import record
from makoredis.data.config import DataConfig
from makoredis.data.rdb import types
from makoredis.data.rdb.crc64 import crc64
from makoredis.data.rdb.decode import read_value
from makoredis.data.rdb.encode import type_of, write_value
from makoredis.data.rdb.errors import EmptyCollection
from makoredis.data.rdb.payload import FOOTER_BYTES
from makoredis.data.rdb.reader import BinarySource, Reader
from makoredis.data.rdb.writer import Writer
from makoredis.data.values import Value

_MAGIC = b"REDIS"
_CHECKSUM_SINCE = 5
_FLUSH_BYTES = 1 << 20
_NO_COMPRESSION = 0

_MODULE_END = 0
_MODULE_FIELDS = {3: 4, 4: 8}
"""Bytes of a module's float and double."""
_MODULE_STRING = 5


@record
class Entry:
    """A key of a file."""

    db: int
    key: bytes
    value: Value
    deadline_ms: int
    """0 = none. It may have passed."""
    position: int
    """How many bytes of the file have been read."""


@record
class Library:
    """A function library of a file: its source, whose first line has its name."""

    source: bytes
    position: int


class BinarySink(Protocol):
    """A file opened for writing, or `io.BytesIO`."""

    def write(self, data: bytes, /) -> object: ...


def read_file(source: BinarySource) -> Iterator[Entry | Library]:
    """The keys and function libraries of a file, in its order. Empty collections are passed over, as Redis does.

    Raises: BadFormat with the position, when it is not a whole RDB file of a version that we read.
    """
    reader = Reader(source)
    version = _read_version(reader)
    db = deadline_ms = 0
    while True:
        opcode = reader.byte()
        if opcode == types.OPCODE_END:
            break
        if opcode == types.OPCODE_SELECT:
            db = reader.length()
        elif opcode == types.OPCODE_DEADLINE_MS:
            deadline_ms = reader.integer(8, signed=True)
        elif opcode == types.OPCODE_DEADLINE_S:
            deadline_ms = 1000 * reader.integer(4, signed=True)
        elif opcode == types.OPCODE_FUNCTION:
            yield Library(reader.string(), reader.position)
        elif opcode >= types.OPCODE_SLOT_INFO:
            _skip(reader, opcode)
        else:
            key = reader.string()
            try:
                value = read_value(reader, opcode)
            except EmptyCollection:
                deadline_ms = 0
                continue
            yield Entry(db, key, value, deadline_ms, reader.position)
            deadline_ms = 0
    _check_end(reader, version)


def _read_version(reader: Reader) -> int:
    head = reader.take(len(_MAGIC) + 4)
    if not head.startswith(_MAGIC) or not head[len(_MAGIC) :].isdigit():
        raise reader.fail("not an RDB file")
    version = int(head[len(_MAGIC) :])
    if not 1 <= version <= types.VERSION_MAX:
        raise reader.fail(f"RDB version {version}, where at most {types.VERSION_MAX} can be read")
    return version


def _skip(reader: Reader, opcode: int) -> None:
    """Passes over what means nothing here: hints on sizes, eviction, origin."""
    if opcode == types.OPCODE_AUX:
        reader.string()
        reader.string()
    elif opcode == types.OPCODE_RESIZE:
        reader.length()
        reader.length()
    elif opcode == types.OPCODE_SLOT_INFO:
        for _ in range(3):
            reader.length()
    elif opcode == types.OPCODE_IDLE:
        reader.length()
    elif opcode == types.OPCODE_FREQUENCY:
        reader.byte()
    elif opcode == types.OPCODE_MODULE_AUX:
        _skip_module(reader)
    else:
        raise reader.fail(f"an opcode that cannot be read ({opcode})")


def _skip_module(reader: Reader) -> None:
    reader.length()  # which module
    while True:
        kind = reader.length()
        if kind == _MODULE_END:
            return
        if kind in _MODULE_FIELDS:
            reader.take(_MODULE_FIELDS[kind])
        elif kind == _MODULE_STRING:
            reader.string()
        elif kind in (1, 2):
            reader.length()
        else:
            raise reader.fail("a module's data of an unknown kind")


def _check_end(reader: Reader, version: int) -> None:
    """Compares the checksum; 0 stands for none."""
    if version < _CHECKSUM_SINCE:
        return
    expected = reader.checksum()
    written = reader.integer(8)
    if written not in (0, expected):
        raise reader.fail("a wrong checksum")


class FileWriter:
    """Writes a file item by item: libraries first, then keys by database; `finish` at the end."""

    def __init__(self, sink: BinarySink, config: DataConfig, has_field_deadlines: bool = False) -> None:
        """`has_field_deadlines`: whether a hash with deadlines of fields will come, which only Redis 7.4 can read."""
        self.bytes_written = 0
        self._sink = sink
        self._config = config
        self._writer = Writer(_NO_COMPRESSION)
        self._crc = 0
        self._db = -1
        version = types.VERSION_WITH_FIELD_DEADLINES if has_field_deadlines else types.VERSION_WRITTEN
        self._has_field_deadlines = has_field_deadlines
        self._writer.raw(_MAGIC + b"%04d" % version)

    def aux(self, name: bytes, value: bytes) -> None:
        """A fact on the file's origin, such as `redis-ver`."""
        self._writer.byte(types.OPCODE_AUX)
        self._writer.string(name)
        self._writer.string(value)

    def library(self, source: bytes) -> None:
        """A function library."""
        self._writer.byte(types.OPCODE_FUNCTION)
        self._writer.string(source)

    def put(self, db: int, key: bytes, value: Value, deadline_ms: int) -> None:
        """A key. Deadline 0 = none.

        Raises: ValueError for a hash with deadlines of fields that was not announced.
        """
        type = type_of(value, self._config)
        self._begin_key(db, key, type, deadline_ms)
        write_value(self._writer, type, value, self._config)
        self._flush_if_large()

    def put_payload(self, db: int, key: bytes, payload: bytes, deadline_ms: int) -> None:
        """The same with what DUMP answers: it has the same type and value, in the same form.

        Raises: ValueError.
        """
        self._begin_key(db, key, payload[0], deadline_ms)
        self._writer.raw(payload[1:-FOOTER_BYTES])
        self._flush_if_large()

    def _begin_key(self, db: int, key: bytes, type: int, deadline_ms: int) -> None:
        """Writes what stands in front of a value."""
        if type == types.HASH_DEADLINES and not self._has_field_deadlines:
            raise ValueError("a hash with deadlines of fields in a file of an older version")
        writer = self._writer
        if db != self._db:
            self._db = db
            writer.byte(types.OPCODE_SELECT)
            writer.length(db)
        if deadline_ms:
            writer.byte(types.OPCODE_DEADLINE_MS)
            writer.integer(deadline_ms, 8)
        writer.byte(type)
        writer.string(key)

    def _flush_if_large(self) -> None:
        if len(self._writer.out) >= _FLUSH_BYTES:
            self._flush()

    def finish(self) -> None:
        """Writes the end and the checksum."""
        self._writer.byte(types.OPCODE_END)
        self._flush()
        self._sink.write(self._crc.to_bytes(8, "little"))
        self.bytes_written += 8

    def _flush(self) -> None:
        data = bytes(self._writer.out)
        self._writer.out.clear()
        self._crc = crc64(data, self._crc)
        self._sink.write(data)
        self.bytes_written += len(data)
