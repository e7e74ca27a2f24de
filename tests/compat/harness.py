"""Differential tests: the same requests to makoredis and to a real redis-server, the replies compared byte for byte.

In use (the fixture `differential` is in `conftest.py`; without a redis-server the tests are skipped with one line):

    def test_append(differential):
        differential.check(["SET k abc", ["APPEND", "k", b"\\x00\\xff"], "GET k"])

    @given(requests=sequences(request("APPEND", keys, values), request("GET", keys)))
    def test_random(differential, requests):
        differential.check(requests)

A request is a line that is split at blanks, or a sequence of bytes, str and int. `check` runs them in RESP2 and again
in RESP3, each time from an empty keyspace on both sides, and fails at the first reply that differs with everything sent
until then. What Redis leaves open is normalised: the commands in `UNORDERED` and `UNORDERED_PAIRS` answer in any order,
`TIMES` may differ by some milliseconds. `unordered(request)` says so for one request, `shape_of(request)` compares only
the kinds and counts of a reply (for commands that pick at random), `unchecked(request)` compares nothing.

The fixture `network_differential` does the same against a makoredis process. `check_events` compares keyspace
notifications instead of replies.

Our side runs in process by default: no socket, so hundreds of sequences take a second. After each sequence it also
checks what every effect promises: encoded, decoded and applied to an empty keyspace they build the same state, and
undone in reverse order they leave nothing behind.
"""

import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from hypothesis import strategies as st

from makoredis.base.errors import ClientError
from makoredis.base.record import wire_encode
from makoredis.commands.arguments import wrong_arity
from makoredis.commands.registry import Command, WouldBlock, load
from makoredis.data.access import Access
from makoredis.data.effects import decode_effects
from makoredis.data.encoding import encode_value
from makoredis.data.events import ALL as ALL_EVENTS
from makoredis.data.keyspace import Database, Keyspace
from resp.encode import encode
from resp.replies import Error

# -- requests -------------------------------------------------------------------------------------------------------

Argument = bytes | str | int
Compare = Callable[["Tree"], object]


@dataclass
class Request:
    """A request with how its replies are made comparable."""

    argv: list[bytes]
    normal: Compare


def arguments(request: "str | Sequence[Argument] | Request") -> list[bytes]:
    """The words of a request as bytes."""
    if isinstance(request, Request):
        return request.argv
    if isinstance(request, str):
        return request.encode().split()
    return [word if isinstance(word, bytes) else str(word).encode() for word in request]


def unordered(request: str | Sequence[Argument]) -> Request:
    """The elements of the reply may come in any order."""
    return Request(arguments(request), _sorted_elements)


def shape_of(request: str | Sequence[Argument]) -> Request:
    """Only the kinds and counts in the reply have to agree."""
    return Request(arguments(request), _shape)


def unchecked(request: str | Sequence[Argument]) -> Request:
    """The replies may differ."""
    return Request(arguments(request), lambda tree: None)


# -- replies --------------------------------------------------------------------------------------------------------

Tree = tuple[bytes, Any]
"""A reply as its letter (`+`, `-`, `:`, `$`, `*`, `_`, `,`, `#`, `(`, `=`, `%`, `~`, `>`) and its content: bytes, None,
or a list of trees (a map: alternating keys and values)."""


def parse_reply(data: bytes, at: int = 0) -> tuple[Tree, int] | None:
    """The reply that starts at a position, and where it ends; None when it isn't complete."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    letter, line, after = data[at : at + 1], data[at + 1 : end], end + 2
    if letter in b"$=":
        length = int(line)
        if length < 0:
            return (letter, None), after
        if len(data) < after + length + 2:
            return None
        return (letter, data[after : after + length]), after + length + 2
    if letter not in b"*%~>|":
        return (letter, line), after
    count = int(line)
    if count < 0:
        return (letter, None), after
    children = []
    for _ in range(2 * count if letter in b"%|" else count):
        child = parse_reply(data, after)
        if child is None:
            return None
        children.append(child[0])
        after = child[1]
    return (letter, children), after


UNORDERED = {b"KEYS", b"SMEMBERS", b"SINTER", b"SUNION", b"SDIFF", b"HKEYS", b"HVALS"}
"""Commands whose reply is a collection without an order."""
UNORDERED_PAIRS = {b"HGETALL"}
"""The same, of alternating keys and values."""
TIMES = {b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME"}
"""Integer replies that depend on when exactly the request ran."""
_TIME_TOLERANCE_MS = 10_000
_IDLE_TOLERANCE_SECONDS = 10
"""OBJECT IDLETIME counts whole seconds, one of which may end between two requests."""


def _sorted_elements(tree: Tree) -> object:
    letter, content = tree
    return (letter, sorted(content, key=repr)) if isinstance(content, list) else tree


def _sorted_pairs(tree: Tree) -> object:
    letter, content = tree
    if not isinstance(content, list):
        return tree
    return letter, sorted(zip(content[::2], content[1::2]), key=repr)


def _shape(tree: Tree) -> object:
    letter, content = tree
    return letter, [_shape(child) for child in content] if isinstance(content, list) else content is None


def _as_is(tree: Tree) -> object:
    return tree


def _normal_of(request: "str | Sequence[Argument] | Request", argv: list[bytes]) -> Compare:
    if isinstance(request, Request):
        return request.normal
    name = argv[0].upper()
    if name in UNORDERED:
        return _sorted_elements
    return _sorted_pairs if name in UNORDERED_PAIRS else _as_is


def _agree(argv: list[bytes], normal: Compare, ours: bytes, theirs: bytes) -> bool:
    if ours == theirs:
        return True
    name = argv[0].upper()
    our_tree, their_tree = _tree(ours), _tree(theirs)
    if [word.upper() for word in argv[:2]] == [b"OBJECT", b"IDLETIME"] and our_tree[0] == their_tree[0] == b":":
        return abs(int(our_tree[1]) - int(their_tree[1])) <= _IDLE_TOLERANCE_SECONDS
    if name in TIMES and our_tree[0] == their_tree[0] == b":":
        return abs(int(our_tree[1]) - int(their_tree[1])) <= _TIME_TOLERANCE_MS and (
            min(int(our_tree[1]), int(their_tree[1])) >= 0
        )
    return normal(our_tree) == normal(their_tree)


def _tree(reply: bytes) -> Tree:
    parsed = parse_reply(reply)
    assert parsed is not None and parsed[1] == len(reply), reply
    return parsed[0]


# -- the two sides --------------------------------------------------------------------------------------------------


class Side(Protocol):
    """Something that answers requests."""

    def reset(self, protocol: int) -> None:
        """Empties every database, selects the first one, and speaks RESP2 or RESP3 from now on."""

    def execute(self, argv: list[bytes]) -> bytes:
        """Returns the reply as it goes over the wire."""

    def check(self) -> None:
        """Called at the end of a sequence."""


class NetworkSide:
    """A server behind a socket: the real one, or makoredis itself."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self.connect = connect
        self._socket = connect()
        self._socket.settimeout(20)

    def reset(self, protocol: int) -> None:
        for argv in ([b"HELLO", b"%d" % protocol], [b"FLUSHALL"], [b"FUNCTION", b"FLUSH"], [b"SELECT", b"0"]):
            reply = self.execute(argv)
            assert not reply.startswith(b"-"), reply

    def execute(self, argv: list[bytes]) -> bytes:
        request = b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in argv)
        self._socket.sendall(request)
        received = b""
        while True:
            chunk = self._socket.recv(1 << 20)
            assert chunk, f"connection closed after {argv!r}"
            received += chunk
            parsed = parse_reply(received) if received.endswith(b"\r\n") else None
            if parsed is not None:
                assert parsed[1] == len(received), f"more than one reply to {argv!r}: {received!r}"
                return received

    def check(self) -> None:
        return None

    def close(self) -> None:
        self._socket.close()


class EventListener:
    """A second connection to the real server, which hears its keyspace notifications."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._socket = connect()
        self._socket.settimeout(20)
        self._received = b""
        self._send(b"CONFIG", b"SET", b"notify-keyspace-events", b"EA")
        self._next()
        self._send(b"PSUBSCRIBE", b"__keyevent@*")
        self._next()

    def take(self) -> list[tuple[bytes, bytes, int]]:
        """The notifications so far: event, key, database."""
        self._send(b"PING", b"marker")
        events = []
        while True:
            words = [content for _, content in self._next()[1]]
            if words[0] == b"pong":
                return events
            _, _, channel, key = words
            prefix, _, event = channel.partition(b":")
            events.append((event, key, int(prefix[len(b"__keyevent@") : -len(b"__")])))

    def close(self) -> None:
        """The server goes on without notifications."""
        self._send(b"PUNSUBSCRIBE")
        self._next()
        self._send(b"CONFIG", b"SET", b"notify-keyspace-events", b"")
        self._next()
        self._socket.close()

    def _send(self, *words: bytes) -> None:
        self._socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words))

    def _next(self) -> Tree:
        while (parsed := parse_reply(self._received)) is None:
            chunk = self._socket.recv(1 << 16)
            assert chunk, "the server closed the connection"
            self._received += chunk
        self._received = self._received[parsed[1] :]
        return parsed[0]


class InProcessSide:
    """Our commands on a keyspace of their own, without a server. Every request is a transaction."""

    def __init__(self, seed: int = 1) -> None:
        self._commands: dict[str, Command] = load()
        self._seed = seed
        self.reset(2)

    def reset(self, protocol: int) -> None:
        self.protocol = protocol
        self.space = Keyspace()
        self.rng = Random(self._seed)
        self.number = 0
        self.transactions: list[Access] = []
        self.notices: list[tuple[int, bytes, bytes, int]] = []

    def execute(self, argv: list[bytes]) -> bytes:
        if argv[0].upper() == b"SELECT":
            self.number = int(argv[1])
            return b"+OK\r\n"
        access = Access(self.space, self.rng, self.number, time.time_ns() // 1_000_000, self.protocol)
        try:
            reply = self._call(access, argv)
        except ClientError as error:
            reply = Error(error.text)
        assert not isinstance(reply, WouldBlock), f"{argv!r} wants to block though it must not"
        self.transactions.append(access)
        self.notices += access.notices
        return encode(reply, self.protocol)

    def _call(self, access: Access, argv: list[bytes]) -> Any:
        name, rest = argv[0].decode().upper(), argv[1:]
        if len(argv) > 1 and f"{name}|{argv[1].decode(errors='replace').upper()}" in self._commands:
            name, rest = f"{name}|{argv[1].decode().upper()}", argv[2:]
        command = self._commands[name]
        if not command.row.accepts(len(argv)):
            raise wrong_arity(name)
        return command.handler(access, *rest)

    def check(self) -> None:
        """The effects build the same state again, and their inverses leave nothing behind."""
        replica = Keyspace()
        for access in self.transactions:
            for effect in decode_effects(wire_encode(access.effects)):
                effect.apply(replica)
        assert state_of(replica) == state_of(self.space), "the effects do not build the leader's state"
        for access in reversed(self.transactions):
            access.rollback()
        assert state_of(self.space) == state_of(Keyspace()), "the inverses do not restore the empty keyspace"
        assert all(database.size == 0 for database in self.space.by_id)


def _content(database: Database) -> dict[bytes, tuple[bytes, int]]:
    """Key → value and deadline."""
    if not database.size and not any(database.block_sizes):
        return {}
    found = {}
    for key in database.keys():  # noqa: SIM118
        value = database.get(key)
        assert value is not None
        found[key] = (encode_value(value), database.expires.get(key, 0))
    assert len(found) == database.size == sum(database.block_sizes)
    return found


def state_of(space: Keyspace) -> object:
    """Everything that must be equal on all replicas, in a form that can be compared."""
    databases = [_content(database) for database in space.by_id]
    return databases, [database.id for database in space.databases], space.libraries


# -- comparing ------------------------------------------------------------------------------------------------------


class Differential:
    """Runs requests on both sides."""

    def __init__(self, ours: Side, theirs: Side) -> None:
        self.ours = ours
        self.theirs = theirs

    def check(self, requests: Iterable[Any], protocols: Sequence[int] = (2, 3)) -> None:
        """Fails at the first reply that differs.

        Args:
            requests: see the module's docstring.
            protocols: the sequence is run once in each.
        """
        requests = list(requests)
        for protocol in protocols:
            self.ours.reset(protocol)
            self.theirs.reset(protocol)
            self._compare(requests, protocol)
            self.ours.check()

    def check_events(self, requests: Iterable[Any]) -> None:
        """Fails when the requests notify of other events, or in another order. Needs the in-process side."""
        assert isinstance(self.ours, InProcessSide) and isinstance(self.theirs, NetworkSide)
        self.ours.reset(2)
        self.theirs.reset(2)
        self.ours.space.config.notify_events = ALL_EVENTS
        listener = EventListener(self.theirs.connect)
        try:
            for request in requests:
                argv = arguments(request)
                already = len(self.ours.notices)
                self.ours.execute(argv)
                self.theirs.execute(argv)
                ours = [(event, key, number) for _, event, key, number in self.ours.notices[already:]]
                theirs = listener.take()
                assert ours == theirs, f"{argv!r} notifies of {ours!r}, not of {theirs!r}"
        finally:
            listener.close()

    def _compare(self, requests: list[Any], protocol: int) -> None:
        transcript: list[str] = []
        for request in requests:
            argv = arguments(request)
            ours, theirs = self.ours.execute(argv), self.theirs.execute(argv)
            transcript.append("> " + " ".join(_show(word) for word in argv))
            if not _agree(argv, _normal_of(request, argv), ours, theirs):
                head = f"replies differ in RESP{protocol}:"
                raise AssertionError("\n".join([head, *transcript, f"ours:   {ours!r}", f"theirs: {theirs!r}"]))


def _show(word: bytes) -> str:
    text = repr(word)[2:-1]
    return text if text and " " not in text else repr(word)[1:]


# -- random requests ------------------------------------------------------------------------------------------------

keys = st.sampled_from([b"a", b"b", b"c", b"{t}1", b"{t}2", b""])
"""Few, so that requests meet."""

LIMITS = (0, 1, -1, 8, 63, 64, 100, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**63, -(2**63) - 1)

integers = st.one_of(st.integers(-5, 20), st.sampled_from(LIMITS)).map(lambda value: b"%d" % value)
"""As arguments: mostly small ones, and the limits of 32 and 64 bits."""

words = st.sampled_from(
    [b"", b"foo", b"bar", b"hello world", b"0x10", b" 1", b"1 ", b"+1", b"01", b"-0", b"1e3", b"nan", b"1_0"]
)
"""Strings that are nearly numbers, or no number at all."""

floats = st.sampled_from(
    [
        b"0",
        b"1.5",
        b"-2.25",
        b"3e2",
        b"1e-3",
        b"0.1",
        b"0.2",
        b"1e17",
        b"-1e300",
        b"inf",
        b"-inf",
        b"+inf",
        b".5",
        b"5.",
    ]
)

values = st.one_of(integers, words, floats, st.binary(max_size=20), st.sampled_from([b"x" * 44, b"x" * 45, b"y" * 70]))
"""Anything that a string can be."""

members = st.one_of(st.sampled_from([b"m1", b"m2", b"m3", b"m4", b""]), integers, st.sampled_from([b"x" * 65]))
"""Elements of collections: few, so that requests meet; integers; one that is too long for a listpack."""

scores = st.one_of(floats, integers)


def request(name: str, *parts: Any) -> st.SearchStrategy[list[bytes]]:
    """A strategy for one request. A part is a strategy of bytes or of a list of bytes (some arguments), or a word."""
    strategies = [part if isinstance(part, st.SearchStrategy) else st.just(part) for part in (name, *parts)]
    return st.tuples(*strategies).map(_flatten)


def _flatten(parts: Iterable[Any]) -> list[bytes]:
    argv: list[bytes] = []
    for part in parts:
        argv += arguments(part) if isinstance(part, list | tuple) else arguments([part])
    return argv


def several(part: st.SearchStrategy[bytes], min_size: int = 1, max_size: int = 4) -> st.SearchStrategy[list[bytes]]:
    """Some arguments of a kind."""
    return st.lists(part, min_size=min_size, max_size=max_size)


def optional(*parts: Any) -> st.SearchStrategy[list[bytes]]:
    """These arguments together, or none."""
    strategies = [part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts]
    return st.one_of(st.just([]), st.tuples(*strategies).map(_flatten))


def sequences(*requests: st.SearchStrategy[list[bytes]], max_size: int = 25) -> st.SearchStrategy[list[list[bytes]]]:
    """A strategy for sequences of requests, each drawn from one of the given ones."""
    return st.lists(st.one_of(*requests), min_size=1, max_size=max_size)
