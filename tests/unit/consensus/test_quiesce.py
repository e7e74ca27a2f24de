"""Silence when idle, and waking up without an election."""

from makoredis.base.ids import NodeId
from makoredis.consensus.messages import Quiesce
from makoredis.consensus.types import Role
from tests.unit.consensus.bench import Bench, configuration


def quiet() -> Bench:
    bench = Bench(configuration(1, 2, 3, learners=(4,)), quiesce_ticks=20)
    bench.lead(1)
    bench.propose(1, b"x")
    bench.tick_all(60)
    assert all(bench[node].status().is_quiesced for node in (1, 2, 3, 4))
    bench.sent.clear()
    return bench


def test_an_idle_group_sends_nothing() -> None:
    bench = quiet()
    bench.tick_all(1_000)
    assert not bench.sent and bench.role(1) is Role.LEADER


def test_a_proposal_wakes_and_no_election_follows() -> None:
    bench = quiet()
    bench.tick_all(500)
    bench.propose(1, b"y")
    bench.tick_all(15)
    assert [bench.seats[node].applied_payloads[-1] for node in (1, 2, 3, 4)] == [b"y"] * 4
    assert bench.role(1) is Role.LEADER and bench.term(1) == 1


def test_a_read_wakes() -> None:
    bench = quiet()
    assert not bench[1].lease_valid()
    bench[1].read_index(7)
    bench.perform(1)
    bench.settle()
    assert [state.context for state in bench.seats[1].reads] == [7]
    assert bench[1].lease_valid()


def test_a_followers_wish_wakes_everybody() -> None:
    bench = quiet()
    bench[2].wake()
    bench.perform(2)
    bench.settle()
    assert not any(bench[node].status().is_quiesced for node in (1, 2, 3))
    bench.tick_all(15)
    assert bench.role(1) is Role.LEADER and bench.term(1) == 1


def test_it_falls_silent_again() -> None:
    bench = quiet()
    bench.propose(1, b"y")
    bench.tick_all(60)
    assert all(bench[node].status().is_quiesced for node in (1, 2, 3, 4))


def test_use_keeps_it_awake() -> None:
    bench = Bench(configuration(1, 2, 3), quiesce_ticks=20)
    bench.lead(1)
    for _ in range(100):
        assert bench[1].lease_valid() or bench[1].state.now < 5
        bench.tick_all(1)
    assert not bench[1].status().is_quiesced


def test_a_dead_leader_is_replaced_once_somebody_wants_the_group() -> None:
    bench = quiet()
    bench.crash(1)
    bench.tick_all(200)
    assert bench[2].status().leader == 1
    bench[2].wake()
    bench.perform(2)
    bench.tick_all(60)
    assert [bench.role(node) for node in (2, 3)].count(Role.LEADER) == 1


def test_a_broken_connection_to_the_leader_wakes() -> None:
    bench = quiet()
    bench.crash(1)
    bench[3].unreachable(NodeId(1))
    bench.perform(3)
    bench.tick_all(60)
    assert [bench.role(node) for node in (2, 3)].count(Role.LEADER) == 1


def test_a_woken_follower_gives_a_live_leader_time() -> None:
    """One follower missed the announcement and stands for election: the leader shows itself, nobody is elected."""
    bench = quiet()
    bench[2].state.is_quiesced = False
    bench.tick_all(60)
    assert bench.role(1) is Role.LEADER and bench.term(1) == 1


def test_no_silence_while_somebody_lacks_something() -> None:
    bench = Bench(configuration(1, 2, 3), quiesce_ticks=20)
    bench.lead(1)
    bench.isolate(3)
    bench.propose(1, b"x")
    bench.tick_all(100)
    assert not bench[1].status().is_quiesced and not bench.sent_by(1, Quiesce)


def test_late_answers_wake_nobody() -> None:
    bench = Bench(configuration(1, 2, 3), quiesce_ticks=20)
    bench.lead(1)
    bench.tick_all(19)
    while not bench[1].status().is_quiesced:
        bench.tick(1)
        assert bench[1].state.now < 100
        if not bench[1].status().is_quiesced:
            bench.settle()
    bench.settle()
    assert bench[1].status().is_quiesced and bench[2].status().is_quiesced


def test_a_broken_connection_to_a_follower_wakes_too_and_no_silence_follows() -> None:
    bench = quiet()
    bench.crash(3)
    bench[1].unreachable(NodeId(3))
    bench.perform(1)
    bench.tick_all(60)
    assert not bench[1].status().is_quiesced and bench.role(1) is Role.LEADER
    assert not bench.sent_by(1, Quiesce)


def test_members_count_as_alive_and_caught_up_meanwhile_and_when_woken() -> None:
    bench = quiet()
    bench.tick_all(500)
    for _ in range(2):
        assert all(peer.is_live and peer.is_caught_up for peer in bench[1].status().peers.values())
        bench[1].wake()
    assert not bench[1].status().is_quiesced


def test_to_be_asked_about_the_lease_out_of_curiosity_is_no_use() -> None:
    bench = quiet()
    assert not bench[1].lease_valid(is_use=False)
    assert bench[1].status().is_quiesced
    bench = Bench(configuration(1, 2, 3), quiesce_ticks=20)
    bench.lead(1)
    for _ in range(60):
        bench[1].lease_valid(is_use=False)
        bench.tick_all(1)
    assert bench[1].status().is_quiesced


def test_everybody_says_the_same_of_a_group() -> None:
    bench = quiet()
    states = [bench[node].quiesced() for node in (1, 2, 3, 4)]
    assert states == [states[0]] * 4 and states[0] is not None
    assert (states[0].leader, states[0].term, states[0].last_index) == (1, 1, bench[1].status().last_index)
    bench[2].wake()
    assert bench[2].quiesced() is None


def test_no_silence_before_the_preferred_leader_leads() -> None:
    bench = Bench(configuration(1, 2, 3), quiesce_ticks=5, preferred_stable_ticks=10)
    bench.lead(1)
    for node in (1, 2, 3):
        bench[node].prefer(NodeId(2))
    bench.tick_all(60)
    assert bench.role(2) is Role.LEADER and bench[2].status().is_quiesced


def test_silence_though_the_preferred_leader_is_no_member() -> None:
    bench = Bench(configuration(1, 2, 3), quiesce_ticks=5)
    bench.lead(1)
    bench[1].prefer(NodeId(4))
    bench.tick_all(60)
    assert bench[1].status().is_quiesced


def test_a_leader_that_was_cut_off_in_silence_has_no_lease() -> None:
    bench = quiet()
    bench.isolate(1)
    bench[2].wake()
    bench.perform(2)
    bench.tick_all(60)
    assert [bench.role(node) for node in (2, 3)].count(Role.LEADER) == 1
    assert bench.role(1) is Role.LEADER and bench[1].status().is_quiesced, "it has not heard of that"
    assert not bench[1].lease_valid()
    bench.tick_all(30)
    assert bench.role(1) is not Role.LEADER, "woken, it asks a quorum in vain"
