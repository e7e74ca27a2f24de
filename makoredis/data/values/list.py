"""A list of byte strings: constant time at both ends, fast blocks in between."""

from collections import deque


class List:
    """`items` is a deque: O(1) at both ends, O(n/64) at an index, O(n) to insert or remove in the middle."""

    __slots__ = ("items",)

    def __init__(self, items: deque[bytes] | None = None) -> None:
        self.items: deque[bytes] = deque() if items is None else items

    def __len__(self) -> int:
        return len(self.items)
