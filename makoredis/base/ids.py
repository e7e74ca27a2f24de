"""Integers that must not be mixed up, each its own type for the checker and a plain int at run time."""

from typing import NewType

NodeId = NewType("NodeId", int)
"""One makoredis process, from 1."""
ShardId = NewType("ShardId", int)
"""A part of the hash slots with one replicated log, from 0."""
Slot = NewType("Slot", int)
"""Redis hash slot, 0…16383."""
Term = NewType("Term", int)
"""Leadership number of one shard's log; 0 = before the first election."""
Epoch = NewType("Epoch", int)
"""One leadership of one shard, numbered by its term."""
Index = NewType("Index", int)
"""Position in a shard's log, from 1; 0 = none."""
Timestamp = NewType("Timestamp", int)
"""Hybrid logical clock: microseconds since the Unix epoch, made unique and monotone per shard; 0 = never."""

SLOT_COUNT = 16384
