"""EXEC where there are several shards: what the queued commands need, and the array of their replies."""

from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError
from makoredis.cluster.full_disk import DISK_FULL_TEXT
from makoredis.commands.arguments import database_number
from makoredis.server.routes import FLUSHES, NO_REPLY, Route
from makoredis.server.shards.keys import NAMES_WANTED, Name, Reach, names_of
from makoredis.server.shards.operations import Ran
from resp.encode import encode
from resp.replies import NULL_ARRAY, Error

if TYPE_CHECKING:
    from makoredis.server.session import Session
    from makoredis.server.shards.router import Router


_REFUSED = encode(Error(DISK_FULL_TEXT), 2)
"""The reply of a command that may not write because of a full disk."""


class QueuedCommands:
    """The commands of MULTI … EXEC: those on keys, and what else is answered between them."""

    def __init__(self, router: "Router", session: "Session", queued: list[tuple[Route, list[bytes]]]) -> None:
        """Raises: ClientError for a command that cannot be part of a transaction over shards."""
        self.router = router
        self.session = session
        self.commands: list[tuple[int, list[bytes]]] = []
        self.names: list[Name] = []
        self.walks: set[int] | None = None
        self.is_open = False
        self.is_read_only = True
        self._queued = queued
        self._is_on_keys: list[bool] = []
        self._refused: dict[int, Any] = {}
        """By position, the reply of a command that must not run."""
        database = session.database
        for at, (route, argv) in enumerate(queued):
            refusal = router.server.permission_refusal(session, route, argv)
            if refusal is not None:
                self._refused[at] = refusal
            reach = router.reaches[route.name]
            is_on_keys = refusal is None and (reach is not Reach.ELSEWHERE or route.row.group == "pubsub")
            is_on_keys = is_on_keys and route.is_data
            self._is_on_keys.append(is_on_keys)
            if is_on_keys:
                self._add(route, argv, database)
            elif route.name == "SELECT" and refusal is None:
                database = self._selected(argv[1], database)
            elif route.is_data and route.row.group == "scripting":
                raise ClientError(f"ERR {route.name.replace('|', ' ')} cannot be part of a transaction with keys yet")

    def _selected(self, number: bytes, database: int) -> int:
        """Where the commands behind a SELECT run: where those before it did, if it will fail."""
        try:
            return database_number(number, self.router.server.config.databases)
        except ClientError:
            return database

    def _add(self, route: Route, argv: list[bytes], database: int) -> None:
        self.commands.append((database, argv))
        if route.row.group == "pubsub":
            self.is_read_only = False
            return
        if self.router.reaches[route.name] is Reach.EVERYTHING:
            self.walks = self.walks or set()
            if route.name in NAMES_WANTED:
                self.walks.add(database)
        self.names += names_of(route, argv, database, self.router.server.config.databases)
        self.is_open = self.is_open or self.router.reaches[route.name] is Reach.OPEN
        self.is_read_only = self.is_read_only and "readonly" in route.row.flags

    def finish(self, ran: Ran | None) -> None:
        """Puts the replies together, in order."""
        router, session = self.router, self.session
        dispatcher = router.server.dispatcher
        if ran is None:
            router.requests.reply(session, encode(NULL_ARRAY, session.protocol))
            return
        if _REFUSED in ran.replies:
            # Of everything that writes, so there is nothing that was done without the rest.
            router.requests.reply(session, b"-EXECABORT Transaction discarded because of: " + _REFUSED[1:])
            return
        on_keys, durations = iter(ran.replies), iter(ran.micros)
        replies: list[bytes] = []
        session.in_exec = True
        for at, (route, argv) in enumerate(self._queued):
            micros = 0
            if self._is_on_keys[at]:
                replies.append(next(on_keys))
                micros = next(durations, 0)
            elif at in self._refused:
                replies.append(encode(self._refused[at], session.protocol))
            else:
                if route.is_data:
                    reply = dispatcher.invoke(dispatcher.begin(session), route, argv)
                else:
                    reply = dispatcher.call_session(session, route, argv)[0]
                if reply is not NO_REPLY:
                    replies.append(encode(reply, session.protocol))
            router.requests.accounts.answered(session, route, argv, replies[-1] if replies else b"", micros)
        session.in_exec = False
        router.publish(session, ran)
        router.requests.reply(session, b"*%d\r\n" % len(replies) + b"".join(replies))
        if any(route.name in FLUSHES for route, _ in self._queued):
            router.server.tracking.emptied(session.id, session.seen_ts)
