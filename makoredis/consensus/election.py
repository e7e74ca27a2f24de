"""Elections: pre-vote, vote, and who may be voted for (Raft §5.2, §5.4.1; thesis §9.6).

A campaign has two rounds. In the first (pre-vote) the candidate asks whether it *would* be elected; nobody's term
changes. Only with a quorum of consent does it raise its term and ask for real votes. So a node that was cut off cannot
disturb a working leader when it returns.

Nobody consents while it hears a live leader, with one exception: a leader that hands over has asked for the election.
That promise, kept for an election timeout after the last message of a leader *of any term*, is what leader leases
stand on; it also binds a node's own candidacy.

Left out: priorities other than the preferred leader's shorter timeout.
"""

from makoredis.base.ids import NodeId
from makoredis.consensus import heartbeat, paxos
from makoredis.consensus.core import ElectionRule
from makoredis.consensus.messages import (
    PreVoteRequest,
    PreVoteResponse,
    Promise,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from makoredis.consensus.quorum import VoteResult, vote_result
from makoredis.consensus.state import RaftState
from makoredis.consensus.types import Role


def tick_election(state: RaftState) -> None:
    """Not a leader: campaigns when no leader was heard for a while; at once if no other vote is needed."""
    state.election_elapsed += 1
    if state.election_elapsed >= state.election_timeout or (state.is_only_voter and not state.is_leader_live):
        campaign(state)


def campaign(state: RaftState) -> None:
    """Stands for election, if it may and no leader is live."""
    state.draw_election_timeout()
    if not state.may_campaign or state.is_leader_live:
        return
    if state.is_only_voter:
        _begin_election(state, is_transfer=False)
        return
    state.become_pre_candidate()
    request = PreVoteRequest(state.next_term, state.log.last_index, state.log.last_term)
    for voter in other_voters(state):
        state.send(voter, request)
    count(state, state.node, True)


def on_pre_vote_request(state: RaftState, sender: NodeId, message: PreVoteRequest) -> None:
    """Says whether a vote would be granted."""
    if state.config.election_rule is ElectionRule.PAXOS:
        could_win = message.last_index >= state.log.base_index
    else:
        could_win = state.log.is_up_to_date(message.last_index, message.last_term)
    granted = could_win and message.term > state.term
    state.send(sender, PreVoteResponse(message.term if granted else state.term, granted))


def on_pre_vote_response(state: RaftState, sender: NodeId, message: PreVoteResponse) -> None:
    """Counts consent to the term asked for; anything older is void."""
    if not message.granted or message.term == state.next_term:
        count(state, sender, message.granted)


def on_vote_request(state: RaftState, sender: NodeId, message: VoteRequest) -> None:
    """Grants at most one vote per term, and only to a log at least as complete (§5.4.1)."""
    granted = state.vote == sender or (
        state.vote is None and state.leader is None and state.log.is_up_to_date(message.last_index, message.last_term)
    )
    if granted and state.vote is None:
        state.grant_vote(sender)
    if granted:
        state.election_elapsed = 0
    state.send_synced(sender, VoteResponse(state.term, granted))


def on_promise(state: RaftState, sender: NodeId, message: Promise) -> None:
    """Multi-Paxos: a vote together with what the voter has accepted."""
    if paxos.note(state, sender, message):
        count(state, sender, True)


def on_vote_response(state: RaftState, sender: NodeId, message: VoteResponse) -> None:
    """Counts a vote of this term."""
    count(state, sender, message.granted)


def on_timeout_now(state: RaftState, sender: NodeId, message: TimeoutNow) -> None:
    """The leader hands over: campaign at once, without asking first (thesis §3.10)."""
    if sender == state.leader and state.may_campaign:
        _begin_election(state, is_transfer=True)


def count(state: RaftState, voter: NodeId, granted: bool) -> None:
    """Counts an answer, and draws the consequence if that decides the campaign."""
    state.votes.setdefault(voter, granted)
    result = vote_result(state.configuration, state.votes)
    if result is VoteResult.LOST:
        state.become_follower(state.term, None)
    elif result is VoteResult.WON and state.role is Role.PRE_CANDIDATE:
        _begin_election(state, is_transfer=False)
    elif result is VoteResult.WON and (state.config.election_rule is ElectionRule.RAFT or paxos.has_learned(state)):
        state.become_leader()
        heartbeat.broadcast(state)


def other_voters(state: RaftState) -> list[NodeId]:
    """Everybody whose vote counts, but this node."""
    configuration = state.configuration
    return sorted({*configuration.voters, *configuration.outgoing} - {state.node})


def _begin_election(state: RaftState, is_transfer: bool) -> None:
    state.become_candidate(is_transfer)
    if state.config.election_rule is ElectionRule.PAXOS:
        paxos.ask(state, other_voters(state))
    else:
        request = VoteRequest(state.term, state.log.last_index, state.log.last_term, is_transfer)
        for voter in other_voters(state):
            # Behind the own vote on disk: whoever answers makes that vote count.
            state.send_synced(voter, request)
    count(state, state.node, True)
