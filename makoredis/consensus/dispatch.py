"""Which function handles which message in which role: a total table, and what precedes it.

Before the table every message passes, once, what is common to all (Raft §5.1):

* a request for a vote is not even looked at while a leader is live, unless that leader asked for the election;
* a higher term makes any role a follower of that term, except that asking for or consenting to a *pre*-vote raises
  no term;
* a lower term is not acted upon. Its sender is told of the higher one if it believes to lead or wants to.

So a handler sees only messages of the current term (pre-votes excepted), and a pair of role and message that cannot
occur within one term is IMPOSSIBLE: it means that two leaders share a term.
"""

from collections.abc import Callable
from typing import Any

from makoredis.base.errors import Fatal
from makoredis.base.ids import Index, NodeId
from makoredis.consensus import quiesce
from makoredis.consensus.election import (
    on_pre_vote_request,
    on_pre_vote_response,
    on_promise,
    on_timeout_now,
    on_vote_request,
    on_vote_response,
)
from makoredis.consensus.follower import on_append, on_heartbeat, on_snapshot_chunk
from makoredis.consensus.messages import (
    AppendRequest,
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    Message,
    Prepare,
    PreVoteRequest,
    PreVoteResponse,
    Promise,
    Quiesce,
    ReadRequest,
    ReadResponse,
    SnapshotChunk,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
    Wake,
)
from makoredis.consensus.paxos import on_prepare
from makoredis.consensus.quiesce import on_quiesce, on_wake
from makoredis.consensus.reads import on_read_request, on_read_response
from makoredis.consensus.replication import on_append_response, on_heartbeat_response
from makoredis.consensus.snapshot import on_snapshot_response
from makoredis.consensus.state import RaftState

Handler = Callable[[RaftState, NodeId, Any], None]


def IGNORE(state: RaftState, sender: NodeId, message: Message) -> None:
    """Late, or meant for a role that this replica no longer has: harmless, and nothing to do."""


def IMPOSSIBLE(state: RaftState, sender: NodeId, message: Message) -> None:
    """Cannot occur in one term.

    Raises: Fatal.
    """
    kind = type(message).__name__
    raise Fatal(f"{kind} from node {sender} reached the {state.role.name} of term {state.term}: two leaders in a term")


TABLE: dict[type, tuple[Handler, Handler, Handler, Handler]] = {
    #                   FOLLOWER             PRE_CANDIDATE         CANDIDATE            LEADER
    PreVoteRequest:    (on_pre_vote_request, on_pre_vote_request,  on_pre_vote_request, IGNORE),
    PreVoteResponse:   (IGNORE,              on_pre_vote_response, IGNORE,              IGNORE),
    VoteRequest:       (on_vote_request,     on_vote_request,      on_vote_request,     IGNORE),
    VoteResponse:      (IGNORE,              IGNORE,               on_vote_response,    IGNORE),
    AppendRequest:     (on_append,           on_append,            on_append,           IMPOSSIBLE),
    AppendResponse:    (IGNORE,              IGNORE,               IGNORE,              on_append_response),
    Heartbeat:         (on_heartbeat,        on_heartbeat,         on_heartbeat,        IMPOSSIBLE),
    HeartbeatResponse: (IGNORE,              IGNORE,               IGNORE,              on_heartbeat_response),
    SnapshotChunk:     (on_snapshot_chunk,   on_snapshot_chunk,    on_snapshot_chunk,   IMPOSSIBLE),
    SnapshotResponse:  (IGNORE,              IGNORE,               IGNORE,              on_snapshot_response),
    TimeoutNow:        (on_timeout_now,      IGNORE,               IGNORE,              IGNORE),
    ReadRequest:       (IGNORE,              IGNORE,               IGNORE,              on_read_request),
    ReadResponse:      (on_read_response,    IGNORE,               IGNORE,              IGNORE),
    Quiesce:           (on_quiesce,          on_quiesce,           on_quiesce,          IMPOSSIBLE),
    Wake:              (on_wake,             on_wake,              on_wake,             on_wake),
    Prepare:           (on_prepare,          on_prepare,           on_prepare,          IGNORE),
    Promise:           (IGNORE,              IGNORE,               on_promise,          IGNORE),
}  # fmt: skip

_ASKING_FOR_VOTES = frozenset((PreVoteRequest, VoteRequest, Prepare))
_FROM_LEADER = frozenset((AppendRequest, Heartbeat, SnapshotChunk, Quiesce))


def step(state: RaftState, sender: NodeId, message: Message) -> None:
    """Handles one message.

    Raises: Fatal.
    """
    kind = type(message)
    if state.is_quiesced and kind not in quiesce.SLEEPS_ON:
        quiesce.rouse(state)
    if kind in _ASKING_FOR_VOTES and state.is_leader_live and not _is_invited(message):
        return
    if message.term != state.term and not _settle_term(state, sender, message):
        return
    TABLE[kind][state.role](state, sender, message)


def _is_invited(message: Message) -> bool:
    """Whether the leader itself asked for this election."""
    return isinstance(message, VoteRequest | Prepare) and message.is_transfer


def _settle_term(state: RaftState, sender: NodeId, message: Message) -> bool:
    """Deals with a term other than the own one. Returns: whether the message is still to be handled."""
    kind = type(message)
    if message.term > state.term:
        raises_no_term = kind is PreVoteRequest or (isinstance(message, PreVoteResponse) and message.granted)
        if not raises_no_term:
            state.become_follower(message.term, sender if kind in _FROM_LEADER else None)
        return True
    if kind in _FROM_LEADER:
        state.send(sender, AppendResponse(state.term, False, Index(0)))
    elif kind is PreVoteRequest:
        state.send(sender, PreVoteResponse(state.term, False))
    return False
