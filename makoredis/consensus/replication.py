"""The leader's side of replication: who gets which entries, and what is committed (Raft §5.3, §5.4.2).

What is appended in one turn goes out together when the driver takes its Ready, one request per follower, or several if
the limits demand it. The leader's own disk writes at the same time; it is only one more replica whose acknowledgement
(`persisted`) counts.

Rules:

* only an entry of the current term is committed by counting; older ones with it (§5.4.2);
* nobody is told a commit index that its own log may not reach;
* a log witness gets only what somebody who may lead has on disk, and as long as a follower keeps up, only what that
  follower has. Otherwise, after a crash of the leader, the witness could have entries that nobody else has, and would
  keep everybody from being elected.
"""

from collections.abc import Collection

from makoredis.base.errors import Fatal
from makoredis.base.ids import Index, NodeId, Term
from makoredis.consensus import change, reads, snapshot, transfer
from makoredis.consensus.messages import AppendRequest, AppendResponse, Heartbeat, HeartbeatResponse
from makoredis.consensus.progress import Progress, ProgressState
from makoredis.consensus.quorum import majority_value
from makoredis.consensus.state import RaftState
from makoredis.consensus.types import Entry, EntryKind

SPARING_INFLIGHT_MAX = 2
"""Who has more requests to answer is not fast enough for the others to be spared."""

_PROBE = ProgressState.PROBE
_REPLICATE = ProgressState.REPLICATE
_SNAPSHOT = ProgressState.SNAPSHOT


def replicate(state: RaftState) -> None:
    """Sends every follower what it lacks and may be sent, and the commit index if it doesn't know it.

    Who has yet to answer hears of the commit index later: with the next entries, or when it has answered. So does
    everybody while an entry is about to be proposed: a message of its own would wake each follower once more for it.
    """
    state.replicate_pending = False
    if state.is_held:
        return
    commit = state.log.commit_index
    shared: AppendRequest | None = None
    for node, progress in state.peers.items():
        if progress.state is _SNAPSHOT:
            continue
        last = _witness_limit(state) if progress.is_witness else state.log.last_index
        while progress.next_index <= last and _may_send(state, progress):
            if shared is None or shared.previous_index + 1 != progress.next_index or progress.is_witness:
                shared = _build(state, progress, last)
            if shared is None:
                snapshot.begin(state, node, progress)
                break
            _send(state, node, progress, shared)
            if progress.is_witness:
                shared = None
        known = min(commit, progress.match_index)
        if progress.commit_sent < known and not progress.inflight and not state.is_commit_deferred:
            progress.commit_sent = known
            state.outbox.append((node, Heartbeat(state.term, known, 0)))


def spares(state: RaftState) -> Collection[NodeId]:
    """Followers beside the fewest that make a majority with this leader, if those have answered all but the latest.

    Those whose logs are furthest are the ones that are needed: whoever is kept waiting stays a spare until one of the
    others falls behind (Egalitarian Paxos calls it thrifty to send to a quorum only).
    """
    configuration = state.configuration
    if configuration.outgoing or state.has_witness or state.transfer_to is not None:
        return ()
    prompt = [
        (progress.match_index, node)
        for node, progress in state.peers.items()
        if progress.state is _REPLICATE and len(progress.inflight) <= SPARING_INFLIGHT_MAX
        if node in configuration.voters
    ]
    needed = len(configuration.voters) // 2
    if len(prompt) < needed or state.node not in configuration.voters:
        return ()
    prompt.sort()
    enough = {node for _, node in prompt[len(prompt) - needed :]}
    return [node for node, progress in state.peers.items() if progress.state is _REPLICATE and node not in enough]


def on_append_response(state: RaftState, sender: NodeId, message: AppendResponse) -> None:
    """A follower has more than before, or says where its log differs."""
    progress = state.peers.get(sender)
    if progress is None:
        return
    progress.heard_at = state.now
    if not message.accepted:
        _on_refused(state, progress, message)
        return
    if message.index > state.log.last_index:
        raise Fatal(f"replica {sender} has {message.index}, the leader of term {state.term} {state.log.last_index}")
    is_news = progress.acknowledge(message.index)
    if progress.state is _PROBE:
        progress.become_replicate()
        state.replicate_pending = True
    elif progress.state is _SNAPSHOT and snapshot.is_done(state, progress):
        state.close_transfer(progress)
        progress.become_replicate()
        state.replicate_pending = True
    if is_news:
        progress.moved_at = state.now
        log = state.log
        if progress.next_index <= log.last_index or progress.commit_sent < log.commit_index or state.has_witness:
            state.replicate_pending = True
        if progress.match_index > log.commit_index:
            maybe_commit(state)
        if progress.match_index >= log.commit_index:
            progress.caught_up_at = state.now
        if sender == state.transfer_to:
            transfer.hand_over_if_caught_up(state)


def on_heartbeat_response(state: RaftState, sender: NodeId, message: HeartbeatResponse) -> None:
    """A follower still follows; if it lacks entries and nothing is moving, ask where its log ends."""
    progress = state.peers.get(sender)
    if progress is None:
        return
    progress.heard_at = state.now
    if message.round > progress.acknowledged_round:
        progress.acknowledged_round = message.round
        progress.acknowledged_tick = state.round_ticks.get(message.round, progress.acknowledged_tick)
    if progress.match_index >= state.log.commit_index:
        progress.caught_up_at = state.now
    if progress.match_index < state.log.last_index:
        state.replicate_pending = True
        if state.now > progress.probed_at:
            progress.is_paused = False
        is_silent_probe = progress.state is _PROBE and (
            progress.is_witness or progress.next_index > state.log.last_index
        )
        if is_silent_probe or (progress.state is _REPLICATE and progress.inflight):
            _ask(state, sender, progress)
    if state.read_rounds:
        reads.complete_rounds(state)


def tick(state: RaftState) -> None:
    """Notices who is stuck, because log witnesses must then get more."""
    if state.has_witness:
        for progress in state.peers.values():
            if progress.match_index == state.log.last_index:
                progress.moved_at = state.now
        state.replicate_pending = True


def unreachable(state: RaftState, node: NodeId) -> None:
    """What was in flight to a follower is probably lost."""
    progress = state.peers.get(node)
    if progress is not None and progress.state is _REPLICATE:
        progress.become_probe(Index(progress.match_index + 1))
        progress.is_paused = True


def persisted(state: RaftState, index: Index, term: Term) -> None:
    """The leader's own disk has everything up to `index`, if the entry synced is one of this leadership."""
    if term != state.term or index <= state.own_match:
        return
    state.own_match = index
    if state.has_witness:
        state.replicate_pending = True
    if state.is_held:
        state.is_held = False
        state.replicate_pending = True
    maybe_commit(state)


def maybe_commit(state: RaftState) -> None:
    """Commits what a quorum has on disk."""
    log = state.log
    configuration = state.membership.configuration
    index = _majority_match(state, configuration.voters)
    if configuration.outgoing:
        index = min(index, _majority_match(state, configuration.outgoing))
    if index <= log.commit_index or log.term_at(Index(index)) != state.term:
        return
    log.commit_to(Index(index))
    state.replicate_pending = True
    if state.change_pending:
        change.draw_consequences(state)


def _majority_match(state: RaftState, voters: tuple[NodeId, ...]) -> int:
    own = state.node
    if len(voters) == 1 and voters[0] == own:
        return state.own_match
    peers = state.peers
    return majority_value([state.own_match if voter == own else peers[voter].match_index for voter in voters])


def _may_send(state: RaftState, progress: Progress) -> bool:
    if progress.state is _PROBE:
        return not progress.is_paused
    limits = state.limits
    return (
        progress.state is _REPLICATE
        and len(progress.inflight) < limits.inflight_messages_max
        and progress.inflight_bytes < limits.inflight_bytes_max
    )


def _witness_limit(state: RaftState) -> Index:
    """How far log witnesses may be sent the log: as far as a follower that could lead has it on disk.

    Without one that keeps up, as far as anybody who could lead has it, this leader included.
    """
    oldest = state.now - state.config.election_ticks
    electable = [progress for node, progress in state.peers.items() if state.configuration.may_lead(node)]
    keeping_up = [
        progress.match_index for progress in electable if progress.moved_at > oldest and progress.heard_at > oldest
    ]
    if keeping_up:
        return max(keeping_up)
    own = state.own_match if state.configuration.may_lead(state.node) else Index(0)
    return max([own, *(progress.match_index for progress in electable)])


def _build(state: RaftState, progress: Progress, last: Index) -> AppendRequest | None:
    """The next request for a follower, up to `last`; None if what it needs is not in memory any more."""
    log = state.log
    previous = Index(progress.next_index - 1)
    previous_term = log.term_at(previous)
    if previous_term is None:
        return None
    last = Index(min(last, previous + state.limits.append_entries_max))
    entries = log.slice(progress.next_index, last, state.limits.append_bytes_max)
    if progress.is_witness:
        entries = [_without_payload(entry) for entry in entries]
    return AppendRequest(state.term, previous, previous_term, log.commit_index, entries)


def _send(state: RaftState, node: NodeId, progress: Progress, request: AppendRequest) -> None:
    entries = request.entries
    size = len(entries[0].payload) if len(entries) == 1 else sum([len(entry.payload) for entry in entries])
    last = entries[-1].index
    progress.sent(last, size, state.now)
    progress.commit_sent = min(request.commit, last)
    state.outbox.append((node, request))


def _ask(state: RaftState, node: NodeId, progress: Progress) -> None:
    """An empty request where the next entries will go: refused if the log doesn't match there, or entries were lost."""
    previous = Index(progress.next_index - 1)
    previous_term = state.log.term_at(previous)
    if previous_term is None:
        progress.become_probe(Index(progress.match_index + 1))
    else:
        state.send(node, AppendRequest(state.term, previous, previous_term, state.log.commit_index, []))


def _on_refused(state: RaftState, progress: Progress, message: AppendResponse) -> None:
    """Backtracks by whole terms, using the follower's hint and the own log (§5.3, end)."""
    if message.index <= progress.match_index or progress.state is _SNAPSHOT:
        return  # Late: it was accepted since.
    if progress.state is _PROBE and message.index != progress.next_index - 1:
        return  # Late: the answer to an earlier question.
    agreeing, _ = state.log.last_index_not_above(message.hint_index, message.hint_term)
    next_index = Index(progress.match_index + 1)
    if progress.state is _PROBE:
        next_index = Index(min(message.index, min(agreeing, message.hint_index) + 1))
    progress.become_probe(next_index)
    state.replicate_pending = True


def _without_payload(entry: Entry) -> Entry:
    if entry.kind is EntryKind.NORMAL:
        return Entry(entry.term, entry.index, EntryKind.METADATA, b"")
    return entry
