"""Changes of the members that would leave a cluster that cannot be changed any more."""

from types import SimpleNamespace
from typing import Any

import pytest

from makoredis.base.errors import ClientError
from makoredis.base.ids import NodeId
from makoredis.consensus.types import Configuration
from makoredis.server.commands.mako import _check_majority


def _server(this: int, live: set[int], connected: set[int], voters: set[int]) -> Any:
    peers = {node: SimpleNamespace(is_live=node in live) for node in voters - {this}}
    status = SimpleNamespace(node=this, peers=peers)
    host = SimpleNamespace(core=SimpleNamespace(status=lambda: status))
    return SimpleNamespace(node=SimpleNamespace(host=host, is_connected=lambda node: node in connected))


@pytest.mark.parametrize(
    ("voters", "live", "connected", "gone", "is_refused"),
    [
        pytest.param({1, 2, 3}, {2, 3}, {2, 3}, 2, False, id="all are there"),
        pytest.param({1, 2, 3}, {3}, {3}, 2, False, id="who is down goes"),
        pytest.param({1, 2, 3}, {2}, {2}, 2, True, id="who is there goes, and another one is down"),
        pytest.param({1, 2, 3}, {2}, {2, 3}, 2, False, id="the other one is only slow"),
        pytest.param({1, 2, 3}, {2}, {2}, 1, True, id="the leader goes, and another one is down"),
        pytest.param({1, 2, 3, 4, 5}, {2, 3}, {2, 3}, 4, False, id="three of the four that are left"),
        pytest.param({1, 2, 3, 4, 5}, {2, 3}, {2, 3}, 3, True, id="two of the four that are left"),
        pytest.param({1, 2}, {2}, {2}, 2, False, id="one is left, which is there"),
        pytest.param({1, 2, 3}, {2}, {2}, 9, False, id="a learner"),
    ],
)
def test_a_majority_has_to_answer(
    voters: set[int], live: set[int], connected: set[int], gone: int, is_refused: bool
) -> None:
    server = _server(1, live, connected, voters)
    current = Configuration(voters=tuple(NodeId(node) for node in sorted(voters)))
    if is_refused:
        with pytest.raises(ClientError, match="there would be no majority"):
            _check_majority(server, current, NodeId(gone))
    else:
        _check_majority(server, current, NodeId(gone))
