"""Targets of membership changes, without a cluster."""

import pytest

from makoredis.base.errors import ClientError
from makoredis.base.ids import NodeId
from makoredis.cluster.members import added, drained, notes_of, removed, replaced, step_to_goal, with_notes
from makoredis.consensus.membership import next_configuration, without_outgoing
from makoredis.consensus.types import Configuration


def ids(*numbers: int) -> tuple[NodeId, ...]:
    return tuple(NodeId(number) for number in numbers)


def at(*numbers: int) -> dict[NodeId, tuple[str, int]]:
    return {NodeId(number): ("host", number) for number in numbers}


THREE = with_notes(Configuration(voters=ids(1, 2, 3)), {1: ("host", 1), 2: ("host", 2), 3: ("host", 3)}, (), ())


def test_an_added_node_learns_first_and_votes_when_it_has_caught_up() -> None:
    learning = added(THREE, at(4))
    assert (learning.voters, learning.learners) == (ids(1, 2, 3), ids(4))
    assert notes_of(learning).goal == [1, 2, 3, 4]
    assert step_to_goal(learning, ids(1, 2, 3)) is None
    voting = step_to_goal(learning, ids(1, 2, 3, 4))
    assert voting is not None
    assert (voting.voters, voting.learners, notes_of(voting).goal) == (ids(1, 2, 3, 4), (), [])
    assert notes_of(voting).addresses == {1: ("host", 1), 2: ("host", 2), 3: ("host", 3), 4: ("host", 4)}


def test_adding_again_changes_nothing_but_the_address() -> None:
    learning = added(THREE, at(4))
    assert added(learning, at(4)) == learning
    moved = added(THREE, {NodeId(2): ("elsewhere", 7)})
    assert (moved.voters, notes_of(moved).addresses[2], notes_of(moved).goal) == (THREE.voters, ("elsewhere", 7), [])


def test_two_nodes_added_one_after_the_other_share_a_goal() -> None:
    both = added(added(THREE, at(4)), at(5))
    assert (both.learners, notes_of(both).goal) == (ids(4, 5), [1, 2, 3, 4, 5])


def test_a_replacement_passes_through_one_joint_phase_and_keeps_addresses_until_its_end() -> None:
    waiting = replaced(THREE, ids(1, 2, 3), at(4, 5, 6))
    assert (waiting.voters, waiting.learners) == (ids(1, 2, 3), ids(4, 5, 6))
    assert step_to_goal(waiting, ids(1, 2, 3, 4, 5)) is None
    target = step_to_goal(waiting, ids(1, 2, 3, 4, 5, 6))
    assert target is not None
    joint = next_configuration(waiting, target)
    assert (joint.voters, joint.outgoing) == (ids(4, 5, 6), ids(1, 2, 3))
    assert set(notes_of(joint).addresses) == {1, 2, 3, 4, 5, 6}
    assert step_to_goal(joint, ids(1, 2, 3, 4, 5, 6)) is None
    final = without_outgoing(joint)
    assert (final.voters, final.outgoing, notes_of(final).goal) == (ids(4, 5, 6), (), [])


def test_removing_a_node_that_never_came_takes_the_goal_back() -> None:
    back = removed(added(THREE, at(4)), NodeId(4))
    assert (back.voters, back.learners, notes_of(back).goal) == (ids(1, 2, 3), (), [])


def test_drained_nodes_are_noted_until_undrained() -> None:
    once = drained(THREE, NodeId(1), is_drained=True)
    assert notes_of(once).drained == [1]
    assert drained(once, NodeId(1), is_drained=False) == THREE
    assert notes_of(removed(once, NodeId(1))).drained == []


def test_refusals() -> None:
    with pytest.raises(ClientError, match="node 9 is not a member"):
        removed(THREE, NodeId(9))
    with pytest.raises(ClientError, match="needs a voter"):
        removed(Configuration(voters=ids(1)), NodeId(1))
    with pytest.raises(ClientError, match="node 7 is not a voter"):
        replaced(THREE, ids(7), at(8))
    with pytest.raises(ClientError, match="TRYAGAIN another change"):
        replaced(added(THREE, at(4)), ids(1), at(5))
    present = THREE
    with pytest.raises(ClientError, match="nobody would be left to lead"):
        for node in THREE.voters:
            present = drained(present, node, is_drained=True)
