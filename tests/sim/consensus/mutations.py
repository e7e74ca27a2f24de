"""Rules of the protocol, each broken on purpose: the simulation must notice, or it proves nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from makoredis.base.ids import Index, NodeId, Term
from makoredis.consensus import (
    change,
    dispatch,
    election,
    follower,
    log,
    paxos,
    quiesce,
    quorum,
    reads,
    replication,
    snapshot,
    state,
    transfer,
)
from makoredis.consensus.messages import AppendRequest, VoteRequest, VoteResponse
from makoredis.consensus.raft import Raft
from makoredis.consensus.types import Configuration, EntryKind, Role
from tests.unit.consensus import test_change as on_change
from tests.unit.consensus import test_elections as on_elections
from tests.unit.consensus import test_paxos as on_paxos
from tests.unit.consensus import test_quiesce as on_silence
from tests.unit.consensus import test_raft_paper as raft_paper
from tests.unit.consensus import test_reads as on_reads
from tests.unit.consensus import test_snapshots as on_snapshots

Patch = Callable[[pytest.MonkeyPatch], None]


def everything_leaves_before_it_is_written(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state.RaftState, "send_synced", state.RaftState.send)


def votes_twice_in_a_term(patch: pytest.MonkeyPatch) -> None:
    def on_vote_request(replica: state.RaftState, sender: NodeId, message: VoteRequest) -> None:
        granted = replica.log.is_up_to_date(message.last_index, message.last_term)
        replica.send_synced(sender, VoteResponse(replica.term, granted))

    row = dispatch.TABLE[VoteRequest]
    patch.setitem(dispatch.TABLE, VoteRequest, (on_vote_request, on_vote_request, on_vote_request, row[3]))


def votes_for_incomplete_logs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(log.Log, "is_up_to_date", lambda self, last_index, last_term: True)


def forgets_its_vote_in_a_crash(patch: pytest.MonkeyPatch) -> None:
    original = Raft.take_ready

    def take_ready(self: Raft) -> Any:
        self.state.is_hard_state_changed = False
        return original(self)

    patch.setattr(Raft, "take_ready", take_ready)


def counts_entries_of_older_terms(patch: pytest.MonkeyPatch) -> None:
    def maybe_commit(replica: state.RaftState) -> None:
        configuration = replica.configuration
        index = replication._majority_match(replica, configuration.voters)
        if configuration.outgoing:
            index = min(index, replication._majority_match(replica, configuration.outgoing))
        if replica.log.commit_to(Index(index)):
            replica.replicate_pending = True
            if replica.change_pending:
                change.draw_consequences(replica)

    patch.setattr(replication, "maybe_commit", maybe_commit)


def counts_itself_before_its_disk(patch: pytest.MonkeyPatch) -> None:
    original = state.RaftState.append

    def append(self: state.RaftState, kind: EntryKind, payload: bytes) -> Index:
        index = original(self, kind, payload)
        self.own_match = index
        return index

    patch.setattr(state.RaftState, "append", append)


def believes_half_is_a_majority(patch: pytest.MonkeyPatch) -> None:
    def has_majority(voters: Any, nodes: Any) -> bool:
        return 2 * sum(voter in nodes for voter in voters) >= len(voters)

    patch.setattr(quorum, "_has_majority", has_majority)


def takes_entries_without_looking(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(log.Log, "matches", lambda self, index, term: index <= self.last_index)


def keeps_what_differs(patch: pytest.MonkeyPatch) -> None:
    def take_over(replica: state.RaftState, entries: Any) -> None:
        for entry in entries:
            if entry.index > replica.log.last_index:
                replica.log.append(entry)

    patch.setattr(follower, "take_over", take_over)


def believes_the_commit_index_beyond_the_match(patch: pytest.MonkeyPatch) -> None:
    original = follower.on_append

    def on_append(replica: state.RaftState, sender: NodeId, message: AppendRequest) -> None:
        original(replica, sender, message)
        replica.log.commit_to(min(message.commit, replica.log.last_index))

    row = dispatch.TABLE[AppendRequest]
    patch.setitem(dispatch.TABLE, AppendRequest, (on_append, on_append, on_append, row[3]))


def votes_although_a_leader_is_live(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state.RaftState, "is_leader_live", property(lambda self: self.role is Role.LEADER))


def trusts_its_lease_too_long(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reads, "lease_ticks", lambda election_ticks: 3 * election_ticks)


def keeps_its_lease_while_handing_over(patch: pytest.MonkeyPatch) -> None:
    original = transfer.hand_over_if_caught_up

    def hand_over(replica: state.RaftState) -> None:
        original(replica)
        replica.is_lease_spoiled = False

    patch.setattr(transfer, "hand_over_if_caught_up", hand_over)


def reads_without_asking_anybody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(quorum, "quorum_value", lambda configuration, values, missing: max(values.values()))
    patch.setattr(reads, "quorum_value", lambda configuration, values, missing: max(values.values()))


def reads_before_it_knows_what_is_committed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state.RaftState, "has_committed_in_term", property(lambda self: True))


def changes_any_number_of_voters_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(change, "next_configuration", lambda current, target: target)


def ignores_the_outgoing_majority(patch: pytest.MonkeyPatch) -> None:
    original = replication._majority_match

    def majority_match(replica: state.RaftState, voters: tuple[NodeId, ...]) -> int:
        if voters == replica.configuration.outgoing:
            return replica.log.last_index
        return original(replica, voters)

    patch.setattr(replication, "_majority_match", majority_match)
    patch.setattr(
        election,
        "vote_result",
        lambda configuration, votes: quorum.vote_result(Configuration(voters=configuration.voters), votes),
    )


def starts_changes_before_the_last_is_committed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(change, "_check_idle", lambda replica: None)


def installs_a_snapshot_over_newer_entries(patch: pytest.MonkeyPatch) -> None:
    def has_already(replica: state.RaftState, metadata: Any) -> bool:
        if metadata.index > replica.log.commit_index:
            return False
        replica.acknowledge(metadata.index)
        return True

    patch.setattr(snapshot, "_has_already", has_already)


def mixes_chunks_of_different_snapshots(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state.IncomingTransfer, "is_same", lambda self, sender, term, number, metadata: True)


def acknowledges_to_the_wrong_leader(patch: pytest.MonkeyPatch) -> None:
    original = state.RaftState._enter_term

    def enter_term(self: state.RaftState, term: Term) -> None:
        kept = self.acknowledge_index
        original(self, term)
        self.acknowledge_index = kept

    patch.setattr(state.RaftState, "_enter_term", enter_term)


def leads_without_learning(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(paxos, "has_learned", lambda replica: True)


def learns_the_longest_log(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(paxos, "_is_reached", lambda replica, promised: promised.last_index <= replica.log.last_index)


def leads_by_a_majority_of_the_past(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(paxos, "_is_still_elected", lambda replica: True)


def keeps_its_lease_in_silence(patch: pytest.MonkeyPatch) -> None:
    original = reads.is_lease_valid
    patch.setattr(reads, "is_lease_valid", lambda replica: replica.is_quiesced or original(replica))
    patch.setattr(quiesce, "wake", lambda replica: None)


def falls_silent_though_a_member_lacks_something(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(quiesce, "_is_idle", lambda replica: True)


def sleeps_through_broken_connections(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Raft, "unreachable", lambda self, node: None)


CAUGHT_BY_SIMULATION: list[Patch] = [
    everything_leaves_before_it_is_written,
    votes_twice_in_a_term,
    votes_for_incomplete_logs,
    forgets_its_vote_in_a_crash,
    counts_itself_before_its_disk,
    believes_half_is_a_majority,
    keeps_what_differs,
    votes_although_a_leader_is_live,
    keeps_its_lease_while_handing_over,
    reads_before_it_knows_what_is_committed,
    ignores_the_outgoing_majority,
    mixes_chunks_of_different_snapshots,
]

CAUGHT_BY_SIMULATION_OF_PAXOS: list[Patch] = [
    everything_leaves_before_it_is_written,
    counts_itself_before_its_disk,
    leads_without_learning,
]

CAUGHT_BY_SCENARIO: dict[Patch, Callable[[], None]] = {
    # Random faults find these too, but need minutes: each wants several coincidences, so a test stages them.
    counts_entries_of_older_terms: raft_paper.test_5_4_2_entries_of_earlier_terms_are_not_committed_by_counting,
    takes_entries_without_looking: raft_paper.test_5_3_consistency_check,
    believes_the_commit_index_beyond_the_match: (
        raft_paper.test_5_3_the_commit_index_is_believed_only_as_far_as_the_logs_match
    ),
    trusts_its_lease_too_long: on_reads.test_a_stopped_leader_does_not_trust_its_lease_afterwards,
    reads_without_asking_anybody: on_reads.test_an_isolated_leader_answers_no_read,
    changes_any_number_of_voters_at_once: on_change.test_two_sides_of_a_partition_never_decide_both,
    starts_changes_before_the_last_is_committed: on_change.test_one_change_at_a_time,
    installs_a_snapshot_over_newer_entries: (
        on_snapshots.test_entries_that_arrived_meanwhile_are_not_replaced_by_the_snapshot
    ),
    keeps_its_lease_in_silence: on_silence.test_a_leader_that_was_cut_off_in_silence_has_no_lease,
    falls_silent_though_a_member_lacks_something: on_silence.test_no_silence_while_somebody_lacks_something,
    sleeps_through_broken_connections: on_silence.test_a_broken_connection_to_the_leader_wakes,
    learns_the_longest_log: on_paxos.test_the_value_of_the_highest_ballot_is_taken_not_the_longest_log,
    leads_by_a_majority_of_the_past: (
        on_paxos.test_the_quorum_is_counted_by_the_configuration_that_was_learned
    ),
    acknowledges_to_the_wrong_leader: (
        on_elections.test_what_was_accepted_from_one_leader_is_not_acknowledged_to_the_next
    ),
}
