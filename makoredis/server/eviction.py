"""Keeping memory below `maxmemory`: evicting keys, and refusing writes when nothing may be evicted.

Before the requests of each turn are run, as many keys are deleted as are needed to be below the limit again, in one
transaction, by the leader; replicas learn of it from the log. What a turn adds may go beyond the limit until the next.

How much memory is used cannot be asked each time: glibc counts its free pieces, which takes 50 ms in a heap with
100,000 of them. So it is measured so often that this takes a fiftieth of the time at most; in between it is taken to
grow by what changes have added on average, and to shrink by what evicted keys took. What was evicted is not free
before the deletion is final, because it could still be undone: until then it counts as free, or far too much would go.

The log and what storage needs have limits of their own and do not count (`mem_not_counted_for_evict`), as Redis's
buffers of its log and for its replicas do not.

With several shards every node holds keys of shards that others lead. Of what is to be freed, its leaders free the part
that their keys are of all that it holds and that may go; for the rest it waits, because the others, with as much data
and the same limit, do likewise. What is still too much after a while is shared out anew. Leaders delete keys in their
shards' logs, as any transaction does, and none that a transaction has locked.
"""

import time
from collections import deque
from typing import TYPE_CHECKING

from makoredis.data.eviction import POLICIES, Order, Policy
from makoredis.server.victims import Deletion, HostVictims, ShardVictims, Victims, evictable_count
from makoredis.txn.gate import Gate

if TYPE_CHECKING:
    from makoredis.server.server import Server

MEASURING_SHARE = 50
"""Of the time, one in so many parts at most is spent on measuring."""
MEASURING_SAVED_SECONDS = 0.02
"""What was not spent is saved up to this, so that all is exact as long as there is little to do."""
CHANGE_BYTES_DEFAULT = 200
"""What a change adds until something was measured."""
SLACK_SHARE = 1024
"""Once memory is above the limit, so much of the limit is freed besides, so that not every turn has to evict."""
KEYS_BETWEEN_LOOKS = 8
"""Keys evicted between two looks at the clock."""
EXPECTED_SECONDS = 0.2
"""So long other leaders are waited for: deleting, having it chosen, and showing it here."""
GO_ON_MS = 1
"""After so long the next keys are evicted when nothing else happens."""
_TENACITY_LINEAR_MAX = 10
_TENACITY_LINEAR_SECONDS = 50e-6
_TENACITY_GROWTH = 1.15
_TENACITY_MAX = 100


def time_limit_seconds(tenacity: int) -> float:
    """How long evicting may take at once, by `maxmemory-eviction-tenacity`: 0.5 ms by default, as in Redis."""
    if tenacity <= _TENACITY_LINEAR_MAX:
        return tenacity * _TENACITY_LINEAR_SECONDS
    if tenacity >= _TENACITY_MAX:
        return float("inf")
    return float(
        _TENACITY_LINEAR_MAX * _TENACITY_LINEAR_SECONDS * _TENACITY_GROWTH ** (tenacity - _TENACITY_LINEAR_MAX)
    )


class Eviction:
    """Watches one node's memory.

    Attributes:
        is_refusing: memory is used up and nothing may be evicted, so that writes that need memory are refused.
        evicted_count, exceeded_seconds: statistics.
    """

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.limit = 0
        """Bytes; 0: none."""
        self.is_refusing = False
        self.evicted_count = 0
        self.exceeded_seconds = 0.0
        self.exceeded_since = 0.0
        """Monotonic seconds since when memory has been above the limit, 0 if it is not."""
        self._policy: Policy | None = None
        self._samples = 5
        self._seconds_max = 0.0
        self._host = HostVictims(server)
        self._of_shards: dict[int, ShardVictims] = {}
        """Of those that were led here when keys were evicted last."""
        self._expected: deque[tuple[float, int]] = deque()
        """What other leaders are to free, and until when; monotonic seconds, bytes."""
        self._expected_bytes = 0
        self._used = 0
        """As measured, less what was evicted and is not final yet or was evicted since."""
        self._version = 0
        """Of the data (`_changes`), when `_used` was last brought up to date."""
        self._version_run = 0
        """The same when it was looked at before the turn before: Redis has time to evict before each command."""
        self._change_bytes: float = CHANGE_BYTES_DEFAULT
        self._evicted_since = 0
        """Bytes evicted since memory was measured."""
        self._version_measured = 0
        self._used_measured = 0
        self._looked_at = 0.0
        self._measuring_seconds = 0.0
        """What measuring took the last time."""
        self._saved_seconds = MEASURING_SAVED_SECONDS
        self._not_final: deque[tuple[Gate, int]] = deque()
        self._not_final_bytes = 0
        self._goes_on = False

    def configure(self) -> None:
        """Takes over what CONFIG SET has changed; what follows from it happens before the next turn."""
        server = self.server
        table = server.config.table
        self.limit = server.config.maxmemory_bytes
        self._policy = POLICIES[table["maxmemory-policy"]]
        self._samples = table.integer("maxmemory-samples")
        self._seconds_max = time_limit_seconds(table.integer("maxmemory-eviction-tenacity"))
        ranks = self.limit > 0 and self._policy is not None and self._policy.order in (Order.USE, Order.FREQUENCY)
        for space in server.node.spaces():
            for database in space.by_id:
                database.ranks_uses = ranks
        self._measuring_seconds = 0.0  # measure at once
        self._saved_seconds = MEASURING_SAVED_SECONDS
        self._goes_on = self.limit > 0
        if not self.limit:
            self._within_limit()
        else:
            server.timer.wake_at(server.now_ms)

    def next_deadline_ms(self) -> int | None:
        """When there is more to be evicted, even if no client asks for anything; Unix milliseconds."""
        return self.server.now_ms + GO_ON_MS if self._goes_on else None

    def exceeding_seconds(self) -> float:
        """How long memory has been above the limit by now; 0 if it is not."""
        return time.monotonic() - self.exceeded_since if self.exceeded_since else 0.0

    def run(self) -> None:
        """Before each turn, while there is a limit: measures if it is time, and evicts what has to go."""
        self._goes_on = False
        now = time.perf_counter()
        saved_max = max(MEASURING_SAVED_SECONDS, self._measuring_seconds)
        self._saved_seconds = min(self._saved_seconds + (now - self._looked_at) / MEASURING_SHARE, saved_max)
        self._looked_at = now
        if self._saved_seconds >= self._measuring_seconds:
            self._measure()
        version = self._changes()
        changes = version - self._version_run
        self._used += int((version - self._version) * self._change_bytes)
        self._version = self._version_run = version
        if self._used <= self.limit or not self._judges():
            self._within_limit()
        elif self._policy is None:
            self._refuse(self._used_measured > self.limit)
        else:
            self._evict(now, self._seconds_max * max(changes, 1))

    def _judges(self) -> bool:
        """Whether this node is the one that evicts or refuses: a follower passes requests on to its leader."""
        host = self.server.node.host
        return self.server.router is not None or not self.server.node.is_replicated or host.is_leader

    def _changes(self) -> int:
        """How many transactions have changed the data here."""
        node = self.server.node
        return node.host.executor.version if node.shards is None else node.shards.version()

    def _within_limit(self) -> None:
        self.exceeded_seconds += self.exceeding_seconds()
        self.exceeded_since = 0.0
        self._refuse(False)

    def _refuse(self, refuses: bool) -> None:
        if self.is_refusing is not refuses:
            self.is_refusing = refuses
            self.server.refresh_special()

    def _measure(self) -> None:
        """Finds out what is used, and what a change adds on average."""
        started = time.thread_time()
        while self._not_final and (self._not_final[0][0].is_open or self._not_final[0][0].is_void):
            self._not_final_bytes -= self._not_final.popleft()[1]
        while self._expected and self._expected[0][0] < time.monotonic():
            self._expected_bytes -= self._expected.popleft()[1]
        measured = self.server.memory.used() - self.server.node.memory_beside_data()
        version = self._changes()
        used = measured - self._not_final_bytes - self._expected_bytes
        changes = version - self._version_measured
        if changes > 0 and self._used_measured:
            grown = max(used - self._used_measured + self._evicted_since, 0) / changes
            self._change_bytes = (self._change_bytes + grown) / 2
        self._used = self._used_measured = used
        self._version = self._version_measured = version
        self._evicted_since = 0
        self._measuring_seconds = time.thread_time() - started
        self._saved_seconds -= self._measuring_seconds

    def _evict(self, started: float, seconds_max: float) -> None:
        """Deletes keys until enough is free, nothing is left that may go, or the time is over."""
        policy = self._policy
        assert policy is not None
        if not self.exceeded_since:
            self.exceeded_since = time.monotonic()
        if not self.server.expiry.may_delete():
            return
        groups = self._groups(policy)
        missing = self._used - self.limit + self.limit // SLACK_SHARE
        has_more = is_late = False
        for victims, share in groups:
            deletion = Deletion(victims, policy, self._samples, self.server.now_ms)
            while deletion.freed < missing * share and not is_late and deletion.delete_one():
                is_late = deletion.count % KEYS_BETWEEN_LOOKS == 0 and time.perf_counter() - started > seconds_max
            if deletion.count:
                self._note(deletion, victims.commit())
            has_more = has_more or deletion.has_more
        if self.server.router is not None:
            has_more = self._leave_to_others(missing, 1 - sum(share for _, share in groups), policy)
        elif not groups:
            return
        self._goes_on = has_more and self._used > self.limit
        if has_more and not self._goes_on:
            self._within_limit()
        is_hopeless = not has_more and not self._not_final
        self._refuse(is_hopeless and self._used_measured - self._evicted_since > self.limit)

    def _groups(self, policy: Policy) -> list[tuple[Victims, float]]:
        """Where keys may be evicted from now, and which part of what is to be freed is to come from there."""
        node = self.server.node
        if node.shards is None:
            return [(self._host, 1.0)] if node.host.is_complete() else []
        counts = {shard: evictable_count(local.space, policy) for shard, local in node.shards.snapshot.local.items()}
        total = sum(counts.values())
        groups: list[tuple[Victims, float]] = []
        for shard, replica in node.shards.replicas.items():
            participant = replica.participant
            is_led = participant is not None and replica.is_serving() and replica.has_lease()
            if participant is not None and is_led and counts[shard]:
                victims = self._of_shards.get(shard)
                if victims is None or victims.participant is not participant:
                    victims = self._of_shards[shard] = ShardVictims(participant)
                groups.append((victims, counts[shard] / total))
        return groups

    def _leave_to_others(self, missing: int, share: float, policy: Policy) -> bool:
        """The leaders of the shards that are not led here free their part: their nodes have as much as this one.
        Returns whether anybody has anything left that may go."""
        if share > 0:
            expected = int(missing * share)
            self._expected.append((time.monotonic() + EXPECTED_SECONDS, expected))
            self._expected_bytes += expected
            self._used -= expected
        return any(evictable_count(space, policy) for space in self.server.node.spaces())

    def _note(self, deletion: Deletion, gate: Gate | None) -> None:
        freed = deletion.freed
        self._version += 1  # it adds nothing
        self._version_measured += 1
        self.evicted_count += deletion.count
        self._evicted_since += freed
        self._used -= freed
        if gate is not None:
            self._not_final.append((gate, freed))
            self._not_final_bytes += freed
