"""What a coordinator does about answers, and about time."""

from collections.abc import Mapping

from makoredis.txn.coordinator import (
    FEW_KEYS,
    PATIENCE_MAX_US,
    PATIENCE_PER_KEY_US,
    RETRY_AFTER_US,
    Coordinator,
    Verdict,
)
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.locks import KeyLock
from makoredis.txn.messages import Abort, Aborted, Commit, Part, Prepare, Prepared, Refusal, Refused

PARTS = {1: Part(b"x", []), 2: Part(b"y", [])}


def begun(*, is_read_only: bool) -> Coordinator:
    coordinator = Coordinator(1, 7, Knowledge([1, 2]))
    coordinator.tick(1_000_000)
    coordinator.begin("ticket", PARTS, is_read_only=is_read_only)
    return coordinator


def sent(coordinator: Coordinator) -> list[tuple[int, type]]:
    messages, _ = coordinator.take_output()
    return [(shard, type(message)) for shard, message in messages]


def prepared(coordinator: Coordinator, shard: int) -> None:
    id = next(iter(coordinator._by_id))
    coordinator.step(Prepared(id, shard, 1, 100 + shard, [], b"result"))


def test_an_aborted_attempt_is_not_repeated_in_the_same_turn() -> None:
    """Or a node that coordinates and takes part, without a lease, would never come to the end of its turn."""
    coordinator = begun(is_read_only=True)
    assert sent(coordinator) == [(1, Prepare), (2, Prepare)]
    prepared(coordinator, 1)
    prepared(coordinator, 2)
    assert sent(coordinator) == [(1, Commit), (2, Commit)]
    coordinator.step(Aborted(next(iter(coordinator._by_id)), 1))
    assert sent(coordinator) == []
    coordinator.tick(1_000_000 + RETRY_AFTER_US)
    assert (1, Prepare) in sent(coordinator)


def test_who_met_a_lock_asks_one_shard_after_the_other_and_tells_those_who_voted_that_it_is_alive() -> None:
    coordinator = begun(is_read_only=False)
    coordinator.take_output()
    coordinator.step(Refused(next(iter(coordinator._by_id)), 2, 0, Refusal.CONFLICT))
    assert sent(coordinator) == [(1, Abort), (2, Abort), (1, Prepare)]
    prepared(coordinator, 1)
    assert sent(coordinator) == [(2, Prepare)]
    coordinator.tick(1_000_000 + coordinator.resend_after_us)
    assert sent(coordinator) == [(2, Prepare), (1, Prepare)]
    coordinator.tick(1_000_000 + 2 * coordinator.prepare_timeout_us)
    assert Abort not in [kind for _, kind in sent(coordinator)]


def test_what_takes_many_keys_is_waited_for_longer() -> None:
    """Else it would begin anew, and take as long again."""
    coordinator = Coordinator(1, 7, Knowledge([1, 2]))
    coordinator.tick(1_000_000)
    locks = [KeyLock(0, b"%d" % number, True) for number in range(10_000)]
    coordinator.begin("ticket", {1: Part(b"x", locks), 2: Part(b"y", locks)}, is_read_only=False)
    messages, _ = coordinator.take_output()
    patience_us = (20_000 - FEW_KEYS) * PATIENCE_PER_KEY_US
    assert [message.patience_us for _, message in messages if isinstance(message, Prepare)] == [patience_us] * 2
    coordinator.tick(1_000_000 + coordinator.prepare_timeout_us)
    assert sent(coordinator) == []
    coordinator.tick(1_000_000 + coordinator.resend_after_us + patience_us // 4)
    assert sent(coordinator) == [(1, Prepare), (2, Prepare)]
    coordinator.tick(1_000_000 + coordinator.prepare_timeout_us + patience_us)
    assert sent(coordinator) == [(1, Abort), (2, Abort), (1, Prepare), (2, Prepare)]


def test_patience_has_an_end() -> None:
    coordinator = Coordinator(1, 7, Knowledge([1]))
    locks = [KeyLock(0, b"%d" % number, True) for number in range(200_000)]
    coordinator.begin("ticket", {1: Part(b"x", locks)}, is_read_only=False)
    ((_, message),), _ = coordinator.take_output()
    assert isinstance(message, Prepare) and message.patience_us == PATIENCE_MAX_US


def test_nobody_is_prepared_while_a_silent_shard_is_waited_for() -> None:
    coordinator = begun(is_read_only=False)
    assert sent(coordinator) == [(1, Prepare), (2, Prepare)]
    prepared(coordinator, 1)
    coordinator.suspect(frozenset({2}))
    assert sent(coordinator) == [(1, Abort), (2, Abort), (2, Prepare)], "the first one is let go"
    coordinator.suspect(frozenset({2}))
    coordinator.tick(1_000_000 + coordinator.resend_after_us)
    assert sent(coordinator) == [(2, Prepare)]
    coordinator.tick(1_000_000 + coordinator.prepare_timeout_us)
    assert sent(coordinator) == [(1, Abort), (2, Abort), (2, Prepare)]
    prepared(coordinator, 2)
    assert sent(coordinator) == [(1, Prepare)]
    prepared(coordinator, 1)
    assert sent(coordinator) == [(1, Commit), (2, Commit)]


def test_a_shard_that_has_voted_is_not_silent_until_it_is_lost_again() -> None:
    coordinator = begun(is_read_only=False)
    coordinator.suspect(frozenset({2}))
    coordinator.take_output()
    coordinator.step(Refused(next(iter(coordinator._by_id)), 2, 0, Refusal.NOT_SERVING))
    coordinator.tick(1_000_000 + RETRY_AFTER_US)
    assert sent(coordinator)[-1:] == [(2, Prepare)], "who does not serve yet is still asked first"
    prepared(coordinator, 2)
    coordinator.suspect(frozenset({2}))
    coordinator.take_output()
    coordinator.begin("another", PARTS, is_read_only=False)
    assert sent(coordinator) == [(1, Prepare), (2, Prepare)]
    coordinator.suspect(frozenset())
    coordinator.suspect(frozenset({2}))
    assert sent(coordinator) == [(1, Abort), (2, Abort), (2, Prepare)], "the other one has its vote"


def test_who_met_a_lock_does_not_wait_in_a_queue_out_of_turn() -> None:
    coordinator = begun(is_read_only=False)
    coordinator.suspect(frozenset({2}))
    coordinator.step(Refused(next(iter(coordinator._by_id)), 1, 0, Refusal.CONFLICT))
    messages, _ = coordinator.take_output()
    last = messages[-1]
    assert last[0] == 2 and isinstance(last[1], Prepare) and not last[1].may_wait
    coordinator.step(Refused(next(iter(coordinator._by_id)), 2, 0, Refusal.CONFLICT))
    messages, _ = coordinator.take_output()
    last = messages[-1]
    assert last[0] == 1 and isinstance(last[1], Prepare) and last[1].may_wait, "it has answered"


def test_what_is_declined_lets_go_of_its_locks_and_is_committed_nowhere() -> None:
    coordinator = Coordinator(1, 7, Knowledge([1, 2]))
    coordinator.tick(1_000_000)
    seen = []

    def combine(results: Mapping[int, bytes]) -> None:
        seen.append(dict(results))

    coordinator.begin("ticket", PARTS, is_read_only=False, combine=combine)
    coordinator.take_output()
    prepared(coordinator, 1)
    assert not seen and sent(coordinator) == []
    prepared(coordinator, 2)
    assert seen == [{1: b"result", 2: b"result"}]
    messages, finished = coordinator.take_output()
    assert [(shard, type(message)) for shard, message in messages] == [(1, Abort), (2, Abort)]
    assert [(each.ticket, each.verdict) for each in finished] == [("ticket", Verdict.DECLINED)]
    coordinator.tick(1_000_000 + 10 * coordinator.resend_after_us)
    assert sent(coordinator) == []
