"""Transactions: speculative execution on a shard's leader, and replies that wait until nothing can be lost (pure).

Reading order: `entries` (what the log carries) → `gate` (what a reply waits for) → `executor`, which the server runs on.
Over several shards, beside it and not wired yet: `vectors` → `knowledge` → `locks` → `messages` → `pending` →
`participant` → `resolution` → `coordinator` → `recovery` → `follower`; see docs/protocol.md.
"""
