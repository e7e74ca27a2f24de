"""Checkpoints that crashes interrupt: whatever is on the disk, a start finds the state after the last entry there."""

import pytest

from makoredis.storage.layout import shard_range
from tests.unit.cluster.world import SHARD, MemoryEngine, World


def rows(world: World, table: bytes) -> int:
    return len(list(world.engine.scan(*shard_range(table, SHARD))))


def crash_everywhere(world: World) -> None:
    """Starts from every prefix of what is on its way to the disk."""
    while True:
        twin = World()
        twin.engine = MemoryEngine(dict(world.engine.rows))
        twin.history = dict(world.history)
        twin.crash()
        # What was found must also be a base to go on from.
        twin.do("SET after crash", "RPUSH list more", "DEL s")
        twin.checkpoint()
        twin.crash()
        if not world.disk.queue and not world.checkpointer.is_running:
            return
        world.write_disk(1)
        world.capture()


def filled() -> World:
    world = World()
    world.do("SET s abc", "SET big " + "x" * 300)
    world.do("RPUSH list a b c", "SADD set 1 2 3", "HSET hash f v", "ZADD zset 1 a 2 b", "XADD stream 1-1 f v")
    world.do("SET other 1", "PEXPIREAT other 1900000000000", database=1)
    world.write_disk()
    return world


def test_without_a_checkpoint_the_log_is_everything() -> None:
    world = filled()
    world.crash()
    assert world.space.databases[0].size == 7
    assert world.space.databases[1].expires == {b"other": 1_900_000_000_000}


def test_a_checkpoint_replaces_the_log() -> None:
    world = filled()
    world.checkpoint()
    assert rows(world, b"l") == 0
    assert rows(world, b"s") == 8
    world.crash()
    assert world.space.databases[0].size == 7


def test_an_incremental_checkpoint_writes_only_what_changed() -> None:
    world = filled()
    world.checkpoint()
    world.do("SET s def")
    world.write_disk()
    written = world.disk.written
    world.checkpoint()
    assert world.disk.written - written <= 3  # the row with the checkpoint, and the log's truncation
    world.crash()


def test_what_is_not_on_the_disk_is_gone_as_a_whole() -> None:
    world = filled()
    world.run("SET s def")
    world.run("RPUSH list d", "SET new 1")
    world.end_turn()
    world.crash()
    assert bytes(world.space.databases[0].get(b"s")) == b"abc"
    assert world.space.databases[0].get(b"new") is None


@pytest.mark.parametrize("steps", range(12))
@pytest.mark.parametrize("is_full", [False, True])
def test_a_crash_anywhere_while_keys_change_under_a_checkpoint(steps: int, is_full: bool) -> None:
    world = filled()
    world.checkpoint()
    if is_full:
        world.do("FLUSHDB", database=2)
        world.do("SET x 1", database=2)
        world.do("FLUSHDB", database=2)
    world.do("RPUSH list d", "SADD set 4", "APPEND s x", "APPEND big y", "SET k1 1", "SET k2 2", "SET k3 3")
    world.write_disk()
    world.begin()
    world.do("LPOP list", "DEL set", "APPEND s y", "APPEND big z", "SET k4 4")
    world.capture(steps)
    world.do("LPOP list 3", "SADD set z", "DEL s", "DEL big", "INCR k1")
    world.do("RPUSH list new", "APPEND s new", "SET big " + "y" * 200, "RENAME k2 k5")
    world.capture(20)
    crash_everywhere(world)


@pytest.mark.parametrize("pending", [False, True], ids=["chosen", "pending"])
def test_keys_deleted_before_a_full_checkpoint_lists_them(pending: bool) -> None:
    """Their last effects are in the log that replay goes through, but the value that they were for is not."""
    world = filled()
    world.do("FLUSHDB", database=1)
    world.write_disk()
    world.begin()
    world.do("LPOP list 3", "ZREMRANGEBYRANK zset 1 1", "HDEL hash f", "SETRANGE s 1 zz", "DEL s", "ZREM zset a")
    if not pending:
        world.write_disk()
    world.capture(30)
    crash_everywhere(world)


@pytest.mark.parametrize("steps", range(8))
def test_a_database_emptied_under_a_checkpoint(steps: int) -> None:
    world = filled()
    world.checkpoint()
    world.do("SET a 1", "SET b 2", "APPEND s d")
    world.write_disk()
    world.begin()
    world.capture(steps // 2)
    world.run("SET c 3", "FLUSHALL", "SET d 4")
    world.run("APPEND a x", "FLUSHDB", "APPEND a y")
    world.end_turn()
    world.capture(steps % 4)
    world.do("APPEND a z")
    world.capture(20)
    crash_everywhere(world)
    assert world.checkpointer.count == 2, "emptying a database must not keep checkpoints from ending"


def test_emptying_databases_again_and_again_does_not_starve_checkpoints() -> None:
    world = filled()
    for _ in range(5):
        world.do("SET k 1", "FLUSHDB", database=2)
        world.begin()
        world.capture(1)
        world.do("SET k 1", "FLUSHDB", database=2)
        world.capture(30)
        world.write_disk()
        world.capture(1)
        world.write_disk()
    assert world.checkpointer.count == 5
    world.crash()
    world.checkpoint()
    assert rows(world, b"s") == 8
    assert rows(world, b"l") == 0


@pytest.mark.parametrize("steps", range(5))
def test_databases_exchanged_under_a_checkpoint(steps: int) -> None:
    world = filled()
    world.do("SWAPDB 0 1")
    world.write_disk()
    world.begin()
    world.capture(steps)
    world.do("SWAPDB 1 2", "SET in-one 1", database=1)
    world.capture(20)
    world.do("SWAPDB 0 2", "SET in-two 1", database=2)
    crash_everywhere(world)


def test_exchanging_databases_does_not_make_a_checkpoint_full() -> None:
    world = filled()
    world.checkpoint()
    world.do("SWAPDB 0 1")
    world.write_disk()
    written = world.disk.written
    world.checkpoint()
    assert world.disk.written - written <= 3


def test_a_key_emptied_then_set_in_one_transaction_of_an_emptied_database() -> None:
    """Replay over a state that is ahead keeps the order within a transaction."""
    world = filled()
    world.checkpoint()
    world.do("SET ahead 1")
    world.write_disk()
    world.begin()
    world.do("SET doomed 1", "FLUSHALL", "SET kept 1")
    world.do("SET ahead 2")
    world.capture(20)
    world.write_disk()
    world.crash()
    assert world.space.databases[0].get(b"doomed") is None


def test_pieces_of_large_values_do_not_pile_up() -> None:
    world = World()
    for turn in range(6):
        world.do(f"SET big {'x' * (50 + 60 * turn)}")
        world.write_disk()
        world.checkpoint()
    assert rows(world, b"p") == -(-(50 + 60 * 5) // 40)
    world.do("DEL big")
    world.write_disk()
    world.checkpoint()
    world.do("SET s 1")
    world.write_disk()
    world.checkpoint()
    assert rows(world, b"p") == 0
    assert rows(world, b"s") == 1


def test_garbage_is_found_again_when_the_store_was_opened_anew() -> None:
    world = filled()
    world.checkpoint()
    world.do("FLUSHALL", "SET s 1")
    world.write_disk()
    world.begin()
    while world.checkpointer.is_running:
        world.capture()
        world.write_disk()
    ops = world.checkpointer.cleaner.next_deletion()
    assert ops
    world.engine.write(ops)
    world.checkpointer.store.engine = world.engine = world.disk.engine = MemoryEngine(dict(world.engine.rows))
    world.clean_up()
    assert rows(world, b"s") == 1


class TestWithoutALog:
    """Durability `memory`: a crash leads back to the last whole checkpoint."""

    def saved(self) -> World:
        world = World(is_durable=False)
        world.do("SET s abc", "RPUSH list a b c")
        world.do("SET other 1", database=1)
        self.save(world)
        return world

    def save(self, world: World) -> None:
        world.checkpointer.capture_at_once()
        world.host.perform()
        while world.checkpointer.is_running:
            world.write_disk(1)
            world.checkpointer.release()

    def test_a_save_lasts(self) -> None:
        world = self.saved()
        world.crash()
        assert world.space.databases[0].size == 2
        assert world.space.databases[1].size == 1

    @pytest.mark.parametrize("is_full", [False, True])
    def test_a_crash_anywhere_in_a_save_leaves_the_one_before_or_it(self, is_full: bool) -> None:
        for writes in range(100):
            world = self.saved()
            if is_full:
                world.do("FLUSHALL")
            for number in range(10):
                world.do(f"SET k{number} {number}", f"RPUSH list {number}")
            world.checkpointer.capture_at_once()
            world.host.perform()
            world.do("SET late 1")
            for _ in range(writes):
                world.write_disk(1)
                world.checkpointer.release()
            is_done = not world.checkpointer.is_running
            world.crash()
            size = world.space.databases[0].size
            assert size == (11 if is_full else 12) if is_done else size in (2, 11 if is_full else 12)
            assert world.space.databases[0].get(b"late") is None
            if is_done:
                return
        raise AssertionError("the save never ended")


def test_a_log_that_is_chosen_after_a_checkpoint_began_is_cut_by_the_next() -> None:
    """Without another write: what has stayed in the log counts."""
    world = filled()
    world.checkpoint()
    for number in range(20):
        world.do(f"SET key{number} {'x' * 100}")
    assert world.disk.queue, "nothing of it is chosen"
    world.begin()
    while world.checkpointer.is_running:
        world.capture()
        world.write_disk(1)
    world.write_disk()
    assert rows(world, b"l") > 0 and world.host.log_size.bytes > 1000
    for _ in range(100):
        world.checkpointer.tick(1000)
        world.write_disk()
    assert rows(world, b"l") == 0 and world.host.log_size.bytes == 0
    count = world.checkpointer.count
    for _ in range(10):
        world.checkpointer.tick(-1)
    assert world.checkpointer.count == count, "there is nothing that could be cut"
    world.crash()
