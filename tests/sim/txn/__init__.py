"""The cross-shard transaction protocol: several nodes and shards in one thread, from one seed."""
