"""What happens though no client has sent anything: deadlines, and the tick."""

import time
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from makoredis.server.server import Server

TICK_SECONDS = 0.1


class Timer:
    """A task beside the reactor's; each time that it wakes up is a turn."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self._scope: trio.CancelScope | None = None
        self._last_second = 0.0

    def wake_at(self, when_ms: int) -> None:
        """Makes sure that deadlines are looked at at a moment, Unix milliseconds."""
        scope = self._scope
        if scope is not None:
            at = trio.current_time() + max(0, when_ms - int(time.time() * 1000)) / 1000
            scope.deadline = min(scope.deadline, at)

    async def run(self) -> None:
        """Looks at deadlines when they are due, and ticks ten times a second."""
        server = self.server
        next_tick = trio.current_time()
        while True:
            with trio.CancelScope(deadline=self._next_wakeup(next_tick)) as self._scope:
                await trio.sleep_forever()
            self._scope = None
            server.begin_turn()
            if trio.current_time() >= next_tick:
                next_tick = trio.current_time() + min(TICK_SECONDS, server.node.settings.tick_seconds)
                self.tick()
            if server.node.transport is not None:
                server.node.transport.send_due()
            server.blocking.expire(server.now_ms)
            if server.router is not None:
                server.router.waiting.tick()
            server.pause.end_if_over()
            server.reactor.run_resumed()
            server.end_turn()
            server.reactor.flush()

    def _next_wakeup(self, next_tick: float) -> float:
        """The earliest of what is due, in trio's time."""
        server, now = self.server, trio.current_time()
        deadlines = [
            server.blocking.next_deadline_ms(),
            server.waits.next_deadline_ms(),
            server.eviction.next_deadline_ms(),
        ]
        if server.router is not None:
            deadlines.append(server.router.waiting.next_deadline_ms())
        at = next_tick
        if server.node.transport is not None:
            due = server.node.transport.next_due()
            at = at if due is None else min(at, now + max(0.0, due - time.monotonic()))
        deadline = min((each for each in deadlines if each is not None), default=None)
        return at if deadline is None else min(at, now + max(0, deadline - time.time() * 1000) / 1000)

    def tick(self) -> None:
        """Ten times a second: expiry, the node's own timers, idle clients."""
        server = self.server
        server.node.tick()
        if server.node.is_replicated:
            server.forwarding.tick()
        if server.router is not None:
            server.router.tick()
        server.expiry.run()
        server.answer_saves()
        server.rates.sample(
            server.now, server.commands_processed(), server.stats.input_bytes, server.stats.output_bytes
        )
        if server.now - self._last_second >= 1.0:
            self._last_second = server.now
            self._close_idle()
            for session in list(server.by_id.values()):
                if session.unsent_bytes:
                    server.check_output_limit(session)
        server.refresh_special()

    def _close_idle(self) -> None:
        server = self.server
        timeout = server.config.timeout_seconds
        if not timeout:
            return
        for session in list(server.by_id.values()):
            waits = session.blocked is not None or session.subscription_count() or session.is_monitor
            if not waits and server.now - session.last_active > timeout:
                server.reactor.close(session, "idle")
