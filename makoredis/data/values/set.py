"""A set of byte strings with random choice in constant time."""

from collections.abc import Iterable, Iterator, Sequence

from makoredis.data.config import DataConfig
from makoredis.data.listpack import is_int64

_UNKNOWN, _INTSET, _LISTPACK, _HASHTABLE = 0, 1, 2, 3
_NAMES = (b"", b"intset", b"listpack", b"hashtable")


class Set:
    """`positions` maps a member to its place in `members`, so that one can be picked or removed in O(1).

    Removal moves the last member into the gap: the order is arbitrary but the same on every replica. It also makes
    scans safe (see `scan`).
    """

    __slots__ = ("_encoding", "members", "positions")

    def __init__(self, members: Iterable[bytes] = ()) -> None:
        self.members: list[bytes] = list(members)
        self.positions: dict[bytes, int] = {member: at for at, member in enumerate(self.members)}
        self._encoding = _UNKNOWN

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, member: bytes) -> bool:
        return member in self.positions

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.members)

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """Up to `count` members and the cursor to go on with; 0 begins and ends.

        Goes from the last place down to the first. A cursor is the number of places still to be seen. Members only ever
        move to lower places (into a gap), so one that is there all the time cannot be passed by.
        """
        end = len(self.members) if cursor == 0 else min(cursor, len(self.members))
        start = max(end - count, 0)
        return start, self.members[start:end]

    def encoding(self, config: DataConfig) -> bytes:
        """What OBJECT ENCODING answers. Once converted upwards, a set stays so until it is created anew."""
        if self._encoding == _UNKNOWN:
            self.convert(self.members, config)
        return _NAMES[self._encoding]

    @property
    def form(self) -> int:
        """What `encoding` knows, for `keep_form` of a copy; 0 for nothing yet."""
        return self._encoding

    def keep_form(self, form: int) -> None:
        """Makes a copy that was just decoded answer `encoding` as its original did."""
        self._encoding = form

    # -- changes, for effects only

    def convert(self, added: Sequence[bytes], config: DataConfig) -> None:
        """Notes what adding these members (already in) does to the encoding. Source: Redis 7.2, `setTypeAdd`."""
        encoding = self._encoding
        if encoding == _HASHTABLE:
            return
        size = len(self.members)
        if size > config.set_max_intset_entries and size > config.set_max_listpack_entries:
            self._encoding = _HASHTABLE  # without looking at them
            return
        if encoding == _UNKNOWN:
            added = self.members
        if encoding <= _INTSET:
            if all(map(is_int64, added)):
                self._encoding = _INTSET if size <= config.set_max_intset_entries else _HASHTABLE
                return
            added = self.members
        if size > config.set_max_listpack_entries or max(map(len, added), default=0) > config.set_max_listpack_value:
            self._encoding = _HASHTABLE
        else:
            self._encoding = _LISTPACK

    @property
    def may_convert(self) -> bool:
        """Whether adding a member could still change the encoding."""
        return self._encoding != _HASHTABLE

    def add(self, member: bytes) -> bool:
        """Adds a member; False if it was there."""
        if member in self.positions:
            return False
        self.positions[member] = len(self.members)
        self.members.append(member)
        return True

    def discard(self, member: bytes) -> int:
        """Removes a member. Returns the place it had, which now the last member has; -1 if it was not there."""
        at = self.positions.pop(member, -1)
        if at < 0:
            return at
        members = self.members
        last = members.pop()
        if at < len(members):
            members[at] = last
            self.positions[last] = at
        return at

    def put_back(self, member: bytes, at: int) -> None:
        """Takes back `discard`, so that all places are as before."""
        members = self.members
        if at == len(members):
            members.append(member)
        else:
            moved = members[at]
            self.positions[moved] = len(members)
            members.append(moved)
            members[at] = member
        self.positions[member] = at
