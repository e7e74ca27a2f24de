"""The checksum of RDB files and DUMP payloads: CRC-64 by Jones' polynomial, reflected, without inversions.

A table lookup per byte is 8 MB/s in Python. A large input is therefore cut into lanes that advance together: byte i of
every lane makes one string, eight such strings hold the lanes' states, and one step of all lanes is a few calls of
`bytes.translate` and exclusive-ors of long integers. That does 60 MB/s. In the end the lanes' checksums are joined:
appending a lane to what precedes it means to advance that state by a lane full of zeros, which is linear, so it takes
eight lookups.
"""

from functools import cache

_POLYNOMIAL = 0x95AC9329AC4BC9B5
"""0xAD93D23594C935A9 with its bits reversed."""
_LANE_BYTES = 128
_LANE_BYTES_LARGE = 1024
"""More lanes to join cost more than longer lanes, once there are many."""
_LARGE = 256 * 1024
_LANES_MIN = 16
"""Shorter inputs are done byte by byte."""


def _byte_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _byte_table()
_PLANES = [bytes(entry >> 8 * plane & 255 for entry in _TABLE) for plane in range(8)]
"""Byte `plane` of every entry of the table, for `bytes.translate`."""


def crc64(data: bytes | bytearray, crc: int = 0) -> int:
    """The checksum of `data`, or of what had the checksum `crc` with `data` behind it."""
    lane_bytes = _LANE_BYTES if len(data) < _LARGE else _LANE_BYTES_LARGE
    lanes = len(data) // lane_bytes
    if lanes < _LANES_MIN:
        return _serial(data, crc)
    end = lanes * lane_bytes
    planes = _lane_states(data, lanes, lane_bytes)
    shift = _shift_by_lane(lane_bytes)
    for state in zip(*planes):
        crc = (
            shift[0][crc & 255]
            ^ shift[1][crc >> 8 & 255]
            ^ shift[2][crc >> 16 & 255]
            ^ shift[3][crc >> 24 & 255]
            ^ shift[4][crc >> 32 & 255]
            ^ shift[5][crc >> 40 & 255]
            ^ shift[6][crc >> 48 & 255]
            ^ shift[7][crc >> 56]
            ^ int.from_bytes(state, "little")
        )
    return _serial(data[end:], crc)


def _serial(data: bytes | bytearray, crc: int) -> int:
    table = _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc


def _lane_states(data: bytes | bytearray, lanes: int, lane_bytes: int) -> list[bytes]:
    """Each lane's checksum on its own: string k holds byte k of all of them."""
    end = lanes * lane_bytes
    from_bytes = int.from_bytes
    state = [0] * 8
    for at in range(lane_bytes):
        column = from_bytes(data[at:end:lane_bytes], "little")
        index = (column ^ state[0]).to_bytes(lanes, "little")
        state = [from_bytes(index.translate(plane), "little") ^ above for plane, above in zip(_PLANES, (*state[1:], 0))]
    return [plane.to_bytes(lanes, "little") for plane in state]


@cache
def _shift_by_lane(lane_bytes: int) -> list[list[int]]:
    """What a lane of zeros makes of each value of each byte of a state."""
    zeros = bytes(lane_bytes)
    bits = [_serial(zeros, 1 << bit) for bit in range(64)]
    tables = []
    for plane in range(8):
        table = [0]
        for bit in bits[8 * plane : 8 * plane + 8]:
            table += [entry ^ bit for entry in table]
        tables.append(table)
    return tables
