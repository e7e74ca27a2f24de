"""Makes calls of library functions ordinary calls, so that their errors name the line of the script.

In redis-server `redis.call` and its like are C functions, and a C function called in tail position (`return
redis.call(…)`, the most common last line of a script) leaves the caller's frame in place: errors say
`on @user_script:7`. Here they are Lua functions, for which a tail call drops that frame. So in compiled scripts the
instruction TAILCALL becomes CALL where a library function is called; the RETURN that the compiler puts behind it makes
the two equivalent. Tail calls of the script's own functions stay, so deep tail recursion works.

What is called is traced from the register of the call: a global, a field with a library function's name, or a local
or upvalue that was assigned one. The format is that of Lua 5.1 (`lundump.c`, `lopcodes.h`) on 64-bit little-endian
machines; other headers are left alone, which only costs the line in such errors.
"""

import struct
from collections.abc import Callable

from makoredis.base.record import record

_HEADER = b"\x1bLuaQ\x00\x01\x04\x08\x04\x08\x00"

_MOVE, _GETUPVAL, _GETGLOBAL, _GETTABLE, _SELF, _CALL, _TAILCALL, _CLOSURE = 0, 4, 5, 6, 11, 28, 29, 36
_CONSTANT_BIT = 256
"""Set in an operand that means a constant instead of a register."""

_LIBRARY_FIELDS = frozenset(
    b"call pcall acl_check_cmd sha1hex error_reply status_reply setresp set_repl log encode decode pack unpack rep "
    b"unpack_one unpack_limit size insert random randomseed create wrap resume band bor bxor bnot tobit tohex lshift "
    b"rshift arshift rol ror bswap encode_sparse_array encode_max_depth decode_max_depth encode_number_precision "
    b"encode_keep_buffer encode_invalid_numbers decode_invalid_numbers".split()
)


@record
class _Prototype:
    """One compiled function."""

    code: list[int]
    code_at: int
    """Where its code starts in the dump."""
    constants: list[bytes | None]
    """The strings; other constants are None."""
    children: list["_Prototype"]
    parent: "_Prototype | None"


def keep_library_frames(binary: bytes) -> bytes:
    """Returns a dumped chunk in which calls of library functions are no tail calls."""
    return _replace_tail_calls(binary, _is_library_call)


def keep_all_frames(binary: bytes) -> bytes:
    """Returns a dumped chunk without tail calls: for the library itself, whose functions errors call by name."""
    return _replace_tail_calls(binary, lambda prototype, index: True)


def _replace_tail_calls(binary: bytes, is_chosen: Callable[["_Prototype", int], bool]) -> bytes:
    if not binary.startswith(_HEADER):
        return binary
    patched = bytearray(binary)
    root, _ = _read_prototype(binary, len(_HEADER), None)
    prototypes = [root]
    for prototype in prototypes:
        prototypes += prototype.children
        for index, instruction in enumerate(prototype.code):
            if instruction & 63 == _TAILCALL and is_chosen(prototype, index):
                struct.pack_into("<I", patched, prototype.code_at + 4 * index, instruction & ~63 | _CALL)
    return bytes(patched)


def _is_library_call(prototype: _Prototype, index: int) -> bool:
    """Whether the call at an index is of a library function: looks at what last loaded its register."""
    register = _a(prototype.code[index])
    for instruction in reversed(prototype.code[:index]):
        if _a(instruction) != register:
            continue
        return _loads_library(prototype, instruction)
    return False


def _loads_library(prototype: _Prototype, instruction: int) -> bool:
    operation = instruction & 63
    if operation == _GETGLOBAL:
        return True
    if operation in (_GETTABLE, _SELF):
        key = _c(instruction)
        return key >= _CONSTANT_BIT and prototype.constants[key - _CONSTANT_BIT] in _LIBRARY_FIELDS
    if operation == _MOVE:
        return _holds_library(prototype, _b(instruction))
    return operation == _GETUPVAL and _upvalue_holds_library(prototype, _b(instruction))


def _holds_library(prototype: _Prototype, register: int) -> bool:
    """Whether a local variable is ever assigned a library function."""
    return any(
        _a(instruction) == register and instruction & 63 != _MOVE and _loads_library(prototype, instruction)
        for instruction in prototype.code
    )


def _upvalue_holds_library(prototype: _Prototype, number: int) -> bool:
    """Follows an upvalue to the local variable that it is, through the pseudo-instructions behind CLOSURE."""
    parent = prototype.parent
    if parent is None:
        return False
    for index, instruction in enumerate(parent.code):
        if instruction & 63 == _CLOSURE and parent.children[instruction >> 14] is prototype:
            captured = parent.code[index + 1 + number]
            if captured & 63 == _MOVE:
                return _holds_library(parent, _b(captured))
            return _upvalue_holds_library(parent, _b(captured))
    return False


def _a(instruction: int) -> int:
    return instruction >> 6 & 255


def _b(instruction: int) -> int:
    return instruction >> 23


def _c(instruction: int) -> int:
    return instruction >> 14 & 511


def _read_prototype(binary: bytes, at: int, parent: _Prototype | None) -> tuple[_Prototype, int]:
    """Reads the function that starts at an offset. Returns it and the offset behind it."""
    _, at = _read_string(binary, at)
    at += 4 + 4 + 4  # the lines where it is defined; counts of upvalues, parameters, registers
    count, at = _read_int(binary, at)
    code = list(struct.unpack_from(f"<{count}I", binary, at))
    prototype = _Prototype(code, at, [], [], parent)
    at = _read_constants(binary, at + 4 * count, prototype.constants)
    count, at = _read_int(binary, at)
    for _ in range(count):
        child, at = _read_prototype(binary, at, prototype)
        prototype.children.append(child)
    return prototype, _skip_debug(binary, at)


def _read_constants(binary: bytes, at: int, constants: list[bytes | None]) -> int:
    count, at = _read_int(binary, at)
    for _ in range(count):
        kind = binary[at]
        text: bytes | None = None
        if kind == 4:
            text, at = _read_string(binary, at + 1)
        else:
            at += {0: 1, 1: 2, 3: 9}[kind]
        constants.append(text)
    return at


def _skip_debug(binary: bytes, at: int) -> int:
    """Skips the lines of instructions and the names of local variables and upvalues."""
    count, at = _read_int(binary, at)
    count, at = _read_int(binary, at + 4 * count)
    for _ in range(count):
        at = _read_string(binary, at)[1] + 8
    count, at = _read_int(binary, at)
    for _ in range(count):
        at = _read_string(binary, at)[1]
    return at


def _read_int(binary: bytes, at: int) -> tuple[int, int]:
    return int.from_bytes(binary[at : at + 4], "little"), at + 4


def _read_string(binary: bytes, at: int) -> tuple[bytes, int]:
    """A string is stored with its size and a final zero; size 0 is none at all."""
    size = int.from_bytes(binary[at : at + 8], "little")
    return binary[at + 8 : at + 8 + max(size - 1, 0)], at + 8 + size
