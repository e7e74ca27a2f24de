"""A group of one voter: leads at once, commits with its own disk alone."""

from random import Random

import pytest

from makoredis.base.errors import NotLeader
from makoredis.base.ids import NodeId, Term
from makoredis.consensus.core import Core, CoreConfig
from makoredis.consensus.raft import Raft
from makoredis.consensus.types import Configuration, Entry, EntryKind, HardState, Role

ONE = NodeId(1)


def single(hard_state: HardState | None = None, entries: tuple[Entry, ...] = ()) -> Core:
    config = CoreConfig(node=ONE, configuration=Configuration(voters=(ONE,)))
    return Raft(config, Random(1), hard_state, entries)


def drain(core: Core) -> tuple[list[Entry], list[Entry]]:
    """Performs everything at once. Returns: entries written and entries applied."""
    written: list[Entry] = []
    applied: list[Entry] = []
    while core.has_ready():
        ready = core.take_ready()
        written += ready.entries
        applied += ready.committed
        if ready.entries:
            core.persisted(ready.entries[-1].index, ready.entries[-1].term)
        if ready.committed:
            core.applied(ready.committed[-1].index)
    return written, applied


def test_leads_at_the_first_tick() -> None:
    core = single()
    with pytest.raises(NotLeader):
        core.propose(b"early")
    core.tick()
    ready = core.take_ready()
    assert ready.role_change is not None and ready.role_change.role is Role.LEADER
    assert ready.hard_state == HardState(Term(1), ONE)
    assert [entry.kind for entry in ready.entries] == [EntryKind.EMPTY]


def test_commits_only_what_is_on_its_disk() -> None:
    core = single()
    core.tick()
    drain(core)
    index = core.propose(b"x")
    ready = core.take_ready()
    assert ready.entries[-1].payload == b"x" and not ready.committed
    assert not core.has_ready()
    core.persisted(index, ready.entries[-1].term)
    assert [entry.payload for entry in core.take_ready().committed] == [b"x"]


def test_several_writes_in_flight_commit_in_order() -> None:
    core = single()
    core.tick()
    drain(core)
    handed = []
    for payload in (b"a", b"b", b"c"):
        core.propose(payload)
        handed.append(core.take_ready().entries[-1])
    core.persisted(handed[1].index, handed[1].term)
    assert [entry.payload for entry in core.take_ready().committed] == [b"a", b"b"]
    core.persisted(handed[2].index, handed[2].term)
    assert [entry.payload for entry in core.take_ready().committed] == [b"c"]


def test_lease_is_valid_once_an_entry_of_the_term_is_committed() -> None:
    core = single()
    core.tick()
    assert not core.lease_valid()
    drain(core)
    assert core.lease_valid()


def test_restart_leads_again_at_once_in_a_new_term_and_applies_the_log() -> None:
    core = single()
    core.tick()
    written, _ = drain(core)
    core.propose(b"kept")
    written += drain(core)[0]

    again = single(HardState(Term(1), ONE), tuple(written))
    again.tick()
    _, applied = drain(again)
    assert again.status().role is Role.LEADER and again.status().term == 2
    assert [entry.payload for entry in applied if entry.kind is EntryKind.NORMAL] == [b"kept"]
