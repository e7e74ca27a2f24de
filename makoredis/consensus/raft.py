"""Raft behind the `Core` interface: the machine that a driver holds.

Sources: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended version, the sections
cited as §), and Ongaro's thesis "Consensus: Bridging Theory and Practice" (cited as thesis §). What is where:
see `state.py`.

Cost per entry of 100 bytes, everything from proposal to applied (CPython 3.11, `tools/consensus_bench.py`): 8 µs for a
single voter, 28 µs for the leader of three, 11 µs for a follower.
"""

from collections.abc import Collection, Sequence
from random import Random

from makoredis.base.errors import Busy, NotLeader
from makoredis.base.ids import Index, NodeId, Term
from makoredis.consensus import (
    change,
    dispatch,
    election,
    heartbeat,
    quiesce,
    reads,
    replication,
    retention,
    snapshot,
    transfer,
)
from makoredis.consensus.core import CoreConfig, Outgoing, PeerStatus, Quiesced, ReadState, Ready, RoleChange, Status
from makoredis.consensus.messages import AppendResponse, Message
from makoredis.consensus.state import RaftState
from makoredis.consensus.types import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Role,
    SnapshotMetadata,
)

_NO_ENTRIES: tuple[Entry, ...] = ()
_NO_MESSAGES: tuple[Outgoing, ...] = ()
_NO_READS: tuple[ReadState, ...] = ()


class Raft:
    """One replica of one group. Implements `Core`, where each method is described."""

    def __init__(
        self,
        config: CoreConfig,
        rng: Random,
        hard_state: HardState | None = None,
        entries: Sequence[Entry] = (),
        snapshot: SnapshotMetadata | None = None,
    ) -> None:
        """Begins, or begins again with what was found on disk.

        Args:
            hard_state: None: never ran before.
            entries: the log behind the last checkpoint, complete.
            snapshot: what the last checkpoint or installed snapshot stands for; its state counts as applied.
        Raises: Fatal if these don't fit together.
        """
        self.state = RaftState(config, rng, hard_state or HardState(), entries, snapshot)
        self._announced: tuple[Role, Term, NodeId | None] | None = None

    # ----- inputs -----

    def tick(self, elapsed: int = 1) -> None:
        state = self.state
        if state.role is not Role.LEADER:
            state.now += 1
            if not state.is_quiesced:
                election.tick_election(state)
            return
        state.now += elapsed
        if state.is_quiesced:
            return
        if elapsed > 1:
            heartbeat.forgive_pause(state, elapsed - 1)
        if not heartbeat.has_live_quorum(state):
            state.become_follower(state.term, None)
            return
        if state.config.quiesce_ticks and quiesce.tick(state):
            return
        state.heartbeat_elapsed += elapsed
        if state.heartbeat_elapsed >= state.config.heartbeat_ticks:
            heartbeat.broadcast(state)
        replication.tick(state)
        transfer.tick(state)
        change.tick(state)
        snapshot.tick(state)

    def step(self, sender: NodeId, message: Message) -> None:
        dispatch.step(self.state, sender, message)

    def campaign(self) -> None:
        if self.state.role is not Role.LEADER:
            quiesce.wake(self.state)
            election.campaign(self.state)

    def propose(self, payload: bytes) -> Index:
        state = self.state
        if state.role is not Role.LEADER:
            raise NotLeader(state.leader)
        if state.transfer_to is not None:
            raise Busy(f"the leadership is being handed over to node {state.transfer_to}")
        retention.check_room(state, len(payload))
        if state.is_quiesced:
            quiesce.rouse(state)
        state.active_at = state.now
        return state.append(EntryKind.NORMAL, payload)

    def propose_configuration(self, target: Configuration) -> Index:
        quiesce.wake(self.state)
        return change.propose(self.state, target)

    def read_index(self, context: int) -> None:
        quiesce.wake(self.state)
        reads.begin(self.state, context)

    def lease_valid(self, is_use: bool = True) -> bool:
        state = self.state
        if is_use:
            state.active_at = state.now
            if state.is_quiesced:
                quiesce.wake(state)
        return reads.is_lease_valid(state)

    def transfer_leadership(self, node: NodeId) -> None:
        quiesce.wake(self.state)
        transfer.begin(self.state, node)

    def prefer(self, node: NodeId | None) -> None:
        self.state.preferred = node

    def defer_commit(self, is_deferred: bool) -> None:
        state = self.state
        if state.is_commit_deferred and not is_deferred and state.role is Role.LEADER:
            commit = state.log.commit_index
            for progress in state.peers.values():
                if progress.commit_sent < commit:
                    state.replicate_pending = True
        state.is_commit_deferred = is_deferred

    def spares(self) -> Collection[NodeId]:
        return replication.spares(self.state) if self.state.role is Role.LEADER else ()

    def is_transferring(self) -> bool:
        return self.state.transfer_to is not None

    def wake(self) -> None:
        if self.state.is_quiesced:
            quiesce.wake(self.state)

    def quiesced(self) -> Quiesced | None:
        state = self.state
        if not state.is_quiesced or state.leader is None:
            return None
        return Quiesced(state.leader, state.term, state.log.last_index)

    def unreachable(self, node: NodeId) -> None:
        if self.state.role is Role.LEADER:
            if node in self.state.peers:
                quiesce.wake(self.state)
            replication.unreachable(self.state, node)
        elif node == self.state.leader:
            quiesce.wake(self.state)

    # ----- output -----

    def has_ready(self) -> bool:
        state = self.state
        log = state.log
        return bool(
            log.handed_index < log.last_index
            or state.replicate_pending
            or state.outbox
            or state.outbox_synced
            or (log.committed_handed < log.commit_index and state.installing is None)
            or state.acknowledge_index is not None
            or state.is_hard_state_changed
            or state.is_role_changed
            or state.read_states
            or state.failed_reads
            or (state.pending_reads and state.has_committed_in_term)
            or state.chunk_requests
            or state.closed_transfers
            or state.chunk_writes
            or (state.installing is not None and not state.is_install_handed)
        )

    def take_ready(self) -> Ready:
        state = self.state
        log = state.log
        if state.role is Role.LEADER:
            if state.pending_reads:
                reads.start_round(state)
            if state.replicate_pending:
                replication.replicate(state)
        if state.acknowledge_index is not None:
            self._acknowledge()
        ready = Ready(
            hard_state=self._take_hard_state() if state.is_hard_state_changed else None,
            entries=log.take_unhanded() if log.handed_index < log.last_index else _NO_ENTRIES,
            messages=state.outbox or _NO_MESSAGES,
            messages_after_persist=state.outbox_synced or _NO_MESSAGES,
            committed=self._take_committed() if log.committed_handed < log.commit_index else _NO_ENTRIES,
            role_change=self._take_role_change() if state.is_role_changed else None,
            read_states=state.read_states or _NO_READS,
            failed_reads=state.failed_reads or (),
            chunk_requests=state.chunk_requests or (),
            closed_transfers=state.closed_transfers or (),
            chunk_writes=state.chunk_writes or (),
            install=self._take_install() if state.installing is not None else None,
        )
        state.clear_handed()
        return ready

    # ----- reports on what was taken -----

    def persisted(self, index: Index, term: Term) -> None:
        state = self.state
        log = state.log
        if index > log.persisted_index and (index <= log.base_index or log.term_at(index) == term):
            log.persisted_index = index
        if state.role is Role.LEADER:
            replication.persisted(state, index, term)

    def applied(self, index: Index) -> None:
        log = self.state.log
        if index > log.applied_index:
            log.applied_index = index
            if log.bytes > self.state.limits.log_bytes_keep:
                retention.drop_old_entries(self.state)

    def snapshot_metadata(self, index: Index) -> SnapshotMetadata:
        return retention.snapshot_metadata(self.state, index)

    def configuration_at(self, index: Index) -> Configuration:
        return self.state.membership.at(index)

    def compact(self, index: Index) -> None:
        retention.compact(self.state, index)

    def supply_chunk(self, transfer: int, metadata: SnapshotMetadata, offset: int, data: bytes, is_last: bool) -> None:
        snapshot.supply_chunk(self.state, transfer, metadata, offset, data, is_last)

    def chunks_unavailable(self, transfer: int) -> None:
        snapshot.chunks_unavailable(self.state, transfer)

    def chunk_stored(self, receipt: int, received: int) -> None:
        snapshot.chunk_stored(self.state, receipt, received)

    def snapshot_installed(self, metadata: SnapshotMetadata) -> None:
        snapshot.installed(self.state, metadata)

    def snapshot_rejected(self, metadata: SnapshotMetadata) -> None:
        snapshot.rejected(self.state, metadata)

    def status(self) -> Status:
        state = self.state
        log = state.log
        ticks = state.config.election_ticks
        return Status(
            node=state.node,
            role=state.role,
            term=state.term,
            leader=state.leader,
            vote=state.vote,
            first_index=log.first_index,
            last_index=log.last_index,
            persisted_index=log.persisted_index,
            commit_index=log.commit_index,
            applied_index=log.applied_index,
            log_bytes=log.bytes,
            configuration=state.configuration,
            configuration_index=state.membership.index,
            transferring_to=state.transfer_to,
            is_quiesced=state.is_quiesced,
            peers={
                node: PeerStatus(
                    match_index=progress.match_index,
                    next_index=progress.next_index,
                    state=progress.state.name.lower(),
                    is_live=state.is_quiesced or progress.is_live(state.now, ticks),
                    is_caught_up=state.is_quiesced or progress.is_caught_up(state.now, ticks),
                )
                for node, progress in state.peers.items()
            },
        )

    # ----- parts of a Ready -----

    def _take_hard_state(self) -> HardState:
        state = self.state
        return HardState(state.term, state.vote, state.log.commit_index)

    def _take_committed(self) -> Sequence[Entry]:
        state = self.state
        if state.installing is not None:
            return _NO_ENTRIES
        return state.log.take_committed(state.limits.committed_bytes_max)

    def _take_role_change(self) -> RoleChange | None:
        state = self.state
        now = (state.role, state.term, state.leader)
        if now == self._announced:
            return None
        self._announced = now
        return RoleChange(*now)

    def _take_install(self) -> SnapshotMetadata | None:
        state = self.state
        if state.is_install_handed:
            return None
        state.is_install_handed = True
        return state.installing

    def _acknowledge(self) -> None:
        state = self.state
        if state.role is Role.FOLLOWER and state.leader is not None and state.acknowledge_index is not None:
            state.send_synced(state.leader, AppendResponse(state.term, True, state.acknowledge_index))
        state.acknowledge_index = None
