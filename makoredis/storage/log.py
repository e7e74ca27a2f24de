"""The log of every shard, kept in one store: records, what to write in a turn, and reading back with verification.

Nothing here writes: functions return operations, so that the entries and hard states of all shards of one turn go into
one synced batch. That makes a batch the unit that a crash can tear, and a torn batch is gone as a whole.

Invariants, checked when a log is loaded:
* Entries run from the log base + 1 to the end without a gap.
* Every record's checksum covers its key (shard and index), term, kind, payload, and the term of the entry before it.
  By Raft's log matching (Ongaro and Ousterhout 2014, section 5.3) index and term name an entry and all before it, so
  the chain of terms ties the records together as a chain of checksums would, and survives an overwritten suffix.

A record that breaks one of these was synced and then damaged, whether in the middle or at the end: it is refused. The
end that was never synced is cut by the store itself, and `SyncedMark` proves that no more than that was cut.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from zlib import crc32

from makoredis.base.ids import Index, ShardId, Term
from makoredis.base.record import record, wire_decoder, wire_encode
from makoredis.consensus.types import Entry, EntryKind, HardState
from makoredis.storage.engine import Op, Ops, Reader
from makoredis.storage.errors import Damaged
from makoredis.storage.layout import (
    describe_key,
    hard_state_key,
    key_shard,
    log_base_key,
    log_key,
    log_key_index,
    seal,
    shard_range,
    table_range,
    term_key,
    unseal,
)

TRUNCATE_PIECE_ROWS = 4096
"""How many entries one batch deletes: 4096 keys of 13 bytes, 60 KiB."""

_HEADER = struct.Struct(">IQQB")
_CHECKSUM_BYTES = 4
_LOG_BASE = struct.Struct(">QQ")
_KINDS = {int(kind): kind for kind in EntryKind}
_decode_hard_state = wire_decoder(HardState)


def encode_record(shard: ShardId, entry: Entry, previous_term: int) -> Op:
    """The row of one entry."""
    key = log_key(shard, entry.index)
    header = _HEADER.pack(0, entry.term, previous_term, entry.kind)[_CHECKSUM_BYTES:]
    checksum = crc32(entry.payload, crc32(header, crc32(key)))
    return key, b"".join((checksum.to_bytes(4, "big"), header, entry.payload))


def decode_record(key: bytes, value: bytes, place: str) -> tuple[Term, Term, EntryKind, bytes]:
    """Term, previous term, kind and payload of a row.

    Raises:
        Damaged: the row is not what was written at this key.
    """
    if len(value) < _HEADER.size:
        raise Damaged(f"{place}, {describe_key(key)}", f"only {len(value)} bytes long")
    checksum, term, previous_term, kind = _HEADER.unpack_from(value)
    if crc32(value[_CHECKSUM_BYTES:], crc32(key)) != checksum:
        raise Damaged(f"{place}, {describe_key(key)}", "checksum mismatch")
    if kind not in _KINDS:
        raise Damaged(f"{place}, {describe_key(key)}", f"unknown kind {kind}")
    return Term(term), Term(previous_term), _KINDS[kind], value[_HEADER.size :]


class TermRuns:
    """The term of every index of a log, as runs: terms change at elections only, so there are few."""

    def __init__(self, base_index: int, base_term: int) -> None:
        self._starts = [base_index]
        self._terms = [base_term]

    def term_at(self, index: int) -> Term:
        """The term of an index between the log base and the end."""
        return Term(self._terms[bisect_right(self._starts, index) - 1])

    def extend(self, index: int, term: int) -> None:
        """Adds an index at the end."""
        if term != self._terms[-1]:
            self._starts.append(index)
            self._terms.append(term)

    def cut_from(self, index: int) -> None:
        """Forgets `index` and all after it."""
        while len(self._starts) > 1 and self._starts[-1] >= index:
            self._starts.pop()
            self._terms.pop()

    def cut_before(self, index: int) -> None:
        """Forgets all before `index`, which becomes the base."""
        kept = bisect_right(self._starts, index) - 1
        del self._starts[:kept], self._terms[:kept]
        self._starts[0] = index


class ShardLog:
    """Knows how far one shard's log goes, and says what to write to change it.

    It describes the log as it will be once everything it returned is written, in the order it was returned.
    """

    def __init__(self, shard: ShardId, base_index: Index, base_term: Term) -> None:
        self.shard = shard
        self.base_index = base_index
        """Last index truncated away; 0 = the log is whole."""
        self.last_index = base_index
        self.terms = TermRuns(base_index, base_term)

    def append_ops(self, entries: Sequence[Entry]) -> Ops:
        """Adds entries in index order. Where the first is not above the end, it and all after it are replaced."""
        if not entries:
            return []
        first = entries[0].index
        assert self.base_index < first <= self.last_index + 1, "entries must join the log"
        self.terms.cut_from(first)
        ops: Ops = []
        previous_term = self.terms.term_at(first - 1)
        expected = first
        for entry in entries:
            assert entry.index == expected, "entries must be contiguous"
            ops.append(encode_record(self.shard, entry, previous_term))
            self.terms.extend(entry.index, entry.term)
            previous_term = entry.term
            expected = Index(expected + 1)
        ops.extend((log_key(self.shard, index), None) for index in range(expected, self.last_index + 1))
        self.last_index = Index(expected - 1)
        return ops

    def truncate_prefix_ops(self, up_to: Index) -> Iterator[Ops]:
        """Drops the entries up to an index, which a checkpoint holds, in bounded pieces to be written in order."""
        assert up_to <= self.last_index, "only what is in the log can be truncated"
        first = self.base_index + 1
        if up_to < first:
            return
        base_term = self.terms.term_at(up_to)
        self.base_index = up_to
        self.terms.cut_before(up_to)
        # The base is written first: if a crash keeps only some pieces, the next start sweeps what is left below it.
        base: Ops = [_log_base_op(self.shard, up_to, base_term)]
        for start in range(first, up_to + 1, TRUNCATE_PIECE_ROWS):
            stop = min(start + TRUNCATE_PIECE_ROWS, up_to + 1)
            yield [*base, *((log_key(self.shard, index), None) for index in range(start, stop))]
            base = []

    def reset_ops(self, base_index: Index, base_term: Term) -> Ops:
        """Drops all entries at once: a snapshot up to `base_index` replaces them.

        One batch, because entries above the new base must not outlive the old one.
        """
        ops: Ops = [_log_base_op(self.shard, base_index, base_term)]
        ops.extend((log_key(self.shard, index), None) for index in range(self.base_index + 1, self.last_index + 1))
        self.base_index = self.last_index = base_index
        self.terms = TermRuns(base_index, base_term)
        return ops


@record
class LoadedLog:
    """A log read back."""

    log: ShardLog
    entries: list[Entry]
    sweep_ops: Ops
    """Deletes rows that an interrupted truncation left; usually empty."""


def load_log(reader: Reader, shard: ShardId, *, from_index: int = 0) -> LoadedLog:
    """Reads and verifies a shard's whole log.

    Args:
        from_index: entries before it are verified, but not returned.
    Raises:
        Damaged: an entry is missing or not what was written; the message says which.
    """
    log = _load_base(reader, shard)
    entries: list[Entry] = []
    sweep: Ops = []
    place = reader.place
    previous = log.terms.term_at(log.base_index)
    expected = log.base_index + 1
    for key, value in reader.scan(*shard_range(b"l", shard)):
        index = log_key_index(key)
        if index < expected:
            sweep.append((key, None))
            continue
        if index > expected:
            raise Damaged(f"{place}, shard {shard}", f"log entries {expected} to {index - 1} are missing")
        term, previous_term, kind, payload = decode_record(key, value, place)
        if previous_term != previous:
            what = f"follows an entry of term {previous_term}, but the entry before it is of term {previous}"
            raise Damaged(f"{place}, {describe_key(key)}", what)
        if index >= from_index:
            entries.append(Entry(term, index, kind, payload))
        log.terms.extend(index, term)
        previous = term
        expected += 1
    log.last_index = Index(expected - 1)
    return LoadedLog(log, entries, sweep)


def read_entries(reader: Reader, shard: ShardId, first: Index, last: Index, bytes_max: int) -> list[Entry]:
    """Entries `first` to `last` of a log that was loaded before, at least one, then no more than `bytes_max` bytes.

    Raises:
        Damaged: an entry is missing or not what was written.
    """
    entries: list[Entry] = []
    size = 0
    expected = first
    rows = reader.scan(log_key(shard, first), log_key(shard, last + 1))
    for key, value in rows:
        size += len(value)
        if entries and size > bytes_max:
            return entries
        index = log_key_index(key)
        if index != expected:
            break
        term, _, kind, payload = decode_record(key, value, reader.place)
        entries.append(Entry(term, index, kind, payload))
        expected = Index(expected + 1)
    if expected <= last:
        raise Damaged(f"{reader.place}, shard {shard}", f"log entry {expected} is missing")
    return entries


def hard_state_op(shard: ShardId, hard_state: HardState) -> Op:
    """The row of a shard's hard state."""
    key = hard_state_key(shard)
    return key, seal(key, wire_encode(hard_state))


def load_hard_states(reader: Reader) -> dict[ShardId, HardState]:
    """The hard state of every shard that has one: these are the shards with a replica here."""
    rows = reader.scan(*table_range(b"h"))
    return {key_shard(key): _decode_hard_state(unseal(key, value, reader.place)) for key, value in rows}


def term_op(shard: ShardId, term: Term, row: bytes | None) -> Op:
    """A row of the table of terms (what is known of an epoch); None deletes it."""
    key = term_key(shard, term)
    return key, None if row is None else seal(key, row)


def load_terms(reader: Reader, shard: ShardId) -> dict[Term, bytes]:
    """A shard's table of terms."""
    rows = reader.scan(*shard_range(b"e", shard))
    return {Term(log_key_index(key)): unseal(key, value, reader.place) for key, value in rows}


def remove_shard_ops(reader: Reader, shard: ShardId) -> Ops:
    """Drops a shard's log, hard state and table of terms, when its replica leaves this node."""
    ops: Ops = [(hard_state_key(shard), None), (log_base_key(shard), None)]
    for table in (b"l", b"e"):
        ops.extend((key, None) for key, _ in reader.scan(*shard_range(table, shard)))
    return ops


def _load_base(reader: Reader, shard: ShardId) -> ShardLog:
    key = log_base_key(shard)
    value = reader.get(key)
    if value is None:
        return ShardLog(shard, Index(0), Term(0))
    base_index, base_term = _LOG_BASE.unpack(unseal(key, value, reader.place))
    return ShardLog(shard, Index(base_index), Term(base_term))


def _log_base_op(shard: ShardId, index: int, term: int) -> Op:
    key = log_base_key(shard)
    return key, seal(key, _LOG_BASE.pack(index, term))
