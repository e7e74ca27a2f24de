"""One consistent snapshot over all shards of a node: everything with a timestamp up to `W`, and nothing else.

Chosen entries wait until the global watermark has passed their transactions; then those of all shards are applied in
one step. At that point every dependency is decided: it has a timestamp of at most `W`, so either the watermark of its
own epoch covers it, or a later epoch was announced together with how the earlier one ended.

Transactions of one shard are applied in log order. A log is not sorted by timestamps, but those that conflict are in
the same order in both, and the others commute.

A shard that the node leads itself is ahead of the snapshot. There a key is read in place if it was not written since;
any other read goes through the leader.
"""

from collections.abc import Iterable
from typing import Protocol

from makoredis.data.keyspace import Keyspace
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.replica import Replica
from makoredis.txn.requests import RequestTable
from makoredis.txn.write_times import WriteTimes


class Local(Protocol):
    """What the snapshot needs of a shard on this node: a `Replica`, or the `Participant` that leads."""

    reports: bool
    written: WriteTimes
    requests: RequestTable

    @property
    def version(self) -> int: ...

    @property
    def space(self) -> Keyspace: ...

    @property
    def complete_to(self) -> int: ...

    @property
    def rows_ts(self) -> int: ...

    def advance_to(self, ts: int, knowledge: Knowledge) -> None: ...

    def shows(self, db: int, key: bytes, ts: int) -> bool: ...

    def shows_all(self) -> bool: ...

    def waiting_count(self) -> int: ...

    def take_touched(self) -> list[tuple[int, bytes]]: ...

    def note_keys(self, is_wanted: bool) -> None: ...


class Snapshot:
    """All shards of one node at one timestamp."""

    def __init__(self, replicas: Iterable[Replica], knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self.local: dict[int, Local] = {replica.shard: replica for replica in replicas}
        """Every shard's replica or leader. Who replaces one by the other does it here too."""
        self.ts = 0
        """What is visible. Never decreases."""

    @property
    def is_whole(self) -> bool:
        """Whether it can be read: not before everything is taken in that rows of a checkpoint may show."""
        return self.ts > 0 and all(self.ts >= shard.rows_ts for shard in self.local.values())

    def advance(self) -> bool:
        """Moves all shards as far as the watermark and the entries here allow. Returns whether they moved."""
        ts = self.knowledge.global_ts
        if ts <= self.ts:
            return False
        local = self.local.values()
        for shard in local:
            ts = min(ts, shard.complete_to)
        if ts <= self.ts:
            return False
        self.ts = ts
        for shard in local:
            shard.advance_to(ts, self.knowledge)
        return True

    def may_read(self, session_ts: int) -> bool:
        """Whether a session may read here that was acknowledged, or has read, what has this timestamp.

        It then has to remember `ts`: so its reads are monotonic on all nodes, and it reads its own writes.
        """
        return self.ts >= session_ts and self.is_whole

    def may_read_key(self, shard: int, db: int, key: bytes) -> bool:
        """Whether a key can be read here. Otherwise its leader, this very node, has to be asked."""
        return self.local[shard].shows(db, key, self.ts)

    def may_read_all(self, shard: int = 0) -> bool:
        """The same for every key, of all shards or of one (numbered from 1)."""
        return all(local.shows_all() for number, local in self.local.items() if shard in (0, number))

    def note_keys(self, is_wanted: bool) -> None:
        """Whether `take_touched` is of interest."""
        for local in self.local.values():
            local.note_keys(is_wanted)

    def take_touched(self) -> list[tuple[int, bytes]]:
        """Databases and keys whose changes have become final since the last call."""
        return [name for local in self.local.values() for name in local.take_touched()]

    def waiting_count(self) -> int:
        """Transactions that are chosen, or executed by a leader here, and not visible."""
        return sum(local.waiting_count() for local in self.local.values())
