"""Transactions: speculative execution on a shard's leader, and replies that wait until nothing can be lost (pure).

Reading order: `entries` (what the log carries) → `gate` (what a reply waits for) → `executor`.
"""
