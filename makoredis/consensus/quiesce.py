"""Silence while nothing happens, so that thousands of idle groups cost nothing.

When everybody has everything and nobody has used the group for `quiesce_ticks`, the leader says so and stops its
heartbeats; followers that have everything stop their election timers. Any use, or any message other than a late answer,
wakes a replica, and a woken one gives the leader a full election timeout to show itself before it campaigns.

While quiesced nobody here notices that a member died; the driver has to: a broken connection is said by `unreachable`,
and whoever wants the group calls `wake`. Until then the leader counts everybody as it was: alive, and caught up.

The lease and what it rests on, the followers' promises, go by the time since the last heartbeats as ever. So there is
soon none; a leader that is asked for one wakes, and has it again after a round.
"""

from makoredis.base.ids import NodeId
from makoredis.consensus import heartbeat
from makoredis.consensus.follower import hear_leader
from makoredis.consensus.messages import AppendResponse, HeartbeatResponse, Quiesce, SnapshotResponse, Wake
from makoredis.consensus.progress import LONG_AGO
from makoredis.consensus.state import RaftState
from makoredis.consensus.types import Role

SLEEPS_ON = frozenset((Quiesce, HeartbeatResponse, AppendResponse, SnapshotResponse))
"""Messages that don't wake anybody: the announcement itself, and late answers."""


def tick(state: RaftState) -> bool:
    """Leader: quiesces the group when it is idle, instead of the next heartbeat. Returns whether it does."""
    if state.now - state.active_at < state.config.quiesce_ticks or not _is_idle(state):
        return False
    last = state.log.last_index
    for node in state.peers:
        state.send(node, Quiesce(state.term, last))
    state.is_quiesced = True
    return True


def wake(state: RaftState) -> None:
    """Somebody wants the group: everybody should be awake."""
    if not state.is_quiesced:
        return
    rouse(state)
    if state.role is not Role.LEADER:
        for node in sorted(state.configuration.members() - {state.node}):
            state.send(node, Wake(state.term))


def rouse(state: RaftState) -> None:
    """Timers run again, beginning now."""
    state.is_quiesced = False
    state.active_at = state.now
    state.election_elapsed = 0
    if state.role is Role.LEADER:
        for progress in state.peers.values():
            # They had everything when the silence began, and nothing has come since.
            progress.heard_at = progress.moved_at = progress.caught_up_at = state.now
        heartbeat.broadcast(state)
    elif state.heard_at != LONG_AGO:
        state.heard_at = state.now


def on_quiesce(state: RaftState, sender: NodeId, message: Quiesce) -> None:
    """The leader will be silent. Who lacks something stays awake, and will make itself heard."""
    hear_leader(state, sender)
    if state.log.last_index == message.last_index and state.installing is None:
        state.log.commit_to(message.last_index)
        state.is_quiesced = True


def on_wake(state: RaftState, sender: NodeId, message: Wake) -> None:
    """The leader shows itself; for others, having been woken by the message is all."""
    if state.role is Role.LEADER:
        state.active_at = state.now
        heartbeat.broadcast(state)


def _is_idle(state: RaftState) -> bool:
    log = state.log
    if state.transfer_to is not None or state.waiting_reads or state.change_pending or _is_to_hand_over(state):
        return False
    if not log.last_index == log.commit_index == state.own_match == log.applied_index:
        return False
    return all(
        progress.match_index == log.last_index
        and progress.commit_sent == log.last_index
        and progress.acknowledged_round == state.round  # a heartbeat that arrives later would wake who hears it
        and progress.is_live(state.now, state.config.election_ticks)
        for progress in state.peers.values()
    )


def _is_to_hand_over(state: RaftState) -> bool:
    """Whether somebody else shall lead and may: it is tried again and again."""
    preferred = state.preferred
    return (
        preferred is not None
        and preferred != state.node
        and preferred in state.peers
        and state.configuration.may_lead(preferred)
    )
