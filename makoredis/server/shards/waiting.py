"""Blocking commands (BLPOP and its kin) where there are several shards.

A request that has to wait is tried, as a transaction like any other, and tried again whenever one of its keys has
changed. That shows on every node, because each one follows all shards. Requests of one node are served in the order in
which they began to wait; between nodes there is no order.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from makoredis.server.routes import Route
from makoredis.server.shards.keys import Name, divide, names_of
from makoredis.server.shards.operations import Blocked, Ran
from makoredis.txn.replica import EVERYTHING_TOUCHED
from resp.encode import encode
from resp.replies import Error

if TYPE_CHECKING:
    from makoredis.server.server import Server
    from makoredis.server.session import Session
    from makoredis.server.shards.router import Router

RETRY_SECONDS = 1.0
"""A waiting request is tried again after this even if nothing has been seen to change."""


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits for keys; `Session.blocked` while it is not being tried."""

    session: "Session"
    route: Route
    argv: list[bytes]
    asked: list[bytes]
    """As the client has sent it."""
    names: list[Name] = field(default_factory=list)
    is_silent: bool = False
    deadline_ms: int = -1
    """0: never; -1: not known yet."""
    on_timeout: bytes = b""
    has_own_type: bool = False
    """See `Blocked`."""
    is_trying: bool = False
    is_woken: bool = False
    tried_at: float = 0.0
    micros: int = 0
    """That all tries took."""
    ends_with: bytes | None = None
    """The reply if the present try finds nothing (CLIENT UNBLOCK, time-out)."""


class Waiting:
    """All requests of this node's clients that wait for keys."""

    def __init__(self, server: "Server", router: "Router") -> None:
        self.server = server
        self.router = router
        self.waiters: dict[int, Waiter] = {}
        """By session, in order of arrival."""
        self._by_key: dict[Name, dict[int, Waiter]] = {}

    def start(self, session: "Session", route: Route, argv: list[bytes]) -> None:
        """Tries a request; it waits if it has to."""
        waiter = Waiter(session, route, argv, argv, is_silent=session.reply_mode in ("off", "skip"))
        waiter.names = list(dict.fromkeys(names_of(route, argv, session.database, self.server.config.databases)))
        self.waiters[session.id] = waiter
        for name in waiter.names:
            self._by_key.setdefault(name, {})[session.id] = waiter
        self.router.shards.snapshot.note_keys(True)
        self._try(waiter)

    def _try(self, waiter: Waiter) -> None:
        waiter.is_trying, waiter.is_woken, waiter.tried_at = True, False, monotonic()
        job = self.router.job_of(waiter.session, waiter.route, waiter.argv, lambda ran: self._tried(waiter, ran))
        job.run = type(job.run)(job.run.protocol, job.run.commands, False, may_block=True, no_touch=job.run.no_touch)
        if not divide(self.router.slots, job.names):
            self._forget(waiter.session.id)
        self.router.begin(job)

    def _tried(self, waiter: Waiter, ran: Ran | None) -> None:
        assert ran is not None
        waiter.is_trying = False
        waiter.micros += sum(ran.micros)
        session, blocked = waiter.session, ran.blocked
        stays = waiter.has_own_type and ran.replies[0].startswith(b"-WRONGTYPE")
        if (blocked is None and not stays) or waiter.session.id not in self.waiters:
            self.router.publish(session, ran)
            self._end(waiter, ran.replies[0])
            return
        if blocked is not None:
            self._take_over(waiter, blocked)
        if waiter.ends_with is not None:
            self._end(waiter, waiter.ends_with)
            return
        session.blocked = waiter
        session.refresh_special()
        self.router.requests.flush_late(session)

    def _take_over(self, waiter: Waiter, blocked: Blocked) -> None:
        if waiter.deadline_ms < 0:
            waiter.deadline_ms = self.server.now_ms + blocked.timeout_ms if blocked.timeout_ms else 0
            if waiter.deadline_ms:
                self.server.timer.wake_at(waiter.deadline_ms)
        waiter.on_timeout = blocked.on_timeout
        waiter.has_own_type = blocked.has_own_type
        if blocked.words is not None:
            waiter.argv = blocked.words

    def _end(self, waiter: Waiter, reply: bytes) -> None:
        self._forget(waiter.session.id)
        self.router.requests.accounts.answered(waiter.session, waiter.route, waiter.asked, reply, waiter.micros)
        if waiter.is_silent:
            reply = b""
        self.router.requests.reply(waiter.session, reply)

    # -- waking

    def note(self, touched: Iterable[Name]) -> None:
        """Keys have changed."""
        for name in touched:
            if name == EVERYTHING_TOUCHED:
                for waiter in self.waiters.values():
                    waiter.is_woken = True
            for waiter in self._by_key.get(name, {}).values():
                waiter.is_woken = True

    def serve(self) -> bool:
        """Tries those again whose keys have changed. Returns whether there were any."""
        ready = [waiter for waiter in self.waiters.values() if waiter.is_woken and not waiter.is_trying]
        for waiter in ready:
            self._try(waiter)
        return bool(ready)

    def tick(self) -> None:
        """Ends what has waited long enough, and tries again what may have been missed."""
        now = monotonic()
        for waiter in list(self.waiters.values()):
            if 0 < waiter.deadline_ms <= self.server.now_ms:
                self.finish(waiter.session, waiter.on_timeout)
            elif not waiter.is_trying and now - waiter.tried_at > RETRY_SECONDS:
                self._try(waiter)

    def next_deadline_ms(self) -> int | None:
        """When somebody's time is over."""
        return min((waiter.deadline_ms for waiter in self.waiters.values() if waiter.deadline_ms > 0), default=None)

    # -- ends

    def finish(self, session: "Session", reply: bytes) -> None:
        """Ends a session's waiting, at once or when the present try is over."""
        waiter = self.waiters[session.id]
        if waiter.is_trying:
            waiter.ends_with = reply
            waiter.deadline_ms = 0
        else:
            self._end(waiter, reply)

    def unblock(self, session: "Session", *, with_error: bool) -> bool:
        """CLIENT UNBLOCK. False: the session does not wait."""
        waiter = self.waiters.get(session.id)
        if waiter is None or waiter.deadline_ms < 0:
            return False
        error = encode(Error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK"), session.protocol)
        self.finish(session, error if with_error else waiter.on_timeout)
        return True

    def _forget(self, session_id: int) -> None:
        waiter = self.waiters.pop(session_id, None)
        if waiter is None:
            return
        for name in waiter.names:
            queue = self._by_key[name]
            queue.pop(session_id, None)
            if not queue:
                del self._by_key[name]
        if not self.waiters:
            self.router.shards.snapshot.note_keys(False)

    def forget(self, session: "Session") -> None:
        """A client is gone."""
        self._forget(session.id)
