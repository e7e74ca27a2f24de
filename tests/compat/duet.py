"""Stories with several clients, told to makoredis and to a real redis-server: every byte each client hears must agree.

A story is lines of `client: request`. After each request everything that any client of the real server has heard by
then is read, and every client of makoredis must hear the same bytes. At the end nobody may have heard more.

    A: SUBSCRIBE news
    B: HELLO 3              # what differs between servers is not compared: `~` in front of the client's name
    B: PUBLISH news hello

`{id B}` in a request stands for B's client id. With a `?` behind the client's name, integers in what is heard that are
a client's id are shown as `<id B>`.
"""

import re
import select
import shlex
import socket
import time
from collections.abc import Callable
from contextlib import suppress

Connect = Callable[[], socket.socket]

_QUIET_SECONDS = 0.02
"""The real server sends pushes in the turn of the request that caused them: nothing comes later than this."""
_PATIENCE_SECONDS = 30.0
_CLOSED = b"<closed>"


class _Side:
    """One server with its clients by name."""

    def __init__(self, connect: Connect) -> None:
        self.connect = connect
        self.clients: dict[str, socket.socket] = {}
        self.ids: dict[str, int] = {}

    def client(self, name: str) -> socket.socket:
        if name not in self.clients:
            self.clients[name] = sock = self.connect()
            sock.sendall(b"CLIENT ID\r\n")
            self.ids[name] = int(_read_line(sock)[1:])
        return self.clients[name]

    def send(self, name: str, words: list[bytes]) -> None:
        sock = self.client(name)
        for index, word in enumerate(words):
            words[index] = re.sub(rb"\{id (\w+)\}", lambda found: b"%d" % self.id_of(found[1].decode()), word)
        data = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
        with suppress(ConnectionError):  # the server has closed it, which is what will be heard
            sock.sendall(data)

    def id_of(self, name: str) -> int:
        self.client(name)
        return self.ids[name]

    def shown(self, data: bytes) -> bytes:
        for name, id in self.ids.items():
            data = data.replace(b":%d\r\n" % id, b":<id %b>\r\n" % name.encode())
        return data

    def close(self) -> None:
        for sock in self.clients.values():
            sock.close()


class Duet:
    """Both servers. `ready` is a list of requests that both get before each story, from a client of its own."""

    def __init__(self, ours: Connect, theirs: Connect, ready: tuple[str, ...] = ("FLUSHALL",)) -> None:
        self.connects = ours, theirs
        self.ready = ready

    def tell(self, story: str) -> None:
        """Fails at the first line after which a client of ours has heard something else."""
        ours, theirs = (_Side(connect) for connect in self.connects)
        try:
            for side in (ours, theirs):
                for line in self.ready:
                    side.send("ready", [word.encode() for word in shlex.split(line)])
                    assert _read_line(side.client("ready")) == b"+OK\r\n", line
                side.ids.pop("ready")
                side.clients.pop("ready").close()
            told: list[str] = []
            for line in story.strip().splitlines():
                line = line.split("  #")[0].strip()
                if line:
                    told.append(line)
                    self._step(ours, theirs, line, "\n".join(told))
            _expect_silence(ours, theirs)
        finally:
            ours.close()
            theirs.close()

    def _step(self, ours: _Side, theirs: _Side, line: str, told: str) -> None:
        name, _, request = line.partition(":")
        is_compared = not name.startswith("~")
        has_ids = name.endswith("?")
        name = name.strip("~?")
        if name == "sleep":
            time.sleep(float(request))
        else:
            for side in (theirs, ours):
                side.send(name, [_unescape(word) for word in shlex.split(request)])
        heard = dict.fromkeys(theirs.clients, b"")
        if name != "sleep":
            heard[name] = _read_some(theirs.clients[name])
        for each, sock in theirs.clients.items():
            if not heard[each].endswith(_CLOSED):
                heard[each] += _read_ready(sock)
        if not is_compared:
            if name != "sleep" and heard[name]:
                _is_readable(ours.clients[name], _PATIENCE_SECONDS)  # it answers too, however long that takes
            _read_ready(ours.clients[name])
            return
        for each, data in heard.items():
            expected = theirs.shown(data) if has_ids else data
            mine = _read_at_least(ours.clients[each], expected, ours.shown if has_ids else None)
            heard_right = (ours.shown(mine) if has_ids else mine) == expected
            assert heard_right, f"client {each} heard {mine!r}, expected {data!r}, after\n{told}"


def _unescape(word: str) -> bytes:
    return word.encode("latin-1").decode("unicode_escape").encode("latin-1")


def _read_line(sock: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\r\n"):
        data += sock.recv(1)
    return data


def _is_readable(sock: socket.socket, seconds: float) -> bool:
    return bool(select.select([sock], [], [], seconds)[0])


def _read_some(sock: socket.socket) -> bytes:
    """What a server answers; nothing if it says nothing (CLIENT REPLY OFF)."""
    return _receive(sock) if _is_readable(sock, 0.3) else b""


def _read_ready(sock: socket.socket) -> bytes:
    data = b""
    while _is_readable(sock, _QUIET_SECONDS):
        piece = _receive(sock)
        data += piece
        if piece == _CLOSED:
            break
    return data


def _receive(sock: socket.socket, bytes_max: int = 65536) -> bytes:
    try:
        return sock.recv(bytes_max) or _CLOSED
    except ConnectionError:
        return _CLOSED


def _read_at_least(sock: socket.socket, expected: bytes, shown: Callable[[bytes], bytes] | None) -> bytes:
    """Reads until all expected has come, or so much that it can't be that any more, or for too long.

    No more than that where its length is known: if the real server was slow, what it has to say besides is still on
    its way, and comes after the next request.
    """
    data = b""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (missing := len(expected) - len(shown(data) if shown else data)) > 0 and time.monotonic() < deadline:
        if _is_readable(sock, deadline - time.monotonic()):
            piece = _receive(sock) if shown else _receive(sock, missing)
            data += piece
            if piece == _CLOSED:
                break
    return data


def _expect_silence(ours: _Side, theirs: _Side) -> None:
    for name, sock in ours.clients.items():
        left = _read_ready(sock).replace(_CLOSED, b"")
        assert not left, f"client {name} heard too much: {left!r}"
