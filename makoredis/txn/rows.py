"""Applying a log to a state that in parts is ahead of it.

A checkpoint is written while transactions go on, key by key, so its rows are of different moments. Each row says up to
where it goes, and replay skips what a row has already. Where means a place in the log or a timestamp, as the caller
counts: transactions that touch one key are in the same order in both.
"""

from collections.abc import Mapping

from makoredis.data.effects import Effect, FlushDatabase
from makoredis.data.keyspace import Keyspace
from makoredis.data.values import Value

RowTimes = Mapping[tuple[int, bytes], int]
"""By database id and key: how far the row that the key was loaded from goes."""


def apply_unless_included(space: Keyspace, effect: Effect, at: int, rows: RowTimes, state_at: int) -> None:
    """Applies what happened at `at`, unless it is in the state already.

    Args:
        state_at: how far everything goes that is no row: database numbers, function libraries.
    """
    if effect.key is not None:
        if rows.get((effect.db, effect.key), 0) < at:
            effect.apply(space)
    elif isinstance(effect, FlushDatabase):
        _flush_older(space, effect, at, rows)
    elif at > state_at:
        effect.apply(space)


def _flush_older(space: Keyspace, effect: FlushDatabase, at: int, rows: RowTimes) -> None:
    """Empties a database except for what was loaded from rows that are as new as this effect or newer."""
    database = space.by_id[effect.db]
    newer: list[tuple[bytes, Value, int]] = []
    for (db, key), row_at in rows.items():
        if db == effect.db and row_at >= at:
            value = database.get(key)
            if value is not None:
                newer.append((key, value, database.expires.get(key, 0)))
    effect.apply(space)
    for key, value, deadline_ms in newer:
        database.put(key, value)
        database.set_deadline(key, deadline_ms)
