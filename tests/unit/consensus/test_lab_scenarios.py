"""The scenarios by which Raft implementations are usually judged, under a simulated network with real delays."""

from typing import Any

import pytest

from makoredis.base.ids import NodeId
from makoredis.consensus.core import ElectionRule
from makoredis.consensus.types import Role
from tests.sim.consensus.cluster import Cluster

ELECTION_MS = 1_000
"""Ample for one election: timeouts are 100 to 200 ms."""


def check_one_leader(cluster: Cluster, among: list[int]) -> int:
    """Waits until these nodes agree on one leader among them. Returns: its node."""

    def agreed() -> bool:
        leaders = [
            node
            for node in among
            if cluster.replicas[NodeId(node)].is_up and cluster.core(node).state.role is Role.LEADER
        ]
        return len(leaders) == 1 and all(cluster.core(node).state.leader == leaders[0] for node in among)

    cluster.run_until(agreed, ELECTION_MS)
    return next(node for node in among if cluster.core(node).state.role is Role.LEADER)


@pytest.fixture(params=ElectionRule, ids=lambda rule: rule.name.lower())
def rule(request: pytest.FixtureRequest) -> Any:
    """Each scenario with each rule of election."""
    return request.param


def messages(cluster: Cluster) -> int:
    return sum(cluster.network.sent.values())


def test_initial_election(rule: ElectionRule) -> None:
    cluster = Cluster(seed=1, election_rule=rule)
    check_one_leader(cluster, [1, 2, 3])
    term = cluster.core(1).state.term
    cluster.run(2_000)
    check_one_leader(cluster, [1, 2, 3])
    assert {cluster.core(node).state.term for node in (1, 2, 3)} == {term}


def test_re_election(rule: ElectionRule) -> None:
    cluster = Cluster(seed=2, election_rule=rule)
    first = check_one_leader(cluster, [1, 2, 3])
    others = [node for node in (1, 2, 3) if node != first]
    cluster.isolate(first)
    second = check_one_leader(cluster, others)
    cluster.heal()
    assert check_one_leader(cluster, [1, 2, 3]) == second
    third = next(node for node in others if node != second)
    cluster.isolate(second, third)
    cluster.run(ELECTION_MS)
    assert not cluster.leaders()
    cluster.heal()
    check_one_leader(cluster, [1, 2, 3])


def test_many_elections(rule: ElectionRule) -> None:
    cluster = Cluster(seed=3, election_rule=rule, voters=7)
    check_one_leader(cluster, list(range(1, 8)))
    for _ in range(10):
        away = cluster.rng.sample(range(1, 8), 3)
        cluster.isolate(*away)
        check_one_leader(cluster, [node for node in range(1, 8) if node not in away])
        cluster.heal()
        cluster.run(300)
    check_one_leader(cluster, list(range(1, 8)))


def test_basic_agree(rule: ElectionRule) -> None:
    cluster = Cluster(seed=4, election_rule=rule, voters=5)
    indexes = [cluster.agree(b"%d" % number) for number in range(3)]
    assert indexes == [2, 3, 4]


def test_fail_agree(rule: ElectionRule) -> None:
    """A follower drops out and comes back: agreement goes on, and it catches up."""
    cluster = Cluster(seed=5, election_rule=rule)
    cluster.agree(b"101")
    leader = check_one_leader(cluster, [1, 2, 3])
    away = next(node for node in (1, 2, 3) if node != leader)
    rest = [node for node in (1, 2, 3) if node != away]
    cluster.isolate(away)
    for payload in (b"102", b"103", b"104", b"105"):
        cluster.agree(payload, expected=rest)
    cluster.heal()
    cluster.agree(b"106", expected=[1, 2, 3])
    assert cluster.applied_payloads(away) == [b"101", b"102", b"103", b"104", b"105", b"106"]


def test_fail_no_agree(rule: ElectionRule) -> None:
    """Too many followers drop out: nothing is committed."""
    cluster = Cluster(seed=6, election_rule=rule, voters=5)
    cluster.agree(b"10")
    leader = check_one_leader(cluster, [1, 2, 3, 4, 5])
    away = [node for node in (1, 2, 3, 4, 5) if node != leader][:3]
    cluster.isolate(*away)
    index = cluster.propose(payload=b"20")
    assert index == 3
    cluster.run(2 * ELECTION_MS)
    assert all(cluster.replicas[node].applied < index for node in cluster.nodes)
    cluster.heal()
    cluster.agree(b"30")
    cluster.agree(b"1000")


def test_concurrent_starts(rule: ElectionRule) -> None:
    """Proposals of one turn get indexes of their own and are all applied, in order."""
    cluster = Cluster(seed=7, election_rule=rule)
    leader = cluster.wait_leader()
    indexes = [leader.core.propose(b"%d" % number) for number in range(5)]
    leader.perform()
    cluster.run(100)
    assert indexes == [2, 3, 4, 5, 6]
    for node in (1, 2, 3):
        assert cluster.applied_payloads(node) == [b"%d" % number for number in range(5)]


def test_rejoin_of_a_partitioned_leader(rule: ElectionRule) -> None:
    cluster = Cluster(seed=8, election_rule=rule)
    cluster.agree(b"101")
    first = check_one_leader(cluster, [1, 2, 3])
    others = [node for node in (1, 2, 3) if node != first]
    cluster.isolate(first)
    old = cluster.replicas[NodeId(first)]
    for payload in (b"102", b"103", b"104"):
        cluster.propose(old, payload)
    second = check_one_leader(cluster, others)
    cluster.agree(b"203", expected=others)
    cluster.isolate(second)
    cluster.network.heal()
    cluster.isolate(second)
    cluster.run(ELECTION_MS)
    cluster.agree(b"104", expected=[first, *[node for node in others if node != second]])
    cluster.heal()
    cluster.agree(b"105", expected=[1, 2, 3])
    assert cluster.applied_payloads(first) == [b"101", b"203", b"104", b"105"]


def test_backup_over_many_conflicting_entries_is_quick(rule: ElectionRule) -> None:
    """Two halves each collect 50 entries that cannot be committed; the logs are brought together in few rounds."""
    cluster = Cluster(seed=9, election_rule=rule, voters=5)
    cluster.agree(b"first")
    leader = check_one_leader(cluster, [1, 2, 3, 4, 5])
    friend, *others = [node for node in (1, 2, 3, 4, 5) if node != leader]
    cluster.network.partition([NodeId(leader), NodeId(friend)], [NodeId(node) for node in others])
    for number in range(50):
        cluster.propose(cluster.replicas[NodeId(leader)], b"lost %d" % number)
    second = check_one_leader(cluster, others)
    for number in range(50):
        cluster.propose(cluster.replicas[NodeId(second)], b"kept %d" % number)
    cluster.run(200)
    before = cluster.network.sent["AppendRequest"]
    cluster.heal()
    cluster.agree(b"last", expected=[1, 2, 3, 4, 5])
    assert cluster.network.sent["AppendRequest"] - before < 40
    expected = [b"first", *[b"kept %d" % number for number in range(50)], b"last"]
    assert all(cluster.applied_payloads(node) == expected for node in (1, 2, 3, 4, 5))


def test_message_counts_are_not_too_high(rule: ElectionRule) -> None:
    """At most 30 for an election, 55 for ten entries, 60 per idle second (with ten heartbeats a second)."""
    cluster = Cluster(seed=10, election_rule=rule, heartbeat_ticks=10, election_ticks=50)
    cluster.wait_leader()
    assert messages(cluster) <= 30
    leader = cluster.leader()
    assert leader is not None
    cluster.run(200)
    before = messages(cluster)
    for number in range(10):
        leader.core.propose(b"%d" % number)
    leader.perform()
    cluster.run(50)
    assert leader.applied == 11 and messages(cluster) - before <= 55
    before = messages(cluster)
    cluster.run(1_000)
    assert messages(cluster) - before <= 60


def test_persistence_across_crashes_of_all_and_of_some(rule: ElectionRule) -> None:
    cluster = Cluster(seed=11, election_rule=rule)
    cluster.agree(b"11")
    for node in (1, 2, 3):
        cluster.crash(node)
    for node in (1, 2, 3):
        cluster.restart(node)
    cluster.agree(b"12")
    leader = check_one_leader(cluster, [1, 2, 3])
    cluster.crash(leader)
    cluster.agree(b"13", expected=[node for node in (1, 2, 3) if node != leader])
    cluster.restart(leader)
    cluster.agree(b"14", expected=[1, 2, 3])
    assert all(cluster.applied_payloads(node) == [b"11", b"12", b"13", b"14"] for node in (1, 2, 3))


def test_unreliable_agree(rule: ElectionRule) -> None:
    cluster = Cluster(seed=12, election_rule=rule, voters=5)
    network = cluster.network
    network.loss, network.duplication, network.delay_us = 0.1, 0.1, (200, 27_000)
    for _ in range(50):
        leader = cluster.leader()
        if leader is not None:
            for _ in range(5):
                cluster.propose(leader)
        cluster.run(20)
    network.loss = network.duplication = 0.0
    cluster.agree(b"done", milliseconds_max=10_000)
    assert len(cluster.observer.acknowledged) > 50
    cluster.observer.check_converged(cluster.configuration)


def _figure_8(cluster: Cluster, rounds: int) -> None:
    """Leaders crash at the worst moments, entries of old terms abound (figure 8)."""
    for _ in range(rounds):
        leader = cluster.leader()
        if leader is not None:
            cluster.propose(leader)
        cluster.run(cluster.rng.choice((1, 2, 5, 5, 60, 120)))
        if leader is not None and leader.is_up:
            cluster.crash(leader.node)
        if len(cluster.up()) < 3:
            down = [node for node in cluster.nodes if not cluster.replicas[node].is_up]
            cluster.restart(cluster.rng.choice(down))
    for node in cluster.nodes:
        if not cluster.replicas[node].is_up:
            cluster.restart(node)
    cluster.agree(b"end", milliseconds_max=10_000)
    cluster.observer.check_converged(cluster.configuration)


def test_figure_8(rule: ElectionRule) -> None:
    cluster = Cluster(seed=13, election_rule=rule, voters=5)
    _figure_8(cluster, 150)
    assert len(cluster.observer.leaders) > 20


def test_figure_8_unreliable(rule: ElectionRule) -> None:
    cluster = Cluster(seed=14, election_rule=rule, voters=5)
    cluster.network.loss, cluster.network.delay_us = 0.1, (200, 20_000)
    _figure_8(cluster, 100)


def test_log_backtracking_survives_late_and_repeated_answers(rule: ElectionRule) -> None:
    """A follower's late refusals and acknowledgements, delivered again and again, change nothing."""
    cluster = Cluster(seed=15, election_rule=rule)
    cluster.network.duplication = 0.9
    cluster.network.delay_us = (200, 60_000)
    for _ in range(5):
        cluster.isolate(cluster.rng.choice((1, 2, 3)))
        cluster.run(150)
        cluster.propose()
        cluster.heal()
        cluster.run(100)
    cluster.agree(b"end", milliseconds_max=10_000)


def test_apply_never_loses_a_wake_up(rule: ElectionRule) -> None:
    """Whatever is chosen is applied everywhere without another message: the last entry of a burst, too."""
    cluster = Cluster(seed=16, election_rule=rule)
    leader = cluster.wait_leader()
    for number in range(500):
        leader.core.propose(b"%d" % number)
        if number % 7 == 0:
            leader.perform()
        if number % 50 == 0:
            cluster.run(3)
    leader.perform()
    cluster.run(30)
    assert {cluster.replicas[node].applied for node in cluster.nodes} == {501}


def test_no_leadership_change_under_load(rule: ElectionRule) -> None:
    cluster = Cluster(seed=17, election_rule=rule)
    leader = cluster.wait_leader()
    for _ in range(200):
        cluster.propose(leader)
        cluster.run(50)
    assert cluster.leader() is leader and len(cluster.observer.leaders) == 1
