"""One node: the shards it hosts, their disk, and (with more than one node) their peers.

Reading order: `host` (one shard's replica on this node) → `node` (all of them, and start-up) → `checkpointer`.
"""
