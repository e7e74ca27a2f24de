"""Elections by the rule of Multi-Paxos: anybody may win, and learns what must be kept from those who let it.

Phase 1 is run once for the whole open suffix of the log: a proposer asks everybody to promise its ballot (`Prepare`),
and a `Promise` tells what that acceptor has accepted behind the proposer's commit index. From a quorum of promises the
proposer takes the log with the highest accepted ballot, which it then proposes as its own. Phase 2, per index, is the
AppendRequest of Raft, and once a leader is settled it is all there is.

Why one log can be taken as a whole, where Paxos picks per index: acceptors accept in order, and a leader brings a
follower's log up to its own before anything new is accepted. So whoever accepted an entry of ballot b has accepted, in
ballot b, everything before it; the log whose last entry has the highest ballot, then the longest, has the highest
accepted ballot at every index. (Howard & Mortier, "Paxos vs Raft", 2020, compare the two in these terms.)

Compared with Raft's rule: a node that lags behind can be elected, for instance the preferred one, at the price of
fetching what it lacks before it leads. Ballots belong to one node each, so votes are never split within one.

* The quorum is counted by the configuration of the log that was learned, not of the one the campaign began with.
* Entries that are taken over go to disk before anything this node says afterwards.

Left out: gaps in the log; accepting a later entry before an earlier one would gain nothing here, since transactions
depend on those before them.
"""

from collections.abc import Iterable

from makoredis.base.ids import NodeId
from makoredis.consensus.follower import take_over
from makoredis.consensus.messages import Prepare, Promise, VoteResponse
from makoredis.consensus.quorum import VoteResult, vote_result
from makoredis.consensus.state import Promised, RaftState


def ask(state: RaftState, voters: Iterable[NodeId]) -> None:
    """Phase 1a. Leaves behind the own promise on disk: whoever answers makes it count."""
    log = state.log
    request = Prepare(state.term, log.commit_index, log.last_index, log.last_term, state.is_transfer_campaign)
    for voter in voters:
        state.send_synced(voter, request)


def on_prepare(state: RaftState, sender: NodeId, message: Prepare) -> None:
    """Phase 1b: promises the ballot, whatever the proposer has, and tells what it may lack."""
    if state.vote is None and state.leader is None:
        state.grant_vote(sender)
    if state.vote != sender:
        state.send_synced(sender, VoteResponse(state.term, False))
        return
    state.election_elapsed = 0
    log = state.log
    previous = message.previous_index
    entries = []
    if not state.log.is_up_to_date(message.last_index, message.last_term):
        previous = max(previous, log.base_index)
        entries = log.slice_behind(previous, state.limits.append_bytes_max)
    state.send_synced(sender, Promise(state.term, previous, entries, log.last_index, log.last_term))


def note(state: RaftState, sender: NodeId, message: Promise) -> bool:
    """Keeps what a voter told. Returns: whether it is news."""
    known = state.promises.get(sender)
    if known is None:
        state.promises[sender] = Promised(
            message.previous_index, list(message.entries), message.last_index, message.last_term
        )
        return True
    if message.previous_index != known.told_to or not message.entries:
        return False
    known.entries += message.entries
    return True


def has_learned(state: RaftState) -> bool:
    """With a quorum of promises: takes over the best log among them, or asks for more of it.

    Returns: whether the own log is as complete as those of a quorum, by the configuration that it contains.
    """
    log = state.log
    while better := {
        voter: promised
        for voter, promised in state.promises.items()
        if not _is_reached(state, promised) and voter not in state.configuration.witnesses
    }:
        voter, best = max(better.items(), key=lambda item: (item[1].last_term, item[1].last_index, item[0]))
        if best.previous_index > log.commit_index:
            state.become_follower(state.term, None)  # What it lacks is compacted there: it needs a snapshot first.
            return False
        if best.told_to < best.last_index:
            request = Prepare(state.term, best.told_to, log.last_index, log.last_term, state.is_transfer_campaign)
            state.send_synced(voter, request)
            return False
        take_over(state, best.entries)
    return _is_still_elected(state)


def _is_reached(state: RaftState, promised: Promised) -> bool:
    return (promised.last_term, promised.last_index) <= (state.log.last_term, state.log.last_index)


def _is_still_elected(state: RaftState) -> bool:
    """Counts again: what was learned may contain a configuration, which decides who has to agree and who may lead.

    A log witness that has accepted more than anybody told does not count: it has no data to tell.
    """
    if not state.may_campaign:
        state.become_follower(state.term, None)
        return False
    agreed = {voter: True for voter, promised in state.promises.items() if _is_reached(state, promised)}
    if vote_result(state.configuration, {**agreed, state.node: True}) is VoteResult.WON:
        return True
    members = {*state.configuration.voters, *state.configuration.outgoing} - {state.node}
    ask(state, sorted(members - state.votes.keys()))
    return False
