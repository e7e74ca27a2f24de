"""Effects: the deterministic changes that the log carries, and the only way to change a keyspace.

Applying an effect returns its inverse, an `Undo`. A transaction's effects are what is replicated and stored; its
inverses, run in reverse order, are how a leader takes back what was not chosen. Most inverses are effects themselves;
those that would have to carry a whole value keep a reference to it instead (`makoredis.data.effects.base`).

Rules:
* An effect is a delta: pushing to a list of a million elements carries one element.
* Nothing in it depends on time or chance. Deadlines are absolute, SPOP says what it removed.
* It names one key (except the few on whole databases), and applying it needs nothing but the keyspace.
* A collection that becomes empty is removed with its deadline (a stream stays); one that is pushed to and missing is
  created.
* The tag and the field order are a file format: a new effect takes a new tag, a new field goes last with a default.

Tags: 1–9 any key, 10–19 strings, 20–29 lists, 30–39 hashes, 40–49 sets, 50–59 sorted sets, 60–69 streams,
70–79 whole databases and libraries, 80–89 the table of slots.
"""

from typing import Union

from makoredis.base.record import wire_decoder
from makoredis.data.effects.base import Undo
from makoredis.data.effects.databases import (
    DeleteLibrary,
    ExchangeDatabases,
    FlushDatabase,
    PutLibrary,
    SwapDatabases,
)
from makoredis.data.effects.hashes import HashDelete, HashExpire, HashSet
from makoredis.data.effects.keys import Delete, PutValue, SetDeadline
from makoredis.data.effects.lists import ListInsert, ListPop, ListPush, ListRemove, ListSet
from makoredis.data.effects.sets import SetAdd, SetRemove
from makoredis.data.effects.slots import AssignSlots, PutSlotTable
from makoredis.data.effects.sorted_sets import SortedSetPut, SortedSetRemove, SortedSetRemoveRange
from makoredis.data.effects.streams import (
    StreamAdd,
    StreamDelete,
    StreamDeleteConsumer,
    StreamDeleteGroup,
    StreamDeletePending,
    StreamPutConsumer,
    StreamPutGroup,
    StreamPutInfo,
    StreamPutPending,
    StreamTrim,
)
from makoredis.data.effects.strings import SetRange, SetString, SpliceString

Effect = Union[  # noqa: UP007 - msgspec reads the union at run time
    SetString,
    SetRange,
    SpliceString,
    Delete,
    SetDeadline,
    PutValue,
    ListPush,
    ListPop,
    ListSet,
    ListInsert,
    ListRemove,
    HashSet,
    HashDelete,
    HashExpire,
    SetAdd,
    SetRemove,
    SortedSetPut,
    SortedSetRemove,
    SortedSetRemoveRange,
    StreamAdd,
    StreamDelete,
    StreamDeleteConsumer,
    StreamDeleteGroup,
    StreamDeletePending,
    StreamPutConsumer,
    StreamPutGroup,
    StreamPutInfo,
    StreamPutPending,
    StreamTrim,
    FlushDatabase,
    SwapDatabases,
    ExchangeDatabases,
    PutLibrary,
    DeleteLibrary,
    PutSlotTable,
    AssignSlots,
]

decode_effects = wire_decoder(list[Effect])

WAKES_NOBODY: frozenset[type] = frozenset(
    {
        StreamTrim,
        StreamDelete,
        StreamPutInfo,
        StreamPutGroup,
        StreamPutConsumer,
        StreamDeleteConsumer,
        StreamPutPending,
        StreamDeletePending,
    }
)
"""Effects after which no request that waits for the key has more to get. XREADGROUP notes when each consumer asked, so
that waiting consumers would go on waking each other."""

__all__ = [
    "WAKES_NOBODY",
    "AssignSlots",
    "Delete",
    "DeleteLibrary",
    "Effect",
    "ExchangeDatabases",
    "FlushDatabase",
    "HashDelete",
    "HashExpire",
    "HashSet",
    "ListInsert",
    "ListPop",
    "ListPush",
    "ListRemove",
    "ListSet",
    "PutLibrary",
    "PutSlotTable",
    "PutValue",
    "SetAdd",
    "SetDeadline",
    "SetRange",
    "SetRemove",
    "SetString",
    "SortedSetPut",
    "SortedSetRemove",
    "SortedSetRemoveRange",
    "SpliceString",
    "StreamAdd",
    "StreamDelete",
    "StreamDeleteConsumer",
    "StreamDeleteGroup",
    "StreamDeletePending",
    "StreamPutConsumer",
    "StreamPutGroup",
    "StreamPutInfo",
    "StreamPutPending",
    "StreamTrim",
    "SwapDatabases",
    "Undo",
    "decode_effects",
]
