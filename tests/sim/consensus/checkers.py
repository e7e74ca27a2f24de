"""What must hold in every execution, checked from outside: no checker trusts what a core says of itself alone.

* Election Safety: at most one leader per term.
* Leader Completeness: a leader's log has everything chosen in earlier terms.
* State Machine Safety: all replicas apply the same entries at the same indexes, in order, without gaps, once.
* Durability: an entry that a leader calls committed is on the disks of a quorum at that moment.
* Linearizability of reads: a read shows everything acknowledged before it began; a lease is held by one at most, and
  only by one who knows everything acknowledged.
* What was acknowledged is applied everywhere in the end.
"""

from typing import TYPE_CHECKING

from makoredis.base.ids import Index, NodeId, Term
from makoredis.consensus import quorum, reads
from makoredis.consensus.core import RoleChange
from makoredis.consensus.types import Configuration, Entry, EntryKind, Role, SnapshotMetadata
from tests.sim.consensus.invariants import check_invariants

if TYPE_CHECKING:
    from tests.sim.consensus.replica import Replica


class Violation(AssertionError):
    """A promise was broken."""


class Observer:
    """Sees every step of every replica."""

    def __init__(self) -> None:
        self.replicas: dict[NodeId, Replica] = {}
        self.leaders: dict[Term, NodeId] = {}
        self.chosen: dict[int, Entry] = {}
        """By index, as first applied by anybody who keeps data."""
        self.chosen_terms: dict[int, int] = {}
        self.chosen_by: dict[int, int] = {}
        """By index: a term in which it was known to be chosen; only leaders of later terms must have it."""
        self.acknowledged: dict[int, bytes] = {}
        self.acknowledged_max = 0
        self.proposed: dict[tuple[NodeId, int, int], bytes] = {}
        self.committed_seen: dict[tuple[NodeId, int], int] = {}
        """By node and term: the commit index it has reached as that term's leader."""
        self.reads: dict[int, int] = {}
        """Context: highest index acknowledged before the read began."""
        self.reads_served = 0
        self.reads_failed = 0
        self.installs = 0
        self.lease_steps = 0

    def started(self, replica: "Replica") -> None:
        self.replicas[replica.node] = replica

    def role_changed(self, replica: "Replica", change: RoleChange) -> None:
        if change.role is not Role.LEADER:
            return
        previous = self.leaders.setdefault(change.term, replica.node)
        if previous != replica.node:
            raise Violation(f"nodes {previous} and {replica.node} both lead term {change.term}")
        if replica.is_witness:
            raise Violation(f"log witness {replica.node} leads")
        log = replica.core.state.log
        for index, term in self.chosen_terms.items():
            was_before = self.chosen_by[index] < change.term
            if was_before and index > log.base_index and log.term_at(Index(index)) != term:
                raise Violation(f"node {replica.node} leads term {change.term} without chosen entry {index}")

    def applying(self, replica: "Replica", entry: Entry) -> None:
        if entry.index != replica.applied + 1:
            raise Violation(f"node {replica.node} applies {entry.index} after {replica.applied}")
        if self.chosen_terms.setdefault(entry.index, entry.term) != entry.term:
            raise Violation(f"node {replica.node} applies entry {entry.index} of term {entry.term}, not the chosen one")
        self.chosen_by.setdefault(entry.index, replica.core.state.term)
        if replica.is_witness:
            if entry.kind is EntryKind.NORMAL:
                raise Violation(f"log witness {replica.node} was sent data")
            return
        if self.chosen.setdefault(entry.index, entry) != entry:
            raise Violation(f"node {replica.node} applies something else at {entry.index}")
        payload = self.proposed.pop((replica.node, entry.index, entry.term), None)
        if payload is not None:
            if payload != entry.payload:
                raise Violation(f"the proposal at {entry.index} came back with other bytes")
            self.acknowledged[entry.index] = payload
            self.acknowledged_max = max(self.acknowledged_max, entry.index)

    def installed(self, replica: "Replica", metadata: SnapshotMetadata) -> None:
        self.installs += 1
        if metadata.index in self.chosen_terms and self.chosen_terms[metadata.index] != metadata.term:
            raise Violation(f"node {replica.node} installed a snapshot of something else at {metadata.index}")
        if not replica.is_witness:
            expected = [
                (index, entry.term, entry.payload)
                for index, entry in sorted(self.chosen.items())
                if index <= metadata.index and entry.kind is EntryKind.NORMAL
            ]
            if replica.image != expected:
                raise Violation(f"node {replica.node} installed a damaged snapshot at {metadata.index}")

    def stepped(self, replica: "Replica") -> None:
        """After everything a replica did in one step."""
        state = replica.core.state
        check_invariants(state)
        commit = state.log.commit_index
        key = (replica.node, state.term)
        if state.role is not Role.LEADER:
            return
        if commit > self.committed_seen.setdefault(key, commit):
            self.committed_seen[key] = commit
            self._check_durable(replica, commit)
        if reads.is_lease_valid(state) and not replica.is_catching_up:
            self.lease_steps += 1
            if commit < self.acknowledged_max:
                raise Violation(
                    f"node {replica.node} trusts its lease of term {state.term} at {commit}, "
                    f"but {self.acknowledged_max} is acknowledged"
                )
            self._check_only_lease(replica)

    def _check_durable(self, replica: "Replica", commit: Index) -> None:
        state = replica.core.state
        term = state.log.term_at(commit)
        assert term is not None
        holders = {node for node, other in self.replicas.items() if other.disk.holds(commit, term)}
        # Whatever is appended counts at once, so the configuration may be newer than the entry: both must have it.
        if not quorum.has_quorum(state.configuration, holders):
            raise Violation(f"{commit} is called committed by {replica.node}, but is on the disks of {holders} only")

    def _check_only_lease(self, replica: "Replica") -> None:
        for node, other in self.replicas.items():
            trusts = other.is_up and not other.is_paused and not other.is_catching_up
            is_newer = other.core.state.term > replica.core.state.term
            if node != replica.node and trusts and is_newer and reads.is_lease_valid(other.core.state):
                raise Violation(f"nodes {node} and {replica.node} both hold a lease")

    # ----- clients -----

    def proposed_at(self, node: NodeId, index: int, term: int, payload: bytes) -> None:
        self.proposed[(node, index, term)] = payload

    def read_begins(self, context: int) -> None:
        self.reads[context] = self.acknowledged_max

    def read_served(self, replica: "Replica", context: int) -> None:
        self.reads_served += 1
        before = self.reads.pop(context)
        if replica.applied < before:
            raise Violation(f"a read on {replica.node} shows {replica.applied}, {before} was acknowledged before it")

    def read_failed(self, replica: "Replica", context: int) -> None:
        self.reads_failed += 1
        self.reads.pop(context)

    # ----- at the end -----

    def check_converged(self, configuration: Configuration) -> None:
        """Every member that keeps data has applied everything acknowledged, and all have applied the same."""
        for index, payload in self.acknowledged.items():
            if self.chosen[index].payload != payload:
                raise Violation(f"acknowledged entry {index} was replaced")
        for node in configuration.members():
            replica = self.replicas[node]
            if replica.applied < self.acknowledged_max:
                raise Violation(f"node {node} stopped at {replica.applied}, {self.acknowledged_max} is acknowledged")
            if not replica.is_witness:
                have = {index: payload for index, _, payload in replica.image}
                lost = [index for index, payload in self.acknowledged.items() if have.get(index) != payload]
                if lost:
                    raise Violation(f"node {node} lost acknowledged entries {lost[:5]}")
