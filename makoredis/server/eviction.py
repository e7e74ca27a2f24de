"""Keeping memory below `maxmemory`: evicting keys, and refusing writes when nothing may be evicted.

Before the requests of each turn are run, as many keys are deleted as are needed to be below the limit again, in one
transaction, by the leader; replicas learn of it from the log. What a turn adds may go beyond the limit until the next.

How much memory is used cannot be asked each time: glibc counts its free pieces, which takes 50 ms in a heap with
100,000 of them. So it is measured so often that this takes a fiftieth of the time at most; in between it is taken to
grow by what changes have added on average, and to shrink by what evicted keys took. What was evicted is not free
before the deletion is final, because it could still be undone: until then it counts as free, or far too much would go.

The log and what storage needs have limits of their own and do not count (`mem_not_counted_for_evict`), as Redis's
buffers of its log and for its replicas do not.

With several shards nothing is evicted: each node's leaders would have to agree on whose keys go.
"""

import time
from collections import deque
from typing import TYPE_CHECKING

from makoredis.data import events
from makoredis.data.effects import Delete
from makoredis.data.eviction import POLICIES, Chooser, Order, Policy, footprint
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
        self._chooser = Chooser(server.node.host.space, server.node.host.access.rng)
        self._used = 0
        """As measured, less what was evicted and is not final yet or was evicted since."""
        self._version = 0
        """The executor's when `_used` was last brought up to date."""
        self._version_run = 0
        """The executor's when it was looked at before the turn before: Redis has time to evict before each command."""
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
        self._policy = None if server.router is not None else POLICIES[table["maxmemory-policy"]]
        self._samples = table.integer("maxmemory-samples")
        self._seconds_max = time_limit_seconds(table.integer("maxmemory-eviction-tenacity"))
        ranks = self.limit > 0 and self._policy is not None and self._policy.order in (Order.USE, Order.FREQUENCY)
        for database in server.node.host.space.by_id:
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
        version = self.server.node.host.executor.version
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
        measured = self.server.memory.used() - self.server.node.memory_beside_data()
        version = self.server.node.host.executor.version
        used = measured - self._not_final_bytes
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
        server, policy = self.server, self._policy
        assert policy is not None
        if not self.exceeded_since:
            self.exceeded_since = time.monotonic()
        host = server.node.host
        if not host.is_complete() or not server.expiry.may_delete():
            return
        access = host.access
        access.now_ms, access.origin, access.is_replica = server.now_ms, 0, False
        numbers = host.space.numbers()
        missing = self._used - self.limit + self.limit // SLACK_SHARE
        freed = count = 0
        has_more = True
        while freed < missing:
            chosen = self._chooser.choose(policy, self._samples, server.now_ms)
            if chosen is None:
                has_more = False
                break
            id, key = chosen
            database = host.space.by_id[id]
            value = database.get(key)
            assert value is not None
            freed += footprint(key, value)
            access.select(numbers[id])
            access.apply(Delete(id, key))
            access.notify(events.EVICTED, b"evicted", key)
            database.forget_use(key)
            count += 1
            if count % KEYS_BETWEEN_LOOKS == 0 and time.perf_counter() - started > seconds_max:
                break
        if count:
            self._commit(freed, count)
        self._goes_on = has_more and self._used > self.limit
        if has_more and not self._goes_on:
            self._within_limit()
        is_hopeless = not has_more and not self._not_final
        self._refuse(is_hopeless and self._used_measured - self._evicted_since > self.limit)

    def _commit(self, freed: int, count: int) -> None:
        server = self.server
        host = server.node.host
        effects = host.access.effects
        gate = host.executor.commit(host.access, server.wall_us)
        if not host.executor.is_durable and not host.executor.is_all_dirty:
            host.executor.forget_dirty()
        self._version += 1  # it adds nothing
        self._version_measured += 1
        self.evicted_count += count
        self._evicted_since += freed
        self._used -= freed
        if gate is not None:
            self._not_final.append((gate, freed))
            self._not_final_bytes += freed
        else:
            server.announce()  # ahead of the replies to what comes now, as in Redis
        if server.observes_effects:
            server.after_commit(effects)
            server.blocking.serve()
