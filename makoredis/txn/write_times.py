"""When keys were last written, as far back as somebody may ask: what WATCH compares with.

Bounded: there are two generations of keys, and when the younger is full the older is forgotten. What is not known
counts as written at `floor`, the latest time among all that is forgotten; so a WATCH older than that may fail although
its key was left alone, and one that should fail always does.
"""

from collections.abc import Iterable

from makoredis.data.effects import Effect

WRITES_MAX = 200_000
"""Keys per generation."""


class WriteTimes:
    """Timestamps of last writes by database and key."""

    __slots__ = ("_old", "_young", "floor")

    def __init__(self, floor: int = 0) -> None:
        self.floor = floor
        self._young: dict[tuple[int, bytes], int] = {}
        self._old: dict[tuple[int, bytes], int] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def of(self, db: int, key: bytes) -> int:
        """When a key was last written, or later."""
        name = (db, key)
        ts = self._young.get(name)
        if ts is None:
            ts = self._old.get(name)
        return self.floor if ts is None or ts < self.floor else ts

    def note(self, effects: Iterable[Effect], ts: int) -> None:
        """A transaction with these effects happened, or was taken back, at `ts`."""
        young = self._young
        for effect in effects:
            if effect.key is None:
                self.forget(ts)
                young = self._young
            elif ts > young.get((effect.db, effect.key), 0):
                young[effect.db, effect.key] = ts
        if len(young) > WRITES_MAX:
            self._age()

    def _age(self) -> None:
        if self._old:
            self.floor = max(self.floor, max(self._old.values()))
        self._old, self._young = self._young, {}

    def forget(self, ts: int) -> None:
        """All keys count as written at `ts`."""
        self._young, self._old = {}, {}
        self.floor = max(self.floor, ts)
