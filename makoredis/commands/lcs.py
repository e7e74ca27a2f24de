"""LCS: the longest common subsequence of two strings, a whole row of the table at a time.

Adjacent cells of a row of the classic table differ by 0 or 1, so a row is a bit vector, and the next one follows from
it by an addition and three logical operations (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004). With
Python's integers that makes two strings of 10,000 bytes a matter of 30 ms, where cell by cell takes half a minute. The
rows are also all that is needed to walk back: in row i, bit j says whether the cell (i, j+1) exceeds the cell (i, j).
"""

from typing import Any

from makoredis.base.errors import ClientError
from makoredis.base.record import record
from makoredis.commands.arguments import SYNTAX_ERROR, int64
from makoredis.commands.registry import command
from makoredis.data.access import Access
from resp.replies import Map, Reply

NOT_STRINGS = ClientError("ERR The specified keys must contain string values")
LENGTH_AND_INDEXES = ClientError("ERR If you want both the length and indexes, please just use IDX.")
TOO_MUCH_MEMORY = ClientError("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")

_CELL_BYTES = 4
"""What a cell costs Redis; the limit is on that."""

Range = tuple[int, int]
"""First and last position."""


@record
class _Options:
    wants_length: bool
    wants_indexes: bool
    wants_match_lengths: bool
    match_length_min: int


@command("LCS", "Finds the longest common substring.")
def lcs(access: Access, first: bytes, second: bytes, *options: bytes) -> Reply:
    a, b = access.get(first), access.get(second)
    if not isinstance(a, bytes | bytearray | None) or not isinstance(b, bytes | bytearray | None):
        raise NOT_STRINGS
    chosen = _parse(options)
    a, b = bytes(a or b""), bytes(b or b"")
    if (len(a) + 1) * (len(b) + 1) * _CELL_BYTES > access.space.config.proto_max_bulk_len:
        raise TOO_MUCH_MEMORY
    if chosen.wants_length:
        return _length(a, b)
    ranges = _matches(a, b)
    if not chosen.wants_indexes:
        return b"".join(a[start : end + 1] for (start, end), _ in reversed(ranges))
    matches: list[Any] = []
    for in_a, in_b in ranges:
        length = in_a[1] - in_a[0] + 1
        if length >= chosen.match_length_min:
            matches.append([list(in_a), list(in_b), length] if chosen.wants_match_lengths else [list(in_a), list(in_b)])
    total = sum(end - start + 1 for (start, end), _ in ranges)
    return Map([(b"matches", matches), (b"len", total)])


def _parse(options: tuple[bytes, ...]) -> _Options:
    wants_length = wants_indexes = wants_match_lengths = False
    match_length_min = at = 0
    while at < len(options):
        option = options[at].upper()
        if option == b"LEN":
            wants_length = True
        elif option == b"IDX":
            wants_indexes = True
        elif option == b"WITHMATCHLEN":
            wants_match_lengths = True
        elif option == b"MINMATCHLEN" and at + 1 < len(options):
            at += 1
            match_length_min = max(int64(options[at]), 0)
        else:
            raise SYNTAX_ERROR
        at += 1
    if wants_length and wants_indexes:
        raise LENGTH_AND_INDEXES
    return _Options(wants_length, wants_indexes, wants_match_lengths, match_length_min)


def _places(a: bytes, b: bytes) -> dict[int, int]:
    """For each byte of `a`, where it stands in `b`: bit j for position j."""
    reversed_b = b[::-1]
    places: dict[int, int] = {}
    for byte in set(a):
        digits = bytearray(b"0" * 256)
        digits[byte] = ord("1")
        places[byte] = int(reversed_b.translate(bytes(digits)) or b"0", 2)
    return places


def _length(a: bytes, b: bytes) -> int:
    places, all_bits = _places(a, b), (1 << len(b)) - 1
    row = all_bits
    for byte in a:
        common = row & places[byte]
        row = ((row + common) | (row - common)) & all_bits
    return len(b) - row.bit_count()


def _rows(a: bytes, b: bytes) -> list[bytes]:
    """The rows of the table as bytes, least significant first; a zero bit is a step up."""
    places, all_bits = _places(a, b), (1 << len(b)) - 1
    row, size = all_bits, (len(b) + 7) // 8
    rows = []
    for byte in a:
        common = row & places[byte]
        row = ((row + common) | (row - common)) & all_bits
        rows.append(row.to_bytes(size, "little"))
    return rows


def _matches(a: bytes, b: bytes) -> list[tuple[Range, Range]]:
    """Where the stretches of the common subsequence are in both strings, last first.

    Of several equally long subsequences it is the one that Redis finds.
    """
    rows = _rows(a, b)
    matches: list[tuple[Range, Range]] = []
    i, j = len(a), len(b)
    while i > 0 and j > 0:
        if a[i - 1] == b[j - 1]:
            end_a, end_b = i - 1, j - 1
            while i > 0 and j > 0 and a[i - 1] == b[j - 1]:
                i, j = i - 1, j - 1
            matches.append(((i, end_a), (j, end_b)))
        elif rows[i - 1][(j - 1) >> 3] >> ((j - 1) & 7) & 1:
            j -= 1
        else:
            i -= 1
    return matches
