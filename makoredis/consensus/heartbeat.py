"""Heartbeat rounds: they keep followers, prove leadership, and notice its loss (Raft §5.2; thesis §6.2, §6.4).

Rounds are numbered. A follower answers with the number, so an answer proves that it followed at the time the round
began, however long answer or heartbeat were under way.
"""

from makoredis.consensus.messages import Heartbeat
from makoredis.consensus.quorum import has_quorum
from makoredis.consensus.state import RaftState


def broadcast(state: RaftState) -> int:
    """Begins a heartbeat round. Returns: its number."""
    state.heartbeat_elapsed = 0
    state.round += 1
    round_ticks = state.round_ticks
    round_ticks[state.round] = state.now
    while round_ticks[oldest := next(iter(round_ticks))] < state.now - state.config.election_ticks:
        del round_ticks[oldest]
    if not state.is_held:
        for node, progress in state.peers.items():
            known = min(state.log.commit_index, progress.match_index)
            progress.commit_sent = known
            state.send(node, Heartbeat(state.term, known, state.round))
    return state.round


def has_live_quorum(state: RaftState) -> bool:
    """Whether a quorum was heard within an election timeout (check-quorum, thesis §6.2)."""
    ticks = state.config.election_ticks
    heard = {node for node, progress in state.peers.items() if progress.is_live(state.now, ticks)}
    heard.add(state.node)
    return has_quorum(state.configuration, heard)


def forgive_pause(state: RaftState, ticks: int) -> None:
    """This node was stopped for a while: nobody could be heard, so nobody's silence counts."""
    for progress in state.peers.values():
        progress.heard_at += ticks
