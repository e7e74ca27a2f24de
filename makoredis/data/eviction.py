"""Which key goes when memory is full: Redis's eviction policies.

Redis does not keep its keys in the order of their use; it looks at a few at random (`maxmemory-samples`), remembers the
best of those it has ever seen in a small pool, and takes the best one of these. So it is here. What is known of the
uses of keys (`Database.touched`) is the leader's own and not replicated; what is evicted is, as deletions like any
other.

Two differences: a candidate that was used since it was put into the pool is looked at anew, and `volatile-ttl` takes
the very next deadline, which is known here, instead of the nearest of a sample.
"""

import sys
from bisect import bisect_left
from collections.abc import Iterable
from enum import Enum
from itertools import islice
from random import Random

from makoredis.base.record import record
from makoredis.data.keyspace import Database, Keyspace
from makoredis.data.uses import USE_COUNT_MAX
from makoredis.data.values import Hash, List, Set, SortedSet, Value

POOL_MAX = 16
"""Candidates that are remembered from one choice to the next."""
SMALL_OBJECT_BYTES = 78
"""What a small object takes on average; see `makoredis.server.memory`."""
_SMALL_MAX = 512
_TABLE_ENTRY_BYTES = 104
_SAMPLES = 5
"""Elements of a collection that stand for all when its size is estimated."""


class Order(Enum):
    """What the key to go is chosen by."""

    USE = "lru"
    FREQUENCY = "lfu"
    CHANCE = "random"
    DEADLINE = "ttl"


@record
class Policy:
    """One value of `maxmemory-policy`."""

    only_volatile: bool
    """Only keys with a deadline may go."""
    order: Order


POLICIES: dict[str, Policy | None] = {
    "noeviction": None,
    "allkeys-lru": Policy(False, Order.USE),
    "allkeys-lfu": Policy(False, Order.FREQUENCY),
    "allkeys-random": Policy(False, Order.CHANCE),
    "volatile-lru": Policy(True, Order.USE),
    "volatile-lfu": Policy(True, Order.FREQUENCY),
    "volatile-random": Policy(True, Order.CHANCE),
    "volatile-ttl": Policy(True, Order.DEADLINE),
}

_Candidate = tuple[int, int, int, bytes]
"""How well it is suited (two numbers, higher is better), database id, key."""


class Chooser:
    """Chooses keys to be evicted from one keyspace. It changes nothing: whoever asks deletes the key, or is told the
    same one again."""

    def __init__(self, space: Keyspace, rng: Random) -> None:
        self.space = space
        self._rng = rng
        self._pool: list[_Candidate] = []
        self._pool_policy: Policy | None = None
        self._turn = 0

    def choose(self, policy: Policy, samples: int, now_ms: int) -> tuple[int, bytes] | None:
        """Database id and key of what should go first; None if nothing may go."""
        databases = [each for each in self.space.by_id if (each.expires if policy.only_volatile else each.size)]
        if not databases:
            return None
        if policy.order is Order.CHANCE:
            return self._by_chance(policy, databases)
        if policy.order is Order.DEADLINE:
            return _by_deadline(databases)
        if self._pool_policy is not policy:
            self._pool_policy = policy
            self._pool.clear()
        chosen = None
        while chosen is None:
            self._sample(policy, databases, samples, now_ms)
            chosen = self._best(policy, now_ms)
        return chosen

    def _by_chance(self, policy: Policy, databases: list[Database]) -> tuple[int, bytes]:
        """Databases take turns, as in Redis."""
        self._turn += 1
        database = databases[self._turn % len(databases)]
        if policy.only_volatile:
            return database.id, database.sample_volatile(self._rng, 1)[0]
        return database.id, database.key_at(self._rng.randrange(database.size))

    def _sample(self, policy: Policy, databases: list[Database], samples: int, now_ms: int) -> None:
        """Puts a few keys of each database into the pool, of which the best stay."""
        pool = self._pool
        for database in databases:
            sample = database.sample_volatile if policy.only_volatile else database.sample
            for key in sample(self._rng, samples):
                first, second = _rank(policy, database, key, now_ms)
                candidate = (first, second, database.id, key)
                at = bisect_left(pool, candidate)
                if at == len(pool) or pool[at] != candidate:
                    pool.insert(at, candidate)
        del pool[:-POOL_MAX]

    def _best(self, policy: Policy, now_ms: int) -> tuple[int, bytes] | None:
        """The best of the pool that is still there and was not used since; None if there is none left."""
        pool = self._pool
        while pool:
            first, second, id, key = pool.pop()
            database = self.space.by_id[id]
            exists = key in database.expires if policy.only_volatile else database.get(key) is not None
            if exists and _rank(policy, database, key, now_ms) >= (first, second):
                return id, key
        return None


def _rank(policy: Policy, database: Database, key: bytes, now_ms: int) -> tuple[int, int]:
    """How well a key is suited to go: the less often used, the longer not used, the better."""
    used = -database.known_use(key)
    if policy.order is Order.FREQUENCY:
        return USE_COUNT_MAX - database.use_count(key, now_ms), used
    return used, 0


def _by_deadline(databases: list[Database]) -> tuple[int, bytes] | None:
    earliest = [(*first, each.id) for each in databases if (first := each.earliest_deadline()) is not None]
    if not earliest:
        return None
    _, key, id = min(earliest)
    return id, key


def footprint(key: bytes, value: Value) -> int:
    """About how many bytes are free once a key is deleted, judged by a few elements of a collection."""
    return _object_bytes(key) + _value_bytes(value)


def _object_bytes(text: bytes | bytearray) -> int:
    size = sys.getsizeof(text)
    return size if size > _SMALL_MAX else SMALL_OBJECT_BYTES


def _value_bytes(value: Value) -> int:
    if isinstance(value, bytes | bytearray):
        return _object_bytes(value)
    if isinstance(value, Hash):
        return _elements_bytes((text for pair in value.fields.items() for text in pair), 2 * len(value), True)
    if isinstance(value, List):
        return _elements_bytes(value, len(value), False)
    if isinstance(value, Set):
        return _elements_bytes(value, len(value), True)
    if isinstance(value, SortedSet):
        return _elements_bytes(value, len(value), True) + SMALL_OBJECT_BYTES * len(value)
    return sum(int(node.listpack_bytes()) for node in value.nodes.values()) + SMALL_OBJECT_BYTES * len(value)


def _elements_bytes(texts: Iterable[bytes], count: int, is_table: bool) -> int:
    sizes = [_object_bytes(text) for text in islice(texts, 2 * _SAMPLES)]
    each = sum(sizes) // len(sizes) if sizes else 0
    return SMALL_OBJECT_BYTES + count * (each + (_TABLE_ENTRY_BYTES // 2 if is_table else 8))
