"""What a key can hold.

A string is a plain `bytes`, or a `bytearray` once it has been changed in place (SETRANGE, SETBIT, APPEND); everything
else is one of the small classes here. Values are changed by effects only (`makoredis.data.effects`): a command that
calls a mutating method of a value has a bug, because its change would neither reach the log nor be undone.
"""

from makoredis.data.values.hash import Hash
from makoredis.data.values.list import List
from makoredis.data.values.set import Set
from makoredis.data.values.sorted_set import SortedSet
from makoredis.data.values.stream import Stream

Value = bytes | bytearray | List | Hash | Set | SortedSet | Stream

TYPE_NAMES: dict[type, bytes] = {
    bytes: b"string",
    bytearray: b"string",
    List: b"list",
    Hash: b"hash",
    Set: b"set",
    SortedSet: b"zset",
    Stream: b"stream",
}

__all__ = ["TYPE_NAMES", "Hash", "List", "Set", "SortedSet", "Stream", "Value"]
