"""Commands on hashes. Deadlines of fields are in `hashes_expiry`."""

from makoredis.commands.arguments import wrong_arity
from makoredis.commands.registry import command
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import HashSet
from resp.replies import OK, Reply


@command("HSET", "Creates or modifies the value of a field in a hash.")
def hset(access: Access, key: bytes, *pairs: bytes) -> Reply:
    return _set_fields(access, "hset", key, pairs)


@command("HMSET", "Sets the values of multiple fields.")
def hmset(access: Access, key: bytes, *pairs: bytes) -> Reply:
    _set_fields(access, "hmset", key, pairs)
    return OK


def _set_fields(access: Access, name: str, key: bytes, pairs: tuple[bytes, ...]) -> int:
    if len(pairs) & 1:
        raise wrong_arity(name)
    value = access.hash(key)
    if value is None:
        access.apply(HashSet(access.database.id, key, list(pairs)))
        access.notify(events.NEW, b"new", key)
        created = 1 if len(pairs) == 2 else len(set(pairs[::2]))
    else:
        before = len(value.fields)
        access.apply(HashSet(access.database.id, key, list(pairs)))
        created = len(value.fields) - before
    access.notify(events.HASH, b"hset", key)
    return created


@command("HGET", "Returns the value of a field in a hash.")
def hget(access: Access, key: bytes, field: bytes) -> Reply:
    value = access.hash(key)
    return None if value is None else value.fields.get(field)
