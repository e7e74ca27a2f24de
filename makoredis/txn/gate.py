"""A gate is what a reply waits for: it opens when everything the reply shows is final."""

from typing import Protocol


class Waiter(Protocol):
    """Somebody with replies behind gates."""

    def release(self) -> None:
        """A gate it waits for has opened."""


class Gate:
    """One point of a shard's log that replies wait for.

    `position` numbers the gates of one shard in log order: a gate is never open before one with a lower position, so
    whoever waits for several waits for the highest.
    """

    __slots__ = ("is_open", "position", "waiters")

    def __init__(self, position: int) -> None:
        self.position = position
        self.is_open = False
        self.waiters: list[Waiter] = []

    def open(self) -> None:
        """Lets everybody through, now and from now on."""
        self.is_open = True
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter.release()
