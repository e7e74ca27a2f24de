"""INFO's and MAKO STATUS's lines on several shards: who leads each of them, how far everybody is, and how far the
snapshot is that followers read."""

from typing import TYPE_CHECKING

from makoredis.base.ids import NodeId
from makoredis.cluster.members import notes_of
from makoredis.cluster.replica import ShardReplica
from makoredis.consensus.core import Status
from resp.replies import Map

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
        f"first={status.first_index},commit={status.commit_index},applied={replica.applied_index},last={status.last_index},"
        f"lag={max(lags, default=0)},log_bytes={replica.log_size.bytes},elections_won={replica.elections_won},"
        f"prepared={len(participant.two_phase.prepared) if participant else 0},"
        f"voided={participant.voided_count if participant else 0},"
        f"sessions={len(replica.snapshot.local[replica.shard].requests.sessions)}"
    )


def shards_status(server: "Server") -> list[Map]:
    """Each shard as this node knows it; how far the other nodes are, its leader alone knows."""
    shards = server.node.shards
    if shards is None:
        return []
    return [_shard_status(server, shard, replica) for shard, replica in shards.replicas.items()]


def _shard_status(server: "Server", shard: int, replica: ShardReplica) -> Map:
    shards = server.node.shards
    assert shards is not None
    status = replica.core.status()
    configuration = status.configuration
    epoch, watermark = shards.knowledge.watermarks.get(shard, (0, 0))
    return Map(
        [
            (b"id", shard),
            (b"slots", [bound for run in shards.slots.slots_of(shard) for bound in run]),
            (b"answered_by", status.node),
            (b"leader", shards.leader_of(replica.shard)[0] or None),
            (b"term", status.term),
            (b"commit_index", status.commit_index),
            (b"applied_index", replica.applied_index),
            (b"epoch", epoch),
            (b"watermark_us", watermark),
            (b"watermark_lag_us", max(0, server.wall_us - watermark) if watermark else None),
            (b"is_changing", int(status.configuration_index > status.commit_index or configuration.is_joint)),
            (b"goal", notes_of(configuration).goal),
            (b"pinned", notes_of(configuration).pinned.get(shard)),
            (b"replicas", [_replica_status(status, node) for node in sorted(configuration.members())]),
        ]
    )


def _replica_status(status: Status, node: NodeId) -> Map:
    """How far one member is with one shard; None where this node does not know."""
    peer = status.peers.get(node)
    match: int | None = status.persisted_index if node == status.node else None
    if peer is not None:
        match = peer.match_index
    configuration = status.configuration
    role = "voter" if node in configuration.voters else "learner" if node in configuration.learners else "leaving"
    if node in configuration.witnesses:
        role = "witness"
    return Map(
        [
            (b"node", node),
            (b"role", (b"leader" if node == status.leader else role.encode())),
            (b"state", b"self" if node == status.node else b"unknown" if peer is None else peer.state.encode()),
            (b"live", 1 if node == status.node else None if peer is None else int(peer.is_live)),
            (b"match_index", match),
            (b"lag", None if match is None else max(0, status.commit_index - match)),
        ]
    )
