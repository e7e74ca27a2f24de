"""One client connection: its state, and its replies in order.

Replies leave in the order of the requests. A reply whose gate is closed is *held*, and so is every one behind it;
`release` lets out what has become final. What the socket does not take stays in `unsent` until it is writable again.
Both are bounded by the output buffer limits of the client's class.
"""

import socket
from collections import deque
from enum import IntEnum
from itertools import islice
from typing import Any

from makoredis.base.record import Wire
from makoredis.txn.gate import Gate
from resp.encode import encode
from resp.parser import RequestLimits, RequestParser
from resp.replies import Error

SEND_CHUNKS_MAX = 64
"""Replies handed to one `sendmsg`."""
SEND_BYTES_MAX = 4 * 1024 * 1024
"""Handed to one `send`, so that one client with a huge reply doesn't keep the turn."""
REMOTE_BYTES_AT_FIRST = 128 * 1024
"""What an answer from another node is taken for as long as none has come."""


class ForwardKind(IntEnum):
    """What a forwarded request is."""

    SINGLE = 0
    TRANSACTION = 1
    """The commands of MULTI … EXEC."""
    WATCH = 2
    UNWATCH = 3
    SERIES = 4
    """Requests that take effect as one transaction, each with a reply of its own."""


def reply_count(kind: int, commands: list[list[bytes]]) -> int:
    """How many replies the answer to a forwarded request is."""
    return len(commands) if kind == ForwardKind.SERIES else 1


class Request(Wire, frozen=False):
    """A request of a client, in a form in which it can be asked again, here or on another node. Never encoded; there is
    one for each request, and nothing else is made as fast."""

    sequence: int
    """Numbers the session's requests to the keyspace."""
    kind: int
    """A `ForwardKind`."""
    database: int
    protocol: int
    commands: list[list[bytes]]
    asked_at: float = 0.0
    """Monotonic seconds, as everything that is waited for: clocks are set."""
    may_block: bool = False
    guard_term: int = 0
    """The leadership whose watch table guards a transaction; 0 if nothing is watched."""
    is_silent: bool = False
    """CLIENT REPLY OFF or SKIP: the answer is not shown."""

    @property
    def reply_count(self) -> int:
        """How many replies its answer is."""
        return reply_count(self.kind, self.commands)

    def failed(self, error: Error) -> bytes:
        """The answer if it was not executed."""
        return encode(error, self.protocol) * self.reply_count


class Held:
    """Replies that wait for one gate, and the requests they answer (None: a reply that depends on nothing held)."""

    __slots__ = ("chunks", "gate", "requests")

    def __init__(self, gate: Gate | None, chunk: bytes, request: Request | None) -> None:
        self.gate = gate
        self.chunks = [chunk]
        self.requests = [request]


INTERNAL = "internal"
"""The address of a session of the server's own."""


class Session:
    """The state of one connection.

    `is_special` is the one thing the fast path of dispatch looks at: it is set whenever anything below makes this
    client's requests differ from "run it and answer" (see `refresh_special`).
    """

    __slots__ = (
        "address",
        "authenticated",
        "backlog",
        "backlog_bytes",
        "blocked",
        "channels",
        "close_after_reply",
        "closed_reason",
        "commands_count",
        "connected_at",
        "database",
        "extra",
        "fd",
        "flush_queue",
        "guard_term",
        "held",
        "held_bytes",
        "held_shard",
        "id",
        "in_exec",
        "is_dirty_watch",
        "is_full",
        "is_monitor",
        "is_special",
        "laddress",
        "last_active",
        "last_command",
        "late_pushes",
        "library_name",
        "library_version",
        "multi",
        "multi_failed",
        "name",
        "no_evict",
        "no_touch",
        "out",
        "own_messages",
        "parser",
        "patterns",
        "protocol",
        "proxy",
        "reads_here",
        "recorded_to",
        "remote_bytes",
        "remote_count",
        "reply_mode",
        "request_id",
        "seen_index",
        "seen_ts",
        "sequence",
        "shard_channels",
        "sock",
        "soft_limit_since",
        "tracking",
        "unsent",
        "unsent_bytes",
        "user",
        "watch_marks",
        "watched",
        "watches_elsewhere",
        "writable_wanted",
    )

    def __init__(
        self,
        id: int,
        sock: socket.socket | None,
        address: str,
        laddress: str,
        now: float,
        limits: RequestLimits | None = None,
    ) -> None:
        """
        Args:
            sock: None for the proxy of a client of another node.
            limits: what requests may be; None for Redis's defaults.
        """
        self.id = id
        self.sock = sock
        self.fd = -1 if sock is None else sock.fileno()
        self.proxy: Any = None
        self.sequence = 0
        """The last number given to a request to the keyspace; only where there are other nodes."""
        self.remote_count = 0
        self.remote_bytes = REMOTE_BYTES_AT_FIRST
        """How long the next answer from another node may be, judged by the last ones."""
        """Requests being asked elsewhere."""
        self.request_id: tuple[int, int, int, int] | None = None
        """Of the request being executed: incarnation, session, sequence, acknowledged sequence."""
        self.recorded_to = 0
        """The answers up to this sequence that the client may not have are in the log."""
        self.seen_index = 0
        """A read on a follower must not be older than this."""
        self.seen_ts = 0
        """The same where there are several shards, as a timestamp."""
        self.watch_marks: dict[tuple[int, bytes], int] = {}
        """Watched keys there, and the time up to which their writes don't count."""
        self.guard_term = 0
        """The leadership that keeps the versions of this session's watched keys; 0 if it watches none."""
        self.reads_here = False
        """READONLY: reads may be answered by a follower."""
        self.address = address
        self.laddress = laddress
        self.parser = RequestParser(limits)
        self.protocol = 2
        self.database = 0
        self.name = b""
        self.library_name = b""
        self.library_version = b""
        self.user: Any = None
        self.authenticated = True
        self.connected_at = now
        self.last_active = now
        self.last_command: list[bytes] = []
        self.commands_count = 0
        self.out: list[bytes] = []
        self.held: deque[Held] = deque()
        self.held_bytes = 0
        self.held_shard = 0
        """Where there are several shards: the one whose replies are held; 0: none, or the group's; -1: several."""
        self.unsent: deque[bytes | memoryview] = deque()
        self.unsent_bytes = 0
        self.writable_wanted = False
        self.flush_queue: list[Session] | None = None
        self.soft_limit_since = 0.0
        self.multi: list[Any] | None = None
        self.multi_failed = False
        self.in_exec = False
        """Whether EXEC is running the queued commands: their replies are elements of one array."""
        self.watched: dict[tuple[int, bytes], int] = {}
        self.watches_elsewhere = False
        """Whether the leader's proxy of this session watches keys."""
        self.is_dirty_watch = False
        self.is_monitor = False
        self.no_evict = False
        self.no_touch = False
        self.reply_mode = ""
        """"" on; "off"; "skip" this request's; "skip_next" the next one's (CLIENT REPLY)."""
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.own_messages = b""
        """What it has published to itself, which goes behind the reply of the request that did."""
        self.late_pushes: list[bytes] | None = None
        """Where there are several shards: what goes behind a reply that is not known yet; None: it need not."""
        self.shard_channels: dict[bytes, None] = {}
        self.tracking: Any = None
        self.blocked: Any = None
        self.backlog: deque[list[bytes]] = deque()
        self.backlog_bytes = 0
        """About how large that is; counted while the session is blocked."""
        self.is_full = False
        """Whether so many replies wait for the client that its requests have to wait too."""
        self.close_after_reply = False
        self.closed_reason: str | None = None
        self.extra: dict[str, Any] = {}
        self.is_special = False

    def refresh_special(self) -> None:
        """To be called after any change of what decides about the fast path."""
        self.is_special = (
            not self.authenticated
            or self.multi is not None
            or self.is_monitor
            or bool(self.reply_mode)
            or self.tracking is not None
            or self.blocked is not None
            or self.close_after_reply
            or self.reads_here
            or self.no_touch
            or self.subscription_count() > 0
            or (self.user is not None and not self.user.is_unrestricted)
        )

    def channel_count(self) -> int:
        """Channels and patterns, as SUBSCRIBE's replies count them."""
        return len(self.channels) + len(self.patterns)

    def subscription_count(self) -> int:
        """Everything that messages may come from; with any, a client of RESP2 may only subscribe and unsubscribe."""
        return len(self.channels) + len(self.patterns) + len(self.shard_channels)

    # -- output

    def send_reply(self, reply: Any, gate: Gate | None = None, request: Request | None = None) -> None:
        """Puts a reply behind all earlier ones; it leaves once its gate is open."""
        self.send_bytes(encode(reply, self.protocol), gate, request)

    def send_bytes(self, data: bytes, gate: Gate | None = None, request: Request | None = None) -> None:
        """The same for an encoded reply."""
        held = self.held
        if gate is not None and not gate.is_open:
            self.held_bytes += len(data)
            if held and held[-1].gate is gate:
                held[-1].chunks.append(data)
                held[-1].requests.append(request)
            else:
                held.append(Held(gate, data, request))
                gate.waiters.append(self)
        elif held:
            self.held_bytes += len(data)
            held[-1].chunks.append(data)
            held[-1].requests.append(request)
        else:
            self.out.append(data)

    def hold_place(self, gate: Gate, request: Request) -> Held:
        """Keeps the place of a reply that is not known yet."""
        held = Held(gate, b"", request)
        self.held.append(held)
        gate.waiters.append(self)
        return held

    def acknowledged(self) -> int:
        """Up to which sequence the client has been sent its answers."""
        for held in self.held:
            for request in held.requests:
                if request is not None:
                    return request.sequence - 1
        return self.sequence - 1

    def unrecorded(self) -> list[tuple[int, bytes]]:
        """Sequences and replies, latest first, that wait to be released and are not in the log."""
        found: list[tuple[int, bytes]] = []
        for held in reversed(self.held):
            for chunk, request in zip(reversed(held.chunks), reversed(held.requests)):
                if request is not None:
                    if request.sequence <= self.recorded_to:
                        return found
                    found.append((request.sequence, chunk))
        return found

    def push(self, data: bytes) -> None:
        """Sends something that belongs to no request (a message, an invalidation), behind the replies so far.

        A message must not overtake the confirmation of its subscription, nor an invalidation the value it is about.
        Only a reply that may never come (BLPOP asked elsewhere) keeps nothing waiting.
        """
        if self.late_pushes is not None:
            self.late_pushes.append(data)
        elif self.held and not self._awaits_blocking():
            self.held.append(Held(None, data, None))
            self.held_bytes += len(data)
        else:
            self.out.append(data)
            self.want_flush()

    def _awaits_blocking(self) -> bool:
        return any(request is not None and request.may_block for request in self.held[0].requests)

    def may_wait_for_keys(self) -> bool:
        """Whether one of the replies that are held may never come."""
        return any(request is not None and request.may_block for held in self.held for request in held.requests)

    def release(self) -> None:
        """Lets out the replies whose gates have opened, up to the first closed one."""
        held, out = self.held, self.out
        while held:
            first = held[0]
            if first.gate is not None and not first.gate.is_open:
                break
            held.popleft()
            out += first.chunks
            self.held_bytes = self.held_bytes - sum(map(len, first.chunks)) if held else 0
        self.want_flush()

    def want_flush(self) -> None:
        """Makes sure that this turn's end sends what is in `out`."""
        queue = self.flush_queue
        if queue is not None:
            queue.append(self)
            self.flush_queue = None

    @property
    def is_internal(self) -> bool:
        """Whether this server itself is at the other end."""
        return self.address == INTERNAL

    def output_bytes(self) -> int:
        """What waits to be sent, held replies included."""
        return self.unsent_bytes + self.held_bytes

    def flush(self) -> bool:
        """Sends as much as the socket takes. Returns whether everything is gone.

        Raises: OSError when the connection is gone.
        """
        sock, out = self.sock, self.out
        assert sock is not None
        if out:
            size = len(out[0]) if len(out) == 1 else sum(map(len, out))
            if self.unsent or size > SEND_BYTES_MAX:
                self.unsent.extend(out)
                self.unsent_bytes += size
                out.clear()
                return self._flush_unsent()
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            try:
                sent = sock.send(data)
            except BlockingIOError:
                sent = 0
            if sent == size:
                return True
            self.unsent.append(memoryview(data)[sent:])
            self.unsent_bytes = size - sent
            return False
        return self._flush_unsent()

    def _flush_unsent(self) -> bool:
        """Sends from `unsent`, without copying what is left of it."""
        assert self.sock is not None
        unsent, budget = self.unsent, SEND_BYTES_MAX
        while unsent and budget > 0:
            chunks: list[bytes | memoryview] = []
            size = 0
            for chunk in islice(unsent, SEND_CHUNKS_MAX):
                chunks.append(chunk)
                size += len(chunk)
                if size >= budget:
                    break
            try:
                sent = self.sock.sendmsg(chunks)
            except BlockingIOError:
                return False
            self.unsent_bytes -= sent
            budget -= sent
            self._drop_sent(sent)
            if sent < size:
                return False
        return not unsent

    def _drop_sent(self, sent: int) -> None:
        unsent = self.unsent
        while unsent and len(unsent[0]) <= sent:
            sent -= len(unsent.popleft())
        if sent:
            unsent[0] = memoryview(unsent[0])[sent:]

    def note_remote(self, size: int, count: int) -> None:
        """An answer from another node has come, which is so many replies."""
        self.remote_count -= count
        self.remote_bytes = max(size // count, self.remote_bytes - self.remote_bytes // 8)

    def is_ahead(self, bytes_max: int) -> bool:
        """Whether it has asked other nodes for more than may be on its way at once."""
        return self.remote_count * self.remote_bytes > bytes_max

    def pending_bytes(self) -> int:
        """The same as `output_bytes`, this turn's replies included."""
        return self.unsent_bytes + self.held_bytes + sum(map(len, self.out))
