"""The on-disk format, version 1: what the keys of the ordered store are, and the checksum every row carries.

A data directory:

    identity.json   format version, cluster, node id, time of creation; written last when a directory is initialised
    lock            locked while a node runs; holds its process id
    synced          number of the last synced batch (see `synced.py`)
    processes.json  the latest processes that had it, where there are several shards
    ballast         filler, given up when the disk is full
    db/             the ordered store (LevelDB)

Keys start with one letter for the table, then the shard. Integers are of 4 bytes unless said otherwise, big endian and
unsigned, so byte order is number order:

    b                                                    number of the last batch
    h shard                                              hard state of the consensus core
    t shard                                              log base: index and term of the last entry truncated away
    l shard index(8)                                     log entry
    e shard term(8)                                      table of terms
    m shard                                              checkpoint: index, generation, transaction layer's blob
    s shard generation db(2) slot(2) key                 state row
    p shard generation db(2) slot(2) key index(8) piece  piece of a large value
    g shard generation db(2) slot(2) key index(8)        pieces that are being written and belong to no row yet

Every value starts with a CRC-32 over its key and the rest of it: a row that was changed, or that turns up at another
key, is noticed here even if the store below did not.

Values are a file format: a change that an older version would misread needs a new FORMAT_VERSION.
"""

import struct
from zlib import crc32

from makoredis.base.ids import Index, ShardId, Term
from makoredis.storage.errors import Damaged

FORMAT_VERSION = 1

BATCH_NUMBER_KEY = b"b"

_SHARD_KEY = struct.Struct(">cI")
_NUMBERED_KEY = struct.Struct(">cIQ")
_CRC = struct.Struct(">I")

LOG_KEY_BYTES = _NUMBERED_KEY.size


def hard_state_key(shard: ShardId) -> bytes:
    """Where a shard's hard state is."""
    return _SHARD_KEY.pack(b"h", shard)


def log_base_key(shard: ShardId) -> bytes:
    """Where a shard's log says after which index it begins."""
    return _SHARD_KEY.pack(b"t", shard)


def log_key(shard: ShardId, index: int) -> bytes:
    """Where a log entry is."""
    return _NUMBERED_KEY.pack(b"l", shard, index)


def log_key_index(key: bytes) -> Index:
    """The index in a log entry's key."""
    return Index(int.from_bytes(key[-8:], "big"))


def term_key(shard: ShardId, term: Term) -> bytes:
    """Where a row of the table of terms is."""
    return _NUMBERED_KEY.pack(b"e", shard, term)


def checkpoint_key(shard: ShardId) -> bytes:
    """Where a shard's checkpoint says up to which index it goes."""
    return _SHARD_KEY.pack(b"m", shard)


def table_range(table: bytes) -> tuple[bytes, bytes]:
    """Start and stop of a whole table, all shards."""
    return table, bytes([table[0] + 1])


def shard_range(table: bytes, shard: ShardId) -> tuple[bytes, bytes]:
    """Start and stop of one shard's part of a table."""
    start = _SHARD_KEY.pack(table, shard)
    return start, prefix_end(start)


def key_shard(key: bytes) -> ShardId:
    """The shard in any key but the batch number's."""
    return ShardId(int.from_bytes(key[1:5], "big"))


def prefix_end(prefix: bytes) -> bytes:
    """The smallest key above all that start with `prefix`, whose first byte is a letter."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1])


def seal(key: bytes, body: bytes) -> bytes:
    """A row's value: checksum and body."""
    return _CRC.pack(crc32(body, crc32(key))) + body


def unseal(key: bytes, value: bytes, place: str) -> bytes:
    """The body of a row's value.

    Raises:
        Damaged: the checksum is not that of this key and body.
    """
    body = value[_CRC.size :]
    if value[: _CRC.size] != _CRC.pack(crc32(body, crc32(key))):
        raise Damaged(f"{place}, {describe_key(key)}", "checksum mismatch")
    return body


_TABLE_NAMES = {
    b"b": "batch number",
    b"h": "hard state",
    b"t": "log base",
    b"l": "log entry",
    b"e": "table of terms",
    b"m": "checkpoint",
    b"s": "state row",
    b"p": "piece of a large value",
    b"g": "unfinished large value",
}


def describe_key(key: bytes) -> str:
    """A key in words, for messages."""
    name = _TABLE_NAMES.get(key[:1], "unknown row")
    if len(key) < _SHARD_KEY.size:
        return name
    shard = key_shard(key)
    if key[:1] in (b"l", b"e"):
        return f"shard {shard}, {name} {log_key_index(key)}"
    detail = key[_SHARD_KEY.size :]
    return f"shard {shard}, {name} {detail!r}" if detail else f"shard {shard}, {name}"
