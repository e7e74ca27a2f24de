"""Commands of clients where there are several shards (design sections 10 and 12).

`operations` (what a shard is asked to do, and does) → `keys` (what a request touches) → `parts` and `scratch` (a
command on values of several shards) → `requests` (what a client waits for) → `router` (from a request to its reply) →
`everything` (commands on all keys) → `waiting` (blocking commands) → `snapshot_reads` (READONLY sessions).
"""
