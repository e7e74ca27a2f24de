"""The parameters that the data layer looks at; the server's CONFIG SET changes them in place."""

from dataclasses import dataclass


@dataclass(slots=True)
class DataConfig:
    """Thresholds for what OBJECT ENCODING reports, and limits that commands enforce. Sizes in bytes."""

    hash_max_listpack_entries: int = 512
    hash_max_listpack_value: int = 64
    list_max_listpack_size: int = -2
    set_max_intset_entries: int = 512
    set_max_listpack_entries: int = 128
    set_max_listpack_value: int = 64
    zset_max_listpack_entries: int = 128
    zset_max_listpack_value: int = 64
    hll_sparse_max_bytes: int = 3000
    stream_node_max_bytes: int = 4096
    stream_node_max_entries: int = 100
    proto_max_bulk_len: int = 512 * 1024 * 1024
    counts_uses: bool = False
    """Whether OBJECT FREQ has an answer: an LFU policy is set."""
    shares_integers: bool = True
    """Whether OBJECT REFCOUNT shows small integers as shared: not while keys are evicted by their last use."""
    notify_events: int = 0
    """Which keyspace notifications are on: a mask of `makoredis.data.events` classes."""
