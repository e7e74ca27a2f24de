"""The fields of a large hash in an order, for random choice.

Made from the dict of a hash when first asked for: 10 ms for a million fields, and 8 bytes for each (a table of places,
as `Set` has it, would take 250 ms and 80 bytes). So a removed field keeps its place, marked as dead, and once more than
half of the places are dead the living move together.
"""

from collections.abc import Iterable
from random import Random


class FieldIndex:
    """`order` holds every field of the hash once, and in addition those in `dead`."""

    __slots__ = ("dead", "order")

    def __init__(self, fields: Iterable[bytes]) -> None:
        self.order: list[bytes] = list(fields)
        self.dead: set[bytes] = set()

    def __len__(self) -> int:
        return len(self.order) - len(self.dead)

    def pick(self, rng: Random) -> bytes:
        """Any field, each as likely; the hash is not empty. Takes two tries on average at worst."""
        order = self.order
        while True:
            field = order[int(rng.random() * len(order))]
            if field not in self.dead:
                return field

    def sample(self, rng: Random, count: int) -> list[bytes]:
        """`count` different fields, fewer than there are."""
        if not self.dead:
            return rng.sample(self.order, count)
        if 2 * count > len(self):
            return rng.sample([field for field in self.order if field not in self.dead], count)
        chosen: dict[bytes, None] = {}
        while len(chosen) < count:
            chosen[self.pick(rng)] = None
        return list(chosen)

    # -- changes, by the hash

    def add(self, field: bytes) -> None:
        """Notes a field that the hash did not have."""
        if field in self.dead:
            self.dead.remove(field)
        else:
            self.order.append(field)

    def remove(self, field: bytes) -> None:
        """Notes that a field is gone."""
        self.dead.add(field)

    def compacted(self) -> "FieldIndex":
        """This index, or one without dead places when they are the majority. A roll-back has to bring this one back:
        the places of the removed would be lost to it otherwise."""
        if 2 * len(self.dead) <= len(self.order):
            return self
        return FieldIndex([field for field in self.order if field not in self.dead])
