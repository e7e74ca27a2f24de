"""What is counted of requests where there are several shards: calls, their time, misses, and the slow log.

A request may be run more than once, on other nodes, and in vain. It counts once, where its client is, when it is
answered; its time is that of the run which the answer comes from. A run that is void leaves no trace: neither in the
counters of the commands that its scripts have called, nor with those who see all requests.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING

from makoredis.server.latencies import record_latency
from makoredis.server.routes import Route

if TYPE_CHECKING:
    from makoredis.server.server import Server
    from makoredis.server.session import Session
    from makoredis.server.shards.parts import Missing

_NULLS = frozenset((b"$-1\r\n", b"*-1\r\n", b"_\r\n"))


class Accounts:
    """The counters of one node, as far as requests over shards are concerned."""

    def __init__(self, server: "Server") -> None:
        self.server = server

    def answered(self, session: "Session", route: Route, argv: list[bytes], reply: bytes, micros: int) -> None:
        """A request is answered."""
        if reply in _NULLS:
            route.missed += 1
        self.server.dispatcher.count(session, route, argv, micros / 1e6)

    def batch_answered(
        self, session: "Session", commands: Sequence[list[bytes]], replies: Sequence[bytes], micros: Sequence[int]
    ) -> None:
        """Plain requests are answered whose calls are counted already."""
        threshold = self.server.slow_threshold_us
        for argv, reply, each in zip_longest(commands, replies[: len(commands)], micros[: len(commands)]):
            route = self.server.routes.find(argv)
            route.missed += reply in _NULLS
            if each is not None:
                route.seconds += each / 1e6
                record_latency(route.latencies, each / 1e6)
                if each > threshold >= 0:
                    self.server.note_slow(session, argv, each)

    @contextmanager
    def trying(self, missing: "Missing") -> Iterator[None]:
        """A run begins that may turn out to be void: then it was none, for all that can be seen."""
        scripting, stats = self.server.scripting, self.server.stats
        routes = self.server.routes.by_name.values()
        counters = [(each.calls, each.seconds, each.missed, each.rejected, each.failed) for each in routes]
        errors = dict(stats.errors)
        scripting.hold()
        try:
            yield
        finally:
            scripting.let_go(is_void=bool(missing))
            if missing:
                stats.errors = errors
                for each, counts in zip(routes, counters):
                    each.calls, each.seconds, each.missed, each.rejected, each.failed = counts
