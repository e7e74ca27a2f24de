"""One shard on a disk that writes when the test says so, and can be cut off at any moment.

The model is simple: after a crash the keyspace must be exactly what it was after the last entry that reached the disk.
`World` remembers the state after every entry it proposed, and compares.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from sortedcontainers import SortedDict

from makoredis.base.errors import ClientError
from makoredis.base.ids import SLOT_COUNT, NodeId, ShardId
from makoredis.cluster.checkpointer import Checkpointer
from makoredis.cluster.host import ShardHost, Token
from makoredis.cluster.loading import leftovers, load_table
from makoredis.cluster.pace import Pace
from makoredis.commands.registry import WouldBlock, load
from makoredis.consensus.core import CoreConfig
from makoredis.consensus.raft import Raft
from makoredis.consensus.types import Configuration, Entry, HardState
from makoredis.data.encoding import encode_value
from makoredis.data.keyspace import Database, Keyspace
from makoredis.storage.engine import Ops, ops_size
from makoredis.storage.log import load_hard_states, load_log
from makoredis.storage.state import StateTable
from makoredis.txn.executor import Executor

SHARD = ShardId(0)
DATABASES = 3
NOW_MS = 1_700_000_000_000
COMMANDS = load()


class MemoryEngine:
    """An ordered store in memory; what is in it is on the disk."""

    place = "memory"

    def __init__(self, rows: dict[bytes, bytes] | None = None) -> None:
        self.rows: SortedDict = SortedDict(rows or {})

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key in list(self.rows.irange(start, stop, inclusive=(True, False))):
            if key in self.rows:
                yield key, self.rows[key]

    def write(self, ops: Ops) -> None:
        for key, value in ops:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value


@dataclass
class FakeStore:
    """The part of a store that a checkpointer looks at."""

    engine: MemoryEngine


class FakeDisk:
    """Takes submissions, writes them in order when told to."""

    def __init__(self, engine: MemoryEngine) -> None:
        self.engine = engine
        self.queue: deque[tuple[Ops, Token]] = deque()
        self.written = 0
        """Submissions since the start."""

    @property
    def queued_bytes(self) -> int:
        return sum(ops_size(ops) for ops, _ in self.queue)

    def submit(self, ops: Ops, token: Token) -> None:
        self.queue.append((ops, token))

    def write_one(self) -> Token:
        ops, token = self.queue.popleft()
        self.engine.write(ops)
        self.written += 1
        return token


class World:
    """A shard that runs commands, writes checkpoints, crashes and starts again."""

    def __init__(self, *, is_durable: bool = True) -> None:
        self.is_durable = is_durable
        self.engine = MemoryEngine()
        self.history: dict[int, Any] = {}
        """By log index, the state after that entry."""
        self.saved: Any = None
        """Without a log: the state as of each checkpoint that was begun, the last one last."""
        self.starts = 0
        self.start()

    # -- start and crash

    def start(self) -> None:
        """Starts from what is on the disk, and brings the start itself to the disk."""
        self.starts += 1
        engine = self.engine
        self.disk = FakeDisk(engine)
        self.space = Keyspace(DATABASES)
        self.executor = Executor(self.space, is_durable=self.is_durable)
        table = StateTable(engine, SHARD)
        load_table(engine, table, self.executor, lambda text: None)
        for ops in leftovers(engine, table):
            engine.write(ops)
        loaded = load_log(engine, SHARD)
        engine.write(loaded.sweep_ops)
        self.found_index = max(loaded.log.last_index, table.checkpoint.index)
        self.host = ShardHost(
            SHARD, self._core(table, loaded.entries), self.executor, loaded.log, self.disk, _send_nowhere, Random(1)
        )
        self.host.applied_index = table.checkpoint.index
        self.checkpointer = Checkpointer(self.host, FakeStore(engine), table)  # type: ignore[arg-type]
        self.host.core.campaign()
        while not self._is_started():
            self.write_disk(1)
        self.history = {index: state for index, state in self.history.items() if index <= self.found_index}
        self.note()

    def _core(self, table: StateTable, entries: Sequence[Entry]) -> Raft:
        hard_state = load_hard_states(self.engine).get(SHARD, HardState())
        config = CoreConfig(NodeId(1), Configuration(voters=(NodeId(1),)))
        return Raft(config, Random(self.starts), hard_state, entries, table.checkpoint.metadata)

    def _is_started(self) -> bool:
        self.host.perform()
        return self.host.is_leader and self.host.applied_index == self.host.core.status().last_index

    def crash(self) -> None:
        """Whatever is not on the disk is gone."""
        self.start()
        if self.is_durable:
            self.check()

    def check(self) -> None:
        """The state after the last start is that after the last entry found."""
        known = [index for index in self.history if index <= self.found_index]
        expected = self.history[max(known)] if known else state_of(Keyspace(DATABASES))
        assert state_of(self.space) == expected, f"as of entry {self.found_index}"
        for database in self.space.by_id:
            keys = list(keys_of(database))
            assert database.size == len(keys)
            assert set(database.expires) <= set(keys)

    def note(self) -> None:
        self.history[self.host.last_index()] = state_of(self.space)

    # -- running

    def run(self, *requests: str, database: int = 0) -> list[Any]:
        """A transaction of these requests. Errors are replies."""
        access = self.host.access
        access.now_ms = NOW_MS
        access.select(database)
        replies = []
        for request in requests:
            argv = request.encode().split()
            command = COMMANDS[argv[0].decode().upper()]
            try:
                replies.append(command.handler(access, *argv[1:]))
            except ClientError as error:
                replies.append(error)
            assert not isinstance(replies[-1], WouldBlock)
        if access.effects:
            self.executor.commit(access, NOW_MS * 1000)
        return replies

    def end_turn(self) -> None:
        """What was run since the last turn becomes one entry."""
        self.host.propose()
        if self.is_durable:
            self.note()
        self.host.perform()

    def do(self, *requests: str, database: int = 0) -> None:
        """One transaction in a turn of its own."""
        self.run(*requests, database=database)
        self.end_turn()

    def write_disk(self, count: int = 1_000_000) -> None:
        """The disk finishes up to this many submissions; the shard hears of each."""
        while self.disk.queue and count > 0:
            self.disk.write_one().written()
            self.host.perform()
            count -= 1

    # -- checkpoints

    def begin(self) -> None:
        """Begins a checkpoint unless one is under way."""
        if not self.checkpointer.is_running:
            self.checkpointer.begin()

    def capture(self, steps: int = 1) -> None:
        """Captures some keys more (as many as are taken between two looks at the clock)."""
        for _ in range(steps):
            if self.checkpointer.is_running:
                self.checkpointer.proceed(Pace(-1.0).start())

    def checkpoint(self) -> None:
        """A whole checkpoint, on the disk at the end, with all that it makes superfluous deleted."""
        self.begin()
        while self.checkpointer.is_running:
            self.capture()
            self.write_disk()
        self.clean_up()

    def clean_up(self) -> None:
        self.checkpointer.cleaner.clean_up(Pace(float("inf")).start())
        self.write_disk()


def state_of(space: Keyspace) -> Any:
    """Everything that a start has to find again."""
    databases = [
        {key: (encode_value(database.get(key)), database.expires.get(key, 0)) for key in keys_of(database)}
        for database in space.by_id
    ]
    return databases, [database.id for database in space.databases], dict(space.libraries)


def keys_of(database: Database) -> Iterator[bytes]:
    """All keys, without a look at 16384 slots."""
    slot = database.first_slot_used(0)
    while slot < SLOT_COUNT:
        yield from database.slots[slot]
        slot = database.first_slot_used(slot + 1)


def _send_nowhere(shard: ShardId, messages: object) -> None:
    raise AssertionError("nobody is there")
