"""LZF, by which Redis compresses strings in RDB: literal runs, and references to what came up to 8 KiB before.

A token `000LLLLL` announces L+1 literal bytes; `LLLooooo oooooooo` repeats L+2 bytes from offset o+1 back; with L = 7 a
byte more of length stands before the low byte of the offset. Source: liblzf, whose greedy matching `compress` follows,
so that a DUMP comes out as Redis would write it.
"""

from makoredis.data.rdb.errors import BadFormat

_LITERALS_MAX = 32
_OFFSET_MAX = 1 << 13
_MATCH_MAX = (1 << 8) + (1 << 3)
_UNCHECKED_STEPS = 16


def decompress(data: bytes, size: int) -> bytes:
    """The string of `size` bytes that was compressed.

    Raises: BadFormat when that is not what comes out.
    """
    out = bytearray()
    at, end = 0, len(data)
    while at < end:
        token = data[at]
        at += 1
        if token < _LITERALS_MAX:
            out += data[at : at + token + 1]
            at += token + 1
        else:
            count = token >> 5
            if count == 7:
                if at >= end:
                    break
                count += data[at]
                at += 1
            if at >= end:
                break
            start = len(out) - ((token & 31) << 8 | data[at]) - 1
            at += 1
            if start < 0:
                raise BadFormat("compressed string that refers to before its beginning")
            _repeat(out, start, count + 2)
        if len(out) > size:
            break
    if at != end or len(out) != size:
        raise BadFormat("compressed string of a wrong length")
    return bytes(out)


def _repeat(out: bytearray, start: int, count: int) -> None:
    """Appends `count` bytes from a place on, which may reach into what is being appended."""
    period = len(out) - start
    if period >= count:
        out += out[start : start + count]
    else:
        chunk = bytes(out[start:])
        out += (chunk * (count // period + 1))[:count]


def compress(data: bytes) -> bytes | None:
    """The compressed string, None unless that is at least four bytes shorter. Costs some 0.5 µs a byte."""
    out_max = len(data) - 4
    if out_max <= 0:
        return None
    seen: dict[int, int] = {}
    out = bytearray(1)
    literals = at = 0
    last = len(data) - 2
    while at < last:
        slot = _slot(data, at)
        match = seen.get(slot, 0)
        seen[slot] = at
        offset = at - match - 1
        if match and offset < _OFFSET_MAX and data[match : match + 3] == data[at : at + 3]:
            if len(out) + 4 >= out_max and len(out) - (not literals) + 4 >= out_max:
                return None
            _end_run(out, literals)
            count = _match_length(data, match, at) - 2
            out += bytes((offset >> 8 | count << 5,) if count < 7 else (offset >> 8 | 0xE0, count - 7))
            out += bytes((offset & 255, 0))
            literals = 0
            at += count + 2
            if at >= last:
                break
            seen[_slot(data, at - 2)] = at - 2
            seen[_slot(data, at - 1)] = at - 1
        else:
            if len(out) >= out_max:
                return None
            out.append(data[at])
            at += 1
            literals = _count_literal(out, literals)
    if len(out) + 3 > out_max:
        return None
    for byte in data[at:]:
        out.append(byte)
        literals = _count_literal(out, literals)
    _end_run(out, literals)
    return bytes(out)


def _slot(data: bytes, at: int) -> int:
    """liblzf's hash of three bytes."""
    middle = data[at + 1]
    return ((data[at] << 8 | middle) - 5 * (middle << 8 | data[at + 2])) & 0xFFFF


def _count_literal(out: bytearray, literals: int) -> int:
    """Notes one more literal in the current run; begins the next run when it is full."""
    literals += 1
    if literals < _LITERALS_MAX:
        return literals
    out[-literals - 1] = literals - 1
    out.append(0)
    return 0


def _end_run(out: bytearray, literals: int) -> None:
    """Writes the token of a run of literals; takes its place back if there is none."""
    if literals:
        out[-literals - 1] = literals - 1
    else:
        out.pop()


def _match_length(data: bytes, match: int, at: int) -> int:
    """How many bytes are repeated. (liblzf compares sixteen bytes before it looks at the end.)"""
    count_max = min(len(data) - at - 2, _MATCH_MAX)
    count = 2
    if count_max > _UNCHECKED_STEPS:
        for _ in range(_UNCHECKED_STEPS):
            count += 1
            if data[match + count] != data[at + count]:
                return count
    count += 1
    while count < count_max and data[match + count] == data[at + count]:
        count += 1
    return count
