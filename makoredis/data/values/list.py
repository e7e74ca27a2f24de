"""A list of byte strings: cheap at both ends, and in the middle about as cheap as in Redis.

An unrolled list: blocks of at most `_BLOCK_MAX` elements. A small list is one Python list (a deque takes 760 bytes when
nearly empty), a range is a few slices, and an element in the middle is found by bisection in sums of the blocks'
lengths. These leave out the first and the last block, so that pushing and popping, which changes those two, seldom
makes them invalid; adding them up takes 50 µs for a million elements. Inserting in front moves at most one block's
pointers (0.1 µs).

Invariants:
* No block is empty, unless the list is (then there is one empty block).
* `length` is the number of elements over all blocks.
* `_ends[i]` is the number of elements in the blocks 1 to 1 + i; None when blocks came, went or changed in the middle.
* `packed_bytes` is what they would take in a listpack; `_QUICKLIST` once Redis would have made it one, `_UNKNOWN` while
  nobody has asked.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain

from makoredis.data.config import DataConfig
from makoredis.data.listpack import HEADER_BYTES, entries_bytes, exceeds_limit

_BLOCK_MAX = 512
_REBUILD_FROM = 64
"""Reinserting more elements than this rebuilds the list instead of looking for each place."""
_QUICKLIST = -1
_UNKNOWN = -2
_FORM_UNKNOWN, _FORM_LISTPACK, _FORM_QUICKLIST = 0, 1, 2
_COUNT_MAX = 1 << 16
"""No listpack of the allowed sizes holds so many elements."""


class List:
    """A list. Indexes count from 0 and are in range; commands see to negative ones."""

    __slots__ = ("_ends", "blocks", "length", "packed_bytes")

    def __init__(self, elements: Iterable[bytes] = ()) -> None:
        flat = list(elements)
        self.blocks: list[list[bytes]] = _split(flat)
        self.length = len(flat)
        self.packed_bytes = _UNKNOWN if flat else HEADER_BYTES
        self._ends: list[int] | None = None

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[bytes]:
        return chain.from_iterable(self.blocks)

    def __reversed__(self) -> Iterator[bytes]:
        return chain.from_iterable(map(reversed, reversed(self.blocks)))

    def __getitem__(self, index: int) -> bytes:
        number, offset = self._locate(index)
        return self.blocks[number][offset]

    def slice(self, start: int, stop: int) -> list[bytes]:
        """The elements from index `start` up to, not including, `stop`; a new list."""
        number, offset = self._locate(start)
        blocks = self.blocks
        result = blocks[number][offset : offset + stop - start]
        missing = stop - start - len(result)
        while missing > 0:
            number += 1
            block = blocks[number]
            result += block if len(block) <= missing else block[:missing]
            missing -= len(block)
        return result

    def ends(self, left: bool, count: int) -> list[bytes]:
        """The first `count` elements from one end, in the order in which they would be popped."""
        if left:
            return self.slice(0, count)
        result = self.slice(self.length - count, self.length)
        result.reverse()
        return result

    def positions(self, element: bytes, from_left: bool = True) -> Iterator[int]:
        """The indexes at which an element stands, in order from one end."""
        base = 0 if from_left else self.length
        for block in self.blocks if from_left else reversed(self.blocks):
            if not from_left:
                base -= len(block)
            if element in block:
                found = [base + at for at, other in enumerate(block) if other == element]
                yield from found if from_left else reversed(found)
            if from_left:
                base += len(block)

    def encoding(self, config: DataConfig) -> bytes:
        """What OBJECT ENCODING answers."""
        if self.packed_bytes == _UNKNOWN:
            self._pack(config)
        return b"quicklist" if self.packed_bytes < 0 else b"listpack"

    @property
    def form(self) -> int:
        """What `encoding` knows, for `keep_form` of a copy; 0 for nothing yet."""
        if self.packed_bytes == _UNKNOWN:
            return _FORM_UNKNOWN
        return _FORM_QUICKLIST if self.packed_bytes < 0 else _FORM_LISTPACK

    def keep_form(self, form: int) -> None:
        """Makes a copy that was just decoded answer `encoding` as its original did."""
        if form == _FORM_QUICKLIST:
            self.packed_bytes = _QUICKLIST
        elif form == _FORM_LISTPACK:
            self.packed_bytes = entries_bytes(self) + HEADER_BYTES

    # -- changes, for effects only

    def push(self, left: bool, elements: Sequence[bytes], config: DataConfig) -> None:
        """Pushes elements one after the other to one end."""
        if self.packed_bytes != _QUICKLIST:
            self._grow(elements, config)
        self.length += len(elements)
        blocks = self.blocks
        if len(elements) == 1:
            block = blocks[0 if left else -1]
            if len(block) >= _BLOCK_MAX:
                blocks.insert(0 if left else len(blocks), [elements[0]])
                self._ends = None
            elif left:
                block.insert(0, elements[0])
            else:
                block.append(elements[0])
            return
        if left:
            blocks[0][:0] = elements[::-1]
            if len(blocks[0]) > _BLOCK_MAX:
                blocks[0:1] = _split(blocks[0])
                self._ends = None
        else:
            blocks[-1].extend(elements)
            if len(blocks[-1]) > _BLOCK_MAX:
                blocks[-1:] = _split(blocks[-1])
                self._ends = None

    def pop(self, left: bool, config: DataConfig) -> bytes:
        """Removes and returns the element at one end. The list must have another one."""
        blocks = self.blocks
        if left:
            element = blocks[0].pop(0)
            if not blocks[0]:
                del blocks[0]
                self._ends = None
        else:
            element = blocks[-1].pop()
            if not blocks[-1]:
                del blocks[-1]
                self._ends = None
        length = self.length = self.length - 1
        if self.packed_bytes >= 0 or not length & (length - 1):
            self._shrink((element,), config)
        return element

    def pop_many(self, left: bool, count: int, config: DataConfig) -> list[bytes]:
        """Removes `count` elements from one end, and returns them as popped. The list must have more."""
        removed = self.ends(left, count)
        blocks = self.blocks
        missing = count
        while missing:
            block = blocks[0 if left else -1]
            if len(block) <= missing:
                missing -= len(block)
                del blocks[0 if left else -1]
                self._ends = None
            else:
                del block[slice(0, missing) if left else slice(len(block) - missing, None)]
                break
        self.length -= count
        self._shrink(removed, config)
        return removed

    def set(self, index: int, element: bytes, config: DataConfig) -> bytes:
        """Replaces an element. Returns the one that was there."""
        number, offset = self._locate(index)
        block = self.blocks[number]
        old = block[offset]
        block[offset] = element
        if self.packed_bytes >= 0:
            self.packed_bytes -= entries_bytes((old,))
            self.length -= 1
            self._grow((element,), config)
            self.length += 1
        else:
            self._shrink((), config)
        return old

    def insert(self, index: int, element: bytes, config: DataConfig) -> None:
        """Inserts an element so that it stands at `index`, which may be the length."""
        if self.packed_bytes != _QUICKLIST:
            self._grow((element,), config)
        number, offset = self._locate(index) if index < self.length else (-1, len(self.blocks[-1]))
        block = self.blocks[number]
        block.insert(offset, element)
        self.length += 1
        self._ends = None
        if len(block) > 2 * _BLOCK_MAX:
            at = number % len(self.blocks)
            self.blocks[at : at + 1] = _split(block)

    def remove(self, indexes: Sequence[int], config: DataConfig) -> list[bytes]:
        """Removes the elements at ascending indexes, but not all there are. Returns them."""
        removed: list[bytes] = []
        if len(indexes) == 1:
            number, offset = self._locate(indexes[0])
            removed.append(self.blocks[number].pop(offset))
        else:
            self._remove_many(indexes, removed)
        self.blocks = [block for block in self.blocks if block]
        self._ends = None
        self.length -= len(removed)
        self._shrink(removed, config)
        return removed

    def _remove_many(self, indexes: Sequence[int], removed: list[bytes]) -> None:
        base = at = 0
        for block in self.blocks:
            end = base + len(block)
            first = at
            while at < len(indexes) and indexes[at] < end:
                removed.append(block[indexes[at] - base])
                at += 1
            for index in reversed(indexes[first:at]):
                del block[index - base]
            base = end
            if at == len(indexes):
                return

    def reinsert(self, places: Sequence[tuple[int, bytes]], config: DataConfig) -> None:
        """Takes back `remove`: (index, element), ascending."""
        if len(places) <= _REBUILD_FROM:
            for index, element in places:
                self.insert(index, element, config)
            return
        old = iter(self)
        flat: list[bytes] = []
        for index, element in places:
            while len(flat) < index:
                flat.append(next(old))
            flat.append(element)
        flat.extend(old)
        self.blocks = _split(flat)
        self._ends = None
        self.length = len(flat)
        if self.packed_bytes >= 0:
            self.packed_bytes += entries_bytes(element for _, element in places)

    # -- inside

    def _locate(self, index: int) -> tuple[int, int]:
        """Block number and offset of an index; that of the length is one behind the last element."""
        blocks = self.blocks
        first, last = len(blocks[0]), len(blocks[-1])
        if index < first:
            return 0, index
        from_end = self.length - index
        if from_end <= last:
            return len(blocks) - 1, last - from_end
        if self._ends is None:
            self._ends = list(accumulate(map(len, blocks[1:-1])))
        ends = self._ends
        index -= first
        at = bisect_right(ends, index)
        return at + 1, index - ends[at - 1] if at else index

    def _pack(self, config: DataConfig) -> None:
        """Finds the encoding from the elements alone, as Redis does when it loads a list."""
        self.packed_bytes = _QUICKLIST
        if self.length < _COUNT_MAX:
            packed_bytes = entries_bytes(self) + HEADER_BYTES
            if not exceeds_limit(config.list_max_listpack_size, packed_bytes, self.length):
                self.packed_bytes = packed_bytes

    def _grow(self, elements: Sequence[bytes], config: DataConfig) -> None:
        """Accounts for elements that are about to be added to a listpack. Redis decides by their plain length."""
        if self.packed_bytes == _UNKNOWN:
            self._pack(config)
            if self.packed_bytes < 0:
                return
        added = sum(map(len, elements))
        if exceeds_limit(config.list_max_listpack_size, self.packed_bytes + added, self.length + len(elements)):
            self.packed_bytes = _QUICKLIST
        else:
            self.packed_bytes += entries_bytes(elements)

    def _shrink(self, removed: Sequence[bytes], config: DataConfig) -> None:
        """Accounts for removed elements. A quicklist becomes a listpack again below half the limit; that is looked at
        whenever the length passes a power of two."""
        length = self.length
        if self.packed_bytes >= 0:
            self.packed_bytes -= entries_bytes(removed)
        elif self.packed_bytes == _QUICKLIST and not length & (length - 1) and len(self.blocks) == 1:
            packed_bytes = entries_bytes(self) + HEADER_BYTES
            if not exceeds_limit(config.list_max_listpack_size, packed_bytes, length, divisor=2):
                self.packed_bytes = packed_bytes


def _split(flat: list[bytes]) -> list[list[bytes]]:
    if len(flat) <= _BLOCK_MAX:
        return [flat]
    return [flat[at : at + _BLOCK_MAX] for at in range(0, len(flat), _BLOCK_MAX)]
