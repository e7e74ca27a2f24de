"""Clusters that nobody uses."""

from tests.sim.txn.cluster import ClusterWorld
from tests.sim.txn.world import Machines, Options


def test_every_node_hears_of_every_shard_though_nothing_happens() -> None:
    """Else READONLY sessions would be refused as STALE after a while, those of a shard's leader first."""
    world = ClusterWorld(1, Options(shards=3), Machines())
    world.run_until(1_500_000)
    for node in world.nodes:
        for shard in world.shards:
            assert node.shards.heard_at[shard] > 1.2, f"node {node.id} has not heard of shard {shard}"
