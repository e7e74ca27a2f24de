"""Which peers' clocks are refused."""

from makoredis.base.ids import NodeId
from makoredis.cluster.clocks import LOG_SECONDS, PeerClocks

NODE = NodeId(2)
WALL_US = 1_000_000_000_000


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_only_a_clock_that_is_too_far_ahead_is_refused() -> None:
    clocks = PeerClocks(250, lambda: WALL_US, Time())
    assert clocks.refusal(NODE, WALL_US + 250_000) is None
    assert clocks.refusal(NODE, WALL_US - 10_000_000) is None, "that one refuses us"
    assert not clocks.ahead
    refusal = clocks.refusal(NODE, WALL_US + 251_000)
    assert refusal is not None and "node 2 is 251 ms ahead" in refusal and "max_clock_offset_ms" in refusal
    assert clocks.ahead == {NODE} and clocks.offsets_us == {NODE: 251_000}
    assert clocks.refusal(NODE, WALL_US) is None
    assert not clocks.ahead


def test_a_refused_peer_that_keeps_calling_does_not_fill_the_log() -> None:
    time = Time()
    clocks = PeerClocks(250, lambda: WALL_US, time)
    assert clocks.is_worth_a_line(NODE)
    assert not clocks.is_worth_a_line(NODE)
    assert clocks.is_worth_a_line(NodeId(3))
    time.now = LOG_SECONDS
    assert clocks.is_worth_a_line(NODE)
