"""Handing the leadership over (thesis §3.10), on request or to the preferred node.

The leader stops taking proposals, waits until the target has its whole log, and tells it to campaign at once. If no
new leader appears within an election timeout, it goes on as if nothing had happened, except for the lease: the target
may still campaign later, and voters would not protect this leader from that, so this term has no lease any more and
reads take a quorum round.
"""

from makoredis.base.errors import Busy, ClientError, NotLeader
from makoredis.base.ids import NodeId
from makoredis.consensus.messages import TimeoutNow
from makoredis.consensus.state import RaftState
from makoredis.consensus.types import Role

PREFERRED_RETRY_TIMEOUTS = 4
"""Election timeouts between two attempts to hand over to the preferred node; twice as many after each that failed."""
PREFERRED_RETRY_DOUBLINGS_MAX = 6
"""A node that follows but does not lead (its disk may be full) must not stop the group again and again."""


def begin(state: RaftState, node: NodeId) -> None:
    """Starts a hand-over; to itself it is done already.

    Raises: NotLeader, Busy, ClientError.
    """
    if state.role is not Role.LEADER:
        raise NotLeader(state.leader)
    if node == state.node:
        return
    if state.transfer_to is not None:
        raise Busy(f"the leadership is being handed over to node {state.transfer_to}")
    if not state.configuration.may_lead(node) or node not in state.peers:
        raise ClientError(f"ERR node {node} may not lead: it is no voter, or a log witness")
    state.transfer_to = node
    state.transfer_since = state.now
    state.active_at = state.now
    state.replicate_pending = True
    hand_over_if_caught_up(state)


def hand_over_if_caught_up(state: RaftState) -> None:
    """Tells the target to campaign once it has the whole log."""
    target = state.transfer_to
    if target is not None and state.peers[target].match_index == state.log.last_index:
        state.is_lease_spoiled = True
        state.send(target, TimeoutNow(state.term))


def tick(state: RaftState) -> None:
    """Gives a hand-over up after an election timeout; begins one to the preferred node when it is ready for it."""
    if state.transfer_to is not None:
        if state.now - state.transfer_since >= state.config.election_ticks or state.transfer_to not in state.peers:
            if state.transfer_to == state.preferred:
                state.preferred_failures += 1
            state.transfer_to = None
        return
    preferred = state.preferred
    if preferred is not None and preferred != state.node and _is_stable(state, preferred):
        timeouts = PREFERRED_RETRY_TIMEOUTS << min(state.preferred_failures, PREFERRED_RETRY_DOUBLINGS_MAX)
        state.preferred_retry_at = state.now + timeouts * state.config.election_ticks
        begin(state, preferred)


def _is_stable(state: RaftState, node: NodeId) -> bool:
    """Whether the node has been caught up, and this leadership in peace, for a while."""
    progress = state.peers.get(node)
    if progress is None or not progress.is_caught_up(state.now, state.config.election_ticks):
        if progress is not None:
            progress.caught_up_since = -1
        return False
    if progress.caught_up_since < 0:
        progress.caught_up_since = state.now
    return (
        state.now - progress.caught_up_since >= state.config.preferred_stable_ticks
        and state.now >= state.preferred_retry_at
        and not state.change_pending
        and state.configuration.may_lead(node)
    )
