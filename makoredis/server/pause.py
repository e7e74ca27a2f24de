"""CLIENT PAUSE: requests that wait until a moment in time. Nothing expires meanwhile: deletions would be writes."""

from typing import TYPE_CHECKING

from makoredis.base.errors import ClientError
from makoredis.commands.lua.function_libraries import Function
from makoredis.commands.lua.scripts import Script
from makoredis.server.routes import Route
from makoredis.server.session import Session

if TYPE_CHECKING:
    from makoredis.server.server import Server

_MAY_WRITE = frozenset(("PUBLISH", "SPUBLISH", "PFCOUNT"))
"""PFCOUNT keeps its result in the key; messages are replicated."""
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
        self.server.timer.wake_at(until_ms)
        self.server.refresh_special()

    def count(self) -> int:
        """How many clients wait for its end."""
        return sum(session.blocked is self for session in self._parked)

    def is_on(self) -> bool:
        return self.until_ms > self.server.now_ms

    def holds(self, session: Session, route: Route, argv: list[bytes]) -> bool:
        """Whether this request has to wait."""
        if not self.is_on() or route.name in _EXEMPT:
            return False
        if not self.writes_only:
            return True
        if route.name == "EXEC":
            return any(self._may_write(*queued) for queued in session.multi or ())
        return self._may_write(route, argv)

    def _may_write(self, route: Route, argv: list[bytes]) -> bool:
        return route.is_write or route.name in _MAY_WRITE or self._may_write_in_script(route.name, argv)

    def _may_write_in_script(self, name: str, argv: list[bytes]) -> bool:
        """Whether it is a script or a function that has not declared `no-writes`."""
        engine = self.server.scripting.engine
        try:
            if name == "EVAL":
                found: Script | Function | None = engine.scripts.load(argv[1])
            elif name == "EVALSHA":
                found = engine.scripts.find(argv[1])
            elif name == "FCALL":
                found = engine.find_function(self.server.node.host.access, argv[1])
            else:
                return False
        except ClientError:
            return False  # it will only say what is wrong with it
        return found is None or b"no-writes" not in (found.flags or ())

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
