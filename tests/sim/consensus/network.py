"""A network that loses, delays, repeats, reorders and cuts, and a clock that everything waits on."""

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

from makoredis.base.ids import NodeId
from makoredis.consensus.messages import Message, decode_message, encode_message

NEVER = 1 << 62
"""Later than everything."""


class Clock:
    """Simulated time in microseconds and what is to happen when."""

    def __init__(self) -> None:
        self.now = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0

    def after(self, delay_us: int, action: Callable[[], None]) -> None:
        self._sequence += 1
        heappush(self._queue, (self.now + delay_us, self._sequence, action))

    def run_next(self) -> None:
        self.now, _, action = heappop(self._queue)
        action()

    @property
    def next_at(self) -> int:
        return self._queue[0][0] if self._queue else NEVER


class Network:
    """Delivers messages in their binary form, more or less."""

    def __init__(self, clock: Clock, rng: Random) -> None:
        self.clock = clock
        self.rng = rng
        self.deliver: Callable[[NodeId, NodeId, Message], None]
        self.delay_us = (200, 2_000)
        self.loss = 0.0
        self.duplication = 0.0
        self.cuts: set[tuple[NodeId, NodeId]] = set()
        """Directed: (from, to) loses everything."""
        self.sent: Counter[str] = Counter()

    def send(self, sender: NodeId, to: NodeId, message: Message) -> None:
        self.sent[type(message).__name__] += 1
        if (sender, to) in self.cuts or self.rng.random() < self.loss:
            return
        copies = 2 if self.rng.random() < self.duplication else 1
        raw = encode_message(message)
        for _ in range(copies):
            self.clock.after(self.rng.randint(*self.delay_us), lambda: self._arrive(sender, to, raw))

    def _arrive(self, sender: NodeId, to: NodeId, raw: bytes) -> None:
        if (sender, to) not in self.cuts:
            self.deliver(sender, to, decode_message(raw))

    def cut(self, sender: NodeId, to: NodeId) -> None:
        self.cuts.add((sender, to))

    def isolate(self, node: NodeId, others: list[NodeId]) -> None:
        for other in others:
            if other != node:
                self.cuts |= {(node, other), (other, node)}

    def partition(self, *groups: list[NodeId]) -> None:
        """Nodes of different groups don't hear each other."""
        for group in groups:
            for other in groups:
                if other is not group:
                    self.cuts |= {(a, b) for a in group for b in other}

    def heal(self) -> None:
        self.cuts.clear()
