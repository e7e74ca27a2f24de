"""READONLY sessions: what they read is one snapshot over all shards, the state at the global watermark.

A node follows all shards, and applies what is final on all of them in one step (`makoredis.txn.follower`). So whatever
is read between two steps belongs together. A session that has seen something newer, by a write or by a read at a
leader, is answered by the leaders until the watermark has passed that.
"""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from makoredis.base.errors import ClientError
from makoredis.cluster.shards import Shards
from makoredis.data.access import Access
from makoredis.data.copying import copy_value
from makoredis.data.values import Value
from makoredis.server.shards.keys import Name
from makoredis.server.shards.operations import Look, Looked, Surveyed, look, survey

if TYPE_CHECKING:
    from makoredis.server.server import Server
    from makoredis.server.session import Session

GUESS_LENGTH_MAX = 4096
"""Longer values are not copied for a guess: elements, or bytes."""


class SnapshotReads:
    """Reads of this node's snapshot."""

    def __init__(self, server: "Server", shards: Shards) -> None:
        self.server = server
        self.shards = shards

    def may_read(self, session: "Session") -> bool:
        """Whether a session's read may be answered from the snapshot, as far as its keys can be read here."""
        return session.reads_here and self.shards.snapshot.may_read(session.seen_ts) and not self.is_stale()

    def has(self, names: Iterable[Name]) -> bool:
        """Whether these keys can be read here: a shard that this node leads may be ahead of the snapshot, and where a
        key is may be known here before the snapshot shows it there."""
        slots = self.shards.slots
        for number, key in names:
            shard = slots.shard_of(key)
            if not slots.claims(shard, self.shards.snapshot.local[shard].space, key):
                return False
            id = self.shards.snapshot.local[shard].space.databases[number].id
            if not self.shards.snapshot.may_read_key(shard, id, key):
                return False
        return True

    def has_all(self, shard: int = 0) -> bool:
        """Whether every key can be read here, of all shards or of one."""
        return self.shards.snapshot.may_read_all(shard)

    def has_run(self, operation: Look) -> bool:
        """Whether a look at a run of keys can be answered here, as far as it matters whose they are."""
        table = self.shards.snapshot.local[operation.owner].space.slot_table or self.shards.slots.first_table
        return table.owns(operation.owner, operation.first, operation.last)

    def is_stale(self) -> bool:
        """Whether some shard's leader has not been heard of for longer than `max_staleness_ms`, or what was final then
        is not here yet."""
        node, shards = self.server.node, self.shards
        oldest = node.now() - node.settings.max_staleness_seconds
        heard_at = min(shards.heard_at.get(shard, 0.0) for shard in shards.slots.shards)
        return min(shards.fresh_at, heard_at) < oldest

    def refusal(self) -> ClientError | None:
        """Why READONLY sessions get no answer. A log witness, which has no data, has the leaders answer."""
        settings = self.server.node.settings
        if settings.id in settings.witnesses or not self.is_stale():
            return None
        limit_ms = int(self.server.node.settings.max_staleness_seconds * 1000)
        return ClientError(
            f"STALE this replica lags, or has not heard of a shard's leader, for more than {limit_ms} ms"
        )

    def values(self, names: Iterable[Name]) -> list[tuple[int, bytes, Value, int]]:
        """Database, key, value and deadline of those keys that exist. They must not be changed."""
        found: list[tuple[int, bytes, Value, int]] = []
        for number, key in names:
            database = self.shards.snapshot.local[self.shards.slots.shard_of(key)].space.databases[number]
            value = database.get(key)
            if value is not None:
                found.append((number, key, value, database.expires.get(key, 0)))
        return found

    def guess(self, name: Name) -> tuple[Value, int] | None:
        """A copy of the value that a key had here of late, and its deadline, unless copying it takes long."""
        number, key = name
        database = self.shards.snapshot.local[self.shards.slots.shard_of(key)].space.databases[number]
        value = database.get(key)
        if value is None or len(value) > GUESS_LENGTH_MAX:
            return None
        return copy_value(value), database.expires.get(key, 0)

    def survey(self, walks: Collection[int]) -> list[Surveyed]:
        """What commands on all keys need to know of each shard."""
        return [survey(local.space, walks) for local in self.shards.snapshot.local.values()]

    def look(self, operation: Look, shard: int = 0) -> list[Looked]:
        """What a command on all keys finds in each shard, or in one."""
        local = self.shards.snapshot.local
        found: list[Looked] = []
        for each in [shard] if shard else local:
            access = Access(local[each].space, self.server.node.host.access.rng, now_ms=self.server.now_ms)
            found.append(look(self.server, access, operation))
        return found
