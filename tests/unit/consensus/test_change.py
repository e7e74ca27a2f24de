"""Membership changes: one voter, joint, learners, witnesses, the leader itself; and what must be refused."""

import pytest

from makoredis.base.errors import ClientError, NotLeader
from makoredis.base.ids import Index
from makoredis.consensus.core import ChangeRefused
from makoredis.consensus.messages import AppendRequest
from makoredis.consensus.types import Configuration, EntryKind, Role
from tests.unit.consensus.bench import Bench, configuration


def change(bench: Bench, node: int, target: Configuration) -> Index:
    index = bench[node].propose_configuration(target)
    bench.perform(node)
    return index


def joined(*voters: int, learners: tuple[int, ...] = (), nodes: tuple[int, ...] = ()) -> Bench:
    """A group led by its first voter, with caught-up learners."""
    bench = Bench(configuration(*voters, learners=learners), nodes=nodes)
    bench.lead(voters[0])
    bench.tick_all(3)
    return bench


def test_a_learner_is_added_caught_up_and_promoted() -> None:
    bench = joined(1, nodes=(2,))
    bench.propose(1, b"before")
    change(bench, 1, configuration(1, learners=(2,)))
    bench.tick_all(3)
    assert bench.seats[2].applied_payloads == [b"before"]
    assert bench[1].status().peers[2].is_caught_up
    change(bench, 1, configuration(1, 2))
    bench.tick_all(3)
    assert bench[2].status().configuration == configuration(1, 2)
    bench.isolate(2)
    index = bench.propose(1, b"needs both")
    bench.tick_all(3)
    assert bench[1].status().commit_index < index


def test_a_configuration_counts_as_soon_as_it_is_appended() -> None:
    """Thesis §4.1: a server always uses the latest configuration in its log, regardless of whether it is committed."""
    bench = joined(1, learners=(2,))
    bench.isolate(2)
    change(bench, 1, configuration(1, 2))
    assert bench[1].status().configuration == configuration(1, 2)
    bench.tick_all(2)
    assert bench[1].status().commit_index < bench[1].status().configuration_index


def test_a_configuration_that_is_cut_off_is_no_longer_in_force() -> None:
    """Thesis §4.1: … must be prepared to roll back to the previous configuration."""
    bench = joined(1, 2, 3, learners=(4,))
    bench.isolate(1)
    change(bench, 1, configuration(1, 2, 3, 4))
    bench.lead(2)
    bench.heal()
    bench.tick_all(3)
    assert bench.role(1) is Role.FOLLOWER
    assert bench[1].status().configuration == configuration(1, 2, 3, learners=(4,))


@pytest.mark.parametrize("target", [configuration(1, 4, 5), configuration(4, 5), configuration(2, 3, 4, 5)])
def test_many_voters_change_through_a_joint_phase(target: Configuration) -> None:
    bench = joined(1, 2, 3, learners=(4, 5))
    change(bench, 1, target)
    assert bench[1].status().configuration.is_joint
    bench.tick_all(40)
    leaders = [node for node in target.voters if bench.role(node) is Role.LEADER]
    assert len(leaders) == 1
    assert bench[leaders[0]].status().configuration == target
    bench.propose(leaders[0], b"after")
    bench.tick_all(2)
    assert all(bench.seats[node].applied_payloads == [b"after"] for node in target.voters)


def test_in_the_joint_phase_neither_side_decides_alone() -> None:
    """§6: agreement requires separate majorities from both the old and new configurations."""
    for side in ((1, 4, 5), (1, 2, 3)):
        bench = joined(1, 2, 3, learners=(4, 5))
        bench.isolate(*[node for node in (2, 3, 4, 5) if node not in side])
        index = change(bench, 1, configuration(1, 4, 5))
        bench.tick_all(5)
        assert bench[1].status().commit_index < index


def test_two_sides_of_a_partition_never_decide_both() -> None:
    """What goes wrong if several voters are exchanged in one step (thesis §4.1, figure 4.2)."""
    bench = joined(1, 2, 3, learners=(4, 5))
    bench.partition((1, 4, 5), (2, 3))
    change(bench, 1, configuration(1, 4, 5))
    bench.settle()
    mine = bench.propose(1, b"mine")
    bench.settle()
    bench[2].state.heard_at = bench[3].state.heard_at = -1_000_000
    bench[2].campaign()
    bench.perform(2)
    bench.settle()
    assert bench.role(2) is Role.LEADER and bench[2].status().commit_index == bench[2].status().last_index
    assert bench[1].status().commit_index < mine


def test_one_change_at_a_time() -> None:
    """§6, thesis §4.1: a leader starts no change while one is not committed, or two steps could skip the overlap."""
    bench = joined(1, 2, 3, learners=(4, 5))
    bench.partition((1, 4, 5), (2, 3))
    change(bench, 1, configuration(1, 2, 3, 4, learners=(5,)))
    bench.settle()
    with pytest.raises(ChangeRefused, match="under way"):
        change(bench, 1, configuration(1, 2, 3, 4, 5))
    assert bench[1].status().commit_index < bench[1].status().configuration_index


def test_a_new_leader_commits_in_its_term_before_it_changes_anything() -> None:
    """Ongaro's correction of 2015 to the single-server algorithm."""
    bench = Bench(configuration(1, 2, 3, learners=(4,)))
    bench.seats[2].is_disk_held = bench.seats[3].is_disk_held = True
    bench[1].campaign()
    bench.perform(1)
    bench.settle()
    bench.sync(2)
    bench.settle()
    assert bench.role(1) is Role.LEADER
    with pytest.raises(ChangeRefused, match="its term"):
        change(bench, 1, configuration(1, 2, 3))


def test_only_the_leader_changes_the_configuration() -> None:
    bench = joined(1, 2, 3)
    with pytest.raises(NotLeader):
        change(bench, 2, configuration(2, 3))


def test_a_voter_must_have_caught_up_as_a_learner() -> None:
    """Thesis §4.2.1: an empty voter would only stall the group."""
    bench = joined(1, learners=(2,), nodes=(3,))
    with pytest.raises(ChangeRefused, match="node 3 is not a caught-up learner"):
        change(bench, 1, configuration(1, 3, learners=(2,)))
    bench.isolate(2)
    bench.propose(1, b"x")
    bench.tick_all(12)
    with pytest.raises(ChangeRefused, match="node 2 is not a caught-up learner"):
        change(bench, 1, configuration(1, 2))


def test_impossible_targets_are_the_callers_error() -> None:
    bench = joined(1, 2, 3)
    with pytest.raises(ClientError):
        change(bench, 1, configuration())


def test_the_configuration_in_force_is_no_change() -> None:
    bench = joined(1, 2, 3)
    last = bench[1].status().last_index
    assert change(bench, 1, configuration(3, 2, 1)) == 0
    assert bench[1].status().last_index == last


def test_a_removed_follower_learns_of_it_and_keeps_quiet() -> None:
    bench = joined(1, 2, 3)
    change(bench, 1, configuration(1, 2))
    bench.tick_all(3)
    assert bench[3].status().configuration == configuration(1, 2)
    assert 3 not in bench[1].status().peers
    before = len([message for sender, _, message in bench.sent if sender == 3])
    bench.tick_all(100)
    assert len([message for sender, _, message in bench.sent if sender == 3]) == before
    assert bench.role(1) is Role.LEADER and bench.term(1) == 1


def test_a_removed_node_that_never_heard_disturbs_nobody() -> None:
    """Thesis §4.2.3."""
    bench = joined(1, 2, 3)
    bench.isolate(3)
    change(bench, 1, configuration(1, 2))
    bench.tick_all(30)
    bench.heal()
    bench.tick_all(100)
    assert bench.role(1) is Role.LEADER and bench.term(1) == 1


def test_a_leader_that_removes_itself_hands_over() -> None:
    """§6: the leader steps down once it has committed C_new, and does not count itself in majorities until then."""
    bench = joined(1, 2, 3)
    bench.propose(1, b"x")
    change(bench, 1, configuration(2, 3))
    bench.tick_all(5)
    assert bench.role(1) is Role.FOLLOWER
    leaders = [node for node in (2, 3) if bench.role(node) is Role.LEADER]
    assert len(leaders) == 1 and bench.term(leaders[0]) == 2
    assert bench.seats[leaders[0]].applied_payloads == [b"x"]


def test_a_leader_does_not_count_itself_once_it_is_removed() -> None:
    bench = joined(1, 2, 3)
    bench.isolate(3)
    index = change(bench, 1, configuration(2, 3))
    bench.tick_all(3)
    assert bench[1].status().commit_index < index


def test_a_node_being_removed_still_stands_for_election_until_that_is_committed() -> None:
    """Thesis §4.2.2: it may be needed, if only its log is complete enough for everybody's vote."""
    bench = joined(1, 2)
    bench.isolate(2)
    change(bench, 1, configuration(2))
    bench.settle()
    bench.restart(1)
    bench.heal()
    bench.tick_all(60)
    assert bench.role(2) is Role.LEADER and bench[2].status().configuration == configuration(2)


def test_a_change_survives_its_leader() -> None:
    """Whoever leads next finishes the joint phase."""
    bench = joined(1, 2, 3, learners=(4, 5))
    change(bench, 1, configuration(2, 4, 5))
    bench.settle()
    bench.crash(1)
    bench.tick_all(60)
    leaders = [node for node in (2, 3, 4, 5) if bench.role(node) is Role.LEADER]
    assert len(leaders) == 1 and bench[leaders[0]].status().configuration == configuration(2, 4, 5)


def test_the_configuration_is_found_again_after_a_restart() -> None:
    bench = joined(1, 2, 3)
    change(bench, 1, configuration(1, 2))
    bench.tick_all(3)
    bench.restart(2)
    assert bench[2].status().configuration == configuration(1, 2)


def test_a_witness_keeps_no_payload_and_makes_a_quorum() -> None:
    bench = Bench(configuration(1, 2, 3, witnesses=(3,)))
    bench.lead(1)
    bench.crash(2)
    index = bench.propose(1, b"secret")
    bench.tick_all(15)
    assert bench[1].status().commit_index == index
    kinds = {each.kind for each in bench.seats[3].log.values()}
    assert kinds == {EntryKind.EMPTY, EntryKind.METADATA}
    assert all(not each.payload for each in bench.seats[3].log.values())


def test_a_witness_never_gets_ahead_of_a_live_follower() -> None:
    """Or, after the leader's crash, the follower could not be elected: the witness would have the longer log."""
    bench = Bench(configuration(1, 2, 3, witnesses=(3,)))
    bench.lead(1)
    bench.seats[2].is_disk_held = True
    bench.propose(1, b"x")
    bench.settle()
    sent = [message for _, to, message in bench.sent if to == 3 and isinstance(message, AppendRequest)]
    assert max(each.index for message in sent for each in message.entries) == 1
    bench.sync(2)
    bench.settle()
    assert bench[3].status().last_index == 2


def test_a_witness_helps_out_when_the_follower_is_stuck() -> None:
    bench = Bench(configuration(1, 2, 3, witnesses=(3,)))
    bench.lead(1)
    bench.seats[2].is_disk_held = True
    index = bench.propose(1, b"x")
    bench.tick_all(12)
    assert bench[1].status().commit_index == index


def test_a_witness_can_be_added_empty() -> None:
    bench = joined(1, learners=(2,), nodes=(3,))
    change(bench, 1, configuration(1, 2))
    bench.tick_all(3)
    change(bench, 1, configuration(1, 2, 3, witnesses=(3,)))
    bench.tick_all(5)
    bench.isolate(2)
    index = bench.propose(1, b"x")
    bench.tick_all(15)
    assert bench[1].status().commit_index == index
