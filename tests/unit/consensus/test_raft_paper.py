"""What the Raft paper (extended version) promises, claim by claim. Each docstring names section and sentence."""

import pytest

from makoredis.base.errors import Fatal, NotLeader
from makoredis.base.ids import Index, NodeId, Term
from makoredis.consensus.messages import (
    AppendRequest,
    AppendResponse,
    Heartbeat,
    PreVoteRequest,
    VoteRequest,
    VoteResponse,
)
from makoredis.consensus.types import EntryKind, Role
from tests.unit.consensus.bench import Bench, configuration, entry, with_log

THREE = configuration(1, 2, 3)
FIVE = configuration(1, 2, 3, 4, 5)


def append(term: int, previous: tuple[int, int], *entries: tuple[int, int], commit: int = 0) -> AppendRequest:
    """An AppendRequest; entries as (index, term)."""
    return AppendRequest(
        Term(term), Index(previous[0]), Term(previous[1]), Index(commit), [entry(*each) for each in entries]
    )


# ----- 5.1 Raft basics -----


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
def test_5_1_a_larger_term_is_taken_over_and_makes_a_follower(role: Role) -> None:
    """§5.1: if one server's current term is smaller than the other's, then it updates its current term to the larger
    value. If a candidate or leader discovers that its term is out of date, it immediately reverts to follower."""
    bench = Bench(THREE)
    if role is Role.LEADER:
        bench.lead(1)
    elif role is Role.CANDIDATE:
        bench[1].state.become_candidate(is_transfer=False)
        bench.perform(1)
    bench.step(1, 2, append(7, (0, 0)))
    assert bench.term(1) == 7 and bench.role(1) is Role.FOLLOWER
    assert bench.seats[1].hard_state.term == 7


def test_5_1_a_stale_term_is_rejected() -> None:
    """§5.1: if a server receives a request with a stale term number, it rejects the request."""
    bench = Bench(THREE)
    with_log(bench, 1, [], term=5)
    bench.step(1, 2, append(4, (0, 0), (1, 4)))
    assert bench.log_of(1) == []
    response = bench.sent_by(1, AppendResponse)[-1]
    assert not response.accepted and response.term == 5


def test_5_1_a_stale_leader_learns_the_newer_term_from_the_rejection() -> None:
    """§5.1: a leader that discovers that its term is out of date immediately reverts to follower state."""
    bench = Bench(THREE)
    bench.lead(1)
    with_log(bench, 2, [1], term=9)
    bench.propose(1, b"x")
    bench.settle()
    assert bench.role(1) is Role.FOLLOWER and bench.term(1) == 9


# ----- 5.2 Leader election -----


def test_5_2_servers_start_as_followers() -> None:
    """§5.2: when servers start up, they begin as followers."""
    bench = Bench(THREE)
    assert [bench.role(node) for node in (1, 2, 3)] == [Role.FOLLOWER] * 3


def test_5_2_a_follower_that_hears_nothing_begins_an_election() -> None:
    """§5.2: if a follower receives no communication over a period of time called the election timeout, it begins an
    election: it increments its current term, votes for itself and issues RequestVote RPCs to all other servers."""
    bench = Bench(THREE)
    bench.tick(1, 20)
    bench.settle()
    requests = [(to, message) for sender, to, message in bench.sent if sender == 1 and isinstance(message, VoteRequest)]
    assert [to for to, _ in requests] == [2, 3]
    assert bench.term(1) == 1 and bench.seats[1].hard_state.vote == 1


def test_5_2_a_follower_that_hears_a_leader_does_not() -> None:
    """§5.2: a server remains in follower state as long as it receives valid RPCs from a leader."""
    bench = Bench(THREE)
    for _ in range(100):
        bench.tick(1, 5)
        bench.step(1, 2, Heartbeat(Term(1), Index(0), 1))
    assert bench.role(1) is Role.FOLLOWER and not bench.sent_by(1, PreVoteRequest)


def test_5_2_a_leader_sends_heartbeats() -> None:
    """§5.2: leaders send periodic heartbeats to all followers in order to maintain their authority."""
    bench = Bench(THREE)
    bench.lead(1)
    before = len(bench.sent_by(1, Heartbeat))
    bench.tick_all(10)
    assert len(bench.sent_by(1, Heartbeat)) == before + 20


@pytest.mark.parametrize("granted, expected", [(2, Role.LEADER), (1, Role.CANDIDATE)])
def test_5_2_a_majority_of_votes_wins(granted: int, expected: Role) -> None:
    """§5.2: a candidate wins an election if it receives votes from a majority of the servers in the full cluster for
    the same term."""
    bench = Bench(FIVE)
    bench[1].state.become_candidate(is_transfer=False)
    bench.perform(1)
    bench[1].state.votes = {NodeId(1): True}
    for voter in range(2, 2 + granted):
        bench.step(1, voter, VoteResponse(Term(1), True))
    assert bench.role(1) is expected


def test_5_2_a_vote_of_another_term_does_not_count() -> None:
    """§5.2: … for the same term."""
    bench = Bench(THREE)
    bench[1].state.become_candidate(is_transfer=False)
    bench[1].state.become_candidate(is_transfer=False)
    bench.perform(1)
    bench.step(1, 2, VoteResponse(Term(1), True))
    bench.step(1, 3, VoteResponse(Term(1), True))
    assert bench.role(1) is Role.CANDIDATE


def test_5_2_one_vote_per_term_first_come_first_served() -> None:
    """§5.2: each server will vote for at most one candidate in a given term, on a first-come-first-served basis."""
    bench = Bench(THREE)
    bench.step(3, 1, VoteRequest(Term(1), Index(0), Term(0), False))
    bench.step(3, 2, VoteRequest(Term(1), Index(0), Term(0), False))
    bench.step(3, 1, VoteRequest(Term(1), Index(0), Term(0), False))
    assert [response.granted for response in bench.sent_by(3, VoteResponse)] == [True, False, True]


def test_5_2_the_vote_survives_a_crash() -> None:
    """§5.2 with fig. 2: currentTerm and votedFor are updated on stable storage before responding to RPCs."""
    bench = Bench(THREE)
    bench.seats[3].is_disk_held = True
    bench.step(3, 1, VoteRequest(Term(1), Index(0), Term(0), False))
    assert not bench.sent_by(3, VoteResponse)
    bench.sync(3)
    assert bench.sent_by(3, VoteResponse)[-1].granted
    bench.seats[3].is_disk_held = False
    bench.restart(3)
    bench[3].state.heard_at = -1_000_000
    bench.step(3, 2, VoteRequest(Term(1), Index(0), Term(0), False))
    assert not bench.sent_by(3, VoteResponse)[-1].granted


def test_5_2_a_candidate_yields_to_a_leader_of_its_term() -> None:
    """§5.2: if the leader's term is at least as large as the candidate's current term, the candidate recognizes the
    leader as legitimate and returns to follower state."""
    bench = Bench(THREE)
    bench[1].state.become_candidate(is_transfer=False)
    bench.perform(1)
    bench.step(1, 2, append(1, (0, 0)))
    assert bench.role(1) is Role.FOLLOWER and bench[1].status().leader == 2


def test_5_2_a_candidate_rejects_a_leader_of_an_older_term() -> None:
    """§5.2: if the term in the RPC is smaller than the candidate's current term, it rejects the RPC and continues in
    candidate state."""
    bench = Bench(THREE)
    with_log(bench, 1, [], term=3)
    bench[1].state.become_candidate(is_transfer=False)
    bench.perform(1)
    bench.step(1, 2, append(3, (0, 0)))
    assert bench.role(1) is Role.CANDIDATE


def test_5_2_election_timeouts_are_random() -> None:
    """§5.2: election timeouts are chosen randomly from a fixed interval (here: one to two timeouts)."""
    seen = set()
    for seed in range(60):
        bench = Bench(THREE, seed=seed)
        seen.add(bench[1].state.election_timeout)
    assert seen == set(range(10, 20))


def test_5_2_a_split_vote_is_resolved_by_a_new_election() -> None:
    """§5.2: when votes are split, each candidate will time out and start a new election."""
    bench = Bench(FIVE)
    for candidate in (1, 2):
        bench[candidate].state.become_candidate(is_transfer=False)
        bench.perform(candidate)
    bench.wire.clear()
    bench.tick_all(80)
    assert sum(bench.role(node) is Role.LEADER for node in bench.seats) == 1


# ----- 5.3 Log replication -----


def test_5_3_a_leader_appends_and_sends_in_parallel_to_all() -> None:
    """§5.3: the leader appends the command to its log as a new entry, then issues AppendEntries in parallel to each of
    the other servers. Thesis §10.2.1: also in parallel with its own disk."""
    bench = Bench(THREE)
    bench.lead(1)
    bench.seats[1].is_disk_held = True
    index = bench.propose(1, b"x")
    sent = [to for _, to, message in bench.wire if isinstance(message, AppendRequest)]
    assert sorted(sent) == [2, 3] and bench[1].status().last_index == index
    assert index not in bench.seats[1].log


def test_5_3_an_entry_is_committed_once_a_majority_stores_it() -> None:
    """§5.3: a log entry is committed once the leader that created the entry has replicated it on a majority of the
    servers."""
    bench = Bench(FIVE)
    bench.lead(1)
    bench.isolate(4, 5)
    bench.cuts |= {(1, 3)}
    index = bench.propose(1, b"x")
    bench.settle()
    assert bench[1].status().commit_index == index - 1
    bench.cuts -= {(1, 3)}
    bench.tick_all(2)
    assert bench[1].status().commit_index == index


def test_5_3_the_leaders_own_disk_counts_like_any_other() -> None:
    """§5.3: a majority of the servers; a leader that has not written the entry itself is not among those that have."""
    bench = Bench(THREE)
    bench.lead(1)
    bench.seats[1].is_disk_held = True
    bench.cuts |= {(1, 3)}
    index = bench.propose(1, b"x")
    bench.settle()
    assert bench[1].status().commit_index == index - 1
    bench.sync(1)
    assert bench[1].status().commit_index == index


def test_5_3_two_followers_are_a_majority_without_the_leaders_disk() -> None:
    """Thesis §10.2.1: an entry may be committed before the leader has written it to its own disk."""
    bench = Bench(THREE)
    bench.lead(1)
    bench.seats[1].is_disk_held = True
    index = bench.propose(1, b"x")
    bench.settle()
    assert bench[1].status().commit_index == index


def test_5_3_committing_an_entry_commits_all_before_it() -> None:
    """§5.3: this also commits all preceding entries in the leader's log, including entries created by previous
    leaders."""
    bench = Bench(THREE)
    with_log(bench, 1, [1, 1, 2], term=2)
    bench.lead(1)
    assert bench[1].status().commit_index == 4
    assert [each.index for each in bench.seats[1].applied] == [1, 2, 3, 4]


def test_5_3_followers_learn_the_commit_index_and_apply_in_order() -> None:
    """§5.3: once a follower learns that a log entry is committed, it applies the entry to its local state machine (in
    log order)."""
    bench = Bench(THREE)
    bench.lead(1)
    for payload in (b"a", b"b", b"c"):
        bench.propose(1, payload)
    bench.settle()
    assert bench.seats[2].applied_payloads == bench.seats[3].applied_payloads == [b"a", b"b", b"c"]


def test_5_3_consistency_check() -> None:
    """§5.3: if the follower does not find an entry in its log with the same index and term, then it refuses the new
    entries."""
    bench = Bench(THREE)
    with_log(bench, 1, [1, 1])
    bench.step(1, 2, append(2, (2, 2), (3, 2)))
    assert not bench.sent_by(1, AppendResponse)[-1].accepted and bench.log_of(1) == [(1, 1), (2, 1)]
    bench.step(1, 2, append(2, (5, 1), (6, 2)))
    assert not bench.sent_by(1, AppendResponse)[-1].accepted and bench.log_of(1) == [(1, 1), (2, 1)]
    bench.step(1, 2, append(2, (2, 1), (3, 2)))
    assert bench.sent_by(1, AppendResponse)[-1].accepted and bench.log_of(1) == [(1, 1), (2, 1), (3, 2)]


def test_5_3_conflicting_entries_are_overwritten() -> None:
    """§5.3: conflicting entries in follower logs will be overwritten with entries from the leader's log."""
    bench = Bench(THREE)
    with_log(bench, 1, [1, 2, 2, 2])
    bench.step(1, 2, append(3, (1, 1), (2, 3)))
    assert bench.log_of(1) == [(1, 1), (2, 3)]
    assert {index: each.term for index, each in bench.seats[1].log.items()} == {1: 1, 2: 3}


def test_5_3_a_late_shorter_request_does_not_cut_the_log() -> None:
    """Fig. 2, AppendEntries 3: only if an existing entry *conflicts* with a new one, it and all that follow go."""
    bench = Bench(THREE)
    bench.step(1, 2, append(1, (0, 0), (1, 1), (2, 1), (3, 1)))
    bench.step(1, 2, append(1, (0, 0), (1, 1)))
    assert bench.log_of(1) == [(1, 1), (2, 1), (3, 1)]


def test_5_3_the_commit_index_is_believed_only_as_far_as_the_logs_match() -> None:
    """Fig. 2, AppendEntries 5: commitIndex = min(leaderCommit, index of last new entry): what lies behind that in the
    follower's log may not be what was committed."""
    bench = Bench(THREE)
    with_log(bench, 1, [1, 1, 1])
    bench.step(1, 2, append(2, (1, 1), commit=3))
    assert bench[1].status().commit_index == 1


FIGURE_7 = {
    "a": [1, 1, 1, 4, 4, 5, 5, 6, 6],
    "b": [1, 1, 1, 4],
    "c": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    "d": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    "e": [1, 1, 1, 4, 4, 4, 4],
    "f": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
}


@pytest.mark.parametrize("name", FIGURE_7)
def test_5_3_figure_7_every_log_is_brought_to_the_leaders(name: str) -> None:
    """§5.3, figure 7: the leader handles inconsistencies by forcing the followers' logs to duplicate its own."""
    bench = Bench(THREE)
    with_log(bench, 1, [1, 1, 1, 4, 4, 5, 5, 6, 6, 6], term=7)
    with_log(bench, 2, FIGURE_7[name], term=7)
    with_log(bench, 3, [1], term=1)
    bench.lead(1)
    bench.tick_all(3)
    assert bench.log_of(2) == bench.log_of(1) == bench.log_of(3)


def test_5_3_backtracking_skips_whole_terms() -> None:
    """§5.3, end: one AppendEntries RPC will be required for each term with conflicting entries, rather than one RPC per
    entry."""
    bench = Bench(THREE)
    with_log(bench, 1, [1] + [4] * 50, term=4)
    with_log(bench, 2, [1] + [2] * 100 + [3] * 100, term=4)
    bench.isolate(3)
    bench[1].state.heard_at = bench[2].state.heard_at = -1_000_000
    bench[1].state.become_candidate(is_transfer=False)
    bench.perform(1)
    bench.wire.clear()
    bench[1].state.votes = {NodeId(1): True, NodeId(2): True}
    bench[1].state.become_leader()
    bench.perform(1)
    bench.settle()
    assert bench.log_of(2) == bench.log_of(1)
    assert len(bench.sent_by(1, AppendRequest)) <= 6


# ----- 5.4 Safety -----


@pytest.mark.parametrize(
    "candidate, voter, granted",
    [
        ((1, 1), [1], True),
        ((2, 1), [1], True),
        ((1, 2), [1, 1], True),
        ((1, 1), [1, 1], False),
        ((5, 1), [1, 2], False),
        ((0, 0), [], True),
    ],
)
def test_5_4_1_the_voter_denies_its_vote_to_a_less_complete_log(
    candidate: tuple[int, int], voter: list[int], granted: bool
) -> None:
    """§5.4.1: the voter denies its vote if its own log is more up-to-date than that of the candidate: the later last
    term wins, then the longer log."""
    bench = Bench(THREE)
    with_log(bench, 1, voter, term=2)
    index, term = candidate
    bench.step(1, 2, VoteRequest(Term(3), Index(index), Term(term), False))
    assert bench.sent_by(1, VoteResponse)[-1].granted is granted


def test_5_4_2_entries_of_earlier_terms_are_not_committed_by_counting() -> None:
    """§5.4.2, figure 8: Raft never commits log entries from previous terms by counting replicas."""
    bench = Bench(FIVE)
    with_log(bench, 1, [1, 2], term=3)
    with_log(bench, 2, [1, 2], term=3)
    with_log(bench, 3, [1], term=3)
    with_log(bench, 4, [1], term=3)
    with_log(bench, 5, [1, 3], term=3)
    # Figure 8 (c): S1 leads term 4 and brings entry 2 of term 2 to S3 and S4, a majority; its entry 3 is lost.
    bench.isolate(4, 5)
    state = bench[1].state
    state.become_candidate(is_transfer=False)
    bench.perform(1)
    bench.wire.clear()
    state.votes = {NodeId(node): True for node in (1, 2, 3)}
    bench.seats[1].is_disk_held = True
    state.become_leader()
    bench.perform(1)
    bench.wire.clear()
    bench.step(1, 2, AppendResponse(Term(4), True, Index(2)))
    bench.step(1, 3, AppendResponse(Term(4), True, Index(2)))
    bench.step(1, 4, AppendResponse(Term(4), True, Index(2)))
    assert bench[1].status().commit_index == 0
    # Figure 8 (e): with an entry of its own term on a majority, everything before it is committed as well.
    bench.step(1, 2, AppendResponse(Term(4), True, Index(3)))
    bench.step(1, 3, AppendResponse(Term(4), True, Index(3)))
    bench.sync(1)
    assert bench[1].status().commit_index == 3


def test_5_4_3_a_committed_entry_is_never_overwritten() -> None:
    """§5.4.3, State Machine Safety: whoever would overwrite a committed entry is no leader, but a broken invariant."""
    bench = Bench(THREE)
    bench.step(1, 2, append(1, (0, 0), (1, 1), commit=1))
    with pytest.raises(Fatal, match="overwritten"):
        bench.step(1, 3, append(2, (0, 0), (1, 2), (2, 2)))


def test_5_2_two_leaders_in_a_term_stop_the_node() -> None:
    """§5.2, Election Safety: at most one leader can be elected in a given term."""
    bench = Bench(THREE)
    bench.step(1, 2, append(1, (0, 0)))
    with pytest.raises(Fatal, match="both lead"):
        bench.step(1, 3, append(1, (0, 0)))


# ----- 5.5, 5.6 -----


def test_5_5_requests_are_idempotent() -> None:
    """§5.5: Raft RPCs are idempotent, so repeating them causes no harm."""
    bench = Bench(THREE)
    bench.lead(1)
    bench.propose(1, b"x")
    repeated = list(bench.wire)
    bench.settle()
    before = (bench.log_of(2), bench.seats[2].applied_payloads, bench[1].status().commit_index)
    bench.wire += repeated + repeated
    bench.settle()
    assert (bench.log_of(2), bench.seats[2].applied_payloads, bench[1].status().commit_index) == before


def test_5_5_a_crashed_follower_catches_up() -> None:
    """§5.5: the leader retries indefinitely; if the crashed server restarts, the RPC will complete successfully."""
    bench = Bench(THREE)
    bench.lead(1)
    bench.crash(3)
    for number in range(20):
        bench.propose(1, b"%d" % number)
        bench.settle()
    bench.restart(3)
    bench.tick_all(3)
    assert bench.seats[3].applied_payloads == [b"%d" % number for number in range(20)]


# ----- 8 Client interaction -----


def test_8_a_follower_refuses_and_names_the_leader() -> None:
    """§8: if the client's first choice is not the leader, that server will reject the client's request and supply
    information about the most recent leader it has heard from."""
    bench = Bench(THREE)
    bench.lead(2)
    with pytest.raises(NotLeader) as refused:
        bench[1].propose(b"x")
    assert refused.value.hint == 2


def test_8_a_leader_begins_with_an_empty_entry() -> None:
    """§8: Raft handles this by having each leader commit a blank no-op entry into the log at the start of its term."""
    bench = Bench(THREE)
    bench.lead(1)
    assert [each.kind for each in bench[1].state.log.entries] == [EntryKind.EMPTY]
    assert bench[1].status().commit_index == 1
