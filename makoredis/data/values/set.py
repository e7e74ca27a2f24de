"""A set of byte strings with random choice in constant time."""

from collections.abc import Iterable


class Set:
    """`positions` maps a member to its place in `members`, so that one can be picked or removed in O(1).

    Removal moves the last member into the gap: the order is arbitrary but the same on every replica.
    """

    __slots__ = ("members", "positions")

    def __init__(self, members: Iterable[bytes] = ()) -> None:
        self.members: list[bytes] = list(members)
        self.positions: dict[bytes, int] = {member: at for at, member in enumerate(self.members)}

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, member: bytes) -> bool:
        return member in self.positions

    def add(self, member: bytes) -> bool:
        """Adds a member; False if it was there."""
        if member in self.positions:
            return False
        self.positions[member] = len(self.members)
        self.members.append(member)
        return True

    def discard(self, member: bytes) -> bool:
        """Removes a member; False if it was not there."""
        at = self.positions.pop(member, None)
        if at is None:
            return False
        last = self.members.pop()
        if last is not member and at < len(self.members):
            self.members[at] = last
            self.positions[last] = at
        return True
