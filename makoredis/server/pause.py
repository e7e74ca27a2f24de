"""CLIENT PAUSE: requests that wait until a moment in time."""

from typing import TYPE_CHECKING

from makoredis.server.routes import Route
from makoredis.server.session import Session

if TYPE_CHECKING:
    from makoredis.server.server import Server

_MAY_WRITE = frozenset(("EXEC", "EVAL", "EVALSHA", "FCALL", "PUBLISH", "SPUBLISH", "PFCOUNT"))
_EXEMPT = frozenset(("CLIENT|UNPAUSE", "CLIENT|PAUSE"))


class Pause:
    """While `until_ms` lies ahead, requests (or only those that may write) are kept."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.until_ms = 0
        self.writes_only = False
        self._parked: list[Session] = []

    def start(self, until_ms: int, *, writes_only: bool) -> None:
        """Begins or extends a pause; the stricter kind wins while one is on."""
        if self.until_ms > self.server.now_ms:
            until_ms = max(until_ms, self.until_ms)
            writes_only = writes_only and self.writes_only
        self.until_ms, self.writes_only = until_ms, writes_only
        self.server.wake_at(until_ms)
        self.server.refresh_special()

    def is_on(self) -> bool:
        return self.until_ms > self.server.now_ms

    def holds(self, session: Session, route: Route) -> bool:
        """Whether this request has to wait."""
        if not self.is_on() or route.name in _EXEMPT:
            return False
        return not self.writes_only or self._may_write(session, route)

    def _may_write(self, session: Session, route: Route) -> bool:
        if route.name == "EXEC" and session.multi is not None:
            return any(queued.is_write or queued.name in _MAY_WRITE for queued, _ in session.multi)
        return route.is_write or (route.name in _MAY_WRITE and route.name != "EXEC")

    def park(self, session: Session, argv: list[bytes]) -> None:
        """Keeps a request, and with it all of the session's that follow."""
        session.blocked = self
        session.backlog.appendleft(argv)
        session.refresh_special()
        self._parked.append(session)

    def end(self) -> None:
        """Lets everybody go on."""
        self.until_ms = 0
        parked, self._parked = self._parked, []
        for session in parked:
            if session.blocked is self:
                session.blocked = None
                session.refresh_special()
                self.server.reactor.resume(session)
        self.server.refresh_special()

    def end_if_over(self) -> None:
        """Ends a pause whose time has come."""
        if self.until_ms and self.until_ms <= self.server.now_ms:
            self.end()
