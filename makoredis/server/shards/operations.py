"""What a shard's leader is asked to do for a transaction: `Part.operation`, and how it does it.

An operation sees the keyspace of its shard alone, so whoever sends it has made sure that its keys are there.
"""

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError
from makoredis.base.record import Wire, field, wire_decoder, wire_encode
from makoredis.commands.registry import WouldBlock
from makoredis.data.access import Access
from makoredis.data.encoding import decode_value, encode_moved
from makoredis.data.keyspace import Keyspace
from makoredis.data.values import Hash, List, Set, SortedSet, Stream, Value
from makoredis.txn.handover import moved
from resp.encode import encode
from resp.replies import Error

if TYPE_CHECKING:
    from makoredis.server.server import Server

Command = tuple[int, list[bytes]]
"""Database and words."""
Message = tuple[bytes, bytes, bool]
"""Channel, message, whether the channel is one of a shard."""


class Run(Wire, tag=1):
    """Commands, one after the other. Results: `Ran`."""

    protocol: int
    commands: list[Command]
    is_read_only: bool
    """Nothing is changed, not even what is past its deadline is deleted."""
    may_block: bool = False
    no_touch: bool = False
    is_on_all_keys: bool = False
    """Every shard does this to its part of whole databases, all of them or none."""
    may_cut: bool = False
    """The first commands may be answered alone if the answers are long: the others will be asked again."""


class Fetch(Wire, tag=2):
    """Whole values. Results: list of `Fetched`; nothing at all after a fault."""

    keys: list[tuple[int, bytes]]
    no_touch: bool = False
    """Whether that is no use of the keys."""
    to_write: bool = False
    """Whether they may be changed: a leader with a full disk says among the results that it takes no writes."""


class Look(Wire, tag=3):
    """A command on all keys of the shard. Results: its reply, encoded as a `Looked`.

    `owner` given: the keys from `first` to `last` have to be this shard's."""

    database: int
    words: list[bytes]
    owner: int = 0
    first: int = 0
    last: int = 0


class Expire(Wire, tag=4):
    """Deletes those of the keys that are past their deadline. Results: nothing."""

    keys: list[tuple[int, bytes]]


class Nothing(Wire, tag=5):
    """Looks at the locked keys only in that it waits until they are final (WATCH). Results: nothing."""


class Survey(Wire, tag=6):
    """Whole values, as `Fetch`, how many keys each database has, and the names of all keys of some. Results:
    `Surveyed`; nothing at all after a fault."""

    keys: list[tuple[int, bytes]]
    walks: list[int]
    to_write: bool = False
    """As in `Fetch`."""


class Blocked(Wire):
    """A `WouldBlock` on its way."""

    keys: list[bytes]
    timeout_ms: int
    on_timeout: bytes
    words: list[bytes] | None
    has_own_type: bool = False
    """Whether it waits for values of one type in all of its keys, and goes on waiting if there are others."""


class Ran(Wire):
    """Encoded replies, what is to be published, and whether the only command has to wait."""

    replies: list[bytes]
    messages: list[Message] = field(default_factory=list)
    blocked: Blocked | None = None
    micros: list[int] = field(default_factory=list)
    """How long each command took."""
    is_cut: bool = False
    """The other commands were not run."""


class Fetched(Wire):
    """A key that exists; `deadline_ms` 0: never expires."""

    database: int
    key: bytes
    encoded: bytes
    deadline_ms: int


class Looked(Wire):
    """Keys, a number (a size, a cursor), or the error text of a look at a whole shard."""

    keys: list[bytes]
    number: int
    error: str = ""
    micros: int = 0
    """How long it took."""


class Names(Wire):
    """All keys of a database in one shard, past their deadline or not."""

    database: int
    keys: list[bytes]
    kinds: bytes
    """By key, the place of its type in `NAMED_VALUES`."""
    deadlines: list[tuple[bytes, int]]


class Surveyed(Wire):
    """What a shard has."""

    values: list[Fetched]
    sizes: list[int]
    """By database."""
    names: list[Names] = field(default_factory=list)
    table: bytes = b""
    """Whose slots are whose, as far as the shard itself is concerned."""


CUT_BYTES = 1024 * 1024
"""Of answers between nodes; what reads more at once is asked again for the rest. More would hold up heartbeats."""

REFUSAL = -1
"""In the place of the database: this is no key, but why nothing may be written."""

NAMED_VALUES: tuple[Value, ...] = (b"", List(), Hash(), Set(), SortedSet(), Stream())
"""A value of each type, in the place of those that were not fetched."""
_KINDS = {type(value): kind for kind, value in enumerate(NAMED_VALUES)} | {bytearray: 0}

INTERNAL_ERROR = Error(b"ERR internal error, see the server's log")

Operation = Run | Fetch | Look | Expire | Nothing | Survey

_decode: Callable[[bytes], Any] = wire_decoder(Operation)
_decode_ran: Callable[[bytes], Ran] = wire_decoder(Ran)
decode_fetched: Callable[[bytes], list[Fetched]] = wire_decoder(list[Fetched])
decode_looked: Callable[[bytes], Looked] = wire_decoder(Looked)
decode_surveyed: Callable[[bytes], Surveyed] = wire_decoder(Surveyed)


def decode_ran(results: bytes) -> Ran:
    """What a shard has answered to a `Run`.

    A request that was run in place is recorded with its replies as its client gets them, all in one. Asked again, after
    a change of leaders, a shard answers with that. No reply begins like the encoding of a record does.
    """
    if results[:1] < b"\x80":
        return Ran([results, b""])  # behind it, for however many commands, comes nothing
    return _decode_ran(results)


def perform(server: "Server", access: Access, encoded: bytes) -> bytes:
    """Does what an operation says, on the keyspace of its shard."""
    operation = _decode(encoded)
    access.notes_misses = False
    if type(operation) is Run:
        refusal = None if operation.is_on_all_keys else server.node.full_disk.refusal
        return wire_encode(run(server, access, operation, refusal))
    if type(operation) is Fetch:
        if not operation.no_touch:
            access.note_uses(operation.keys)
        return wire_encode([*fetch(access, operation.keys), *_refusals(server, operation)])
    if type(operation) is Survey:
        found = survey(access.space, operation.walks)
        found.values.extend([*fetch(access, operation.keys), *_refusals(server, operation)])
        return wire_encode(found)
    if type(operation) is Look:
        table = access.space.slot_table
        if operation.owner and table is not None and not table.owns(operation.owner, operation.first, operation.last):
            return moved(table.runs())
        started = perf_counter()
        looked = look(server, access, operation)
        return wire_encode(Looked(looked.keys, looked.number, looked.error, _micros_since(started)))
    if type(operation) is Expire:
        for number, key in operation.keys:
            access.select(number)
            if not access.database.is_expired(key, access.now_ms):
                # Perhaps it is in another database by now (SWAPDB), which is to hand it out once more.
                for database in access.space.databases:
                    database.put_back_due(key)
            access.peek(key)
    return b""


def failed(encoded: bytes) -> bytes:
    """The results of an operation that ran into a fault of ours; empty for those who only fetch."""
    operation = _decode(encoded)
    if type(operation) is Run:
        return wire_encode(Ran([encode(INTERNAL_ERROR, operation.protocol)] * len(operation.commands)))
    return wire_encode(Looked([], 0, INTERNAL_ERROR.text.decode())) if type(operation) is Look else b""


def _refusals(server: "Server", operation: Fetch | Survey) -> list[Fetched]:
    """Beside the values, for whoever runs commands on them: why nothing of it may be written."""
    text = server.node.full_disk.refusal if operation.to_write else None
    return [] if text is None else [Fetched(REFUSAL, text.encode(), b"", 0)]


def refusal_among(fetched: Iterable[Fetched]) -> str | None:
    """Why nothing may be written, if a shard's leader says so."""
    return next((row.key.decode() for row in fetched if row.database == REFUSAL), None)


def run(server: "Server", access: Access, operation: Run, refusal: str | None) -> Ran:
    """Runs commands. An error of one is its reply, and does not keep the others from running.

    Args:
        refusal: the error for what writes; whether there is disk for more only the leaders of the shards know.
    """
    access.is_replica = operation.is_read_only
    access.protocol = operation.protocol
    access.may_block = operation.may_block
    access.leaves_no_trace = operation.no_touch
    replies: list[bytes] = []
    micros: list[int] = []
    blocked: Blocked | None = None
    size, is_cut = 0, False
    for number, words in operation.commands:
        if operation.may_cut and size > CUT_BYTES:
            is_cut = True
            break
        started = perf_counter()
        access.select(number)
        route = server.routes.find(words)
        reply: Any
        if refusal is not None and route.is_write:
            reply = server.error_reply(ClientError(refusal))
        else:
            reply = server.dispatcher.invoke(access, route, words)
        if isinstance(reply, WouldBlock):
            on_timeout = encode(reply.on_timeout, operation.protocol)
            has_own_type = bool(reply.wakes_for) and len(reply.keys) == len(server.routes.find(words).row.keys(words))
            blocked = Blocked(list(reply.keys), reply.timeout_ms, on_timeout, reply.argv, has_own_type)
            reply = None
        replies.append(encode(reply, operation.protocol))
        size += len(replies[-1])
        micros.append(_micros_since(started))
    messages = [(channel, message, is_sharded) for channel, message, is_sharded, _ in access.messages]
    if access.notices and not access.effects:
        messages += server.pubsub.messages_of(access.notices)  # nothing is logged that could say it
    return Ran(replies, messages, blocked, micros, is_cut)


def _micros_since(started: float) -> int:
    return int((perf_counter() - started) * 1e6)


def fetch(access: Access, keys: list[tuple[int, bytes]]) -> list[Fetched]:
    """The values of the keys that exist, past their deadline or not."""
    found: list[Fetched] = []
    for number, key in keys:
        database = access.space.databases[number]
        value = database.get(key)
        if value is not None:
            found.append(Fetched(number, key, encode_moved(value), database.expires.get(key, 0)))
    return found


def survey(space: Keyspace, walks: Iterable[int]) -> Surveyed:
    """How many keys a shard has by database, and their names in some. No values."""
    table = b"" if space.slot_table is None else space.slot_table.encode()
    return Surveyed([], [each.size for each in space.databases], [_names(space, number) for number in walks], table)


def _names(space: Keyspace, number: int) -> Names:
    database = space.databases[number]
    keys: list[bytes] = []
    kinds = bytearray()
    for slot in database.slots:
        for key, value in slot.items():
            keys.append(key)
            kinds.append(_KINDS[type(value)])
    return Names(number, keys, bytes(kinds), list(database.expires.items()))


def decoded(rows: list[Fetched]) -> list[tuple[int, bytes, Value, int]]:
    """Database, key, value and deadline of what was fetched."""
    return [
        (row.database, row.key, decode_value(row.encoded), row.deadline_ms) for row in rows if row.database != REFUSAL
    ]


def look(server: "Server", access: Access, operation: Look) -> Looked:
    """Runs DBSIZE, KEYS, RANDOMKEY or SCAN on one shard."""
    access.is_replica = True
    access.select(operation.database)
    words = operation.words
    route = server.routes.find(words)
    reply: Any = server.dispatcher.invoke(access, route, words)
    if isinstance(reply, list):
        if route.name == "SCAN":
            return Looked(reply[1], int(reply[0]))
        return Looked(reply, len(reply))
    if isinstance(reply, int):
        return Looked([], reply)
    if reply is None or isinstance(reply, bytes):
        return Looked([] if reply is None else [reply], access.database.size)
    return Looked([], 0, bytes(reply.text if isinstance(reply.text, bytes) else reply.text.encode()).decode())
