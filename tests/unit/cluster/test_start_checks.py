"""Files that do not fit to the data directory are named at the start."""

import pytest

from makoredis.base.errors import Fatal
from makoredis.base.ids import NodeId
from makoredis.cluster.members import with_notes
from makoredis.cluster.start_checks import check_members, moved_address
from makoredis.consensus.types import Configuration

ALL = (NodeId(1), NodeId(2), NodeId(3))
ADDRESSES = {1: ("a", 16380), 2: ("b", 16380), 3: ("c", 16380)}


def stored(*voters: int, known: bool = True) -> Configuration:
    """What a data directory knows of its members."""
    configuration = Configuration(voters=tuple(map(NodeId, voters)))
    return with_notes(configuration, ADDRESSES if known else {}, (), ())


def test_member_of_a_cluster_is_not_started_as_a_single_node() -> None:
    with pytest.raises(Fatal, match="a cluster with the nodes 1, 2, 3, the configuration describes a single node"):
        check_members(stored(1, 2, 3), NodeId(1), [NodeId(1)], is_alone=True)


def test_one_that_was_removed_neither() -> None:
    with pytest.raises(Fatal, match="the nodes 2, 3"):
        check_members(stored(2, 3), NodeId(1), [NodeId(1)], is_alone=True)


def test_single_node_does_not_become_one_of_several_first_members() -> None:
    with pytest.raises(Fatal, match="say `join: true` for all but node 1"):
        check_members(stored(1, known=False), NodeId(1), ALL, is_alone=False)


@pytest.mark.parametrize(
    ("configuration", "first", "is_alone"),
    [
        pytest.param(stored(1, known=False), [NodeId(1)], True, id="single node"),
        pytest.param(stored(1), [NodeId(1)], True, id="cluster that has shrunk to a single node"),
        pytest.param(stored(1), ALL, False, id="cluster that has shrunk, with its old file"),
        pytest.param(stored(1, known=False), [NodeId(1)], False, id="single node that others are to join"),
        pytest.param(stored(1, 2, 3), ALL, False, id="cluster"),
        pytest.param(stored(), [], False, id="node that waits to be added"),
        pytest.param(stored(2, 3, 4), ALL, False, id="cluster whose members have changed"),
    ],
)
def test_what_fits_starts(configuration: Configuration, first: list[NodeId], is_alone: bool) -> None:
    check_members(configuration, NodeId(1), first, is_alone=is_alone)


def test_changed_address_is_said() -> None:
    said = moved_address(stored(1, 2, 3), NodeId(2), ("b", 17000))
    assert said is not None
    assert said.startswith("the other nodes know this one at b:16380, it listens for them on b:17000")
    assert said.endswith("makoctl add 2 b:17000")


def test_address_as_known_is_not_said() -> None:
    assert moved_address(stored(1, 2, 3), NodeId(2), ("b", 16380)) is None
    assert moved_address(stored(1, 3), NodeId(2), ("b", 17000)) is None
    assert moved_address(stored(1, 2, 3), NodeId(2), None) is None
