"""Moving keys from shard to shard: what the shards are asked to do, and what they answer whoever asks the wrong one.

A *batch* is a transaction over two shards, like any other: the source sends the values of a run of positions, both note
whose the run is from now on (`makoredis.data.slot_table`), the source deletes the keys and the target puts them. So a
batch happens as a whole or not at all, at both or at neither, survives whoever coordinates it, and is taken back with
what it depended on. For its duration it locks the run, and the two tables of slots.

A *goal* says which slots are to go where. It is part of the tables of slots too; whoever leads a shard that has one
sees to it (`makoredis.cluster.moving`). Goals are set for all shards in one transaction.

A request for keys that are not here is answered with where they went. Of a request that changes something the answer is
recorded like any other, so that it can't be executed here later, when the keys have come back and a copy of it arrives.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import merge
from zlib import crc32

from makoredis.base.record import Wire, wire_decoder, wire_encode
from makoredis.data.access import Access
from makoredis.data.effects import AssignSlots, Delete, Effect, PutSlotTable, PutValue
from makoredis.data.encoding import encode_value
from makoredis.data.keyspace import Keyspace, Slot
from makoredis.data.slot_table import (
    HASH_BITS,
    HASH_MAX,
    SLOT_TABLE_DB,
    SLOT_TABLE_KEY,
    Goal,
    Run,
    SlotTable,
    position_of,
)
from makoredis.data.values.scan_dict import ScanDict
from makoredis.txn.locks import KeyLock
from makoredis.txn.messages import Part

Program = Callable[[Access, bytes], bytes]

SCAN_KEYS = 64
"""Keys of a slot with many that are put in order at once."""

_MOVED = b"\xc1"
"""Begins results that say that keys are elsewhere: no MessagePack and no JSON begins like this."""
_HANDOVER = b"\xc1"
"""The same for operations."""


class Leave(Wire, tag=1):
    """Sends all keys of a run that is to go from one shard to another. Results: `Left`."""

    shard: int
    first: int
    last: int
    target: int


class Arrive(Wire, tag=2):
    """Locks the place of what will arrive. Results: nothing."""


class Aim(Wire, tag=3):
    """Notes that slots are to be moved, as far as they are here. Shard 0: nothing of them is to be moved any more."""

    shard: int
    goal: Goal


class Reach(Wire, tag=4):
    """Forgets goals for which nothing is left to do."""

    shard: int


class Describe(Wire, tag=5):
    """Says whose slots are whose, and what is to be moved. Results: `Described`."""

    shard: int


class LeftKey(Wire):
    """Database id, key, value and deadline."""

    db: int
    key: bytes
    encoded: bytes
    deadline_ms: int


class Left(Wire):
    """What goes. Not `is_due`: the run is not the shard's any more, or is not to go there."""

    is_due: bool
    keys: list[LeftKey]


class Described(Wire):
    """A shard's table, its keys, and by goal how many of its positions' slots and keys are still here."""

    table: bytes
    keys: int
    left: list[tuple[int, int]]


Operation = Leave | Arrive | Aim | Reach | Describe
_decode: Callable[[bytes], Operation] = wire_decoder(Operation)
decode_described: Callable[[bytes], Described] = wire_decoder(Described)
_decode_left: Callable[[bytes], Left] = wire_decoder(Left)
_decode_runs: Callable[[bytes], list[Run]] = wire_decoder(list[tuple[int, int, int]])


# -- requests at the wrong shard


def elsewhere(space: Keyspace, shard: int, locks: Iterable[KeyLock]) -> bytes:
    """What to answer a request for keys of which some are not here: the runs that they are in, and where those went.
    Empty: all are here."""
    table = space.slot_table
    if table is None:
        return b""
    shard_of = table.shard_of
    strays = [
        lock.key
        for lock in locks
        if lock.key is not None and shard_of(lock.key) != shard and lock.db != SLOT_TABLE_DB
    ]
    return moved(table.run_at(position_of(key)) for key in strays) if strays else b""


def moved(runs: Iterable[Run]) -> bytes:
    """The answer that says so."""
    return _MOVED + wire_encode(sorted(set(runs)))


def is_moved(results: bytes) -> bool:
    """Whether a request was not executed, because its keys are elsewhere."""
    return results[:1] == _MOVED


def decode_moved(results: bytes) -> list[Run]:
    """Where they are."""
    return _decode_runs(results[1:])


# -- moving


def table_lock() -> KeyLock:
    """On a shard's table of slots."""
    return KeyLock(SLOT_TABLE_DB, SLOT_TABLE_KEY, True)


def batch(source: int, target: int, first: int, last: int) -> dict[int, Part]:
    """What two shards have to do for a run to go from one to the other."""
    locks = [table_lock(), KeyLock(0, None, True, first, last)]
    return {
        source: Part(_HANDOVER + wire_encode(Leave(source, first, last, target)), locks),
        target: Part(_HANDOVER + wire_encode(Arrive()), locks),
    }


def batch_effects(
    source: int, target: int, first: int, last: int, results: Mapping[int, bytes]
) -> dict[int, list[Effect]]:
    """What happens at both; nothing if the run is not to go any more."""
    left = _decode_left(results[source])
    if not left.is_due:
        return {}
    assignment = AssignSlots(first, last, target)
    return {
        source: [assignment, *(Delete(item.db, item.key) for item in left.keys)],
        target: [assignment, *(PutValue(item.db, item.key, item.encoded, item.deadline_ms) for item in left.keys)],
    }


def aim(shards: Iterable[int], goal: Goal) -> dict[int, Part]:
    """What all shards have to do for slots to be moved, wherever they are."""
    return {shard: Part(_HANDOVER + wire_encode(Aim(shard, goal)), [table_lock()]) for shard in shards}


def reach(shard: int) -> Part:
    """What a shard does to forget goals that it has reached."""
    return Part(_HANDOVER + wire_encode(Reach(shard)), [table_lock()])


def describe(shards: Iterable[int]) -> dict[int, Part]:
    """What all shards have to do to say at one moment whose slots are whose."""
    lock = KeyLock(SLOT_TABLE_DB, SLOT_TABLE_KEY, False)
    return {shard: Part(_HANDOVER + wire_encode(Describe(shard)), [lock]) for shard in shards}


def with_handovers(program: Program) -> Program:
    """A program that does these operations beside its own."""

    def run(access: Access, operation: bytes) -> bytes:
        if operation[:1] == _HANDOVER:
            return _perform(access, _decode(operation[1:]))
        return program(access, operation)

    return run


def _perform(access: Access, operation: Operation) -> bytes:
    if type(operation) is Leave:
        return wire_encode(_leave(access.space, operation))
    if type(operation) is Describe:
        return wire_encode(_describe(access.space, operation.shard))
    if type(operation) is Aim:
        _set_goal(access, operation)
    elif type(operation) is Reach:
        _drop_reached(access, operation.shard)
    return b""


def _leave(space: Keyspace, operation: Leave) -> Left:
    table, first, last = space.slot_table, operation.first, operation.last
    if table is None or not table.owns(operation.shard, first, last):
        return Left(False, [])
    slots = (first >> HASH_BITS, last >> HASH_BITS)
    if not any(
        goal.first <= slots[0] and slots[1] <= goal.last and goal.shard == operation.target for goal in table.goals
    ):
        return Left(False, [])
    return Left(True, [LeftKey(db, key, *content(space, db, key)) for _, db, key in keys_in(space, first, last)])


def content(space: Keyspace, db: int, key: bytes) -> tuple[bytes, int]:
    """A key's encoded value and its deadline; 0: none."""
    database = space.by_id[db]
    value = database.get(key)
    assert value is not None
    return encode_value(value), database.expires.get(key, 0)


def keys_in(space: Keyspace, first: int, last: int) -> Iterator[tuple[int, int, bytes]]:
    """Position, database and key of all in a run of positions, in order. Costs what is taken of it."""
    slot = first >> HASH_BITS
    while slot <= last >> HASH_BITS:
        slot = min(database.first_slot_used(slot) for database in space.by_id)
        if slot > last >> HASH_BITS:
            return
        start = slot << HASH_BITS
        low, high = max(first - start, 0), min(last - start, HASH_MAX)
        for hashed, db, key in merge(
            *(
                _keys_of_slot(database.slots[slot], database.id, low, high)
                for database in space.by_id
                if database.size and database.slots[slot]
            )
        ):
            yield start | hashed, db, key
        slot += 1


def _keys_of_slot(slot: Slot, db: int, low: int, high: int) -> Iterator[tuple[int, int, bytes]]:
    """Hash, database and key of those with a hash within limits, in order."""
    if type(slot) is not ScanDict:
        yield from sorted((hashed, db, key) for key in slot if low <= (hashed := crc32(key)) <= high)
        return
    following = low
    while True:
        following, pairs = slot.scan(following, SCAN_KEYS)
        for key, _ in pairs:
            hashed = crc32(key)
            if hashed > high:
                return
            yield hashed, db, key
        if not following:
            return


def _set_goal(access: Access, operation: Aim) -> None:
    table, goal, shard = access.space.slot_table, operation.goal, operation.shard
    if table is None:
        return
    goals = table.without_goals_in(goal.first, goal.last)
    if goal.shard not in (0, shard):
        first, last = goal.first << HASH_BITS, (goal.last + 1 << HASH_BITS) - 1
        if any(True for _ in table.runs_of(shard, first, last)):
            goals.append(goal)
    if goals != list(table.goals):
        access.apply(PutSlotTable(table.with_goals(goals).encode()))


def _drop_reached(access: Access, shard: int) -> None:
    table = access.space.slot_table
    if table is None:
        return
    goals = [goal for goal in table.goals if next_run(access.space, shard, goal) is not None]
    if len(goals) < len(table.goals):
        access.apply(PutSlotTable(table.with_goals(goals).encode()))


def _describe(space: Keyspace, shard: int) -> Described:
    table = space.slot_table
    keys = sum(database.size for database in space.by_id)
    if table is None:
        return Described(b"", keys, [])
    return Described(table.encode(), keys, [_left(space, table, shard, goal) for goal in table.goals])


def _left(space: Keyspace, table: SlotTable, shard: int, goal: Goal) -> tuple[int, int]:
    """How many slots and keys are still to go. A slot that has gone in part counts whole."""
    slots = [
        slot
        for slot in range(goal.first, goal.last + 1)
        if table.at((slot + 1 << HASH_BITS) - 1) == shard or table.at(slot << HASH_BITS) == shard
    ]
    return len(slots), sum(len(database.slots[slot]) for database in space.by_id if database.size for slot in slots)


def next_run(space: Keyspace, shard: int, goal: Goal) -> Run | None:
    """The first run of what is still to go; None: nothing is."""
    table = space.slot_table
    if table is None:
        return None
    first, last = goal.first << HASH_BITS, (goal.last + 1 << HASH_BITS) - 1
    return next(table.runs_of(shard, first, last), None)
