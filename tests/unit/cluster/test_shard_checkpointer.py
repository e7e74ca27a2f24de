"""Checkpoints of one of several shards: whatever of them is on the disk, a start finds the state that the log leads to.

A shard's leader runs commands; its log is a list, and survives. Another shard, which does nothing, decides with its
watermark when anything becomes final.
"""

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from makoredis.base.errors import ClientError
from makoredis.base.ids import Index, NodeId, ShardId, Term
from makoredis.base.record import wire_decoder
from makoredis.cluster import shard_checkpointer
from makoredis.cluster.loading import leftovers
from makoredis.cluster.log_size import LogSize
from makoredis.cluster.shard_checkpointer import ShardCheckpointer
from makoredis.cluster.shard_loading import load_replica
from makoredis.consensus.types import Configuration
from makoredis.data.keyspace import Keyspace
from makoredis.storage.layout import shard_range
from makoredis.storage.state import TOMBSTONE, StateTable
from makoredis.txn import write_times
from makoredis.txn.entries import ClosedEpochs, decode_payload
from makoredis.txn.follower import Snapshot
from makoredis.txn.knowledge import Knowledge, Watermark
from makoredis.txn.participant import Participant
from makoredis.txn.recovery import recover
from makoredis.txn.replica import Replica, ShardCheckpoint
from tests.unit.cluster.world import COMMANDS, DATABASES, NOW_MS, FakeDisk, FakeStore, MemoryEngine, state_of

SHARD, OTHER = ShardId(1), ShardId(2)
decode_checkpoint = wire_decoder(ShardCheckpoint)


@pytest.fixture(autouse=True)
def one_key_per_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_checkpointer, "CAPTURE_KEYS_BETWEEN_LOOKS", 1)
    monkeypatch.setattr(shard_checkpointer, "CAPTURE_SECONDS_PER_TICK", -1.0)


class World:
    """A node that has a shard, and knows of another."""

    lags = False
    """Whether it lacks nearly all of the other shard's log."""

    def __init__(self) -> None:
        self.engine = MemoryEngine()
        self.log: list[bytes] = []
        self.now_us = NOW_MS * 1000
        self.epoch = 0
        self.start()

    def start(self) -> None:
        """Loads what is on the disk, takes in the log, and leads."""
        self.disk = FakeDisk(self.engine)
        self.knowledge = Knowledge([SHARD, OTHER])
        self.table = StateTable(self.engine, SHARD)
        replica = load_replica(self.engine, self.table, Keyspace(DATABASES), self.knowledge, lambda text: None)
        for ops in leftovers(self.engine, self.table):
            self.engine.write(ops)
        self.snapshot = Snapshot([replica, Replica(OTHER, Keyspace(DATABASES))], self.knowledge)
        self.feed()
        self.driver: Any = SimpleNamespace(
            shard=SHARD,
            snapshot=self.snapshot,
            disk=self.disk,
            log_size=LogSize(),
            is_witness=lambda: False,
            log=SimpleNamespace(
                terms=SimpleNamespace(term_at=lambda index: Term(1)), truncate_prefix_ops=lambda index: iter(())
            ),
            core=SimpleNamespace(configuration_at=lambda index: Configuration(voters=(NodeId(1),))),
        )
        self.checkpointer = ShardCheckpointer(self.driver, FakeStore(self.engine), self.table)  # type: ignore[arg-type]
        self.lead()
        self.release()

    @property
    def local(self) -> Any:
        return self.snapshot.local[SHARD]

    def feed(self) -> None:
        """A follower hears of what is chosen."""
        for index in range(self.local.index + 1, len(self.log) + 1):
            self.local.take(index, decode_payload(self.log[index - 1]), self.knowledge)

    def lead(self) -> None:
        self.epoch += 1
        self.now_us += 1_000_000
        participant = recover(self.local, self.epoch, (), self.knowledge, _no_program, Random(1), self.now_us)
        self.snapshot.local[SHARD] = participant
        self.end_turn()

    def follow(self) -> None:
        """Loses the leadership."""
        self.snapshot.local[SHARD], _ = self.local.step_down()
        self.feed()

    def run(self, *requests: str, database: int = 0) -> None:
        """A transaction of these requests, executed and not logged yet."""
        participant = self.local
        assert isinstance(participant, Participant)
        self.now_us += 10
        participant.tick(self.now_us)
        access = participant.in_place.access
        access.now_ms = NOW_MS
        access.select(database)
        for request in requests:
            argv = request.encode().split()
            try:
                COMMANDS[argv[0].decode().upper()].handler(access, *argv[1:])
            except ClientError as error:
                raise AssertionError(request) from error
        names = [(effect.db, effect.key) for effect in access.effects if effect.key is not None]
        participant.in_place.commit(names)

    def end_turn(self) -> None:
        """What was executed is chosen. It is not final before `release`."""
        participant = self.local
        payload = participant.take_entry()
        if payload is not None:
            self.log.append(payload)
            participant.proposed(len(self.log))
            participant.chosen(len(self.log))

    def do(self, *requests: str, database: int = 0) -> None:
        self.run(*requests, database=database)
        self.end_turn()

    def release(self) -> None:
        """The other shard's watermark passes all there is."""
        self.knowledge.hear(Watermark(OTHER, 1, self.now_us + 1_000_000_000, []))
        self.snapshot.local[OTHER].closed_ts = 1 if self.lags else self.now_us + 1_000_000_000  # type: ignore[attr-defined]
        self.snapshot.advance()

    def hold(self) -> None:
        """From now on nothing becomes final."""
        self.now_us += 2_000_000_000

    def write_disk(self, count: int = 1_000_000) -> None:
        while self.disk.queue and count > 0:
            self.disk.write_one().written()
            count -= 1

    def checkpoint(self) -> None:
        """A whole checkpoint."""
        self.checkpointer.request()
        while self.checkpointer.is_requested or self.checkpointer.is_running:
            self.checkpointer.tick(1 << 60)
            self.write_disk()
        self.write_disk()

    def expected(self) -> Any:
        """What the log leads to."""
        space = Keyspace(DATABASES)
        for payload in self.log:
            for transaction in decode_payload(payload).transactions:
                for effect in transaction.effects:
                    effect.apply(space)
        return state_of(space)

    def twin(self) -> "World":
        """What would be there after a crash now: checked, and a base to go on from."""
        twin = World.__new__(World)
        twin.engine, twin.log = MemoryEngine(dict(self.engine.rows)), list(self.log)
        twin.now_us, twin.epoch = self.now_us, self.epoch
        twin.start()
        assert state_of(twin.local.space) == twin.expected()
        return twin

    def saved(self) -> ShardCheckpoint:
        saved: ShardCheckpoint = decode_checkpoint(StateTable(self.engine, SHARD).checkpoint.blob)
        return saved

    def check_disk(self) -> None:
        """No row may be newer than the checkpoint says, or it would be taken for final without a proof."""
        table = StateTable(self.engine, SHARD)
        if table.checkpoint.blob:
            assert max((row[3] for row in table.rows(self.engine)), default=0) <= self.saved().rows_ts


def _no_program(access: object, operation: bytes) -> bytes:
    raise AssertionError("everything is run in place")


def crash_everywhere(world: World) -> None:
    """Starts from every prefix of what is on its way to the disk, until the checkpoint is done."""
    world.checkpointer.request()
    while True:
        world.check_disk()
        twin = world.twin()
        twin.do("SET after crash", "RPUSH list more")
        twin.checkpoint()
        twin.do("DEL after", "APPEND s more")
        twin.release()
        twin.checkpoint()
        twin.twin()
        if not world.disk.queue and not world.checkpointer.is_running and not world.checkpointer.is_requested:
            return
        if world.disk.queue:
            world.write_disk(1)
        else:
            world.checkpointer.tick(1 << 60)


def filled() -> World:
    world = World()
    world.do("SET s abc", "SET big " + "x" * 300)
    world.do("RPUSH list a b c", "SADD set 1 2 3", "HSET hash f v")
    world.do("SET other 1", "PEXPIREAT other 1900000000000", database=1)
    world.release()
    world.checkpoint()
    assert len(rows(world)) == 6
    return world


def rows(world: World) -> list[bytes]:
    table = StateTable(world.engine, SHARD)
    return [row[2] for row in table.rows(world.engine) if row[5] != TOMBSTONE]


def test_an_incremental_checkpoint_writes_only_what_changed() -> None:
    world = filled()
    generation = world.table.checkpoint.generation
    before = dict(world.engine.rows)
    world.do("SET s def", "DEL set")
    world.release()
    world.checkpoint()
    after = dict(world.engine.rows)
    start, stop = shard_range(b"s", SHARD)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key) and start <= key < stop}
    assert world.table.checkpoint.generation == generation and len(changed) == 2
    world.twin()


@pytest.mark.parametrize("steps", range(10))
def test_a_crash_anywhere_while_keys_change_under_a_checkpoint(steps: int) -> None:
    world = filled()
    world.do("RPUSH list d", "SADD set 4", "APPEND s x", "APPEND big y", "SET k1 1", "SET k2 2", "SET k3 3")
    world.release()
    world.checkpointer.request()
    for _ in range(steps // 2):
        world.checkpointer.tick(1 << 60)
    world.do("LPOP list", "DEL set", "APPEND s y", "APPEND big z", "SET k4 4")
    if steps % 2:
        world.release()
    world.checkpointer.tick(1 << 60)
    world.do("LPOP list 3", "SADD set z", "DEL s", "DEL big", "INCR k1")
    world.do("RPUSH list new", "APPEND s new", "SET big " + "y" * 200, "RENAME k2 k5")
    world.release()
    crash_everywhere(world)


def test_nothing_is_written_that_may_still_be_void() -> None:
    world = filled()
    world.hold()
    world.do("SET s pending", "SET big " + "z" * 500, "SET another " + "z" * 500)
    before = dict(world.engine.rows)
    world.checkpointer.request()
    for _ in range(20):
        world.checkpointer.tick(1 << 60)
        world.write_disk()
    assert dict(world.engine.rows) == before
    world.release()
    crash_everywhere(world)


def test_a_leadership_that_ends_under_a_checkpoint() -> None:
    """The next one writes everything, and what this one has written is no harm."""
    world = filled()
    world.do(*(f"SET key{number} {'v' * 200}" for number in range(12)))
    world.release()
    before = world.saved()
    world.checkpointer.request()
    for _ in range(6):
        world.checkpointer.tick(1 << 60)
        world.write_disk(1)
    assert world.saved().index == before.index and world.saved().rows_ts > before.rows_ts
    world.run("SET s lost", "DEL list")
    world.follow()
    world.check_disk()
    generation = world.table.checkpoint.generation
    crash_everywhere(world)
    assert world.table.checkpoint.generation > generation
    world.lead()
    world.do("SET s found")
    world.release()
    crash_everywhere(world)


def test_a_leader_that_has_not_heard_of_its_successor() -> None:
    """What it executed last is in nobody's log, though the watermark that it hears of is beyond. Found by the
    simulation."""
    world = filled()
    world.do("SET s chosen")
    world.release()
    final_ts = world.now_us
    world.run("SET s lost", "SET big lost")
    world.knowledge.hear(
        Watermark(SHARD, world.epoch + 1, world.now_us + 1_000_000, [ClosedEpochs(SHARD, 1, world.epoch, final_ts)])
    )
    world.release()
    assert world.knowledge.global_ts > world.now_us
    world.checkpointer.request()
    for _ in range(20):
        world.checkpointer.tick(1 << 60)
        world.write_disk()
        world.twin()
    assert world.checkpointer.is_running
    world.follow()
    crash_everywhere(world)


def test_what_a_leader_takes_back_is_written_again() -> None:
    world = filled()
    world.hold()
    world.do("SET s pending", "DEL list")
    world.follow()
    world.lead()
    world.release()
    world.checkpoint()
    world.twin()


@pytest.mark.parametrize("moment", range(3))
def test_a_shard_emptied_around_a_checkpoint(moment: int) -> None:
    world = filled()
    world.do("SET a 1", "APPEND s d")
    world.release()
    for step in range(3):
        if step == moment:
            world.do("FLUSHALL", "SET b 2")
            world.release()
        if step == 0:
            world.checkpointer.request()
        world.checkpointer.tick(1 << 60)
        world.write_disk(1)
    crash_everywhere(world)
    world.do("SET c 3")
    world.release()
    crash_everywhere(world)


def test_tombstones_go_when_replay_cannot_meet_them() -> None:
    world = filled()
    world.do("DEL s", "DEL list")
    world.release()
    world.checkpoint()
    assert len(world.table._tombstones) == 2
    for number in range(3):
        world.do(f"SET a {number}")
        world.release()
        world.checkpoint()
    assert not world.table._tombstones
    world.twin()


def test_more_changed_keys_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_times, "CHANGED_MAX", 20)
    monkeypatch.setattr(write_times, "WRITES_MAX", 10)
    world = filled()
    generation = world.table.checkpoint.generation
    world.do(*(f"SET key{number} v" for number in range(40)))
    world.do(*(f"SET key{number} w" for number in range(40)))
    assert world.local.written.changed_count() == 0
    world.release()
    world.checkpoint()
    assert world.table.checkpoint.generation > generation
    world.twin()


def test_a_random_course() -> None:
    for seed in range(30):
        _wander(Random(seed))


def _wander(rng: Random) -> None:
    world = filled()
    for _ in range(40):
        action = rng.random()
        key = rng.choice(["s", "t", "u", "big"])
        if action < 0.5:
            append = f"APPEND {key} {'x' * rng.randint(1, 300)}"
            request = rng.choice([f"SET {key} v{rng.random()}", append, f"DEL {key}"])
            world.run(request, "RPUSH list " + key)
            if rng.random() < 0.7:
                world.end_turn()
        elif action < 0.6:
            world.release()
        elif action < 0.7:
            world.hold()
        elif action < 0.73:
            world.follow()
            world.lead()
        elif action < 0.76:
            world = world.twin()
        else:
            world.checkpointer.request()
            world.checkpointer.tick(1 << 60)
            world.write_disk(rng.randint(0, 4))
            world.check_disk()
    world.end_turn()
    world.twin()
    world.release()
    world.checkpoint()
    assert world.checkpointer.table.checkpoint.index == Index(len(world.log))
    world.twin()


def test_what_stays_in_the_log_counts_for_the_next_checkpoint() -> None:
    world = filled()
    size = world.driver.log_size
    for number in range(20):
        world.do(f"SET key{number} {'x' * 100}")
        size.add(len(world.log), len(world.log[-1]))
    world.release()
    world.checkpointer.tick(1000)
    later = [f"SET later{number} {'x' * 1000}" for number in range(5)]
    for request in later:
        world.do(request)
        size.add(len(world.log), len(world.log[-1]))
    world.release()
    while world.checkpointer.is_running:
        world.checkpointer.tick(1 << 60)
        world.write_disk()
    assert world.table.checkpoint.index == len(world.log) - len(later) and size.bytes > 5000
    for _ in range(100):
        world.checkpointer.tick(1000)
        world.write_disk()
    assert world.table.checkpoint.index == len(world.log) and size.bytes == 0


def test_it_does_not_wait_for_what_the_nodes_other_shards_lack() -> None:
    """Their leader may wait for a checkpoint of this shard before it can make its own."""
    world = World()
    world.do("SET key 1")
    world.release()
    world.checkpoint()
    before = world.saved()
    world.lags = True
    world.start()
    assert 0 < world.snapshot.ts < before.rows_ts and not world.snapshot.is_whole
    world.do("APPEND key 2")
    world.checkpointer.request()
    for _ in range(100):
        world.checkpointer.tick(1 << 60)
        world.write_disk()
    after = world.saved()
    assert after.index == len(world.log) > before.index
    assert after.ts >= before.rows_ts, "what rows showed before is shown for good"
    world.twin()
