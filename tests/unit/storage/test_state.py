"""The state table: rows, tombstones, large values, checkpoints and their interruption."""

from collections.abc import Iterable

import pytest

from makoredis.base.ids import Index, ShardId, Slot, Term
from makoredis.consensus.types import Configuration, SnapshotMetadata
from makoredis.storage.engine import Ops
from makoredis.storage.errors import Damaged
from makoredis.storage.layout import shard_range
from makoredis.storage.state import (
    CHECKPOINT_BATCH_BYTES,
    DELETE_ROWS,
    PIECE_BYTES_MAX,
    TOMBSTONE,
    CheckpointWriter,
    Row,
    StateTable,
    load_checkpoint,
)
from makoredis.storage.store import Store

SHARD = ShardId(2)
LARGE = bytes(range(256)) * (PIECE_BYTES_MAX // 256 * 2) + b"and a bit"
HUGE = LARGE * 20


def row(
    key: bytes, index: int, value: bytes = b"value", *, db: int = 0, slot: int = 7, expiry: int | None = None
) -> Row:
    return db, Slot(slot), key, Index(index), expiry, 1, value


def piece_count(value: bytes) -> int:
    return -(-len(value) // PIECE_BYTES_MAX) if len(value) > PIECE_BYTES_MAX else 0


def tombstone(key: bytes, index: int) -> Row:
    return 0, Slot(7), key, Index(index), None, TOMBSTONE, b""


def at(index: int) -> SnapshotMetadata:
    return SnapshotMetadata(Index(index), Term(1), Configuration())


def write(store: Store, batches: Iterable[Ops]) -> None:
    for ops in batches:
        store.write_ops(ops, sync=False)


def table_of(store: Store, shard: ShardId = SHARD) -> tuple[StateTable, list[Row]]:
    """The table as a start finds it: garbage swept, rows read."""
    table = StateTable(store.engine, shard)
    write(store, table.unfinished_ops(store.engine))
    write(store, table.garbage_ops(store.engine))
    return table, list(table.rows(store.engine))


def finish(store: Store, writer: CheckpointWriter, index: int, blob: bytes = b"") -> None:
    write(store, writer.take_batches())
    write(store, [writer.finish(at(index), blob)])


def checkpoint(store: Store, rows: Iterable[Row], index: int, blob: bytes = b"") -> None:
    writer = table_of(store)[0].writer()
    for each in rows:
        writer.put(each)
    finish(store, writer, index, blob)


def keys_in(store: Store, table: bytes) -> int:
    return sum(1 for _ in store.engine.scan(*shard_range(table, SHARD)))


def test_a_new_shard_has_no_checkpoint(store: Store) -> None:
    table, rows = table_of(store)
    assert (table.checkpoint.index, table.checkpoint.metadata, rows) == (0, None, [])


def test_rows_come_back_in_the_order_of_database_slot_and_key(store: Store) -> None:
    rows = [
        row(b"b", 1, expiry=1_700_000_000_123),
        row(b"a", 2, b""),
        row(b"", 3),
        row(b"z\0\xff", 1 << 60, slot=0),
        row(b"a", 4, slot=16383, db=65535, expiry=0),
    ]
    checkpoint(store, rows, 9, b"blob")
    table, found = table_of(store)
    assert found == sorted(rows, key=lambda each: each[:3])
    assert table.checkpoint.index == 9
    assert load_checkpoint(store.engine, SHARD).blob == b"blob"


def test_shards_do_not_see_each_other(store: Store) -> None:
    checkpoint(store, [row(b"a", 1)], 1)
    assert table_of(store, ShardId(3))[1] == []


def test_a_later_checkpoint_changes_only_what_it_writes(store: Store) -> None:
    checkpoint(store, [row(b"a", 1), row(b"b", 2)], 2)
    checkpoint(store, [row(b"b", 5, b"new")], 5)
    assert table_of(store)[1] == [row(b"a", 1), row(b"b", 5, b"new")]


def test_a_tombstone_lasts_until_replay_cannot_meet_it(store: Store) -> None:
    checkpoint(store, [row(b"a", 1), row(b"b", 2)], 2)
    checkpoint(store, [tombstone(b"a", 7)], 5)  # fuzzy: the row is newer than the checkpoint's index
    assert table_of(store)[1] == [tombstone(b"a", 7), row(b"b", 2)]
    checkpoint(store, [], 6)
    assert table_of(store)[1] == [tombstone(b"a", 7), row(b"b", 2)]
    checkpoint(store, [], 7)
    assert table_of(store)[1] == [tombstone(b"a", 7), row(b"b", 2)]
    checkpoint(store, [], 8)
    assert table_of(store)[1] == [row(b"b", 2)]


def test_a_key_created_again_is_not_purged(store: Store) -> None:
    checkpoint(store, [tombstone(b"a", 2)], 3)
    writer = table_of(store)[0].writer()
    writer.put(row(b"a", 4))
    finish(store, writer, 4)
    checkpoint(store, [], 5)
    assert table_of(store)[1] == [row(b"a", 4)]


@pytest.mark.parametrize("size", [PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, 2 * PIECE_BYTES_MAX, len(LARGE)])
def test_values_around_the_piece_size_come_back(store: Store, size: int) -> None:
    checkpoint(store, [row(b"a", 1, LARGE[:size])], 1)
    assert table_of(store)[1] == [row(b"a", 1, LARGE[:size])]
    assert keys_in(store, b"p") == piece_count(bytes(size))
    assert keys_in(store, b"g") == 0


@pytest.mark.parametrize("newer", [row(b"a", 2), row(b"a", 2, HUGE), row(b"a", 2, LARGE[:-1]), tombstone(b"a", 2)])
def test_the_pieces_of_an_older_value_go_with_it(store: Store, newer: Row) -> None:
    checkpoint(store, [row(b"a", 1, LARGE)], 1)
    checkpoint(store, [newer], 1)
    assert table_of(store)[1] == [newer]
    assert keys_in(store, b"p") == piece_count(newer[-1])


def test_the_same_large_row_can_be_written_again(store: Store) -> None:
    checkpoint(store, [row(b"a", 1, LARGE)], 1)
    checkpoint(store, [row(b"a", 1, LARGE)], 2)
    assert table_of(store)[1] == [row(b"a", 1, LARGE)]


def test_batches_are_bounded(store: Store) -> None:
    writer = table_of(store)[0].writer()
    for number in range(100):
        writer.put(row(b"%d" % number, 1, bytes(50_000)))
    writer.put(row(b"huge", 1, HUGE))
    batches = writer.take_batches()
    assert len(batches) > 6
    sizes = [sum(len(key) + len(value or b"") for key, value in ops) for ops in batches]
    assert max(sizes) < CHECKPOINT_BATCH_BYTES + 2 * PIECE_BYTES_MAX
    assert writer.take_batches() == []


@pytest.mark.parametrize("older", [row(b"a", 1), row(b"a", 1, LARGE), row(b"a", 1, HUGE)])
def test_a_large_value_interrupted_at_any_batch_leaves_the_older_row(store: Store, older: Row) -> None:
    """Keys that begin like the interrupted one, with the pieces' own bytes behind it, must not be swept with it."""
    neighbours = [row(b"a" + (2).to_bytes(8, "big"), 1, LARGE), row(b"a" + (2).to_bytes(8, "big") + b"\0", 1, LARGE)]
    checkpoint(store, [older, *neighbours], 1)
    pieces_before = keys_in(store, b"p")
    writer = table_of(store)[0].writer()
    writer.put(row(b"a", 2, HUGE))
    batches = writer.take_batches()
    assert len(batches) >= 2
    for ops in batches[:-1]:
        write(store, [ops])
    table, rows = table_of(store)
    assert rows == [older, *neighbours]
    assert (keys_in(store, b"p"), keys_in(store, b"g")) == (pieces_before, 0)
    assert table.checkpoint.index == 1


def test_a_replacement_shows_only_when_finished(store: Store) -> None:
    checkpoint(store, [row(b"a", 1), row(b"big", 1, LARGE)], 1)
    table, old = table_of(store)
    writer = table.replacement_writer()
    for number in range(30):
        writer.put(row(b"new %02d" % number, 8, LARGE))
    write(store, writer.take_batches())
    assert list(table.rows(store.engine)) == old
    assert table_of(store)[1] == old
    assert keys_in(store, b"p") == 3

    table, _ = table_of(store)
    writer = table.replacement_writer()
    writer.put(row(b"new", 8, LARGE))
    finish(store, writer, 8, b"blob")
    table, rows = table_of(store)
    assert rows == [row(b"new", 8, LARGE)]
    assert (table.checkpoint.index, table.checkpoint.generation, keys_in(store, b"p")) == (8, 1, 3)
    checkpoint(store, [row(b"more", 9)], 9)
    assert table_of(store)[1] == [row(b"more", 9), row(b"new", 8, LARGE)]


def test_a_replacement_that_was_given_up_leaves_nothing_in_the_next(store: Store) -> None:
    """Its batches may reach the disk after everything that was there had been swept."""
    checkpoint(store, [row(b"old", 1)], 1)
    table, _ = table_of(store)
    given_up = table.replacement_writer()
    for number in range(20):
        given_up.put(row(b"given up %d" % number, 2, LARGE))
    write(store, table.garbage_ops(store.engine))
    writer = table.replacement_writer()
    write(store, given_up.take_batches())
    writer.put(row(b"new", 3))
    finish(store, writer, 3)
    assert list(table.rows(store.engine)) == [row(b"new", 3)]
    write(store, table.garbage_ops(store.engine))
    assert [keys_in(store, each) for each in (b"s", b"p", b"g")] == [1, 0, 0]


def test_sweeping_that_was_left_half_done_does_not_touch_a_new_replacement(store: Store) -> None:
    checkpoint(store, [row(b"%05d" % number, 1) for number in range(DELETE_ROWS + 10)], 1)
    table, _ = table_of(store)
    finish(store, table.replacement_writer(), 2)
    sweep = table.garbage_ops(store.engine)
    write(store, [next(sweep)])
    for index in (3, 4):
        writer = table.replacement_writer()
        writer.put(row(b"%d" % index, index, LARGE))
        finish(store, writer, index)
    write(store, sweep)
    assert table_of(store)[1] == [row(b"%d" % index, index, LARGE)]
    assert keys_in(store, b"s") == 1


def test_the_table_that_finished_a_replacement_goes_on_with_it(store: Store) -> None:
    checkpoint(store, [row(b"a", 1, LARGE)], 1)
    table, _ = table_of(store)
    writer = table.replacement_writer()
    writer.put(row(b"b", 8, LARGE))
    finish(store, writer, 8)
    writer = table.writer()
    writer.put(row(b"b", 9))
    finish(store, writer, 9)
    assert table_of(store)[1] == [row(b"b", 9)]
    assert keys_in(store, b"p") == 0


def test_writing_before_reading_is_a_bug(store: Store) -> None:
    checkpoint(store, [row(b"a", 1, LARGE)], 1)
    with pytest.raises(AssertionError):
        StateTable(store.engine, SHARD).writer()


def test_a_removed_state_leaves_nothing(store: Store) -> None:
    checkpoint(store, [row(b"a", 1, LARGE), row(b"b", 1)], 1)
    table, _ = table_of(store)
    write(store, table.remove_ops(store.engine))
    assert [keys_in(store, each) for each in (b"m", b"s", b"p", b"g")] == [0, 0, 0, 0]


@pytest.mark.parametrize("position", [0, 3, 4, 11, 12, 19, 20, 21, 24, 25, -1])
def test_a_flipped_bit_anywhere_in_a_row_is_refused(store: Store, position: int) -> None:
    checkpoint(store, [row(b"a", 1), row(b"b", 1)], 1)
    key, value = next(iter(store.engine.scan(*shard_range(b"s", SHARD))))
    flipped = bytearray(value)
    flipped[position] ^= 0x01
    write(store, [[(key, bytes(flipped))]])
    with pytest.raises(Damaged, match=r"shard 2, state row .*checksum mismatch"):
        table_of(store)


def test_a_row_cut_short_is_refused(store: Store) -> None:
    checkpoint(store, [row(b"a", 1)], 1)
    key, value = next(iter(store.engine.scan(*shard_range(b"s", SHARD))))
    write(store, [[(key, value[:20])]])
    with pytest.raises(Damaged, match="only 20 bytes long"):
        table_of(store)


def test_a_damaged_piece_is_refused(store: Store) -> None:
    checkpoint(store, [row(b"a", 1, LARGE)], 1)
    pieces = list(store.engine.scan(*shard_range(b"p", SHARD)))
    write(store, [[(pieces[1][0], pieces[1][1][:-1] + b"?")]])
    with pytest.raises(Damaged, match=r"piece of a large value .*checksum mismatch"):
        table_of(store)
    write(store, [[(pieces[1][0], None)]])
    with pytest.raises(Damaged, match="piece 1 of 3 is missing"):
        table_of(store)
    write(store, [[(pieces[1][0], pieces[0][1])]])
    with pytest.raises(Damaged, match="checksum mismatch"):
        table_of(store)


def test_a_damaged_checkpoint_row_is_refused(store: Store) -> None:
    checkpoint(store, [row(b"a", 1)], 1)
    key, value = next(iter(store.engine.scan(*shard_range(b"m", SHARD))))
    write(store, [[(key, value[:-1] + bytes([value[-1] ^ 1]))]])
    with pytest.raises(Damaged, match="shard 2, checkpoint: checksum mismatch"):
        load_checkpoint(store.engine, SHARD)
