"""Requests that wait for keys (BLPOP and its kin).

A parked request stands in the queue of each of its keys. When a transaction has changed such a key, the requests in its
queue run again in order of arrival, as transactions of their own, right after the one that woke them: first come, first
served, and nothing can take the element in between.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from time import perf_counter
from typing import TYPE_CHECKING, Any

from makoredis.commands.registry import WouldBlock
from makoredis.data.effects import WAKES_NOBODY, Effect
from makoredis.server.routes import Route
from makoredis.server.session import Session
from resp.replies import Error

if TYPE_CHECKING:
    from makoredis.server.server import Server

Key = tuple[int, bytes]
"""Database number and key."""


class Parked:
    """One waiting request."""

    __slots__ = (
        "argv",
        "block",
        "database",
        "deadline_ms",
        "given",
        "is_done",
        "keys",
        "route",
        "seconds",
        "session",
        "since_ms",
    )

    def __init__(self, session: Session, route: Route, argv: list[bytes], block: WouldBlock, seconds: float) -> None:
        self.session = session
        self.route = route
        self.given = argv
        """As the client said it; `argv` is how it is repeated."""
        self.argv = block.argv or argv
        self.seconds = seconds
        """Spent running it, as often as it ran."""
        self.block = block
        self.database = session.database
        self.keys: list[Key] = [(session.database, key) for key in dict.fromkeys(block.keys)]
        self.since_ms = 0
        """When its time began, perhaps on another leader."""
        self.deadline_ms = 0
        self.is_done = False


class Blocking:
    """All parked requests of this node."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.queues: dict[Key, dict[int, Parked]] = {}
        """Per key the parked requests by session id, in order of arrival."""
        self.count = 0
        self.ready: dict[Key, None] = {}
        """Keys that were changed since `serve`, in the order of the changes."""
        self._deadlines: list[tuple[int, int, Parked]] = []
        self._is_serving = False

    def park(self, session: Session, route: Route, argv: list[bytes], block: WouldBlock, seconds: float = 0.0) -> None:
        """Makes a session wait; its further requests go to its backlog. `seconds`: how long it ran."""
        server = self.server
        parked = Parked(session, route, argv, block, seconds)
        for key in parked.keys:
            self.queues.setdefault(key, {})[session.id] = parked
        parked.since_ms = server.now_ms - (0 if session.proxy is None else session.proxy.waited_ms)
        if block.timeout_ms > 0:
            parked.deadline_ms = parked.since_ms + block.timeout_ms
            heappush(self._deadlines, (parked.deadline_ms, session.id, parked))
            server.timer.wake_at(parked.deadline_ms)
        session.blocked = parked
        self.count += 1
        session.refresh_special()
        server.refresh_observers()

    def note(self, effects: Sequence[Effect]) -> None:
        """Remembers which waited-for keys a transaction changed."""
        numbers = self.server.node.host.space.numbers()
        for effect in effects:
            if type(effect) in WAKES_NOBODY:
                continue
            key = effect.key
            if key is None:
                self.ready.update(dict.fromkeys(self.queues))
            else:
                name = (numbers[effect.db], key)
                if name in self.queues:
                    self.ready[name] = None

    def serve(self) -> None:
        """Runs what became ready, and what that makes ready in turn."""
        if self._is_serving:
            return
        self._is_serving = True
        try:
            while self.ready:
                ready, self.ready = self.ready, {}
                for name in ready:
                    for parked in list(self.queues.get(name, {}).values()):
                        if not parked.is_done and self._may_serve(parked, name):
                            self._retry(parked)
        finally:
            self._is_serving = False

    def _may_serve(self, parked: Parked, name: Key) -> bool:
        kinds = parked.block.wakes_for
        if not kinds:
            return True
        value = self.server.node.host.space.databases[name[0]].get(name[1])
        return isinstance(value, kinds)

    def _retry(self, parked: Parked) -> None:
        server = self.server
        started = perf_counter()
        reply, gate = server.dispatcher.call_data(parked.session, parked.route, parked.argv)
        parked.seconds += perf_counter() - started
        if not isinstance(reply, WouldBlock):
            request = server.dispatcher.present_request(parked.session, [parked.argv])
            if request is not None:
                request.may_block = True
            self.unpark(parked.session)
            self._count(parked)
            server.dispatcher.answer(parked.session, reply, gate, request)
            parked.session.want_flush()

    def _count(self, parked: Parked) -> None:
        """A request that had to wait is counted when it ends."""
        self.server.dispatcher.count(parked.session, parked.route, parked.given, parked.seconds)

    def keys_without_value(self) -> int:
        """How many of the keys are waited for by requests that also want to hear that the key is gone."""
        waited = (queue.values() for queue in self.queues.values())
        return sum(any(not parked.block.wakes_for for parked in queue) for queue in waited)

    def is_parked(self, session: Session) -> bool:
        """Whether a session waits for keys (and not for the end of a pause)."""
        return isinstance(session.blocked, Parked)

    def unpark(self, session: Session) -> None:
        """Takes a session out of all queues; its backlog goes on."""
        parked: Parked = session.blocked
        parked.is_done = True
        for key in parked.keys:
            queue = self.queues[key]
            del queue[session.id]
            if not queue:
                del self.queues[key]
        session.blocked = None
        self.count -= 1
        session.refresh_special()
        self.server.refresh_observers()
        self.server.reactor.resume(session)

    def finish(self, session: Session, reply: Any) -> None:
        """Ends a session's waiting with this reply (a timeout, CLIENT UNBLOCK)."""
        parked: Parked = session.blocked
        self.unpark(session)
        if isinstance(reply, Error):
            parked.route.failed += 1
        self._count(parked)
        self.server.dispatcher.answer(session, reply, None)
        session.want_flush()

    def expire(self, now_ms: int) -> None:
        """Answers the requests whose time is over."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now_ms:
            parked = heappop(deadlines)[2]
            if not parked.is_done:
                self.finish(parked.session, parked.block.on_timeout)

    def next_deadline_ms(self) -> int | None:
        """When `expire` has something to do next."""
        while self._deadlines and self._deadlines[0][2].is_done:
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None
