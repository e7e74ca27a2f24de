"""What must hold inside one replica after every step."""

from makoredis.consensus.progress import ProgressState
from makoredis.consensus.state import RaftState
from makoredis.consensus.types import Role


def check_invariants(state: RaftState) -> None:
    """Raises AssertionError with the name of what is broken."""
    _check_log(state)
    if state.role is Role.LEADER:
        _check_leader(state)
    else:
        assert not state.peers, "only a leader tracks peers"
        assert state.leader != state.node, "who is its own leader must be one"
    if state.role is Role.CANDIDATE:
        assert state.vote == state.node, "a candidate votes for itself"
    if state.role in (Role.CANDIDATE, Role.PRE_CANDIDATE):
        assert state.leader is None, "a candidate knows no leader"
    assert state.installing is None or state.role is not Role.LEADER, "a leader installs no snapshot"


def _check_log(state: RaftState) -> None:
    log = state.log
    assert log.base_index <= log.applied_index <= log.committed_handed <= log.commit_index <= log.last_index, (
        f"marks out of order: {log.base_index} {log.applied_index} {log.committed_handed} "
        f"{log.commit_index} {log.last_index}"
    )
    assert log.persisted_index <= log.handed_index <= log.last_index, "persisted what was not handed out"
    assert len(log.entries) == log.last_index - log.base_index, "the log has gaps"
    assert log.last_term <= state.term, "an entry of a term not reached yet"
    assert log.bytes == sum(entry.cost_bytes for entry in log.entries), "bytes miscounted"
    terms = [log.base_term, *(entry.term for entry in log.entries)]
    assert terms == sorted(terms), "terms go back within the log"
    assert state.membership.index <= log.last_index, "a configuration beyond the log"


def _check_leader(state: RaftState) -> None:
    log = state.log
    assert state.leader == state.node, "a leader knows itself"
    assert state.own_match <= log.persisted_index, "counts itself for what is not on its disk"
    assert state.configuration.members() - {state.node} <= state.peers.keys(), "a member is not tracked"
    assert state.node not in state.peers, "a leader is not its own peer"
    for progress in state.peers.values():
        assert progress.match_index < progress.next_index, "match not below next"
        assert progress.match_index <= log.last_index, "match beyond the log"
        assert (progress.transfer is not None) == (progress.state is ProgressState.SNAPSHOT), "transfer without state"
        assert progress.inflight_bytes == sum(size for _, size in progress.inflight), "bytes in flight miscounted"
        assert len(progress.inflight) <= state.limits.inflight_messages_max, "too many in flight"
    assert state.waiting_reads == len(state.pending_reads) + sum(len(r.reads) for r in state.read_rounds), (
        "waiting reads miscounted"
    )
