"""Linearizable reads without a log entry: by leader lease, or by ReadIndex (Raft §8; thesis §6.4).

ReadIndex: the leader notes its commit index, then proves with one heartbeat round that it was still the leader after
that. All reads of a turn share a round. A leader that has not committed an entry of its own term yet makes them wait,
because its commit index may lag behind what was acknowledged before it.

Lease: a quorum answered a heartbeat round that *began* at tick s. Each of them votes for nobody within an election
timeout of hearing it, so until then nobody else leads. The lease ends a margin earlier: both ends count whole ticks
(one each), a follower that was stopped counts the pause as one tick, and clocks may differ by 10 %.
"""

from makoredis.base.errors import Busy, NotLeader
from makoredis.base.ids import Index, NodeId
from makoredis.consensus import heartbeat
from makoredis.consensus.core import ReadState
from makoredis.consensus.messages import ReadRequest, ReadResponse
from makoredis.consensus.progress import LONG_AGO
from makoredis.consensus.quorum import quorum_value
from makoredis.consensus.state import RaftState, ReadRound
from makoredis.consensus.types import Role


def lease_ticks(election_ticks: int) -> int:
    """How long after the beginning of a heartbeat round that a quorum answered nobody else can lead."""
    return election_ticks - 3 - election_ticks // 10


def is_lease_valid(state: RaftState) -> bool:
    """Whether nobody else can have been elected by now."""
    if state.role is not Role.LEADER or state.is_lease_spoiled or not state.config.lease_reads:
        return False
    if not state.has_committed_in_term:
        return False
    if state.is_only_voter:
        return True
    ticks = {node: progress.acknowledged_tick for node, progress in state.peers.items()}
    ticks[state.node] = state.now
    return state.now - quorum_value(state.configuration, ticks, LONG_AGO) < lease_ticks(state.config.election_ticks)


def begin(state: RaftState, context: int) -> None:
    """A read of the own driver.

    Raises: NotLeader, Busy.
    """
    state.active_at = state.now
    if state.role is Role.LEADER:
        if is_lease_valid(state):
            state.read_states.append(ReadState(context, state.log.commit_index))
        else:
            _check_room(state, state.waiting_reads)
            _wait(state, context, None)
    elif state.leader is None:
        raise NotLeader(None)
    else:
        _check_room(state, len(state.forwarded_reads))
        state.forwarded_reads.add(context)
        state.send(state.leader, ReadRequest(state.term, context))


def start_round(state: RaftState) -> None:
    """Leader, once per turn: one heartbeat round for all reads that came in."""
    if not state.has_committed_in_term:
        return
    reads = state.pending_reads
    state.pending_reads = []
    number = heartbeat.broadcast(state)
    state.read_rounds.append(ReadRound(number, state.log.commit_index, reads))
    complete_rounds(state)


def complete_rounds(state: RaftState) -> None:
    """Answers the reads whose round, or a later one, a quorum has answered."""
    rounds = {node: progress.acknowledged_round for node, progress in state.peers.items()}
    rounds[state.node] = state.round
    answered = quorum_value(state.configuration, rounds, 0)
    while state.read_rounds and state.read_rounds[0].round <= answered:
        done = state.read_rounds.pop(0)
        state.waiting_reads -= len(done.reads)
        for context, asker in done.reads:
            if asker is None:
                state.read_states.append(ReadState(context, done.index))
            else:
                state.send(asker, ReadResponse(state.term, context, done.index))


def on_read_request(state: RaftState, sender: NodeId, message: ReadRequest) -> None:
    """A follower's read: answered with an index, or refused with 0 if too many wait."""
    state.active_at = state.now
    if is_lease_valid(state):
        state.send(sender, ReadResponse(state.term, message.context, state.log.commit_index))
    elif state.waiting_reads >= state.limits.reads_max:
        state.send(sender, ReadResponse(state.term, message.context, Index(0)))
    else:
        _wait(state, message.context, sender)


def on_read_response(state: RaftState, sender: NodeId, message: ReadResponse) -> None:
    """The leader's answer to a forwarded read."""
    if message.context not in state.forwarded_reads:
        return
    state.forwarded_reads.discard(message.context)
    if message.index:
        state.read_states.append(ReadState(message.context, message.index))
    else:
        state.failed_reads.append(message.context)


def _wait(state: RaftState, context: int, asker: NodeId | None) -> None:
    state.pending_reads.append((context, asker))
    state.waiting_reads += 1


def _check_room(state: RaftState, waiting: int) -> None:
    if waiting >= state.limits.reads_max:
        raise Busy(f"{waiting} reads wait for the leader")
