"""The fastest path where there are several shards: equal commands for one shard that is led here, run together.

As `makoredis.server.series`, with the same limits, for commands with one key. What one session writes is a transaction
of its own, as every batch is (`makoredis.server.shards.direct`). What sessions only read is read together. Whatever
meets a lock, or is not to be run here, is left to `Direct`.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from time import perf_counter
from typing import TYPE_CHECKING

from makoredis.base.errors import ClientError, Fatal
from makoredis.base.ids import ShardId
from makoredis.data.access import Access
from makoredis.server.dispatch import Work
from makoredis.server.routes import Route
from makoredis.server.series import SERIES_MIN
from makoredis.txn.participant import Participant
from resp.encode import encode_all

if TYPE_CHECKING:
    from makoredis.server.shards.direct import Direct

REPLY_BYTES_MAX = 64 * 1024
"""As long as the replies may be that the log keeps of one transaction."""
_NAME = itemgetter(0)
Group = tuple[bytes, ShardId, int, int]
"""Name of a command, shard, database, protocol."""


class ShardSeries:
    """Runs the series among what a turn has read."""

    def __init__(self, direct: "Direct") -> None:
        self.direct = direct
        self.server = direct.server
        self.routes = {word: route for word, route in direct.routes.items() if _is_fit(route)}

    def run(self, work: Iterable[Work]) -> Iterable[Work]:
        """Executes the series in `work`, while `SeriesRunner.is_calm`. Returns what is left to be run."""
        direct, node = self.direct, self.server.node
        if node.now() >= direct.shards.tick_due:
            node.account_time()
        left: list[Work] = []
        reads: dict[Group, list[Work]] = {}
        for item in work:
            session, requests = item
            name = requests[0][0]
            route = self.routes.get(name)
            if (
                route is None
                or session.is_special
                or session.held
                or session.closed_reason is not None
                or not route.row.accepts(len(requests[0]))
                or (len(requests) > 1 and list(map(_NAME, requests)).count(name) != len(requests))
            ):
                left.append(item)
                continue
            shard = ShardId(direct.shard_of(route, requests[0]))
            if not route.is_write:
                reads.setdefault((name, shard, session.database, session.protocol), []).append(item)
            elif not self._try(route, shard, [item]):
                left.append(item)
        for (name, shard, _, _), items in reads.items():
            if not self._try(self.routes[name], shard, items):
                left += items
        return left

    def _try(self, route: Route, shard: ShardId, items: list[Work]) -> bool:
        """Runs a series. False: nothing has happened, and each request is to be run by itself."""
        requests = items[0][1] if len(items) == 1 else list(chain.from_iterable([item[1] for item in items]))
        sizes = set(map(len, requests))
        if len(requests) < SERIES_MIN or not all(map(route.row.accepts, sizes)):
            return False
        participant = self.direct.shards.serving(shard)
        if participant is None or participant.locks:
            return False
        shard_of = (participant.space.slot_table or self.direct.router.slots.table).shard_of
        if {shard_of(key) for key in {argv[1] for argv in requests}} != {shard}:
            return False
        session = items[0][0]
        access = self.direct.begin(session, participant)
        access.is_replica = False
        try:
            return self._run(access, route, shard, participant, items, requests, len(sizes) == 1)
        except Fatal:
            raise
        except Exception:  # noqa: BLE001 - by itself it ends the session that it concerns
            access.rollback()
            return False
        finally:
            self.direct.done()

    def _run(
        self,
        access: Access,
        route: Route,
        shard: ShardId,
        participant: Participant,
        items: list[Work],
        requests: Sequence[list[bytes]],
        are_alike: bool,
    ) -> bool:
        started = perf_counter()
        if not are_alike or route.series is None:
            return False
        try:
            replies = route.series(access, *list(zip(*requests))[1:])
        except ClientError:
            return False
        if replies is None:
            return False
        chunks = encode_all(replies, access.protocol)
        if access.effects and (len(items) > 1 or sum(map(len, chunks)) > REPLY_BYTES_MAX):
            access.rollback()  # a read that deletes what has expired is somebody's transaction
            return False
        at = 0
        for session, own in items:
            count = len(own)
            data = chunks[at] if count == 1 else b"".join(chunks[at : at + count])
            at += count
            names = [(session.database, key) for key in {argv[1] for argv in own}]
            self.direct.finish(session, participant, names, data, shard, own)
            session.commands_count += count
            session.last_command = own[-1]
        route.missed += replies.count(None)
        route.ran(perf_counter() - started, len(requests))
        return True


def _is_fit(route: Route) -> bool:
    """Whether a command has a handler for series and one key, its first argument."""
    row = route.row
    return route.series is not None and row.first_key == row.last_key == 1
