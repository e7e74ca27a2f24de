"""When named things expire: by name, and the earliest first."""

from heapq import heapify, heappop, heappush

_HEAP_SLACK = 64
"""Outdated deadlines that the heap may hold, beyond as many as there are live ones, before it is rebuilt."""


class Deadlines:
    """A name has at most one deadline, in milliseconds since the Unix epoch; 0 stands for none."""

    __slots__ = ("_heap", "by_name")

    def __init__(self, by_name: dict[bytes, int] | None = None) -> None:
        self.by_name: dict[bytes, int] = {} if by_name is None else by_name
        self._heap: list[tuple[int, bytes]] = []
        self._rebuild()

    def put(self, name: bytes, deadline_ms: int) -> int:
        """Sets (0: clears) a deadline. Returns the one there was."""
        by_name = self.by_name
        if deadline_ms == 0:
            return by_name.pop(name, 0)
        old = by_name.get(name, 0)
        by_name[name] = deadline_ms
        heappush(self._heap, (deadline_ms, name))
        if len(self._heap) > 2 * len(by_name) + _HEAP_SLACK:
            self._rebuild()
        return old

    def next(self) -> int | None:
        """The earliest deadline, None when there is none."""
        heap, by_name = self._heap, self.by_name
        while heap and by_name.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now_ms: int, count_max: int) -> list[bytes]:
        """Up to `count_max` names whose deadline has passed, earliest first. They stay."""
        taken: dict[bytes, int] = {}
        heap = self._heap
        while heap and heap[0][0] <= now_ms and len(taken) < count_max:
            deadline, name = heappop(heap)
            if self.by_name.get(name) == deadline:
                taken[name] = deadline
        for name, deadline in taken.items():
            heappush(heap, (deadline, name))
        return list(taken)

    def _rebuild(self) -> None:
        self._heap = [(deadline, name) for name, deadline in self.by_name.items()]
        heapify(self._heap)
