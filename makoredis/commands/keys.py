"""Commands on keys of any type: whether they are there, deleting, renaming, copying."""

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import SYNTAX_ERROR, int64
from makoredis.commands.registry import command
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import Delete, PutValue
from makoredis.data.encoding import encode_moved
from makoredis.data.values import TYPE_NAMES
from resp.replies import OK, Reply, Simple

NO_SUCH_KEY = ClientError("ERR no such key")
SAME_OBJECT = ClientError("ERR source and destination objects are the same")
DATABASE_OUT_OF_RANGE = ClientError("ERR DB index is out of range")

NO_TYPE = Simple(b"none")
_TYPE_REPLIES = {kind: Simple(name) for kind, name in TYPE_NAMES.items()}


@command("DEL", "Deletes one or more keys.")
def del_(access: Access, *keys: bytes) -> int:
    count = 0
    for key in keys:
        if access.peek(key) is not None:
            access.apply(Delete(access.database.id, key))
            access.database.forget_use(key)
            access.notify(events.GENERIC, b"del", key)
            count += 1
    return count


@command("UNLINK", "Deletes one or more keys; the memory of large values is reclaimed as for DEL.")
def unlink(access: Access, *keys: bytes) -> int:
    return del_(access, *keys)


@command("EXISTS", "Determines whether one or more keys exist.")
def exists(access: Access, *keys: bytes) -> int:
    return sum(access.peek(key) is not None for key in keys)


@command("TOUCH", "Returns the number of existing keys out of those specified after updating their last access time.")
def touch(access: Access, *keys: bytes) -> int:
    return sum(access.get(key) is not None for key in keys)


@command("TYPE", "Determines the type of value stored at a key.")
def type_(access: Access, key: bytes) -> Reply:
    value = access.peek(key)
    return NO_TYPE if value is None else _TYPE_REPLIES[type(value)]


@command("RENAME", "Renames a key and overwrites the destination.")
def rename(access: Access, source: bytes, destination: bytes) -> Reply:
    _rename(access, source, destination, overwrites=True)
    return OK


@command("RENAMENX", "Renames a key only when the target key name doesn't exist.")
def renamenx(access: Access, source: bytes, destination: bytes) -> int:
    return int(_rename(access, source, destination, overwrites=False))


def _rename(access: Access, source: bytes, destination: bytes, overwrites: bool) -> bool:
    """Moves a value and its deadline to another name; False if that is taken."""
    value = access.get(source)
    if value is None:
        raise NO_SUCH_KEY
    if source == destination:
        return False
    is_taken = access.get(destination) is not None
    if is_taken and not overwrites:
        return False
    db = access.database.id
    access.apply(PutValue(db, destination, encode_moved(value), access.deadline(source)))
    if is_taken:
        access.notify(events.NEW, b"new", destination)
    access.apply(Delete(db, source))
    access.notify(events.GENERIC, b"rename_from", source)
    access.notify(events.GENERIC, b"rename_to", destination)
    return True


@command("COPY", "Copies the value of a key to a new key.")
def copy(access: Access, source: bytes, destination: bytes, *options: bytes) -> int:
    number, replaces = _parse_copy_options(access, options)
    if number == access.number and source == destination:
        raise SAME_OBJECT
    value = access.get(source)
    if value is None:
        return 0
    target = access if number == access.number else access.in_database(number)
    is_taken = target.get(destination) is not None
    if is_taken and not replaces:
        return 0
    target.apply(PutValue(target.database.id, destination, encode_moved(value), access.deadline(source)))
    if is_taken:
        target.notify(events.NEW, b"new", destination)
    target.notify(events.GENERIC, b"copy_to", destination)
    return 1


def _parse_copy_options(access: Access, options: tuple[bytes, ...]) -> tuple[int, bool]:
    """Returns the number of the destination's database, and whether REPLACE was given."""
    number, replaces = access.number, False
    at = 0
    while at < len(options):
        option = options[at].upper()
        if option == b"REPLACE":
            replaces = True
        elif option == b"DB" and at + 1 < len(options):
            at += 1
            number = _database_number(access, options[at])
        else:
            raise SYNTAX_ERROR
        at += 1
    return number, replaces


def _database_number(access: Access, raw: bytes) -> int:
    number = int64(raw)
    if not -(2**31) <= number < 2**31:
        raise ClientError("ERR value is out of range, value must between -2147483648 and 2147483647")
    if not 0 <= number < len(access.space.databases):
        raise DATABASE_OUT_OF_RANGE
    return number


@command("MOVE", "Moves a key to another database.")
def move(access: Access, key: bytes, database: bytes) -> int:
    number = _database_number(access, database)
    if number == access.number:
        raise SAME_OBJECT
    value = access.get(key)
    if value is None:
        return 0
    target = access.in_database(number)
    if target.get(key) is not None:
        return 0
    target.apply(PutValue(target.database.id, key, encode_moved(value), access.deadline(key)))
    access.apply(Delete(access.database.id, key))
    access.notify(events.GENERIC, b"move_from", key)
    target.notify(events.GENERIC, b"move_to", key)
    return 1
