"""Checkpoints of simulated nodes: written key by key while transactions go on, and all that survives a crash.

As in `makoredis.cluster.shard_checkpointer` there are full ones and incremental ones.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from makoredis.base.record import wire_decoder, wire_encode
from makoredis.data.encoding import decode_value, encode_value
from makoredis.data.keyspace import Keyspace
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.replica import Replica, ShardCheckpoint, finish, is_settled, tell_known

Rows = dict[bytes, tuple[int, bytes | None]]
"""Timestamp and encoded value by key; None: deleted."""

decode_checkpoint = wire_decoder(ShardCheckpoint)


@dataclass(slots=True)
class Saved:
    """What is on a node's disk of one shard."""

    checkpoint: bytes = b""
    rows: Rows = field(default_factory=dict)

    def load(self, shard: int, knowledge: Knowledge) -> Replica:
        """The replica that a node starts with."""
        space = Keyspace()
        if not self.checkpoint:
            return Replica(shard, space)
        saved = decode_checkpoint(self.checkpoint)
        newer = {(0, key): ts for key, (ts, _) in self.rows.items() if ts > saved.ts}
        for key, (_, value) in self.rows.items():
            if value is not None:
                space.by_id[0].put(key, decode_value(value))
        tell_known(saved, knowledge)
        return Replica.load(shard, space, saved, newer)


class Capture:
    """A checkpoint that is being written."""

    def __init__(self, shard: int, local: Any, saved: Saved) -> None:
        self.shard = shard
        self.local = local
        """The replica or the leader; if another takes its place, this is over."""
        self.base = local.checkpoint()
        self.voided_count = getattr(local, "voided_count", 0)
        self.is_early = False
        """Whether it does not wait until nothing of it can be void any more: a broken rule."""
        self.rows: Rows = {}
        self.rows_ts = self.base.rows_ts
        changed = local.written.take_changed()
        self.before = decode_checkpoint(saved.checkpoint) if changed is not None and saved.checkpoint else None
        """The one that this goes on from; None: all keys are written."""
        if self.before is None:
            keys = {*local.space.by_id[0].keys(), *saved.rows}
        else:
            self.rows_ts = max(self.rows_ts, self.before.rows_ts)
            keys = {key for db, key in changed if db == 0}
        self._keys = sorted(keys)

    def is_over(self, local: Any) -> bool:
        if local is self.local and getattr(local, "voided_count", 0) == self.voided_count:
            return False
        self.local.written.lose_changed()
        return True

    def _is_settled(self, knowledge: Knowledge) -> bool:
        return self.is_early or is_settled(self.rows_ts, self.local.complete_to, knowledge)

    def write_some(self, saved: Saved, knowledge: Knowledge) -> None:
        """An incremental one may write what it has before it is done, if nothing of that can be void any more."""
        if self.before is not None and self.rows and self._is_settled(knowledge):
            saved.checkpoint = wire_encode(finish(self.before, self.rows_ts, knowledge))
            saved.rows.update(self.rows)
            self.rows = {}

    def proceed(self, rng: Random) -> bool:
        """Captures some keys. Returns whether all are done."""
        for _ in range(rng.randint(1, 4)):
            if not self._keys:
                return True
            key = self._keys.pop()
            value = self.local.space.by_id[0].get(key)
            ts = self.local.row_ts(0, key)
            self.rows_ts = max(self.rows_ts, ts)
            self.rows[key] = (ts, None if value is None else encode_value(value))
        return False

    def write(self, saved: Saved, knowledge: Knowledge) -> bool:
        """Finishes, if nothing of it can be void any more. Returns whether it did."""
        if not self._is_settled(knowledge):
            return False
        done = finish(self.base, self.rows_ts, knowledge)
        saved.checkpoint = wire_encode(done)
        saved.rows = self.rows if self.before is None else saved.rows | self.rows
        return True
