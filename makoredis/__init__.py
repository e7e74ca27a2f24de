"""makoredis: a Redis-compatible database server whose transactions are serializable and whose writes survive."""
