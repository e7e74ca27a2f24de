"""Majorities, plain and joint, from tables."""

import itertools

import pytest

from makoredis.base.ids import NodeId
from makoredis.consensus.quorum import VoteResult, has_quorum, majority_value, quorum_value, vote_result
from tests.unit.consensus.bench import configuration


@pytest.mark.parametrize(
    "values, reached",
    [([7], 7), ([7, 3], 3), ([7, 3, 5], 5), ([7, 3, 5, 9], 5), ([1, 2, 3, 4, 5], 3), ([0, 0, 9], 0), ([9, 9, 0], 9)],
)
def test_majority_value(values: list[int], reached: int) -> None:
    assert majority_value(values) == reached


@pytest.mark.parametrize("size", range(1, 6))
def test_majority_value_is_what_a_majority_has(size: int) -> None:
    for values in itertools.product(range(3), repeat=size):
        reached = majority_value(values)
        assert sum(value >= reached for value in values) > size // 2
        assert sum(value >= reached + 1 for value in values) <= size // 2


def test_a_joint_decision_needs_both_majorities() -> None:
    joint = configuration(1, 2, 3, outgoing=(3, 4, 5))
    assert not has_quorum(joint, {1, 2, 3})
    assert not has_quorum(joint, {3, 4, 5})
    assert has_quorum(joint, {1, 3, 4})
    values = {NodeId(1): 9, NodeId(2): 8, NodeId(3): 7, NodeId(4): 2}
    assert quorum_value(joint, values, missing=0) == 2


@pytest.mark.parametrize(
    "votes, result",
    [
        ({}, VoteResult.PENDING),
        ({1: True}, VoteResult.PENDING),
        ({1: True, 2: True}, VoteResult.WON),
        ({1: False, 2: True}, VoteResult.PENDING),
        ({1: False, 2: False}, VoteResult.LOST),
        ({1: True, 9: True, 8: True}, VoteResult.PENDING),
        ({1: False, 9: False, 8: False}, VoteResult.PENDING),
    ],
)
def test_vote_result(votes: dict[int, bool], result: VoteResult) -> None:
    assert vote_result(configuration(1, 2, 3), {NodeId(node): vote for node, vote in votes.items()}) is result


def test_a_joint_election_is_lost_when_one_side_cannot_win() -> None:
    joint = configuration(1, 2, 3, outgoing=(4, 5, 6))
    lost = {NodeId(node): node < 4 for node in (1, 2, 3, 4, 5)}
    assert vote_result(joint, lost) is VoteResult.LOST


def test_learners_do_not_vote() -> None:
    with_learners = configuration(1, 2, 3, learners=(4, 5))
    assert not has_quorum(with_learners, {1, 4, 5})
    assert vote_result(with_learners, {NodeId(4): True, NodeId(5): True, NodeId(1): True}) is VoteResult.PENDING
