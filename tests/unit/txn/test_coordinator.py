"""What a coordinator does about answers, and about time."""

from makoredis.txn.coordinator import RETRY_AFTER_US, Coordinator
from makoredis.txn.knowledge import Knowledge
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
