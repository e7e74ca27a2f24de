"""One shard's replica beside those of others on its node."""

from random import Random
from typing import Any

from makoredis.base.ids import Index, NodeId, ShardId, Term
from makoredis.base.record import wire_encode
from makoredis.cluster.replica import ShardReplica
from makoredis.consensus.types import Configuration, SnapshotMetadata
from makoredis.data.effects import SetString
from makoredis.data.keyspace import Keyspace
from makoredis.txn.entries import TransactionRecord
from makoredis.txn.follower import Snapshot
from makoredis.txn.knowledge import Knowledge, Watermark
from makoredis.txn.replica import Replica, ShardCheckpoint

SHARD, OTHER = ShardId(1), ShardId(2)


def test_a_snapshot_of_the_leader_shows_what_the_other_shards_show() -> None:
    """It begins at 50, so it has what came by 90 as undecided; the others here show everything up to 90."""
    knowledge = Knowledge([SHARD, OTHER])
    snapshot = Snapshot([Replica(SHARD, Keyspace()), Replica(OTHER, Keyspace())], knowledge)
    for shard in (SHARD, OTHER):
        snapshot.local[shard].closed_ts = 90  # type: ignore[attr-defined]
        knowledge.hear(Watermark(shard, 1, 90, []))
    snapshot.advance()
    unused: Any = None
    replica = ShardReplica(SHARD, unused, unused, unused, unused, snapshot, unused, Random(1), 0)
    records = [(7, TransactionRecord(ts, [SetString(0, b"key", b"%d" % ts)])) for ts in (80, 95)]
    saved = ShardCheckpoint(7, 50, 50, 100, 100, records, [], [], [], [])
    metadata = SnapshotMetadata(Index(7), Term(1), Configuration(voters=(NodeId(1),)))
    replica.take_state(replica.new_loader(metadata, wire_encode(saved)), metadata)
    assert snapshot.is_whole and snapshot.may_read_key(SHARD, 0, b"key")
    assert snapshot.local[SHARD].space.by_id[0].get(b"key") == b"80"
