"""Transactions: speculative execution on a shard's leader, and replies that wait until nothing can be lost (pure).

Reading order: `entries` (what the log carries) → `gate` (what a reply waits for) → `executor` (runs in the server).
Over several shards, in its place: `vectors` → `knowledge` → `locks` → `messages` → `pending` →
`replica` → `in_hand` → `participant` → `two_phase` → `resolution` → `coordinator` → `recovery` → `follower`; see
docs/protocol.md.
"""
