"""Measures what agreeing on an entry costs in processor time, without network and disk.

    python -m tools.consensus_bench [ENTRIES]

Each figure covers everything that a core does for one entry of 100 bytes, from the proposal to the moment it is applied
and, where there are followers, all know that it is committed.
"""

import sys
import time
from collections.abc import Callable
from random import Random

from makoredis.base.ids import Index, NodeId, Term
from makoredis.consensus.core import CoreConfig
from makoredis.consensus.messages import AppendRequest, AppendResponse, Heartbeat
from makoredis.consensus.raft import Raft
from makoredis.consensus.types import Configuration, Entry, EntryKind

PAYLOAD = b"x" * 100
ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
TERM = Term(1)
REPEATS = 5


def new_core(*voters: NodeId) -> Raft:
    """A core that knows of nothing yet."""
    return Raft(CoreConfig(node=ONE, configuration=Configuration(voters=voters)), Random(1))


def perform(core: Raft) -> None:
    """Does everything that is ready, as a driver with an instant disk would."""
    while core.has_ready():
        ready = core.take_ready()
        if ready.entries:
            core.persisted(ready.entries[-1].index, ready.entries[-1].term)
        if ready.committed:
            core.applied(ready.committed[-1].index)


def lead_alone(entries: int) -> Callable[[], None]:
    """One voter."""
    core = new_core(ONE)
    core.tick()
    perform(core)

    def run() -> None:
        for _ in range(entries):
            core.propose(PAYLOAD)
            perform(core)

    return run


def lead_three(entries: int) -> Callable[[], None]:
    """The leader of three: two requests out, two answers in, two notices of the commit out."""
    core = new_core(ONE, TWO, THREE)
    core.state.become_candidate(is_transfer=False)
    core.state.votes = {ONE: True, TWO: True}
    core.state.become_leader()
    perform(core)
    for follower in (TWO, THREE):
        core.step(follower, AppendResponse(TERM, True, Index(1)))
    perform(core)

    def run() -> None:
        for _ in range(entries):
            index = core.propose(PAYLOAD)
            perform(core)
            core.step(TWO, AppendResponse(TERM, True, index))
            perform(core)
            core.step(THREE, AppendResponse(TERM, True, index))
            perform(core)

    return run


def follow(entries: int) -> Callable[[], None]:
    """A follower: a request and a notice in, an answer out."""
    core = new_core(ONE, TWO, THREE)
    core.step(TWO, AppendRequest(TERM, Index(0), Term(0), Index(0), [Entry(TERM, Index(1), EntryKind.EMPTY, b"")]))
    perform(core)
    next_index = 2

    def run() -> None:
        nonlocal next_index
        for index in range(next_index, next_index + entries):
            entry = Entry(TERM, Index(index), EntryKind.NORMAL, PAYLOAD)
            core.step(TWO, AppendRequest(TERM, Index(index - 1), TERM, Index(index - 1), [entry]))
            perform(core)
            core.step(TWO, Heartbeat(TERM, Index(index), 0))
            perform(core)
        next_index += entries

    return run


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for measure in (lead_alone, lead_three, follow):
        run = measure(entries)
        costs = []
        for _ in range(REPEATS):
            begin = time.process_time()
            run()
            costs.append((time.process_time() - begin) / entries * 1e6)
        print(f"{measure.__name__:12} {min(costs):6.1f} µs per entry")


if __name__ == "__main__":
    main()
