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

from collections.abc import Callable, Iterable, Mapping

from makoredis.base.record import Wire, wire_decoder, wire_encode
from makoredis.data.access import Access
from makoredis.data.effects import AssignSlots, Delete, Effect, PutSlotTable, PutValue
from makoredis.data.encoding import encode_value
from makoredis.data.keyspace import Keyspace
from makoredis.data.slot_table import (
    HASH_BITS,
    SLOT_TABLE_DB,
    SLOT_TABLE_KEY,
    Goal,
    Run,
    position_of,
)
from makoredis.txn.locks import KeyLock
from makoredis.txn.messages import Part

Program = Callable[[Access, bytes], bytes]

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


_decode: Callable[[bytes], Leave | Arrive | Aim | Reach] = wire_decoder(Leave | Arrive | Aim | Reach)
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


def with_handovers(program: Program) -> Program:
    """A program that does these operations beside its own."""

    def run(access: Access, operation: bytes) -> bytes:
        if operation[:1] == _HANDOVER:
            return _perform(access, _decode(operation[1:]))
        return program(access, operation)

    return run


def _perform(access: Access, operation: Leave | Arrive | Aim | Reach) -> bytes:
    if type(operation) is Leave:
        return wire_encode(_leave(access.space, operation))
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
    return Left(True, [LeftKey(db, key, *content(space, db, key)) for db, key in keys_in(space, first, last)])


def content(space: Keyspace, db: int, key: bytes) -> tuple[bytes, int]:
    """A key's encoded value and its deadline; 0: none."""
    database = space.by_id[db]
    value = database.get(key)
    assert value is not None
    return encode_value(value), database.expires.get(key, 0)


def keys_in(space: Keyspace, first: int, last: int) -> Iterable[tuple[int, bytes]]:
    """Databases and keys of a run of positions, slot by slot."""
    for slot in range(first >> HASH_BITS, (last >> HASH_BITS) + 1):
        for database in space.by_id:
            if database.size:
                for key in database.slots[slot]:
                    if first <= position_of(key) <= last:
                        yield database.id, key


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


def next_run(space: Keyspace, shard: int, goal: Goal) -> Run | None:
    """The first run of what is still to go; None: nothing is."""
    table = space.slot_table
    if table is None:
        return None
    first, last = goal.first << HASH_BITS, (goal.last + 1 << HASH_BITS) - 1
    return next(table.runs_of(shard, first, last), None)
