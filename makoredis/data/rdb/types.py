"""The numbers by which RDB says what follows. They are a file format of Redis (`rdb.h`)."""

VERSION_WRITTEN = 10
"""Redis 7.0 and later read this."""
VERSION_WITH_FIELD_DEADLINES = 12
"""Redis 7.4: the only form that has deadlines of a hash's fields."""
VERSION_MAX = 12
"""The highest version that is read."""

STRING = 0
LIST = 1
SET = 2
SORTED_SET_PRINTED = 3
HASH = 4
SORTED_SET = 5
MODULE_OLD = 6
MODULE = 7
HASH_ZIPMAP = 9
LIST_ZIPLIST = 10
SET_INTSET = 11
SORTED_SET_ZIPLIST = 12
HASH_ZIPLIST = 13
LIST_QUICKLIST = 14
STREAM = 15
HASH_LISTPACK = 16
SORTED_SET_LISTPACK = 17
LIST_QUICKLIST_2 = 18
STREAM_2 = 19
SET_LISTPACK = 20
STREAM_3 = 21
HASH_DEADLINES = 24
HASH_LISTPACK_DEADLINES = 25

QUICKLIST_PLAIN = 1
"""A node that is one element."""
QUICKLIST_PACKED = 2
"""A node that is a listpack."""

OPCODE_SLOT_INFO = 244
OPCODE_FUNCTION = 245
OPCODE_FUNCTION_OLD = 246
OPCODE_MODULE_AUX = 247
OPCODE_IDLE = 248
OPCODE_FREQUENCY = 249
OPCODE_AUX = 250
OPCODE_RESIZE = 251
OPCODE_DEADLINE_MS = 252
OPCODE_DEADLINE_S = 253
OPCODE_SELECT = 254
OPCODE_END = 255

STREAM_DELETED = 1
"""Flag of an entry in a stream's listpack: it is gone."""
STREAM_SAME_FIELDS = 2
"""Its fields are those of the node's first entry, and left out."""
