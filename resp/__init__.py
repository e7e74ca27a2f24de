"""The Redis serialization protocol, RESP2 and RESP3: bytes to requests and replies to bytes, and back.

Reading order: `replies` (what a reply is) → `parser`, `inline` (requests) → `encode`, `decode` → `numbers`. Knows
nothing of makoredis.
"""
