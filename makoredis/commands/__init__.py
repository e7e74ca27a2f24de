"""The command table and one file per family (pure).

Reading order: `table` (what Redis says of each command) → `registry` (which function answers it) → `arguments`
(bytes → typed values, with Redis's error texts) → any family.
"""
