"""Key → hash slot, as Redis Cluster specifies: CRC16/XMODEM of the key, or of its `{tag}`, modulo 16384."""

from binascii import crc_hqx

from makoredis.base.ids import SLOT_COUNT

_MASK = SLOT_COUNT - 1
_OPENING_BRACE = ord("{")
"""As an integer, since `b"{" in key` costs 0.24 µs and this 0.05 µs."""


def slot_of(key: bytes) -> int:
    """The slot of a key. Only the part between the first `{` and the next `}` counts, unless that is empty."""
    if _OPENING_BRACE in key:
        start = key.index(b"{") + 1
        end = key.find(b"}", start)
        if end > start:
            return crc_hqx(key[start:end], 0) & _MASK
    return crc_hqx(key, 0) & _MASK
