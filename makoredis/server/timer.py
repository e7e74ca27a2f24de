"""What happens though no client has sent anything: deadlines, and the tick."""

import math
import time
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from makoredis.server.server import Server

TICK_SECONDS = 0.1
IDLE_TICK_SECONDS = 1.0
"""The same while the groups of this node are quiesced and nothing waits here."""


class Timer:
    """A task beside the reactor's; each time that it is due is a turn.

    While the reactor is awake it runs what is due by itself (`run_if_due`): with a tick every 50 ms on a node that
    hears its leader as often, waking a task up through trio was a third of what a node without load cost.
    """

    def __init__(self, server: "Server") -> None:
        self.server = server
        self._scope: trio.CancelScope | None = None
        self._next_tick = 0.0
        self._last_second = 0.0
        self.is_idle = False
        """Whether the next tick is far away; whoever has a turn meanwhile looks again."""

    def wake_at(self, when_ms: int) -> None:
        """Makes sure that deadlines are looked at at a moment, Unix milliseconds."""
        scope = self._scope
        if scope is not None:
            at = trio.current_time() + max(0, when_ms - int(time.time() * 1000)) / 1000
            scope.deadline = min(scope.deadline, at)

    async def run(self) -> None:
        """Looks at deadlines when they are due, and ticks."""
        self._next_tick = trio.current_time()
        while True:
            with trio.CancelScope(deadline=self._next_wakeup()) as self._scope:
                await trio.sleep_forever()
            self._scope = None
            self._turn()

    def seconds_left(self) -> float:
        """How long it is until something is due."""
        scope = self._scope
        return 0.0 if scope is None else scope.deadline - trio.current_time()

    def run_if_due(self) -> bool:
        """What is due, for whoever is awake anyway. Returns whether anything was."""
        scope = self._scope
        if scope is None or scope.deadline > trio.current_time():
            return False
        scope.deadline = math.inf
        self._turn()
        scope.deadline = min(scope.deadline, self._next_wakeup())
        return True

    def _turn(self) -> None:
        server = self.server
        server.begin_turn()
        now = trio.current_time()
        is_tick = now >= self._next_tick
        if is_tick:
            self._next_tick = now + min(TICK_SECONDS, server.node.settings.tick_seconds)
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
        if is_tick and self._is_idle():
            self.is_idle = True
            self._next_tick = now + min(IDLE_TICK_SECONDS, server.node.quiescence.state_seconds)
        elif self.is_idle:
            self.look_again()

    def _is_idle(self) -> bool:
        """Whether nothing here waits for time to pass, but deadlines."""
        server = self.server
        if not server.node.is_quiesced() or server.forwarding.waiting or server.checkpoint_waiters:
            return False
        if server.router is not None and server.router.requests.waiting:
            return False
        due_ms = server.expiry.next_due_ms()
        return not server.pause.is_on() and (due_ms is None or due_ms > server.now_ms + 1000 * IDLE_TICK_SECONDS)

    def look_again(self) -> None:
        """After a turn while `is_idle`: something may have come that must not wait."""
        self.is_idle = self._is_idle()
        if not self.is_idle:
            tick_seconds = min(TICK_SECONDS, self.server.node.settings.tick_seconds)
            self._next_tick = min(self._next_tick, trio.current_time() + tick_seconds)
        if self._scope is not None:
            self._scope.deadline = min(self._scope.deadline, self._next_wakeup())

    def _next_wakeup(self) -> float:
        """The earliest of what is due, in trio's time."""
        server, now = self.server, trio.current_time()
        deadlines = [
            server.blocking.next_deadline_ms(),
            server.waits.next_deadline_ms(),
            server.eviction.next_deadline_ms(),
        ]
        if server.router is not None:
            deadlines.append(server.router.waiting.next_deadline_ms())
        at = self._next_tick
        if server.node.transport is not None:
            due = server.node.transport.next_due()
            at = at if due is None else min(at, now + max(0.0, due - time.monotonic()))
        deadline = min((each for each in deadlines if each is not None), default=None)
        return at if deadline is None else min(at, now + max(0, deadline - time.time() * 1000) / 1000)

    def tick(self) -> None:
        """Ten times a second, less often where nothing happens: expiry, the node's own timers, idle clients."""
        server = self.server
        server.node.tick()
        if server.node.is_replicated:
            server.forwarding.tick()
        if server.router is not None:
            server.router.tick()
        server.expiry.run()
        server.answer_saves()
        server.rates.sample(
            trio.current_time(), server.commands_processed(), server.stats.input_bytes, server.stats.output_bytes
        )
        if trio.current_time() - self._last_second >= 1.0:
            self._last_second = trio.current_time()
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
