"""What one node knows of all shards' logs: the vector watermark, and which epochs ended where.

All of it is monotone, so stale knowledge only makes somebody wait. Invariants:
* A shard's watermark belongs to an epoch and is never relabelled as another epoch's: that epoch may have lost it.
* `(epoch, watermark)` of a shard never decreases, and neither does the global watermark.
* A closed epoch has one final timestamp, for ever: it is announced only after a majority has the entry that says so.

How an epoch ended is kept for as long as anybody can depend on it: the last `FACTS_MAX` of a shard always, earlier ones
until `W` has passed them by `FACTS_KEEP_US`. Whatever depended on those was pending for as long, through as many
leaders.
"""

from collections.abc import Iterable, Sequence

from makoredis.base.errors import Fatal
from makoredis.base.record import Wire
from makoredis.txn.entries import ClosedEpochs
from makoredis.txn.vectors import Vector

FACTS_MAX = 100
"""How many of a shard's leaderships are remembered however long ago they ended."""
FACTS_KEEP_US = 600_000_000
"""How long the others are."""


class Watermark(Wire):
    """A leader's announcement: everything of its log up to `ts` is chosen, and how its earlier epochs ended."""

    shard: int
    epoch: int
    ts: int
    closed: list[ClosedEpochs]


class Knowledge:
    """The vector watermark and the closed epochs that a node has heard of."""

    def __init__(self, shards: Sequence[int]) -> None:
        self.shards = tuple(shards)
        self.watermarks: dict[int, tuple[int, int]] = {}
        """Shard → (epoch, ts)."""
        self.closed: dict[int, list[ClosedEpochs]] = {}
        """By shard, without overlap, in no particular order."""
        self.version = 0
        """Grows with every piece of news."""
        self.facts_version = 0
        """Grows with every epoch that is heard to have ended."""
        self.global_ts = 0
        """`W`: every shard's log is chosen up to here."""

    def hear(self, announced: Watermark) -> bool:
        """Takes in an announcement, however old. Returns whether anything is new."""
        is_new = self.learn(announced.closed)
        known = self.watermarks.get(announced.shard, (0, 0))
        if (announced.epoch, announced.ts) > known:
            self._advance(announced)
            is_new = True
            self.version += 1
        return is_new

    def _advance(self, announced: Watermark) -> None:
        self.watermarks[announced.shard] = (announced.epoch, announced.ts)
        self._raise_global()

    def _raise_global(self) -> None:
        if len(self.watermarks) == len(self.shards):
            self.global_ts = max(self.global_ts, min(ts for _, ts in self.watermarks.values()))

    def raise_global(self, ts: int) -> None:
        """Somebody has seen `W` at `ts`: a checkpoint of this node, from before its start."""
        self.global_ts = max(self.global_ts, ts)
        self.version += 1

    def still_needed(self, facts: Iterable[ClosedEpochs]) -> list[ClosedEpochs]:
        """Those of some facts, in no particular order, that somebody may depend on."""
        by_shard: dict[int, list[ClosedEpochs]] = {}
        for fact in sorted(facts, key=_first):
            by_shard.setdefault(fact.shard, []).append(fact)
        return [
            fact
            for own in by_shard.values()
            for number, fact in enumerate(reversed(own))
            if number < FACTS_MAX or not self._is_old(fact)
        ]

    def _is_old(self, fact: ClosedEpochs) -> bool:
        return fact.final_ts + FACTS_KEEP_US < self.global_ts

    def forget(self) -> None:
        """Drops what nobody depends on any more."""
        for shard, facts in self.closed.items():
            if len(facts) > FACTS_MAX:
                self.closed[shard] = self.still_needed(facts)

    def learn(self, facts: Iterable[ClosedEpochs]) -> bool:
        """Takes in facts from an announcement or a log. Returns whether any is new.

        Raises: Fatal if one contradicts what is known: then two majorities have chosen different logs.
        """
        is_new = False
        for fact in facts:
            known = self._find(fact.shard, fact.first)
            if known is None:
                if self._is_forgotten(fact):
                    continue
                self.closed.setdefault(fact.shard, []).append(fact)
                is_new = True
                self.version += 1
                self.facts_version += 1
            elif known != fact:
                raise Fatal(f"shard {fact.shard}: epochs closed twice: {known} and {fact}")
        return is_new

    def _is_forgotten(self, fact: ClosedEpochs) -> bool:
        facts = self.closed.get(fact.shard, [])
        return len(facts) >= FACTS_MAX and self._is_old(fact) and all(fact.first < known.first for known in facts)

    def _find(self, shard: int, epoch: int) -> ClosedEpochs | None:
        for fact in self.closed.get(shard, ()):
            if fact.first <= epoch <= fact.last:
                return fact
        return None

    def epoch_of(self, shard: int) -> int:
        """The latest epoch of a shard that it has heard of; 0 if none."""
        return self.watermarks.get(shard, (0, 0))[0]

    def is_satisfied(self, vector: Vector) -> bool:
        """Whether nothing in a vector can be lost any more."""
        return all(self._is_durable(shard, epoch, ts) for (shard, epoch), ts in vector.items())

    def _is_durable(self, shard: int, epoch: int, ts: int) -> bool:
        watermark = self.watermarks.get(shard)
        if watermark is not None and watermark[0] == epoch and watermark[1] >= ts:
            return True
        fact = self._find(shard, epoch)
        return fact is not None and ts <= fact.final_ts

    def is_broken(self, vector: Vector) -> bool:
        """Whether something in a vector is lost: whoever depends on it is void."""
        if not self.closed:
            return False
        for (shard, epoch), ts in vector.items():
            fact = self._find(shard, epoch)
            if fact is not None and ts > fact.final_ts:
                return True
        return False

    def open_part(self, vector: Vector) -> Vector:
        """What is still to be waited for, and what is broken."""
        return {origin: ts for origin, ts in vector.items() if not self._is_durable(*origin, ts)}


def _first(fact: ClosedEpochs) -> int:
    return fact.first
