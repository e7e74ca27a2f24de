"""The keyspace, its values, and the effects that are the only way to change them (pure).

Reading order: `values` → `keyspace` → `effects` → `access`.
"""
