"""Membership changes, as their leader drives them (Raft §6, thesis chapter 4).

`membership.py` says which configurations may follow each other; here is when, and what follows from a commit:

* the joint configuration is committed → the one without the outgoing voters is appended;
* a configuration is committed in which the leader has no vote → it hands over. It leads on until somebody has its whole
  log: if it just stopped, entries that only a log witness got could keep everybody else from being elected.

A new leader draws the same consequences as soon as it has committed its first entry, so a change begun is finished.
"""

from makoredis.base.errors import NotLeader
from makoredis.base.ids import Index
from makoredis.consensus import transfer
from makoredis.consensus.core import ChangeRefused
from makoredis.consensus.membership import check_target, next_configuration, normalized, without_outgoing
from makoredis.consensus.state import RaftState
from makoredis.consensus.types import Configuration, Role, encode_configuration


def propose(state: RaftState, target: Configuration) -> Index:
    """Starts a change; the same configuration again is no change and returns where it is.

    Raises: NotLeader, ChangeRefused, ClientError.
    """
    if state.role is not Role.LEADER:
        raise NotLeader(state.leader)
    target = normalized(target)
    _check_idle(state)
    current = state.configuration
    if target == current:
        return state.membership.index
    check_target(current, target)
    _check_caught_up(state, current, target)
    state.active_at = state.now
    return _append(state, next_configuration(current, target))


def draw_consequences(state: RaftState) -> None:
    """After the commit index moved, with an entry of this term: goes on with a committed change."""
    if state.membership.index > state.log.commit_index:
        return
    configuration = state.configuration
    if configuration.is_joint:
        _append(state, without_outgoing(configuration))
    else:
        _forget_departed(state)
        state.change_pending = not configuration.votes(state.node) or any(
            progress.is_leaving for progress in state.peers.values()
        )


def tick(state: RaftState) -> None:
    """Leader: stops telling removed nodes once they know, or are not to be reached; goes if it has no vote itself."""
    if not state.change_pending or not state.has_committed_in_term:
        return
    draw_consequences(state)
    if state.membership.index > state.log.commit_index:
        return
    if not state.configuration.votes(state.node) and state.transfer_to is None:
        successors = [
            (progress.match_index, node)
            for node, progress in state.peers.items()
            if state.configuration.may_lead(node) and progress.is_live(state.now, state.config.election_ticks)
        ]
        if successors:
            transfer.begin(state, max(successors)[1])


def _append(state: RaftState, configuration: Configuration) -> Index:
    return state.append_configuration(configuration, encode_configuration(configuration))


def _check_idle(state: RaftState) -> None:
    if state.membership.index > state.log.commit_index or state.configuration.is_joint:
        raise ChangeRefused("a configuration change is under way")
    if not state.has_committed_in_term:
        raise ChangeRefused("the leader has not committed an entry of its term yet")
    if state.transfer_to is not None:
        raise ChangeRefused("the leadership is being handed over")


def _check_caught_up(state: RaftState, current: Configuration, target: Configuration) -> None:
    for node in target.voters:
        if node in target.witnesses or current.votes(node):
            continue
        progress = state.peers.get(node)
        if progress is None or not progress.is_caught_up(state.now, state.config.election_ticks):
            raise ChangeRefused(f"node {node} is not a caught-up learner")


def _forget_departed(state: RaftState) -> None:
    """Departed: knows the commit of its removal, or has been silent for an election timeout."""
    for node, progress in list(state.peers.items()):
        if progress.is_leaving and (
            progress.commit_sent >= state.membership.index
            or not progress.is_live(state.now, state.config.election_ticks)
        ):
            state.close_transfer(progress)
            del state.peers[node]
