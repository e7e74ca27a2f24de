"""A gate is what a reply waits for: it opens when everything the reply shows is final."""

from collections.abc import Sequence
from typing import Protocol


class Waiter(Protocol):
    """Somebody with replies behind gates."""

    def release(self) -> None:
        """A gate it waits for has opened."""


class Gate:
    """One point of a shard's log that replies wait for.

    `position` numbers the gates of one shard in log order. Where transactions depend on nothing but the log, a gate is
    never open before one with a lower position, so whoever waits for several waits for the highest. Where they depend
    on other shards it waits for all (`JointGate`).
    """

    __slots__ = ("is_open", "is_void", "position", "waiters")

    def __init__(self, position: int) -> None:
        self.position = position
        self.is_open = False
        self.is_void = False
        """What it stands for was taken back: it never opens."""
        self.waiters: list[Waiter] = []

    def open(self) -> None:
        """Lets everybody through, now and from now on."""
        self.is_open = True
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter.release()


class JointGate(Gate):
    """Opens when all of its parts are open."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Gate]) -> None:
        super().__init__(max(part.position for part in parts))
        self.parts = parts
        for part in parts:
            part.waiters.append(self)

    def release(self) -> None:
        """One of the parts has opened."""
        if not self.is_open and all(part.is_open for part in self.parts):
            self.open()


def void(gate: Gate) -> list[Gate]:
    """What `gate` stands for was taken back. Returns it and all that will not open for that reason."""
    gate.is_void = True
    gates = [gate]
    for waiter in gate.waiters:
        if isinstance(waiter, JointGate) and not waiter.is_void:
            gates += void(waiter)
    return gates
