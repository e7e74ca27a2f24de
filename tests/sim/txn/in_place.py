"""Transactions run in place for clients of the leader's node, as in the server (`makoredis.server.shards.direct`)."""

from collections.abc import Callable, Iterable

from makoredis.txn.gate import Gate
from makoredis.txn.messages import Part
from makoredis.txn.participant import Participant
from makoredis.txn.requests import RequestRecord
from tests.sim.txn.workload import program


class Waiter:
    """A reply at its gate."""

    def __init__(self, show: Callable[[], None], ask: Callable[[], None]) -> None:
        self.show = show
        self.ask = ask
        """Has the request asked as others are, under the same name."""

    def release(self) -> None:
        self.show()


def run_in_place(participant: Participant, part: Part, request: RequestRecord) -> tuple[bytes, Gate | None] | None:
    """Results, and what they wait for. None: it has to queue behind locks, or watches keys."""
    names = [(lock.db, lock.key) for lock in part.locks if lock.key is not None]
    is_exclusive = any(lock.is_exclusive for lock in part.locks)
    in_place = participant.in_place
    if part.watches or not in_place.is_free(names, is_exclusive=is_exclusive):
        return None
    access = in_place.access
    access.now_ms = participant.now_us // 1000
    results = program(access, part.operation)
    if access.effects:
        return results, in_place.commit(names, request.answered(results))
    return results, in_place.gate_of(names)


def wait_at(gate: Gate | None, waiter: Waiter) -> None:
    """Shows a reply when its gate opens."""
    if gate is None or gate.is_open:
        waiter.show()
    else:
        gate.waiters.append(waiter)


def ask_again(gates: Iterable[Gate]) -> None:
    """Whoever waits at these gates waits in vain."""
    for gate in gates:
        for waiter in gate.waiters:
            if isinstance(waiter, Waiter):
                waiter.ask()
