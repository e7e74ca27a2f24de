"""The table of role and message is total, and its IMPOSSIBLE pairs really end the node."""

from typing import get_args

import pytest

from makoredis.base.errors import Fatal
from makoredis.base.ids import Index, NodeId, Term
from makoredis.consensus.dispatch import IGNORE, IMPOSSIBLE, TABLE
from makoredis.consensus.messages import (
    AppendRequest,
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    Message,
    Prepare,
    PreVoteRequest,
    PreVoteResponse,
    Promise,
    Quiesce,
    ReadRequest,
    ReadResponse,
    SnapshotChunk,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
    Wake,
    decode_message,
    encode_message,
)
from makoredis.consensus.types import Role, SnapshotMetadata
from tests.unit.consensus.bench import Bench, configuration, entry

ONE = Term(1)
EXAMPLES = [
    PreVoteRequest(ONE, Index(2), ONE),
    PreVoteResponse(ONE, True),
    VoteRequest(ONE, Index(2), ONE, True),
    VoteResponse(ONE, False),
    AppendRequest(ONE, Index(0), Term(0), Index(0), [entry(1, 1, b"\x00\xff")]),
    AppendResponse(ONE, False, Index(3), Index(2), ONE),
    Heartbeat(ONE, Index(0), 4),
    HeartbeatResponse(ONE, 4),
    SnapshotChunk(ONE, 1, SnapshotMetadata(Index(5), ONE, configuration(1, 2, witnesses=(2,))), 0, b"abc", True),
    SnapshotResponse(ONE, 1, 3),
    TimeoutNow(ONE),
    ReadRequest(ONE, 77),
    ReadResponse(ONE, 77, Index(1)),
    Quiesce(ONE, Index(1)),
    Wake(ONE),
    Prepare(ONE, Index(0), Index(2), ONE, True),
    Promise(ONE, Index(0), [entry(1, 1)], Index(1), ONE),
]


def in_role(role: Role) -> Bench:
    """Node 1 of three in this role and term 1."""
    bench = Bench(configuration(1, 2, 3))
    state = bench[1].state
    if role is Role.PRE_CANDIDATE:
        state.become_follower(ONE, None)
        state.become_pre_candidate()
    elif role is Role.FOLLOWER:
        state.become_follower(ONE, NodeId(2))
    else:
        state.become_candidate(is_transfer=False)
        if role is Role.LEADER:
            state.become_leader()
    bench.perform(1)
    assert bench.role(1) is role and bench.term(1) == 1
    return bench


def test_the_table_is_total() -> None:
    assert set(TABLE) == set(get_args(Message))
    assert all(len(row) == len(Role) for row in TABLE.values())


def test_every_message_has_an_example() -> None:
    assert {type(example) for example in EXAMPLES} == set(get_args(Message))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_the_binary_form_is_faithful(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_pair_does_what_the_table_says(role: Role, message: Message) -> None:
    """IGNORE changes nothing, IMPOSSIBLE stops the node, a handler raises nothing."""
    bench = in_role(role)
    bench[1].state.heard_at = -1_000_000
    handler = TABLE[type(message)][role]
    before = bench[1].status()
    if handler is IMPOSSIBLE:
        with pytest.raises(Fatal, match="two leaders in a term"):
            bench.step(1, 2, message)
        return
    sent = len(bench.sent)
    bench.step(1, 2, message)
    if handler is IGNORE:
        assert bench[1].status() == before and len(bench.sent) == sent


def test_only_what_a_leader_sends_is_impossible_and_only_for_a_leader() -> None:
    pairs = {(kind, role) for kind, row in TABLE.items() for role in Role if row[role] is IMPOSSIBLE}
    assert pairs == {(kind, Role.LEADER) for kind in (AppendRequest, Heartbeat, SnapshotChunk, Quiesce)}
