"""The fastest path: equal commands that are there at once, of one client's pipeline or of many clients, run together.

Most of what a small request costs is not the command but what is around it: looking up its route, checking whether
anything special is on, a transaction, a look at the clock, an encoded reply. A *series* is a number of requests of the
same command by plain clients; all that is done once for it, and it takes effect as one transaction. Commands that have
a handler for several requests (`makoredis.commands.registry.series`) are called once; those of others one after the
other.

What may be in a series:

* All that a session has sent in this turn is for one command, so its requests keep their order. Those of different
  sessions were sent at the same time, so any order among them is right.
* Nothing looks at single requests or their effects: nobody watches keys, waits for them or tracks them, no
  notifications, no MONITOR, no limit of SLOWLOG below a millisecond; uses of keys are not counted (LFU).
* Where there are other nodes, this one leads, and the session asks nothing elsewhere.

Where there are other nodes, what a session has in a series is one request as far as exactly-once is concerned: with one
number, one record of what was answered, and asked again as a whole (`ForwardKind.SERIES`), because it was one
transaction. A node that does not lead asks for it in that form at once, and then it need not be all one command,
but reads or writes.

Whatever is not so, and every series that a handler declines, is left to `Dispatcher.run`, which is the rule that this
must not differ from.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError, Fatal
from makoredis.data.access import Access
from makoredis.server.routes import Route
from makoredis.server.session import ForwardKind, Request, Session
from makoredis.txn.gate import Gate
from resp.columns import split_columns
from resp.encode import encode_runs

if TYPE_CHECKING:
    from makoredis.server.server import Server

SERIES_MIN = 3
"""Fewer requests are as cheap one by one."""
NAME_BYTES = 13
"""At the start of a request, up to the end of a name of three letters: those of one series begin alike."""
CHUNK_REQUESTS_MAX = 64
"""Of one session's, more run in portions: its replies are measured in between (`Reactor`)."""
CHUNK_BYTES_MIN = 64
"""A shorter chunk is no series by itself."""
SLOW_US_MIN = 1000
"""A series is measured as a whole. With a lower threshold in `slowlog-log-slower-than` every request is looked at."""

Item = tuple[Session, Sequence[list[bytes]]]
Chunk = tuple[Session, bytes]
"""What a session has sent, from the start of a request on."""
_NAME = itemgetter(0)


class Series:
    """Requests of one command, and whose they are."""

    __slots__ = ("_requests", "columns", "counts", "name", "sessions", "total")

    def __init__(
        self,
        name: bytes,
        sessions: list[Session],
        counts: list[int],
        columns: Sequence[Sequence[bytes]] | None,
        requests: list[list[bytes]] | None = None,
    ) -> None:
        """
        Args:
            counts: how many requests each session has sent.
            columns: the arguments, if there is the same number of them in each; else `requests` is given.
        """
        self.name = name
        self.sessions = sessions
        self.counts = counts
        self.columns = columns
        self._requests = requests
        self.total = sum(counts)

    @property
    def requests(self) -> list[list[bytes]]:
        """All of them, one behind the other."""
        if self._requests is None:
            assert self.columns is not None
            self._requests = [[self.name, *arguments] for arguments in zip(*self.columns)]
        return self._requests

    def sizes(self) -> set[int]:
        """How many words requests have, their name included."""
        return set(map(len, self.requests)) if self.columns is None else {len(self.columns) + 1}

    def by_session(self) -> Iterator[tuple[Session, list[list[bytes]]]]:
        """Each session with its requests."""
        end = 0
        for session, count in zip(self.sessions, self.counts):
            end += count
            yield session, self.requests[end - count : end]


def _of_items(name: bytes, items: list[Item]) -> Series:
    requests = list(chain.from_iterable([item[1] for item in items]))
    columns = list(zip(*requests))[1:] if len(set(map(len, requests))) == 1 else None
    return Series(name, [item[0] for item in items], [len(item[1]) for item in items], columns, requests)


class SeriesRunner:
    """Runs the series among what a turn has read."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.takes_chunks = server.node.shards is None and not server.node.is_replicated
        """Whether what sessions have sent may come unparsed. With other nodes, each request is to be kept."""
        self.routes = {word: route for word, route in server.routes.direct.items() if route.is_in_series}

    def _are_about_data(self, work: Collection[Item]) -> bool:
        """Whether any is to run; PING or INFO alone must not keep the shard from falling silent."""
        direct = self.server.routes.direct
        return any(requests[0][0] in direct for _, requests in work)

    def run(self, work: Collection[Item]) -> Iterable[Item]:
        """Executes the series in `work`. Returns what is left to be run."""
        node = self.server.node
        if not self.is_calm():
            return work
        if self.server.router is not None:
            return self.server.router.direct.series.run(work)
        if node.is_replicated and not node.serves(self._are_about_data(work)):
            return work if node.settings.redirects else self._forward(work)
        items: list[Item] = []
        left: list[Item] = []
        last_name: bytes | None = None
        by_name: dict[bytes, list[Item]] = {}
        routes = self.routes
        for item in work:
            session, requests = item
            name = requests[0][0]
            if name != last_name:
                if name not in routes:
                    left.append(item)
                    continue
                last_name = name
                items = by_name.setdefault(name, [])
            if (
                session.is_special
                or session.remote_count
                or session.closed_reason is not None
                or (len(requests) > 1 and list(map(_NAME, requests)).count(name) != len(requests))
                or (items and (session.database != items[0][0].database or session.protocol != items[0][0].protocol))
            ):
                left.append(item)
            else:
                items.append(item)
        for name, items in by_name.items():
            if not items or not self._try(routes[name], _of_items(name, items)):
                left += items
        return left

    def run_chunks(self, chunks: list[Chunk]) -> list[Chunk]:
        """Executes the series among what plain sessions have sent, without a parser's work for each of them.

        Returns: the chunks that are left to be parsed.
        """
        is_single = len(chunks) == 1 and len(chunks[0][1]) < CHUNK_BYTES_MIN
        if is_single or not self.is_calm():
            return chunks
        left: list[Chunk] = []
        groups: dict[tuple[bytes, int, int], list[Chunk]] = {}
        for chunk in chunks:
            session, data = chunk
            if session.is_special or session.closed_reason is not None:
                left.append(chunk)  # it has become so since
                continue
            groups.setdefault((data[:NAME_BYTES], session.database, session.protocol), []).append(chunk)
        for group in groups.values():
            if not self._run_chunks(group):
                left += group
        return left

    def _run_chunks(self, chunks: list[Chunk]) -> bool:
        """Runs what may be a series. False: nothing has happened."""
        data = [chunk[1] for chunk in chunks]
        if len(chunks) < SERIES_MIN and sum(each.count(b"\r\n*") + 1 for each in data) < SERIES_MIN:
            return False
        split = split_columns(data)
        route = None if split is None else self.routes.get(split.name)
        if split is None or route is None or max(split.counts) > CHUNK_REQUESTS_MAX:
            return False
        return self._try(route, Series(split.name, [chunk[0] for chunk in chunks], split.counts, split.columns))

    def is_calm(self) -> bool:
        """Whether nothing looks at single requests or effects."""
        server = self.server
        node = server.node
        return not (
            server.is_special
            or server.observes_effects
            or node.host.executor.announces
            or node.host.space.config.notify_events
            or node.host.space.config.counts_uses
            or 0 <= server.slow_threshold_us < SLOW_US_MIN
        )

    def _forward(self, work: Iterable[Item]) -> Iterable[Item]:
        """Has what a session has sent executed by the leader as one request. Returns what is left.

        Reads go apart from writes: the log keeps what a request was answered that has changed something.
        """
        routes, left = self.routes, []
        for item in work:
            session, requests = item
            found = [routes.get(argv[0]) for argv in requests]
            are_plain = [route is not None and route.row.accepts(len(argv)) for route, argv in zip(found, requests)]
            is_fit = all(are_plain) and len({route is not None and route.is_write for route in found}) == 1
            if len(requests) < SERIES_MIN or session.is_special or session.closed_reason or not is_fit:
                left.append(item)
                continue
            session.commands_count += len(requests)
            session.last_command = requests[-1]
            self.server.forwarding.submit(session, ForwardKind.SERIES, list(requests))
        return left

    def _try(self, route: Route, series: Series) -> bool:
        """Runs a series. False: nothing has happened, and each request is to be run by itself."""
        if series.total < SERIES_MIN or not all(map(route.row.accepts, series.sizes())):
            return False
        access = self.server.dispatcher.begin(series.sessions[0])
        try:
            return self._run(access, route, series)
        except Fatal:
            raise
        except Exception:  # noqa: BLE001 - by itself it ends the session that it concerns, as in `Reactor._execute`
            access.rollback()
            return False
        finally:
            access.unlogged = None

    def _run(self, access: Access, route: Route, series: Series) -> bool:
        server = self.server
        executor = server.node.host.executor
        started = perf_counter()
        replies: Sequence[Any] | None = None
        if series.columns is not None and route.series is not None:
            access.unlogged = None if executor.is_durable else []
            try:
                replies = route.series(access, *series.columns)
            except ClientError:
                replies = None
        if replies is None:
            replies = self._each(access, route, series)
        if access.effects and not route.is_write and server.node.is_replicated:
            access.rollback()  # deletions of what has expired: the log would keep what all were answered
        answers = encode_runs(replies, series.counts, access.protocol)
        gate: Gate | None = None
        if access.effects or access.unlogged:
            gate = executor.commit(access, server.wall_us, count=series.total)
        self._answer(access, route, series, answers, gate)
        route.missed += replies.count(None)
        route.ran(perf_counter() - started, series.total)
        return True

    def _each(self, access: Access, route: Route, series: Series) -> list[Any]:
        """The replies of requests that are run one after the other."""
        server, handler = self.server, route.handler
        slow_seconds = server.slow_threshold_us / 1e6 if server.slow_threshold_us >= 0 else float("inf")
        replies = []
        started = perf_counter()
        for session, requests in series.by_session():
            for argv in requests:
                try:
                    replies.append(handler(access, *argv[1:]))
                except ClientError as error:
                    route.failed += 1
                    replies.append(server.error_reply(error))
                ended = perf_counter()
                if ended - started > slow_seconds:
                    server.note_slow(session, argv, (ended - started) * 1e6)
                started = ended
        return replies

    def _answer(
        self, access: Access, route: Route, series: Series, answers: Sequence[bytes], gate: Gate | None
    ) -> None:
        """Sends replies, behind the gate of what the series has changed, or else of what each session has read."""
        node = self.server.node
        if node.is_replicated or (gate is None and node.host.executor.pending_count):
            self._answer_each(access, route, series, answers, gate)
        else:
            for session, data in zip(series.sessions, answers):
                if gate is None and not session.held:
                    session.out.append(data)
                else:
                    session.send_bytes(data, gate)
        words = [series.name]
        for session, count in zip(series.sessions, series.counts):
            session.commands_count += count
            session.last_command = words

    def _answer_each(
        self, access: Access, route: Route, series: Series, answers: Sequence[bytes], gate: Gate | None
    ) -> None:
        """The same where it matters what each session has asked."""
        executor, is_write = self.server.node.host.executor, gate is not None
        for (session, requests), data in zip(series.by_session(), answers):
            if not is_write and executor.pending_count:
                keys = chain.from_iterable([route.row.keys(argv) for argv in requests])
                gate = executor.gate_of_reads(access.database.id, keys)
            if gate is None and not session.held:
                session.out.append(data)
            elif self.server.node.is_replicated:
                self._hold(session, requests, data, gate, is_recorded=is_write)
            else:
                session.send_bytes(data, gate)

    def _hold(
        self, session: Session, requests: list[list[bytes]], data: bytes, gate: Gate | None, *, is_recorded: bool
    ) -> None:
        """Sends replies that wait, so that the requests can be asked again should the leadership be lost."""
        session.sequence += 1
        kind = ForwardKind.SINGLE if len(requests) == 1 else ForwardKind.SERIES
        request = Request(session.sequence, kind, session.database, session.protocol, requests)
        session.send_bytes(data, gate, request)
        if is_recorded:
            record = self.server.dispatcher.record(session, data, session.sequence)
            self.server.node.host.executor.answered(record)
