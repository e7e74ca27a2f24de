"""Has slots moved that are to be moved: the driver of `makoredis.txn.handover`.

The goals are in the shards' tables of slots. Whoever leads a shard that has one sends batches, one after the other,
each when the one before is final. Nothing has to be remembered beside the tables, so a new leader goes on where the
one before it has stopped, and a batch whose outcome is unknown is looked up there.

A batch is bounded by `BATCH_KEYS` and `BATCH_BYTES` (one key is always taken), so it locks little and not for long.
Slots without keys go in one batch with those around them.
"""

from collections.abc import Callable
from functools import partial

from makoredis.base.ids import ShardId
from makoredis.base.record import record
from makoredis.cluster.replica import ShardReplica
from makoredis.data.keyspace import Keyspace
from makoredis.data.slot_table import Goal, Run
from makoredis.txn.coordinator import Coordinator, Finished
from makoredis.txn.handover import batch, batch_effects, content, keys_in, next_run, reach
from makoredis.txn.messages import Part
from makoredis.txn.participant import Participant

BATCH_KEYS = 128
BATCH_BYTES = 128 * 1024
"""Of encoded values."""


@record
class MoveTicket:
    """A batch of a shard that is led here."""

    shard: int
    target: int
    keys: int
    number: int

    def __hash__(self) -> int:
        return hash((self.shard, self.number))


class Mover:
    """Sends the batches of all shards that this node leads."""

    def __init__(
        self,
        replicas: dict[ShardId, ShardReplica],
        submit_own: Callable[[ShardId, Part], None],
    ) -> None:
        self.replicas = replicas
        self.submit_own = submit_own
        self.batches = 0
        """Since start."""
        self.keys_moved = 0
        self._under_way: dict[int, MoveTicket] = {}
        self._is_due = True

    def tick(self) -> None:
        """Time has passed: goals may have come, or leaderships; and what failed is tried again."""
        self._is_due = True

    def proceed(self, coordinator: Coordinator) -> bool:
        """Begins the next batch of each shard that has something to move. Returns whether there was anything."""
        if not self._is_due:
            return False
        self._is_due = False
        has_begun = False
        for shard, replica in self.replicas.items():
            participant = replica.participant
            if participant is not None and replica.is_serving() and shard not in self._under_way:
                has_begun |= self._begin(coordinator, shard, participant)
        return has_begun

    def _begin(self, coordinator: Coordinator, shard: ShardId, participant: Participant) -> bool:
        space = participant.space
        goals = space.slot_table.goals if space.slot_table is not None else ()
        for goal in goals:
            run = next_run(space, shard, goal)
            if run is not None:
                self._move(coordinator, shard, space, goal, run)
                return True
        if goals:
            self.submit_own(shard, reach(shard))
        return bool(goals)

    def _move(self, coordinator: Coordinator, shard: ShardId, space: Keyspace, goal: Goal, run: Run) -> None:
        first = run[0]
        last, keys = plan(space, first, run[1])
        self.batches += 1
        ticket = self._under_way[shard] = MoveTicket(shard, goal.shard, keys, self.batches)
        coordinator.begin(
            ticket,
            batch(shard, goal.shard, first, last),
            is_read_only=False,
            combine=partial(batch_effects, shard, goal.shard, first, last),
        )

    def finished(self, result: Finished) -> None:
        """A batch is over, one way or the other; the tables know."""
        ticket = result.ticket
        assert isinstance(ticket, MoveTicket)
        self._under_way.pop(ticket.shard, None)
        if result.ts:
            self.keys_moved += ticket.keys
            self._is_due = True


def plan(space: Keyspace, first: int, last: int) -> tuple[int, int]:
    """Where a batch ends that begins at `first` and must not go beyond `last`; and how many keys it has."""
    count = size = 0
    end = first - 1
    for position, db, key in keys_in(space, first, last):
        size += len(key) + len(content(space, db, key)[0])
        if end >= first and position > end and (count >= BATCH_KEYS or size > BATCH_BYTES):
            return end, count
        count += 1
        end = position
    return last, count
