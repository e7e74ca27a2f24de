"""One shard's replica on this node: performs what its consensus core and its executor ask for.

This is the only place where a `Ready` meets the disk. Order, as the type of `Ready` states it: the role first, messages
that may leave at once, then the write, and what depends on the write when the disk thread reports it.
"""

from collections.abc import Callable
from random import Random
from typing import Protocol

from makoredis.base.ids import Index, ShardId, Term
from makoredis.base.record import record, wire_encode
from makoredis.consensus.core import Core, Outgoing, Ready
from makoredis.consensus.types import Entry, EntryKind, Role
from makoredis.data.access import Access
from makoredis.data.keyspace import Keyspace
from makoredis.storage.engine import Ops
from makoredis.storage.log import ShardLog, hard_state_op
from makoredis.txn.executor import Announcement, Executor


@record
class WriteToken:
    """What the disk thread hands back: whose write it was, and what was waiting for it."""

    host: "ShardHost"
    last: Entry | None
    messages: list[Outgoing]


class Disk(Protocol):
    """Where writes go (`makoredis.storage.disk.DiskThread`)."""

    def submit(self, ops: Ops, token: WriteToken) -> None: ...


class ShardHost:
    """Drives one shard. `executor` runs transactions while this replica leads; `space` is its state in memory."""

    def __init__(
        self,
        shard: ShardId,
        core: Core,
        executor: Executor,
        log: ShardLog,
        disk: Disk,
        send: Callable[[ShardId, list[Outgoing]], None],
        rng: Random,
    ) -> None:
        self.shard = shard
        self.core = core
        self.executor = executor
        self.log = log
        self.space: Keyspace = executor.space
        self.access = Access(executor.space, rng)
        self.term = Term(0)
        self.is_leader = False
        self.applied_index = Index(0)
        self.log_bytes = 0
        """Bytes of entries written since the last checkpoint began."""
        self._disk = disk
        self._send = send

    def propose(self) -> None:
        """Turns what was executed in this turn into an entry."""
        if self.executor.has_entry():
            self.executor.proposed(self.core.propose(self.executor.encode_entry(self.term)))

    def perform(self) -> list[Announcement]:
        """Does everything that the core has ready. Returns what has become final and is to be announced."""
        announcements: list[Announcement] = []
        while self.core.has_ready():
            announcements += self._perform(self.core.take_ready())
        return announcements

    def _perform(self, ready: Ready) -> list[Announcement]:
        if ready.role_change is not None:
            self.term = ready.role_change.term
            self.is_leader = ready.role_change.role is Role.LEADER
        if ready.messages:
            self._send(self.shard, list(ready.messages))
        if ready.must_sync:
            self._write(ready)
        elif ready.messages_after_persist:
            self._disk.submit([], WriteToken(self, None, list(ready.messages_after_persist)))
        return self._apply(ready)

    def _write(self, ready: Ready) -> None:
        ops: Ops = []
        if ready.hard_state is not None:
            ops.append(hard_state_op(self.shard, wire_encode(ready.hard_state)))
        if ready.entries:
            ops += self.log.append_ops(ready.entries)
            for entry in ready.entries:
                self.log_bytes += len(entry.payload)
        last = ready.entries[-1] if ready.entries else None
        self._disk.submit(ops, WriteToken(self, last, list(ready.messages_after_persist)))

    def _apply(self, ready: Ready) -> list[Announcement]:
        if not ready.committed:
            return []
        executor = self.executor
        for entry in ready.committed:
            if entry.kind == EntryKind.NORMAL and not executor.executed(entry.index):
                executor.apply_payload(entry.payload)
        self.applied_index = ready.committed[-1].index
        self.core.applied(self.applied_index)
        return executor.chosen(self.applied_index)

    def written(self, token: WriteToken) -> None:
        """The disk has it."""
        if token.last is not None:
            self.core.persisted(token.last.index, token.last.term)
        if token.messages:
            self._send(self.shard, token.messages)
