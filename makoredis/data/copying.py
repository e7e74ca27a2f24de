"""A second keyspace with the same content, for a replica that begins to lead: it goes ahead of what is final.

Byte strings are shared, everything else is copied by way of its encoding.
"""

from makoredis.data.encoding import decode_value, encode_moved
from makoredis.data.keyspace import Keyspace
from makoredis.data.values import Value


def copy_value(value: Value) -> Value:
    """A value that shares nothing which can change."""
    return value if type(value) is bytes else decode_value(encode_moved(value))


def copy_space(space: Keyspace) -> Keyspace:
    """All databases with their keys, deadlines and numbers, and the libraries."""
    copy = Keyspace(len(space.by_id), space.config)
    copy.databases = [copy.by_id[database.id] for database in space.databases]
    copy.libraries = dict(space.libraries)
    copy.scripting = space.scripting
    for database in space.by_id:
        target = copy.by_id[database.id]
        for slot in database.slots:
            for key, value in slot.items():
                target.put(key, copy_value(value))
        for key, deadline_ms in database.expires.items():
            target.set_deadline(key, deadline_ms)
    return copy
