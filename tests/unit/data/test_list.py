"""A list of many blocks against a plain Python list, through random changes at both ends and in the middle."""

from random import Random

import pytest

from makoredis.data.config import DataConfig
from makoredis.data.values.list import List

CONFIG = DataConfig()


class Pair:
    """The list and what it should hold."""

    def __init__(self, size: int) -> None:
        self.model = [b"%d" % number for number in range(size)]
        self.list = List(self.model)

    def push(self, rng: Random) -> None:
        left, elements = rng.random() < 0.5, [b"new"] * rng.choice([1, 1, 1, 3, 600])
        self.list.push(left, elements, CONFIG)
        self.model = [*elements, *self.model] if left else [*self.model, *elements]

    def pop(self, rng: Random) -> None:
        left = rng.random() < 0.5
        if len(self.model) > 1:
            assert self.list.pop(left, CONFIG) == self.model.pop(0 if left else -1)

    def pop_many(self, rng: Random) -> None:
        if len(self.model) > 1:
            left, count = rng.random() < 0.5, rng.randrange(1, min(len(self.model), 700))
            expected = self.model[:count] if left else self.model[-count:][::-1]
            self.model = self.model[count:] if left else self.model[:-count]
            assert self.list.pop_many(left, count, CONFIG) == expected

    def insert(self, rng: Random) -> None:
        at = rng.randrange(len(self.model) + 1)
        self.list.insert(at, b"in", CONFIG)
        self.model.insert(at, b"in")

    def remove(self, rng: Random) -> None:
        """Some elements go; half of the time they come back, as when a transaction is undone."""
        if len(self.model) > 10:
            indexes = sorted(rng.sample(range(len(self.model)), rng.randrange(1, 9)))
            removed = self.list.remove(indexes, CONFIG)
            assert removed == [self.model[at] for at in indexes]
            if rng.random() < 0.5:
                self.list.reinsert(list(zip(indexes, removed)), CONFIG)
            else:
                self.model = [element for at, element in enumerate(self.model) if at not in indexes]

    def read(self, rng: Random) -> None:
        if self.model:
            at = rng.randrange(len(self.model))
            stop = rng.randrange(at, len(self.model) + 1)
            assert self.list[at] == self.model[at]
            assert self.list.slice(at, stop) == self.model[at:stop]
            assert self.list.set(at, b"set", CONFIG) == self.model[at]
            self.model[at] = b"set"


@pytest.mark.parametrize("seed", range(12))
def test_random_changes(seed: int) -> None:
    rng = Random(seed)
    pair = Pair(rng.choice([0, 1, 500, 513, 1500, 5000]))
    steps = (pair.push, pair.pop, pair.pop_many, pair.insert, pair.remove, pair.read, pair.read, pair.read)
    for _ in range(300):
        rng.choice(steps)(rng)
        assert len(pair.list) == len(pair.model)
    assert list(pair.list) == pair.model
    assert list(reversed(pair.list)) == pair.model[::-1]
