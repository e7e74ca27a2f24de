"""What a leader knows of another replica, and how fast it may send to it.

    PROBE ── accepted ──▶ REPLICATE ── refused, unreachable ──▶ PROBE
      │                       │
      └── entries gone from memory ──▶ SNAPSHOT ── installed ──▶ REPLICATE
                                          └── given up ──▶ PROBE

* PROBE: one AppendRequest at a time, until it is known where the logs match.
* REPLICATE: requests go out without waiting for answers (pipelining), within limits on their number and bytes.
* SNAPSHOT: no AppendRequests.

Invariant: match_index < next_index.
"""

from collections import deque
from enum import IntEnum

from makoredis.base.ids import Index
from makoredis.consensus.types import SnapshotMetadata

LONG_AGO = -(1 << 60)
"""A tick before all others."""


class ProgressState(IntEnum):
    """How a leader sends to one replica."""

    PROBE = 0
    REPLICATE = 1
    SNAPSHOT = 2


class OutgoingTransfer:
    """A snapshot on its way to one replica. One chunk is under way at a time."""

    __slots__ = ("end", "is_awaiting_driver", "is_last", "metadata", "number", "offset", "sent_at")

    def __init__(self, number: int, now: int) -> None:
        self.number = number
        self.metadata: SnapshotMetadata | None = None
        """None: the driver has not chosen a snapshot yet."""
        self.offset = 0
        """Bytes that the receiver has."""
        self.end = 0
        """Bytes that were sent."""
        self.is_last = False
        """Whether the snapshot is no longer than `end`."""
        self.is_awaiting_driver = False
        self.sent_at = now


class Progress:
    """One other replica, as its leader sees it."""

    __slots__ = (
        "acknowledged_round",
        "acknowledged_tick",
        "caught_up_at",
        "caught_up_since",
        "commit_sent",
        "heard_at",
        "inflight",
        "inflight_bytes",
        "is_leaving",
        "is_paused",
        "is_witness",
        "match_index",
        "moved_at",
        "next_index",
        "probed_at",
        "state",
        "transfer",
    )

    def __init__(self, next_index: Index, now: int, is_witness: bool) -> None:
        self.match_index = Index(0)
        """Its log equals the leader's up to here, on its disk."""
        self.next_index = next_index
        self.state = ProgressState.PROBE
        self.is_paused = False
        """PROBE: an answer is awaited."""
        self.probed_at = LONG_AGO
        """PROBE: tick at which the unanswered question was asked."""
        self.inflight: deque[tuple[Index, int]] = deque()
        """REPLICATE: last index and bytes of each unanswered request."""
        self.inflight_bytes = 0
        self.heard_at = now
        """Tick of its last answer."""
        self.acknowledged_round = 0
        """The latest heartbeat round it answered."""
        self.acknowledged_tick = LONG_AGO
        """Tick at which that round began."""
        self.commit_sent = Index(0)
        """The commit index it was last told."""
        self.caught_up_at = LONG_AGO
        """Tick at which it last had everything committed."""
        self.caught_up_since = -1
        """Tick since which it has been caught up without a break; -1: it isn't."""
        self.transfer: OutgoingTransfer | None = None
        """SNAPSHOT: how far."""
        self.moved_at = now
        """Tick at which it last acknowledged something new, or lacked nothing."""
        self.is_witness = is_witness
        self.is_leaving = False
        """No longer a member; gets the log a little longer, so that it learns of its removal."""

    def is_live(self, now: int, election_ticks: int) -> bool:
        """Whether it was heard within an election timeout."""
        return now - self.heard_at < election_ticks

    def is_caught_up(self, now: int, election_ticks: int) -> bool:
        """Whether it follows closely: had everything committed a moment ago, though more may have come since."""
        return self.state is ProgressState.REPLICATE and now - self.caught_up_at < election_ticks

    def become_probe(self, next_index: Index) -> None:
        """Go back to asking where the logs match."""
        self.state = ProgressState.PROBE
        self.next_index = max(next_index, Index(self.match_index + 1))
        self._forget_flight()

    def become_replicate(self) -> None:
        """The logs match: stream."""
        self.state = ProgressState.REPLICATE
        self.next_index = Index(self.match_index + 1)
        self._forget_flight()

    def become_snapshot(self, transfer: OutgoingTransfer) -> None:
        """What it needs is not in memory any more."""
        self.state = ProgressState.SNAPSHOT
        self.transfer = transfer
        self._forget_flight()

    def sent(self, last: Index, payload_bytes: int, now: int) -> None:
        """A request with entries up to `last` went out."""
        if self.state is ProgressState.REPLICATE:
            self.next_index = Index(last + 1)
            self.inflight.append((last, payload_bytes))
            self.inflight_bytes += payload_bytes
        else:
            self.is_paused = True
            self.probed_at = now

    def acknowledge(self, index: Index) -> bool:
        """The replica has everything up to `index`. Returns: whether that is news."""
        inflight = self.inflight
        while inflight and inflight[0][0] <= index:
            self.inflight_bytes -= inflight.popleft()[1]
        if index <= self.match_index:
            return False
        self.match_index = index
        if self.next_index <= index:
            self.next_index = Index(index + 1)
        return True

    def _forget_flight(self) -> None:
        self.is_paused = False
        self.inflight.clear()
        self.inflight_bytes = 0
