"""The follower's side of replication: taking over the leader's log (Raft §5.3).

An accepting answer says that the entries are on this replica's disk, so it leaves behind them. All that a turn accepts
is acknowledged by one message. A refusal leaves at once.

Left out: an answer while the log in memory is full. The leader hears silence, and asks again with each heartbeat.
"""

from makoredis.base.errors import Fatal
from makoredis.base.ids import Index, NodeId
from makoredis.consensus import retention, snapshot
from makoredis.consensus.messages import AppendRequest, AppendResponse, Heartbeat, HeartbeatResponse, SnapshotChunk
from makoredis.consensus.state import RaftState
from makoredis.consensus.types import Entry, EntryKind, Role, decode_configuration


def hear_leader(state: RaftState, sender: NodeId) -> None:
    """The leader of this term spoke: follow it, and promise nobody a vote for a while."""
    if state.leader != sender or state.role is not Role.FOLLOWER:
        if state.leader is not None and state.leader != sender:
            raise Fatal(f"nodes {state.leader} and {sender} both lead term {state.term}")
        state.become_follower(state.term, sender)
    state.election_elapsed = 0
    state.heard_at = state.now


def on_append(state: RaftState, sender: NodeId, message: AppendRequest) -> None:
    """Entries, or a question where the logs match."""
    hear_leader(state, sender)
    if state.installing is not None:
        return
    log = state.log
    if message.previous_index < log.commit_index:
        state.acknowledge(log.commit_index)
        previous = message.previous_index + len(message.entries)
        if previous <= log.commit_index:
            return
    elif not log.matches(message.previous_index, message.previous_term):
        hint_index, hint_term = log.last_index_not_above(message.previous_index, message.previous_term)
        state.send(sender, AppendResponse(state.term, False, message.previous_index, hint_index, hint_term))
        return
    if message.entries:
        if not _has_room(state):
            return
        take_over(state, message.entries)
    last = Index(message.previous_index + len(message.entries))
    state.acknowledge(last)
    if message.commit > log.commit_index:
        log.commit_to(min(message.commit, last))


def on_heartbeat(state: RaftState, sender: NodeId, message: Heartbeat) -> None:
    """The leader lives, and may have committed more."""
    hear_leader(state, sender)
    if state.installing is None and message.commit > state.log.commit_index:
        state.log.commit_to(message.commit)
    if message.round:
        state.send(sender, HeartbeatResponse(state.term, message.round))


def on_snapshot_chunk(state: RaftState, sender: NodeId, message: SnapshotChunk) -> None:
    """A piece of the leader's snapshot."""
    hear_leader(state, sender)
    snapshot.receive(state, sender, message)


def take_over(state: RaftState, entries: list[Entry]) -> None:
    """Skips what is there already, cuts off what differs, appends the rest."""
    log = state.log
    for position, entry in enumerate(entries):
        if entry.index <= log.last_index:
            if entry.index <= log.base_index or log.term_at(entry.index) == entry.term:
                continue
            log.cut_from(entry.index)
            state.membership.cut_from(entry.index)
            if state.acknowledge_index is not None and state.acknowledge_index >= entry.index:
                raise Fatal(f"entry {entry.index} was accepted from the leader of term {state.term} and differs now")
        for new in entries[position:] if position else entries:
            log.append(new)
            if new.kind is EntryKind.CONFIGURATION:
                state.membership.append(new.index, decode_configuration(new.payload))
        return


def _has_room(state: RaftState) -> bool:
    """Whether the log in memory can take more.

    Only waiting for the own driver to apply is a reason to refuse. Entries that are not committed are bounded by their
    leader, and refusing what follows them could keep them from ever being committed.
    """
    log = state.log
    if log.bytes > state.limits.log_bytes_max:
        retention.drop_old_entries(state)
    return log.bytes <= state.limits.log_bytes_max or log.applied_index == log.commit_index
