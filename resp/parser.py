"""Bytes from a client to requests, with Redis's limits and error texts.

Two parsers read the same language:

* `split_requests` takes what is whole, plain and at the start of a chunk: it splits the chunk at every CRLF and checks
  each length against what the split left. It gives up (never guesses) at the first request that is odd: incomplete,
  inline, a value with a CRLF in it, a value of a kilobyte or more, a malformed count.
* `RequestParser` goes on from there, strictly and incrementally, with the memory of what is unfinished.

Measured (CPython 3.11, one core of a busy machine), per SET with three arguments: 16 in a chunk 0.55 µs, one in a chunk
0.95 µs; by the strict parser 2.5 µs, with a value of 10 kB 4.5 µs. hiredis' reader alone takes 0.21 and 0.46 µs, but
accepts integers, nested arrays and statuses as arguments and allocates an announced count at once; with a scan for
suspicious counts before it and a check of the result behind it (encode it again, compare) it takes 0.99 and 2.7 µs, and
0.69 and 1.6 µs with a check that can still be fooled.

Invariants

* Whatever the chunks, the same bytes give the same requests and the same error (lines above 64 KiB excepted, where the
  error may come a chunk later, as in Redis).
* Nothing is allocated for an announced count or length before the bytes arrive.
* Work is linear in the bytes received: an unfinished value is appended to, not searched again.
* The requests before an error are returned; nothing behind it is looked at.

As in Redis 7.0, the byte after the CR of a count and the two bytes after a value are not looked at. Differs: a NUL in
a line is an ordinary byte here, where Redis goes silent (it looks for the line's end with `strchr`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from resp.inline import split_words
from resp.numbers import parse_integer
from resp.replies import Error

Request: TypeAlias = list[bytes]

ARGUMENT_COUNT_MAX: Final = 2**31 - 1
"""Announced arguments of one request. What they may occupy is bounded by `query_buffer_bytes_max`."""

INLINE_BYTES_MAX: Final = 64 * 1024
"""A line (inline command, count, length) that is longer than this and not ended yet is an error."""

LINE_SEARCH_BYTES_MAX: Final = INLINE_BYTES_MAX + 16 * 1024
"""A line end further on is not looked for: Redis reads 16 KiB at a time and so could not have seen it either."""

UNAUTHENTICATED_ARGUMENT_COUNT_MAX: Final = 10
UNAUTHENTICATED_BULK_BYTES_MAX: Final = 16384
UNAUTHENTICATED_QUERY_BUFFER_BYTES_MAX: Final = 1024 * 1024

ARGUMENT_OVERHEAD_BYTES: Final = 48
"""What an argument costs beside its bytes: the object's header and its place in the list."""

_SAMPLE_BYTES: Final = 1024
_SAMPLE_LINES_MIN: Final = 16
"""A chunk whose start has fewer lines holds long values. Searching those for CRLF costs 3 ns a byte, more than the
strict parser takes for a request."""

_STAR: Final = ord("*")
_DOLLAR: Final = ord("$")
_NEED_MORE: Final = -1

COUNTS: Final = {b"*%d" % count: count for count in range(1, 1024)}
_PLAIN_LENGTHS: Final = {b"$%d" % length: length for length in range(16384)}
LENGTHS: Final = tuple(b"$%d" % length for length in range(1024))


@dataclass(slots=True)
class RequestLimits:
    """Limits that an administrator may change while connections are open; shared by all parsers of a listener."""

    bulk_bytes_max: int = 512 * 1024 * 1024
    """The longest argument (`proto-max-bulk-len`); Redis allows no value below 1 MiB, nor does this."""

    query_buffer_bytes_max: int = 1024 * 1024 * 1024
    """The memory that one unfinished request may take (`client-query-buffer-limit`)."""


class ProtocolError(Exception):
    """A request that cannot be understood; the connection has to be closed, since the next one cannot be found."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


def holds_long_values(data: bytes) -> bool:
    """Whether it is not worth splitting, judged by its start."""
    return len(data) > _SAMPLE_BYTES and data.count(b"\r", 0, _SAMPLE_BYTES) < _SAMPLE_LINES_MIN


def split_requests(data: bytes, requests: list[Request]) -> int:
    """Appends the whole and plain requests at the start of `data`.

    Returns:
        How many bytes of `data` they take. What follows is for the strict parser: unfinished, odd or wrong.
    """
    if holds_long_values(data):
        return 0
    parts = data.split(b"\r\n")
    tail = parts.pop()
    count = len(parts)
    append = requests.append
    lengths = LENGTHS
    i = 0
    try:
        while i < count:
            head = parts[i]
            if head == b"*3":
                _, length1, argument1, length2, argument2, length3, argument3 = parts[i : i + 7]
                if (
                    lengths[len(argument1)] != length1
                    or lengths[len(argument2)] != length2
                    or lengths[len(argument3)] != length3
                ):
                    break
                append([argument1, argument2, argument3])
                i += 7
            elif head == b"*2":
                _, length1, argument1, length2, argument2 = parts[i : i + 5]
                if lengths[len(argument1)] != length1 or lengths[len(argument2)] != length2:
                    break
                append([argument1, argument2])
                i += 5
            else:
                end = i + 1 + 2 * COUNTS[head]
                arguments = parts[i + 2 : end : 2]
                if end > count or parts[i + 1 : end : 2] != [lengths[len(argument)] for argument in arguments]:
                    break
                append(arguments)
                i = end
        else:
            return len(data) - len(tail)
    except (ValueError, KeyError, IndexError):
        # Too few parts are left, the count is no plain number, or an argument is too long for the table: all of them
        # are odd, and odd ones are left to the strict parser.
        return sum(map(len, parts[:i])) + 2 * i
    return sum(map(len, parts[:i])) + 2 * i


class RequestParser:
    """The requests of one connection.

    `parse` is called with each chunk received and returns the requests that are complete with it. Once `broken` is set,
    the connection is to be closed as soon as the requests returned so far have been answered and `error`, if there is
    one, has been sent.

    While `authenticated` is False, the stricter limits of Redis for unknown clients apply and `parse` returns one
    request at a time, because that request may be the AUTH that lifts them; call `parse()` until it returns none.
    """

    __slots__ = (
        "_argument_bytes",
        "_arguments",
        "_authenticated",
        "_buffer",
        "_bulk",
        "_bulk_length",
        "_limits",
        "_missing",
        "at_boundary",
        "broken",
        "error",
    )

    def __init__(self, limits: RequestLimits | None = None, *, authenticated: bool = True) -> None:
        self._limits = limits or RequestLimits()
        self._authenticated = authenticated
        # Bytes received and not parsed: the start of a line; while not authenticated also whole requests.
        self._buffer = b""
        # The current request: what is there of it, and the number of arguments still to come (0 between requests).
        self._arguments: Request = []
        self._argument_bytes = 0
        self._missing = 0
        # The argument that comes next: its announced length (-1 if that is still to be read), and its start once it
        # has been announced and did not arrive whole.
        self._bulk_length = -1
        self._bulk: bytearray | None = None
        self.at_boundary = authenticated
        """Nothing is kept and nothing is special, so the next chunk may be split, here or by `split_columns`."""
        self.broken = False
        self.error: Error | None = None

    @property
    def authenticated(self) -> bool:
        """Whether the limits for unknown clients are lifted."""
        return self._authenticated

    @authenticated.setter
    def authenticated(self, authenticated: bool) -> None:
        self._authenticated = authenticated
        self._update_boundary()

    @property
    def held_bytes(self) -> int:
        """The memory that the unfinished request takes."""
        bulk_bytes = 0 if self._bulk is None else len(self._bulk)
        return len(self._buffer) + bulk_bytes + self._argument_bytes + ARGUMENT_OVERHEAD_BYTES * len(self._arguments)

    def parse(self, data: bytes = b"") -> list[Request]:
        """Takes the next chunk; returns the requests that are complete now, in order."""
        requests: list[Request] = []
        if self.at_boundary:
            consumed = split_requests(data, requests)
            if consumed != len(data):
                self._parse_strictly(data, consumed, requests)
        elif not self.broken:
            if self._buffer:
                data = self._buffer + data
                self._buffer = b""
            self._parse_strictly(data, 0, requests)
        return requests

    def _parse_strictly(self, data: bytes, pos: int, requests: list[Request]) -> None:
        """Parses `data` from `pos` on, appends what is complete, and keeps the rest.

        Behind the first request, which may have been the only odd one, the rest is split once more: twice per chunk,
        not once per odd request, so that the work stays linear.
        """
        split_again = self._authenticated
        try:
            while pos < len(data):
                pos = self._parse_request(data, pos)
                if pos == _NEED_MORE:
                    break
                if not self._arguments:
                    continue
                requests.append(self._arguments)
                self._arguments = []
                self._argument_bytes = 0
                if not self._authenticated:
                    self._buffer = data[pos:]
                    break
                if split_again:
                    split_again = False
                    pos += split_requests(data[pos:], requests)
            self._check_held()
        except ProtocolError as error:
            self._break(Error(b"ERR Protocol error: " + error.text))
        self._update_boundary()

    def _parse_request(self, data: bytes, pos: int) -> int:
        """Goes on with the current request, or begins one; it is complete in `_arguments` (empty: to be ignored).

        Returns:
            The position behind it; `_NEED_MORE` if the data ends before (what is left has been kept).
        """
        if not self._missing:
            if data[pos] != _STAR:
                return self._parse_inline(data, pos)
            end = data.find(b"\r\n", pos, pos + 8)
            count = COUNTS.get(data[pos:end]) if end > 0 and self._authenticated else None
            if count is None:
                end = self._find_line_end(data, pos, b"too big mbulk count string")
                if end == _NEED_MORE:
                    return end
                count = self._parse_count(data[pos + 1 : end])
            self._missing = count
            pos = end + 2
        return self._parse_arguments(data, pos)

    def _parse_count(self, digits: bytes) -> int:
        count = parse_integer(digits)
        if count is None or count > ARGUMENT_COUNT_MAX:
            raise ProtocolError(b"invalid multibulk length")
        if count > UNAUTHENTICATED_ARGUMENT_COUNT_MAX and not self._authenticated:
            raise ProtocolError(b"unauthenticated multibulk length")
        return max(count, 0)

    def _parse_arguments(self, data: bytes, pos: int) -> int:
        """Takes the arguments still missing. A plain length and a whole argument cost no further call."""
        size = len(data)
        length = self._bulk_length
        while self._missing:
            if length < 0:
                end = data.find(b"\r\n", pos, pos + 8)
                length = _PLAIN_LENGTHS.get(data[pos:end], -1) if end > 0 else -1
                if length < 0:
                    end = self._find_line_end(data, pos, b"too big bulk count string")
                    if end == _NEED_MORE:
                        return end
                    length = self._parse_bulk_length(data, pos, end)
                pos = end + 2
            end = pos + length
            if end + 2 <= size and self._bulk is None:
                self._arguments.append(data[pos:end])
                pos = end + 2
            else:
                self._bulk_length = length
                pos = self._collect_bulk(data, pos)
                if pos == _NEED_MORE:
                    return pos
            self._argument_bytes += length
            length = -1
            self._missing -= 1
        return pos

    def _parse_bulk_length(self, data: bytes, pos: int, end: int) -> int:
        if data[pos] != _DOLLAR:
            raise ProtocolError(b"expected '$', got '%c'" % data[pos])
        length = parse_integer(data[pos + 1 : end])
        if length is None or length < 0 or length > self._limits.bulk_bytes_max:
            raise ProtocolError(b"invalid bulk length")
        if length > UNAUTHENTICATED_BULK_BYTES_MAX and not self._authenticated:
            raise ProtocolError(b"unauthenticated bulk length")
        return length

    def _collect_bulk(self, data: bytes, pos: int) -> int:
        """Takes what has arrived of an argument that spans chunks."""
        if self._bulk is None:
            self._bulk = bytearray()
        wanted = self._bulk_length + 2 - len(self._bulk)
        self._bulk += data[pos : pos + wanted]
        if len(self._bulk) < self._bulk_length + 2:
            return _NEED_MORE
        del self._bulk[self._bulk_length :]
        self._arguments.append(bytes(self._bulk))
        self._bulk = None
        self._bulk_length = -1
        return pos + wanted

    def _parse_inline(self, data: bytes, pos: int) -> int:
        end = data.find(b"\n", pos, pos + LINE_SEARCH_BYTES_MAX)
        if end < 0:
            return self._keep_line(data, pos, b"too big inline request")
        words = split_words(data[pos:end])
        if words is None:
            raise ProtocolError(b"unbalanced quotes in request")
        self._arguments = words
        return end + 1

    def _find_line_end(self, data: bytes, pos: int, too_long: bytes) -> int:
        """Finds the CR that ends a count, if the byte behind it has arrived as well."""
        end = data.find(b"\r", pos, pos + LINE_SEARCH_BYTES_MAX)
        if end < 0:
            return self._keep_line(data, pos, too_long)
        if end + 1 == len(data):
            self._buffer = data[pos:]
            return _NEED_MORE
        return end

    def _keep_line(self, data: bytes, pos: int, too_long: bytes) -> int:
        if len(data) - pos > INLINE_BYTES_MAX:
            raise ProtocolError(too_long)
        self._buffer = data[pos:]
        return _NEED_MORE

    def _check_held(self) -> None:
        """Closes the connection, without a word as Redis does, if its unfinished request has become too large."""
        limit = self._limits.query_buffer_bytes_max
        if not self._authenticated:
            limit = min(limit, UNAUTHENTICATED_QUERY_BUFFER_BYTES_MAX)
        if self.held_bytes > limit:
            self._break(None)

    def _break(self, error: Error | None) -> None:
        self.broken = True
        self.error = error
        self._buffer = b""
        self._arguments = []
        self._argument_bytes = 0
        self._bulk = None

    def _update_boundary(self) -> None:
        self.at_boundary = self._authenticated and not (self._buffer or self._missing or self.broken)
