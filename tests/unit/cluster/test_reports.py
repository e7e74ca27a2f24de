"""What a node's log says of groups without leader, and of its own vote."""

from dataclasses import replace

from makoredis.base.ids import Index, NodeId, ShardId, Term
from makoredis.cluster.reports import LEADERLESS_SECONDS, CatchingUp, GroupReports
from makoredis.consensus.core import Status
from makoredis.consensus.types import Configuration, Role

VOTERS = (NodeId(1), NodeId(2), NodeId(3))
STATUS = Status(
    node=NodeId(1),
    role=Role.FOLLOWER,
    term=Term(3),
    leader=NodeId(2),
    vote=None,
    first_index=Index(1),
    last_index=Index(9),
    persisted_index=Index(9),
    commit_index=Index(9),
    applied_index=Index(9),
    log_bytes=0,
    configuration=Configuration(voters=VOTERS),
    configuration_index=Index(1),
    transferring_to=None,
    is_quiesced=False,
    peers={},
)


def look(reports: GroupReports, now: float, connected: tuple[int, ...] = (), **changes: object) -> list[str]:
    """What is said when the first shard's status has changed, and that of the members' group is as ever."""
    statuses = {ShardId(0): STATUS, ShardId(1): replace(STATUS, **changes)}
    return [text for _, text in reports.look(statuses, [NodeId(node) for node in connected], now)]


def test_a_group_without_leader_is_reported_once_and_so_is_the_next_leader() -> None:
    reports = GroupReports()
    assert look(reports, 10.0, (2, 3)) == []
    assert look(reports, 11.0, (3,), leader=None) == []
    assert look(reports, 10.0 + LEADERLESS_SECONDS, (4,), leader=None) == [
        "shard 1 has no leader for 5 s; a majority is needed of its voters 1, 2, 3, this node reaches 1"
    ]
    assert look(reports, 20.0, (4,), leader=None) == []
    assert look(reports, 22.0, (3,), leader=NodeId(3)) == ["shard 1 has a leader again, node 3, after 12 s"]
    assert look(reports, 23.0, (3,), leader=None) == []


def test_the_members_group_has_a_name_of_its_own() -> None:
    reports = GroupReports()
    statuses = {ShardId(0): replace(STATUS, leader=None)}
    assert reports.look(statuses, [], 0.0) == []
    ((level, text),) = reports.look(statuses, [], 10.0)
    assert level == "warning" and text.startswith("the members' group has no leader for 10 s")


def test_who_has_no_vote_does_not_complain() -> None:
    reports = GroupReports()
    learner = Configuration(voters=VOTERS[1:], learners=VOTERS[:1])
    assert look(reports, 0.0, leader=None, configuration=learner) == []
    assert look(reports, 60.0, leader=None, configuration=learner) == []


def test_a_node_that_gets_its_vote_says_so_when_that_is_chosen() -> None:
    reports = GroupReports()
    learner = Configuration(voters=VOTERS[1:], learners=VOTERS[:1])
    assert look(reports, 0.0, configuration=learner) == []
    assert look(reports, 1.0, configuration_index=Index(10)) == []
    assert look(reports, 2.0) == ["this node is a voter of every group now: it counts for a majority"]
    assert look(reports, 3.0) == []


def test_a_change_that_is_not_chosen_yet_takes_no_vote_away() -> None:
    reports = GroupReports()
    assert look(reports, 0.0, configuration_index=Index(10)) == []
    assert look(reports, 1.0) == []
    assert look(reports, 2.0, configuration_index=Index(10)) == []
    assert look(reports, 3.0) == []


def test_a_node_says_once_that_it_has_caught_up() -> None:
    catching_up = CatchingUp(100.0)
    assert catching_up.look(3, 2, 0, 0, 101.0) is None, "one leader has not been heard of"
    assert catching_up.look(3, 3, 70, 0, 102.0) is None, "the snapshot is none yet"
    assert catching_up.look(3, 3, 90, 60, 103.0) is None
    assert catching_up.look(3, 3, 99, 70, 104.5) == "caught up with all 3 shards in 4.5 s", "the target does not move"
    assert catching_up.look(3, 3, 99, 99, 105.0) is None
