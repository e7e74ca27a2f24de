"""Which node this is, and how it works with the others: what the configuration says, as the cluster layer wants it."""

from dataclasses import field

from makoredis.base.ids import NodeId
from makoredis.base.record import record
from makoredis.consensus.core import ElectionRule
from makoredis.storage.space import BALLAST_BYTES, DISK_FREE_BYTES_MIN

LOG_BYTES_PER_CHECKPOINT = 64 * 1024 * 1024
"""A checkpoint begins when so much log was written since the last one; it bounds recovery."""
LOG_BYTES_KEEP = 64 * 1024 * 1024
"""Of the log in memory, for replicas that were away for a moment; one that misses more gets a snapshot."""

QUIESCE_STALENESS_SECONDS_MIN = 1.0


@record
class NodeSettings:
    """Which node this is, and whom it works with."""

    id: NodeId = NodeId(1)
    cluster: str = "makoredis"
    members: tuple[NodeId, ...] = (NodeId(1),)
    """The voters that a new cluster begins with; () on a node that will be added. They count at the first start only:
    from then on the membership is what the disk says."""
    witnesses: tuple[NodeId, ...] = ()
    addresses: dict[NodeId, tuple[str, int]] = field(default_factory=dict)
    """Where the others listen for their peers."""
    clients: dict[NodeId, tuple[str, int]] = field(default_factory=dict)
    """Where every node listens for clients."""
    redirects: bool = False
    """Whether a command for another leader is answered with MOVED instead of being forwarded."""
    max_staleness_seconds: float = 10.0
    max_clock_offset_ms: int = 250
    """A peer whose clock is further ahead is refused."""
    listen: tuple[str, int] | None = None
    """Where this node does; None: it has no peers."""
    tick_seconds: float = 0.1
    """One heartbeat."""
    election_ticks: int = 10
    quiesce_seconds: float = 0.0
    """After so long without use a group falls silent; 0: never."""
    election_rule: ElectionRule = ElectionRule.RAFT
    is_synchronous: bool = False
    """Whether transactions hold their locks until they are durable, where there are several shards."""
    lease_reads: bool = True
    """Whether a leader's lease is enough to answer; else a quorum is asked first, once for all that came meanwhile."""
    preferred: NodeId | None = None
    shards: int = 1
    first_shards: int = 0
    """Among how many of them the slots are divided in the beginning; 0: all."""
    spreads_leaders: bool = False
    """Whether each of several shards prefers a leader of its own; otherwise all prefer the first member."""
    clock_offset_us_max: int = 250_000
    """How far the clocks of two nodes may differ."""
    peer_delay_seconds: float = 0.0
    log_bytes_per_checkpoint: int = LOG_BYTES_PER_CHECKPOINT
    log_bytes_keep: int = LOG_BYTES_KEEP
    disk_free_bytes_min: int = DISK_FREE_BYTES_MIN
    """With less free space writes are refused."""
    disk_ballast_bytes: int = BALLAST_BYTES
    """Reserved for the moment when there is none."""

    @property
    def quiesce_ticks(self) -> int:
        """The same in heartbeats; 0 also where what followers answer must be newer than what is said of such groups."""
        if not self.quiesce_seconds or self.max_staleness_seconds < QUIESCE_STALENESS_SECONDS_MIN:
            return 0
        return max(2 * self.election_ticks, int(self.quiesce_seconds / self.tick_seconds))

    @property
    def is_replicated(self) -> bool:
        """Whether there are other nodes, or may be."""
        return self.listen is not None
