"""Targets of membership changes, without a cluster."""

import pytest

from makoredis.base.errors import ClientError
from makoredis.base.ids import NodeId
from makoredis.cluster.members import (
    added,
    drained,
    following,
    has_followed,
    leaving,
    notes_of,
    numbered,
    pinned,
    preferred_leader,
    removed,
    replaced,
    spread_pins,
    step_to_goal,
    with_notes,
)
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


# -- several shards


def follow(shard: Configuration, leading: Configuration, caught_up: tuple[NodeId, ...]) -> Configuration:
    """What a shard's group comes to, step by step."""
    while (target := following(shard, leading) or step_to_goal(shard, caught_up)) is not None:
        step = next_configuration(shard, target)
        shard = without_outgoing(step) if step.is_joint else step
    return shard


def test_a_shard_follows_an_addition_and_says_when_it_is_there() -> None:
    leading = numbered(THREE, added(THREE, at(4)))
    learning = follow(THREE, leading, ids(1, 2, 3))
    assert (learning.voters, learning.learners, has_followed(learning, leading)) == (ids(1, 2, 3), ids(4), False)
    voting = follow(learning, leading, ids(1, 2, 3, 4))
    assert (voting.voters, voting.learners, has_followed(voting, leading)) == (ids(1, 2, 3, 4), (), True)
    assert notes_of(voting).addresses[4] == ("host", 4)


def test_a_removed_node_stays_a_member_until_the_shards_do_without_it() -> None:
    leading = numbered(THREE, leaving(THREE, NodeId(3)))
    assert leading.voters == ids(1, 2, 3) and notes_of(leading).goal == [1, 2]
    assert leaving(leading, NodeId(3)) == leading, "asking again changes nothing"
    assert not has_followed(THREE, leading)
    shard = follow(THREE, leading, ids(1, 2, 3))
    assert shard.members() == {1, 2} and has_followed(shard, leading)
    done = step_to_goal(leading, ids(1, 2))
    assert done is not None and (done.members(), notes_of(done).goal) == ({1, 2}, [])


def test_an_addition_is_taken_back_from_the_shards_too() -> None:
    asked = numbered(THREE, added(THREE, at(4)))
    shard = follow(THREE, asked, ids(1, 2, 3))
    taken_back = numbered(asked, leaving(asked, NodeId(4)))
    assert notes_of(taken_back).goal == [1, 2, 3]
    assert not has_followed(shard, taken_back)
    shard = follow(shard, taken_back, ids(1, 2, 3))
    assert shard.members() == {1, 2, 3} and has_followed(shard, taken_back)
    done = step_to_goal(taken_back, ids(1, 2, 3))
    assert done is not None and done.members() == {1, 2, 3}


def test_what_a_shard_did_for_an_earlier_configuration_does_not_count_for_an_equal_later_one() -> None:
    without = numbered(THREE, leaving(THREE, NodeId(3)))
    shard = follow(THREE, without, ids(1, 2, 3))
    again = numbered(without, added(without, at(3)))
    assert notes_of(again).goal == [1, 2, 3]
    shard_again = follow(shard, again, ids(1, 2, 3))
    once_more = numbered(again, leaving(again, NodeId(3)))
    assert has_followed(shard_again, again)
    assert not has_followed(shard, once_more) and not has_followed(shard_again, once_more)


def test_a_joint_configuration_is_not_followed() -> None:
    waiting = replaced(THREE, ids(1, 2, 3), at(4, 5, 6))
    target = step_to_goal(waiting, ids(4, 5, 6))
    assert target is not None
    assert following(THREE, numbered(waiting, next_configuration(waiting, target))) is None


def test_shards_prefer_the_nodes_in_turn_except_where_somebody_has_named_one() -> None:
    def led(configuration: Configuration) -> list[NodeId | None]:
        return [preferred_leader(configuration, shard, is_spread=True) for shard in (1, 2, 3, 4)]

    assert led(THREE) == [1, 2, 3, 1]
    assert led(drained(THREE, NodeId(2), is_drained=True)) == [1, 3, 1, 3]
    assert led(leaving(THREE, NodeId(1))) == [2, 3, 2, 3]
    named = pinned(THREE, {1: 3, 4: 2})
    assert led(named) == [3, 2, 3, 2]
    assert led(drained(named, NodeId(3), is_drained=True)) == [1, 2, 1, 2]
    assert preferred_leader(named, 1, is_spread=False) == 3 and preferred_leader(named, 2, is_spread=False) == 1
    assert led(pinned(named, {})) == [1, 2, 3, 1]
    assert spread_pins(THREE, (1, 2, 3, 4)) == {1: 1, 2: 2, 3: 3, 4: 1}
