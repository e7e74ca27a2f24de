"""What of the log stays in memory, and what a snapshot of it is called (Raft §7).

The disk keeps the log from the last checkpoint on. Memory keeps less: entries that are applied and acknowledged by
every live follower go as soon as the log is larger than `log_bytes_keep`. Above `log_bytes_max` slow followers are not
waited for any more. What nobody may forget yet (not applied, not committed) is bounded by refusing proposals.
"""

from makoredis.base.errors import Busy, ClientError, Fatal
from makoredis.base.ids import Index
from makoredis.consensus.state import RaftState
from makoredis.consensus.types import ENTRY_OVERHEAD_BYTES, Role, SnapshotMetadata


def check_room(state: RaftState, payload_bytes: int) -> None:
    """Leader: whether one more entry fits. An empty backlog takes one of any allowed size.

    Raises: Busy, ClientError.
    """
    limits, log = state.limits, state.log
    if payload_bytes > limits.entry_bytes_max:
        raise ClientError(f"ERR a transaction of {payload_bytes} bytes exceeds the limit of {limits.entry_bytes_max}")
    size = payload_bytes + ENTRY_OVERHEAD_BYTES
    if log.bytes + size <= limits.log_bytes_max:
        return
    drop_old_entries(state)
    if log.bytes + size > limits.log_bytes_max and log.applied_index < log.last_index:
        raise Busy(f"the log in memory is full: {log.bytes} bytes wait for replicas or to be applied")


def drop_old_entries(state: RaftState) -> None:
    """Forgets what nobody needs, down to three quarters of what is kept, so that this is rarely called."""
    log, limits = state.log, state.limits
    if log.bytes <= limits.log_bytes_keep:
        return
    floor = min(log.applied_index, log.handed_index)
    target = limits.log_bytes_keep * 3 // 4
    polite = min(floor, _needed_by_followers(state))
    log.drop_to(log.droppable_index(target, Index(polite)))
    if log.bytes > limits.log_bytes_max * 3 // 4:
        log.drop_to(log.droppable_index(limits.log_bytes_max * 3 // 4, floor))
    state.membership.drop_to(log.base_index)


def compact(state: RaftState, index: Index) -> None:
    """Forgets everything up to an applied index.

    Raises: Fatal if it is not applied.
    """
    if index > state.log.applied_index:
        raise Fatal(f"compaction up to {index}, but only {state.log.applied_index} is applied")
    state.log.drop_to(index)
    state.membership.drop_to(index)


def snapshot_metadata(state: RaftState, index: Index) -> SnapshotMetadata:
    """Describes the state after applying up to `index`.

    Raises: Fatal if the index is not applied or no longer known.
    """
    term = state.log.term_at(index)
    if term is None or index > state.log.applied_index:
        raise Fatal(f"no snapshot can be described at {index}: known are {state.log.base_index} to applied entries")
    return SnapshotMetadata(index, term, state.membership.at(index))


def _needed_by_followers(state: RaftState) -> Index:
    """Leader: up to here every live follower has the log, or will have it when its snapshot is installed."""
    needed = state.log.last_index
    if state.role is Role.LEADER:
        for progress in state.peers.values():
            if progress.is_live(state.now, state.config.election_ticks):
                has = progress.match_index
                if progress.transfer is not None and progress.transfer.metadata is not None:
                    has = max(has, progress.transfer.metadata.index)
                needed = min(needed, has)
    return needed
