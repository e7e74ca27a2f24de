"""Commands on all keys, over all shards: at one moment for all of them, except SCAN, which never is.

SCAN's cursor is a place in the order of all keys (`makoredis.data.slot_table`), so it goes from run to run, and it
makes no difference to it when keys move to another shard on the way.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError
from makoredis.base.record import wire_encode
from makoredis.commands.scan import SCAN_TAKES
from makoredis.commands.scan_options import parse_scan_options
from makoredis.data.slot_table import POSITION_MAX, position_of
from makoredis.server.routes import FLUSHES, Route
from makoredis.server.shards.keys import lock_on_all
from makoredis.server.shards.operations import Look, Looked, Run, decode_looked, decode_ran
from makoredis.txn.coordinator import Finished
from makoredis.txn.messages import Part
from resp.encode import encode

if TYPE_CHECKING:
    from makoredis.server.session import Session
    from makoredis.server.shards.router import Router

RUNS_MAX = 8
"""Over so many runs of keys one SCAN goes while it has found fewer keys than it may: over all of a few shards that have
few keys, as clients expect of a small keyspace, and not over each of a thousand runs where slots were moved a lot."""


def start(router: "Router", session: "Session", route: Route, argv: list[bytes]) -> None:
    """Runs DBSIZE, KEYS, RANDOMKEY, SCAN, FLUSHALL, FLUSHDB or SWAPDB; the reply follows."""
    refusal = router.server.node.full_disk.refusal if route.is_write else None
    if refusal is not None:
        # The leaders know of their disks; but what all of them do none can refuse alone, and it is little to write.
        session.send_reply(router.server.error_reply(ClientError(refusal)))
    elif route.is_write:
        _change(router, session, route, argv)
    elif route.name == "SCAN":
        _scan(router, session, route, argv)
    else:
        _look(router, session, route, argv)


def _change(router: "Router", session: "Session", route: Route, argv: list[bytes]) -> None:
    """Has every shard do the same to its part of whole databases."""
    operation = wire_encode(Run(session.protocol, [(session.database, argv)], False, is_on_all_keys=True))
    parts = {int(shard): Part(operation, lock_on_all(is_exclusive=True)) for shard in router.slots.shards}

    def finished(result: Finished) -> None:
        ran = [decode_ran(each) for each in result.results.values()]
        micros = max(sum(each.micros) for each in ran)
        _answer(router, session, route, argv, ran[0].replies[0], micros)
        if route.name in FLUSHES:
            router.server.tracking.emptied(session.id, result.ts)

    again = partial(_change, router, session, route, argv)
    router.requests.coordinate(session, parts, finished, again, is_read_only=False)


def _look(router: "Router", session: "Session", route: Route, argv: list[bytes]) -> None:
    operation = Look(session.database, argv)
    if router.snapshot.may_read(session) and router.snapshot.has_all():
        _reply(router, session, route, argv, router.snapshot.look(operation))
        return
    encoded = wire_encode(operation)
    parts = {int(shard): Part(encoded, lock_on_all(is_exclusive=False)) for shard in router.slots.shards}

    def finished(result: Finished) -> None:
        _reply(router, session, route, argv, [decode_looked(each) for each in result.results.values()])

    again = partial(_look, router, session, route, argv)
    router.requests.coordinate(session, parts, finished, again, is_read_only=True)


def _reply(router: "Router", session: "Session", route: Route, argv: list[bytes], parts: list[Looked]) -> None:
    errors = [part.error for part in parts if part.error]
    reply: Any
    if errors:
        reply = router.server.error_reply(ClientError(errors[0]))
    elif route.name == "DBSIZE":
        reply = sum(part.number for part in parts)
    elif route.name == "KEYS":
        reply = [key for part in parts for key in part.keys]
    else:
        found = [part for part in parts if part.keys]
        weights = [max(1, part.number) for part in found]
        rng = router.server.node.host.access.rng
        reply = rng.choices(found, weights)[0].keys[0] if found else None
    _answer(router, session, route, argv, encode(reply, session.protocol), max(part.micros for part in parts))


def _answer(router: "Router", session: "Session", route: Route, argv: list[bytes], reply: bytes, micros: int) -> None:
    """Counts the slowest shard's time: they all work at once."""
    router.requests.accounts.answered(session, route, argv, reply, micros)
    router.requests.reply(session, reply)


def _scan(
    router: "Router",
    session: "Session",
    route: Route,
    argv: list[bytes],
    found: tuple[bytes, ...] = (),
    runs: int = 1,
    micros: int = 0,
) -> None:
    """Goes on where the cursor is, over at most `RUNS_MAX` runs of keys, each of which belongs to one shard.

    Args:
        found: in the runs before this one, the first of which was the one that the client's cursor is in.
        runs: how many there are with this one.
        micros: how long those before took.
    """
    place = min(int(argv[1]), POSITION_MAX) if argv[1].isdigit() else 0
    _, last, shard = router.slots.table.run_at(place)
    operation = Look(session.database, argv, shard, place, last)

    def answered(looked: Looked) -> None:
        if looked.error:
            error = router.server.error_reply(ClientError(looked.error))
            _answer(router, session, route, argv, encode(error, session.protocol), micros + looked.micros)
            return
        keys = (*found, *(key for key in looked.keys if position_of(key) <= last))
        following = looked.number
        if not 0 < following <= last:
            following = last + 1 if last < POSITION_MAX else 0
            if following and runs < RUNS_MAX and len(keys) < parse_scan_options(tuple(argv[2:]), SCAN_TAKES).count:
                further = [argv[0], b"%d" % following, *argv[2:]]
                _scan(router, session, route, further, keys, runs + 1, micros + looked.micros)
                return
        reply = encode([b"%d" % following, list(keys)], session.protocol)
        _answer(router, session, route, argv, reply, micros + looked.micros)

    if router.snapshot.may_read(session) and router.snapshot.has_all(shard) and router.snapshot.has_run(operation):
        answered(router.snapshot.look(operation, shard)[0])
        return
    part = Part(wire_encode(operation), lock_on_all(is_exclusive=False))
    again = partial(_scan, router, session, route, argv, found, runs, micros)
    router.requests.ask(session, shard, part, lambda results, ts: answered(decode_looked(results)), again)
