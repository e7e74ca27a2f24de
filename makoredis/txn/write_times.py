"""When keys were last written, as far back as somebody may ask: what WATCH compares with. And which were written since
the last checkpoint began.

Bounded: there are two generations of keys, and when the younger is full the older is forgotten. What is not known
counts as written at `floor`, the latest time among all that is forgotten; so a WATCH older than that may fail although
its key was left alone, and one that should fail always does.

What arrives from another shard counts as written when it did, also where there is no key: this shard does not know what
was there before.

What a checkpoint has to write is what was changed: written, or taken back. If that is too much to be remembered, or the
whole shard was changed, it is everything.
"""

from collections.abc import Iterable

from makoredis.data.effects import AssignSlots, Effect
from makoredis.data.slot_table import SLOT_TABLE_DB, position_of

WRITES_MAX = 200_000
"""Keys per generation."""
RUNS_MAX = 128
"""Runs of keys that were handed over lately."""
RUNS_KEEP_US = 10_000_000
"""For how long they are known; then all that is as old counts as written then."""
CHANGED_MAX = 500_000
"""Keys that are remembered as changed. Beyond it all count as changed."""


class WriteTimes:
    """Timestamps of last writes by database and key."""

    __slots__ = ("_changed", "_old", "_runs", "_young", "floor")

    def __init__(self, floor: int = 0) -> None:
        self.floor = floor
        self._young: dict[tuple[int, bytes], int] = {}
        self._old: dict[tuple[int, bytes], int] = {}
        self._runs: list[tuple[int, int, int]] = []
        """First and last position, and when all between them changed hands last."""
        self._changed: dict[tuple[int, bytes], None] | None = None
        """Since `take_changed`, in order, so that simulated runs repeat; None: any key may have."""

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def of(self, db: int, key: bytes) -> int:
        """When a key was last written, or later."""
        name = (db, key)
        ts = self._young.get(name)
        if ts is None:
            ts = self._old.get(name)
        if self._runs:
            ts = max(ts or 0, self._handed_over(position_of(key)))
        return self.floor if ts is None or ts < self.floor else ts

    def _handed_over(self, position: int) -> int:
        return max((ts for first, last, ts in self._runs if first <= position <= last), default=0)

    def note(self, effects: Iterable[Effect], ts: int) -> None:
        """A transaction with these effects happened, or was taken back, at `ts`."""
        young, changed = self._young, self._changed
        for effect in effects:
            if effect.key is None:
                self.forget(ts)
                young, changed = self._young, None
                continue
            name = (effect.db, effect.key)
            if changed is not None:
                changed[name] = None
            if ts > young.get(name, 0):
                young[name] = ts
                if effect.db == SLOT_TABLE_DB and isinstance(effect, AssignSlots):
                    self._runs.append((effect.first, effect.last, ts))
        if self._runs:
            self._forget_runs(ts)
        if len(young) > WRITES_MAX:
            self._age()
            if changed is not None and len(changed) > CHANGED_MAX:
                self._changed = None

    def _forget_runs(self, ts: int) -> None:
        runs = self._runs
        while runs and (len(runs) > RUNS_MAX or runs[0][2] < ts - RUNS_KEEP_US):
            self.floor = max(self.floor, runs.pop(0)[2])

    def _age(self) -> None:
        if self._old:
            self.floor = max(self.floor, max(self._old.values()))
        self._old, self._young = self._young, {}

    def forget(self, ts: int) -> None:
        """All keys count as written at `ts`."""
        self._young, self._old, self._runs, self._changed = {}, {}, [], None
        self.floor = max(self.floor, ts)

    # -- what a checkpoint has to write

    def changed_count(self) -> int:
        """Keys that are remembered as changed."""
        return 0 if self._changed is None else len(self._changed)

    def take_changed(self) -> Iterable[tuple[int, bytes]] | None:
        """The keys that were changed since the last call; None if it may be any. What follows is for the next call."""
        changed, self._changed = self._changed, {}
        return changed

    def lose_changed(self) -> None:
        """What was taken last could not be made use of: the next call says that any key may have changed."""
        self._changed = None
