"""BITFIELD: a string as an array of integers of any width, with a choice of what happens on overflow."""

from typing import Any

from makoredis.base.errors import ClientError
from makoredis.base.record import record
from makoredis.commands.arguments import SYNTAX_ERROR, int64, parse_int64
from makoredis.commands.bits import BAD_OFFSET
from makoredis.commands.registry import command
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import SetRange

BAD_TYPE = ClientError(
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
)
BAD_OVERFLOW = ClientError("ERR Invalid OVERFLOW type specified")
ONLY_GET = ClientError("ERR BITFIELD_RO only supports the GET subcommand")

_UINT64_MASK = 2**64 - 1
_WORDS = {b"GET": 2, b"SET": 3, b"INCRBY": 3}
"""How many arguments each operation takes, its name not counted, at least as Redis counts them."""


@record
class _Field:
    """Some bits of the string, read as an integer."""

    is_signed: bool
    width: int
    offset: int
    """In bits, from the first bit of the string."""

    def read(self, value: bytes | bytearray | None) -> int:
        """What lies behind the end of the string reads as zeros."""
        number = (self._window(value) >> self._shift()) & self._mask()
        return number - (1 << self.width) if self.is_signed and number >> (self.width - 1) else number

    def write(self, value: bytes | bytearray | None, number: int) -> bytes:
        """The bytes from `first_byte` to `last_byte` with the field set."""
        cleared = self._window(value) & ~(self._mask() << self._shift())
        changed = cleared | (number & self._mask()) << self._shift()
        return changed.to_bytes(self.last_byte - self.first_byte + 1, "big")

    @property
    def first_byte(self) -> int:
        return self.offset >> 3

    @property
    def last_byte(self) -> int:
        return (self.offset + self.width - 1) >> 3

    def _window(self, value: bytes | bytearray | None) -> int:
        """The bytes that the field touches, as one integer."""
        size = self.last_byte - self.first_byte + 1
        part = b"" if value is None else bytes(value[self.first_byte : self.last_byte + 1])
        return int.from_bytes(part.ljust(size, b"\x00"), "big")

    def _shift(self) -> int:
        return 8 * (self.last_byte + 1) - self.offset - self.width

    def _mask(self) -> int:
        return (1 << self.width) - 1

    def fit(self, number: int, overflow: bytes) -> int | None:
        """The number as the field can hold it; None when it can't and the operation fails."""
        low, high = (-(1 << (self.width - 1)), (1 << (self.width - 1)) - 1) if self.is_signed else (0, self._mask())
        if low <= number <= high:
            return number
        if overflow == b"FAIL":
            return None
        if overflow == b"SAT":
            return high if number > high else low
        wrapped = number & self._mask()
        return wrapped - (1 << self.width) if self.is_signed and wrapped > high else wrapped


@record
class _Operation:
    name: bytes
    field: _Field
    operand: int
    overflow: bytes
    """WRAP, SAT or FAIL."""


@command("BITFIELD", "Performs arbitrary bitfield integer operations on strings.")
def bitfield(access: Access, key: bytes, *words: bytes) -> list[Any]:
    return _run(access, key, _parse(access, words))


@command("BITFIELD_RO", "Performs arbitrary read-only bitfield integer operations on strings.")
def bitfield_ro(access: Access, key: bytes, *words: bytes) -> list[Any]:
    operations = _parse(access, words)
    if any(operation.name != b"GET" for operation in operations):
        raise ONLY_GET
    return _run(access, key, operations)


def _parse(access: Access, words: tuple[bytes, ...]) -> list[_Operation]:
    operations: list[_Operation] = []
    overflow = b"WRAP"
    at = 0
    while at < len(words):
        name = words[at].upper()
        following = len(words) - at - 1
        if name == b"OVERFLOW" and following >= 1:
            overflow = words[at + 1].upper()
            if overflow not in (b"WRAP", b"SAT", b"FAIL"):
                raise BAD_OVERFLOW
            at += 2
            continue
        if name not in _WORDS or following < _WORDS[name]:
            raise SYNTAX_ERROR
        is_signed, width = _field_type(words[at + 1])
        field = _Field(is_signed, width, _field_offset(access, words[at + 2], width))
        operand = int64(words[at + 3]) if name != b"GET" else 0
        operations.append(_Operation(name, field, operand, overflow))
        at += 1 + _WORDS[name]
    return operations


def _field_type(raw: bytes) -> tuple[bool, int]:
    is_signed = raw[:1] == b"i"
    width = parse_int64(raw[1:])
    if raw[:1] not in (b"i", b"u") or width is None or not 1 <= width <= (64 if is_signed else 63):
        raise BAD_TYPE
    return is_signed, width


def _field_offset(access: Access, raw: bytes, width: int) -> int:
    """`#3` means the third field of that width, from 0."""
    is_multiple = raw[:1] == b"#"
    offset = parse_int64(raw[1:] if is_multiple else raw)
    if offset is None:
        raise BAD_OFFSET
    if is_multiple:
        offset *= width
    if offset < 0 or offset >> 3 >= access.space.config.proto_max_bulk_len:
        raise BAD_OFFSET
    return offset


def _run(access: Access, key: bytes, operations: list[_Operation]) -> list[Any]:
    value = access.string(key)
    grows = changes = False
    writes = [operation.field.last_byte for operation in operations if operation.name != b"GET"]
    if writes and (value is None or max(writes) >= len(value)):
        access.apply(SetRange(access.database.id, key, max(writes), b"\x00"))
        grows = True
    replies: list[Any] = []
    for operation in operations:
        reply, is_change = _perform(access, key, operation)
        replies.append(reply)
        changes = changes or is_change or (grows and operation.name != b"GET" and reply is not None)
    if changes:
        access.notify(events.STRING, b"setbit", key)
    return replies


def _perform(access: Access, key: bytes, operation: _Operation) -> tuple[int | None, bool]:
    """Returns the operation's reply, and whether it changed the string."""
    field = operation.field
    value = access.string(key)
    old = field.read(value)
    if operation.name == b"GET":
        return old, False
    if operation.name == b"INCRBY":
        wanted = old + operation.operand
    else:
        wanted = operation.operand if field.is_signed else operation.operand & _UINT64_MASK
    new = field.fit(wanted, operation.overflow)
    if new is None:
        return None, False
    if new != old:
        access.apply(SetRange(access.database.id, key, field.first_byte, field.write(value, new)))
    return (new if operation.name == b"INCRBY" else old), new != old
