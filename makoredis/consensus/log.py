"""The log of one replica, in memory: what Raft reads and writes many times per entry. The disk has its own copy.

Three marks move along it, each never past `last_index`:

* `handed_index`: up to here the driver has been given the entries to write;
* `persisted_index`: up to here they are known to be on this replica's disk;
* `commit_index`: up to here they are chosen.

Invariants:

* entries are contiguous from `first_index`; terms never decrease;
* `first_index` - 1 is the *base*: its term is still known, its entry is not;
* the log is cut only above `commit_index`;
* base ≤ `applied_index` ≤ `committed_handed` ≤ `commit_index`.

Left out: reading older entries back from disk. A follower that needs them gets a snapshot, which is cheaper than
random reads beside the group commit.
"""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter

from makoredis.base.errors import Fatal
from makoredis.base.ids import Index, Term
from makoredis.consensus.types import ENTRY_OVERHEAD_BYTES, Entry, SnapshotMetadata

_term_of = attrgetter("term")


class Log:
    """Entries in memory, with the marks above."""

    __slots__ = (
        "applied_index",
        "base_index",
        "base_term",
        "bytes",
        "commit_index",
        "committed_handed",
        "entries",
        "handed_index",
        "last_index",
        "last_term",
        "persisted_index",
    )

    def __init__(self, base_index: Index, base_term: Term, entries: Sequence[Entry], commit_index: Index) -> None:
        """Restores what was found on disk. Entries up to `base_index` are in the checkpoint and skipped.

        Raises: Fatal if the entries have a gap.
        """
        self.base_index: Index = base_index
        self.base_term = base_term
        self.entries: list[Entry] = [entry for entry in entries if entry.index > base_index]
        for position, entry in enumerate(self.entries, base_index + 1):
            if entry.index != position:
                raise Fatal(f"the stored log has entry {entry.index} where {position} belongs")
        self.last_index: Index = Index(base_index + len(self.entries))
        self.last_term = self.entries[-1].term if self.entries else base_term
        self.bytes = sum(entry.cost_bytes for entry in self.entries)
        self.handed_index: Index = self.last_index
        self.persisted_index: Index = self.last_index
        self.commit_index = Index(min(max(commit_index, base_index), self.last_index))
        self.committed_handed: Index = base_index
        self.applied_index: Index = base_index

    @property
    def first_index(self) -> Index:
        """Index of the oldest entry in memory, or of the next one if there is none."""
        return Index(self.base_index + 1)

    def term_at(self, index: Index) -> Term | None:
        """Term of the entry at an index; None if the log doesn't reach there, or not any more."""
        if index == self.last_index:
            return self.last_term
        if self.base_index < index < self.last_index:
            return self.entries[index - self.base_index - 1].term
        return self.base_term if index == self.base_index else None

    def matches(self, index: Index, term: Term) -> bool:
        """Whether the entry at `index` has this term: then the logs agree up to there (§5.3, log matching)."""
        return self.term_at(index) == term

    def is_up_to_date(self, last_index: Index, last_term: Term) -> bool:
        """Whether a candidate's log is at least as complete as this one (§5.4.1)."""
        return last_term > self.last_term or (last_term == self.last_term and last_index >= self.last_index)

    def append(self, entry: Entry) -> None:
        """Adds the next entry."""
        self.entries.append(entry)
        self.last_index = entry.index
        self.last_term = entry.term
        self.bytes += len(entry.payload) + ENTRY_OVERHEAD_BYTES

    def cut_from(self, index: Index) -> None:
        """Removes the entries from `index` on, because a leader has others there.

        Raises: Fatal if a committed entry would go.
        """
        if index <= self.commit_index:
            raise Fatal(f"entry {index} would be overwritten, but everything up to {self.commit_index} is committed")
        position = index - self.base_index - 1
        self.bytes -= sum(entry.cost_bytes for entry in self.entries[position:])
        del self.entries[position:]
        self.last_index = Index(index - 1)
        self.last_term = self.entries[-1].term if self.entries else self.base_term
        self.handed_index = min(self.handed_index, self.last_index)
        self.persisted_index = min(self.persisted_index, self.last_index)

    def slice(self, first: Index, last: Index, bytes_max: int) -> list[Entry]:
        """The entries first…last as far as their payloads fit in `bytes_max`, but at least one."""
        start = first - self.base_index - 1
        chosen = self.entries[start : last - self.base_index]
        total = 0
        for count, entry in enumerate(chosen):
            total += len(entry.payload)
            if total > bytes_max and count:
                return chosen[:count]
        return chosen

    def slice_behind(self, index: Index, bytes_max: int) -> list[Entry]:
        """Like `slice`, from behind `index` to the end; empty if the log ends there."""
        return self.slice(Index(index + 1), self.last_index, bytes_max) if index < self.last_index else []

    def take_unhanded(self) -> list[Entry]:
        """The entries that the driver has not been given to write yet; now it has."""
        entries = self.entries[self.handed_index - self.base_index :]
        self.handed_index = self.last_index
        return entries

    def take_committed(self, bytes_max: int) -> list[Entry]:
        """The next committed entries that the driver has not been given to apply yet; now it has."""
        entries = self.slice(Index(self.committed_handed + 1), self.commit_index, bytes_max)
        self.committed_handed = entries[-1].index
        return entries

    def commit_to(self, index: Index) -> bool:
        """Moves the commit index forward. Returns: whether it moved.

        Raises: Fatal if the log doesn't reach there: it was acknowledged once and is lost.
        """
        if index <= self.commit_index:
            return False
        if index > self.last_index:
            raise Fatal(
                f"the log ends at {self.last_index}, but {index} is committed and was acknowledged by this replica: "
                "its disk has lost data; start it with --repair, which has the others remove it and add it again empty"
            )
        self.commit_index = index
        return True

    def last_index_not_above(self, index: Index, term: Term) -> tuple[Index, Term]:
        """The last position up to `index` whose term is at most `term`: where two logs may still agree.

        Returns: that position and its term; the base if nothing in memory qualifies.
        Source: the backtracking at the end of §5.3, by whole terms.
        """
        end = max(min(index, self.last_index) - self.base_index, 0)
        position = bisect_right(self.entries, term, 0, end, key=_term_of)
        if position == 0:
            return self.base_index, self.base_term
        found = self.entries[position - 1]
        return found.index, found.term

    def drop_to(self, index: Index) -> None:
        """Forgets the entries up to `index`; its term becomes the base's."""
        count = index - self.base_index
        if count <= 0:
            return
        dropped = self.entries[:count]
        self.base_term = dropped[-1].term
        self.base_index = index
        self.bytes -= sum(entry.cost_bytes for entry in dropped)
        del self.entries[:count]

    def droppable_index(self, keep_bytes: int, limit: Index) -> Index:
        """How far the log may be forgotten (at most to `limit`) so that about `keep_bytes` remain."""
        excess = self.bytes - keep_bytes
        index = self.base_index
        for entry in self.entries:
            if excess <= 0 or index >= limit:
                break
            excess -= entry.cost_bytes
            index = entry.index
        return index

    def restore(self, metadata: SnapshotMetadata) -> None:
        """Starts again behind an installed snapshot."""
        self.entries.clear()
        self.bytes = 0
        self.base_index = self.last_index = metadata.index
        self.base_term = self.last_term = metadata.term
        self.handed_index = self.persisted_index = self.commit_index = metadata.index
        self.committed_handed = self.applied_index = metadata.index
