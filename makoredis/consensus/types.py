"""What a replicated log is made of: entries, hard state, configurations, snapshot descriptions.

Everything here has a binary form (`Wire`), because storage writes it and the transport sends it. The messages built
from these are in `messages.py`.
"""

from enum import IntEnum
from typing import Final

from makoredis.base.ids import Index, NodeId, Term
from makoredis.base.record import Wire, wire_decoder, wire_encode


class Role(IntEnum):
    """What a replica is doing in its current term (Raft §5.1; pre-candidate: thesis §9.6).

    Whether it is a learner or a log witness is not a role but a fact of the configuration: both are always followers.
    """

    FOLLOWER = 0
    PRE_CANDIDATE = 1
    CANDIDATE = 2
    LEADER = 3


class EntryKind(IntEnum):
    """What an entry's payload is."""

    NORMAL = 0
    """The user's bytes; consensus never looks inside."""
    CONFIGURATION = 1
    """An encoded `Configuration`, in force from the moment it is appended (thesis §4.1)."""
    EMPTY = 2
    """A new leader's first entry: once it is committed, so is everything before it (Raft §5.4.2, §8)."""
    METADATA = 3
    """A NORMAL entry as a log witness keeps it: its term and index without its payload."""


ENTRY_OVERHEAD_BYTES: Final = 96
"""Charged per entry on top of its payload: what the record itself costs in memory."""


class Entry(Wire):
    """One position of a log. `index` and `term` together name it: no other entry of this log ever has both (§5.3)."""

    term: Term
    index: Index
    kind: EntryKind
    payload: bytes

    @property
    def cost_bytes(self) -> int:
        """What this entry counts for against a limit in bytes."""
        return len(self.payload) + ENTRY_OVERHEAD_BYTES


class HardState(Wire):
    """What a replica must find on its disk after a crash, apart from the log, or it could vote twice in one term."""

    term: Term = Term(0)
    vote: NodeId | None = None
    """Whom it voted for in `term`; None: nobody."""
    commit: Index = Index(0)
    """A lower bound of the commit index when this was written. Losing it is harmless; it only speeds up a restart."""


class Configuration(Wire):
    """Who takes part. The sets are sorted tuples, so that equal configurations have equal bytes.

    * `outgoing` is empty, except during a joint change (Raft §6): then every decision needs a majority of `voters` and
      a majority of `outgoing`.
    * A log witness is a voter that keeps the terms of entries but not their payloads, and never leads.
    * `learners` get the log but don't vote. A node in both `outgoing` and `learners` is a voter that becomes a learner
      when the joint change ends.
    """

    voters: tuple[NodeId, ...] = ()
    """Everyone who votes, witnesses included."""
    outgoing: tuple[NodeId, ...] = ()
    """The voters of the configuration that a joint change leaves behind."""
    learners: tuple[NodeId, ...] = ()
    witnesses: tuple[NodeId, ...] = ()
    """Those of `voters` and `outgoing` that are log witnesses."""
    notes: bytes = b""
    """What the driver keeps beside the members, such as their addresses. Consensus never looks inside; another one is
    another configuration, and a joint change ends with those of its target."""

    @property
    def is_joint(self) -> bool:
        """Whether a joint change is under way."""
        return bool(self.outgoing)

    def members(self) -> frozenset[NodeId]:
        """Every node that gets the log."""
        return frozenset(self.voters).union(self.outgoing, self.learners)

    def votes(self, node: NodeId) -> bool:
        """Whether this node's vote counts."""
        return node in self.voters or node in self.outgoing

    def may_lead(self, node: NodeId) -> bool:
        """Whether this node may stand for election: a voter that keeps data."""
        return self.votes(node) and node not in self.witnesses


class SnapshotMetadata(Wire):
    """What a snapshot or checkpoint stands for: the state after applying everything up to `index`."""

    index: Index
    term: Term
    """Term of the entry at `index`, for the log-matching check on what follows it."""
    configuration: Configuration
    """In force at `index`."""


encode_configuration = wire_encode
decode_configuration = wire_decoder(Configuration)
