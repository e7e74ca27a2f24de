"""Which configuration may follow which, and which is in force."""

import pytest

from makoredis.base.errors import ClientError
from makoredis.base.ids import Index, NodeId
from makoredis.consensus.membership import Membership, check_target, next_configuration, normalized, without_outgoing
from makoredis.consensus.types import Configuration
from tests.unit.consensus.bench import configuration

CURRENT = configuration(1, 2, 3, learners=(4,), witnesses=(3,))


@pytest.mark.parametrize(
    "target, complaint",
    [
        (configuration(1, 2, outgoing=(3,)), "passed through"),
        (configuration(), "keeps data"),
        (configuration(3, witnesses=(3,)), "keeps data"),
        (configuration(1, 2, witnesses=(3,)), "must be a voter"),
        (configuration(1, 2, learners=(2,)), "either"),
        (configuration(1, 2, 3), "remove it first"),
        (configuration(1, 2, 4, witnesses=(4,)), "remove it first"),
        (configuration(1, 2, learners=(3,)), "remove it first"),
    ],
)
def test_targets_that_can_never_be(target: Configuration, complaint: str) -> None:
    with pytest.raises(ClientError, match=complaint):
        check_target(CURRENT, target)


@pytest.mark.parametrize(
    "target",
    [
        configuration(1, 2, 3, 5, witnesses=(3,)),
        configuration(1),
        configuration(4, 2, 3, witnesses=(3,)),
        configuration(1, 2, 5, witnesses=(5,)),
    ],
)
def test_targets_that_can_be(target: Configuration) -> None:
    check_target(CURRENT, target)


def test_one_voter_more_or_less_needs_no_joint_phase() -> None:
    assert next_configuration(configuration(1, 2), configuration(1, 2, 3)) == configuration(1, 2, 3)
    assert next_configuration(configuration(1, 2), configuration(1, learners=(2,))) == configuration(1, learners=(2,))


def test_exchanging_a_voter_is_joint() -> None:
    joint = next_configuration(configuration(1, 2, 3), configuration(1, 2, 4))
    assert joint == configuration(1, 2, 4, outgoing=(1, 2, 3))
    assert without_outgoing(joint) == configuration(1, 2, 4)


def test_witnesses_of_both_sides_stay_witnesses_in_between() -> None:
    joint = next_configuration(configuration(1, 2, 3, witnesses=(3,)), configuration(1, 4, 5, witnesses=(5,)))
    assert joint.witnesses == (3, 5)
    assert without_outgoing(joint) == configuration(1, 4, 5, witnesses=(5,))


def test_sets_are_sorted_so_that_equal_ones_have_equal_bytes() -> None:
    assert normalized(configuration(3, 1, 3, learners=(5, 4))) == configuration(1, 3, learners=(4, 5))


def test_the_last_one_appended_is_in_force_until_it_is_cut_off() -> None:
    membership = Membership(Index(0), configuration(1))
    membership.append(Index(5), configuration(1, 2))
    membership.append(Index(9), configuration(1, 2, 3))
    assert membership.configuration == configuration(1, 2, 3)
    assert membership.at(Index(8)) == configuration(1, 2) and membership.at(Index(4)) == configuration(1)
    membership.cut_from(Index(9))
    assert (membership.index, membership.configuration) == (5, configuration(1, 2))
    membership.cut_from(Index(1))
    assert (membership.index, membership.configuration) == (0, configuration(1))


def test_compaction_keeps_the_one_in_force_at_the_base() -> None:
    membership = Membership(Index(0), configuration(1))
    membership.append(Index(5), configuration(1, 2))
    membership.append(Index(9), configuration(1, 2, 3))
    membership.drop_to(Index(7))
    assert membership.at(Index(7)) == configuration(1, 2)
    membership.cut_from(Index(9))
    assert membership.configuration == configuration(1, 2)


def test_a_node_being_removed_may_lead_until_that_is_committed() -> None:
    membership = Membership(Index(0), configuration(1, 2))
    membership.append(Index(5), configuration(2))
    one = NodeId(1)
    assert membership.may_lead(one, Index(4)) and not membership.may_lead(one, Index(5))
