"""What a majority is, for a plain and for a joint configuration (Raft §5.2, §6). Pure functions of numbers.

A joint decision needs a majority of the incoming *and* of the outgoing voters.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum

from makoredis.base.ids import NodeId
from makoredis.consensus.types import Configuration


class VoteResult(IntEnum):
    """What the votes so far amount to."""

    PENDING = 0
    LOST = 1
    WON = 2


def majority_value(values: Sequence[int]) -> int:
    """The largest value that a majority has reached: of match indexes, the commit index (§5.3)."""
    return sorted(values)[(len(values) - 1) // 2]


def quorum_value(configuration: Configuration, values: Mapping[NodeId, int], missing: int) -> int:
    """The largest value that a quorum has reached; a voter without a value counts as `missing`."""
    reached = majority_value([values.get(voter, missing) for voter in configuration.voters])
    if configuration.outgoing:
        reached = min(reached, majority_value([values.get(voter, missing) for voter in configuration.outgoing]))
    return reached


def has_quorum(configuration: Configuration, nodes: Collection[NodeId]) -> bool:
    """Whether these nodes together are a quorum."""
    return _has_majority(configuration.voters, nodes) and (
        not configuration.outgoing or _has_majority(configuration.outgoing, nodes)
    )


def vote_result(configuration: Configuration, votes: Mapping[NodeId, bool]) -> VoteResult:
    """Counts an election: lost as soon as no quorum can be reached any more."""
    if has_quorum(configuration, {voter for voter, granted in votes.items() if granted}):
        return VoteResult.WON
    refused = {voter for voter, granted in votes.items() if not granted}
    if has_quorum(configuration, configuration.members() - refused):
        return VoteResult.PENDING
    return VoteResult.LOST


def _has_majority(voters: Sequence[NodeId], nodes: Collection[NodeId]) -> bool:
    return 2 * sum(voter in nodes for voter in voters) > len(voters)
