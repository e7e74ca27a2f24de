"""INFO's lines on several shards: who leads each of them, and how far the snapshot that followers read is."""

from typing import TYPE_CHECKING

from makoredis.cluster.replica import ShardReplica

if TYPE_CHECKING:
    from makoredis.server.server import Server

Lines = dict[str, object]


def shards(server: "Server") -> Lines:
    """Nothing where there is one shard."""
    shards = server.node.shards
    if shards is None:
        return {}
    knowledge, snapshot, coordinator = shards.knowledge, shards.snapshot, shards.coordinator
    lines: Lines = {
        "shards": len(shards.replicas),
        "shards_led": sum(replica.is_leader for replica in shards.replicas.values()),
        "watermark_us": knowledge.global_ts,
        "watermark_lag_us": max(0, server.wall_us - knowledge.global_ts),
        "snapshot_ts_us": snapshot.ts,
        "snapshot_waiting_transactions": snapshot.waiting_count(),
        "coordinated_transactions": coordinator.begun,
        "coordinated_attempts": coordinator.attempts,
        "coordinated_conflicts": coordinator.conflicts,
    }
    for shard, replica in shards.replicas.items():
        watermark = knowledge.watermarks.get(shard, (0, 0))[1]
        lines[f"shard{shard}"] = f"{_replica(replica)},watermark={watermark}"
    return lines


def _replica(replica: ShardReplica) -> str:
    status = replica.core.status()
    lags = [max(0, status.commit_index - peer.match_index) for peer in status.peers.values()]
    participant = replica.participant
    return (
        f"role={'leader' if replica.is_leader else 'follower'},leader={replica.leader or 0},term={replica.term},"
        f"commit={status.commit_index},applied={replica.applied_index},last={status.last_index},"
        f"lag={max(lags, default=0)},elections_won={replica.elections_won},"
        f"prepared={len(participant.prepared) if participant else 0},"
        f"voided={participant.voided_count if participant else 0}"
    )
