"""MAKO MOVE and MAKO SLOTS: which shard has which slots, where there are several.

MOVE says what is to be, in one transaction over all shards; it is answered when that is final. The leaders of the
shards see to it from then on (`makoredis.cluster.moving`), whoever asked for it. Said again, it goes on with what is
left.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError, printable
from makoredis.base.ids import SLOT_COUNT
from makoredis.data.slot_table import Goal, SlotTable
from makoredis.server.routes import NO_REPLY, session_command
from makoredis.server.session import Session
from makoredis.txn.coordinator import Finished
from makoredis.txn.handover import aim, decode_described, describe
from resp.encode import encode
from resp.replies import OK, Map

if TYPE_CHECKING:
    from makoredis.server.server import Server
    from makoredis.server.shards.router import Router

_SYNTAX = ClientError("ERR syntax error, MAKO MOVE SLOTS <first-slot> <last-slot> TO <shard> or MAKO MOVE STOP")


@session_command("MAKO|MOVE", "Has slots moved to a shard while everything goes on, or leaves them where they are.")
def mako_move(server: "Server", session: Session, *words: bytes) -> Any:
    router = _router(server)
    what = words[0].upper()
    if what == b"STOP" and len(words) == 1:
        goal = Goal(0, SLOT_COUNT - 1, 0)
    elif what == b"SLOTS" and len(words) == 5 and words[3].upper() == b"TO":
        goal = Goal(_slot(words[1]), _slot(words[2]), _shard(router, words[4]))
        if goal.first > goal.last:
            raise ClientError("ERR the first slot is behind the last one")
    else:
        raise _SYNTAX
    _move(router, session, goal)
    return NO_REPLY


def _move(router: "Router", session: Session, goal: Goal) -> None:
    def finished(result: Finished) -> None:
        router.requests.reply(session, OK.encoded)

    again = partial(_move, router, session, goal)
    router.requests.coordinate(session, aim(router.slots.shards, goal), finished, again, is_read_only=False)


@session_command("MAKO|SLOTS", "Returns which slots each shard has, and what is still to be moved.")
def mako_slots(server: "Server", session: Session) -> Any:
    _look(_router(server), session)
    return NO_REPLY


def _look(router: "Router", session: Session) -> None:
    def finished(result: Finished) -> None:
        router.requests.reply(session, encode(_answer(router, result), session.protocol))

    again = partial(_look, router, session)
    router.requests.coordinate(session, describe(router.slots.shards), finished, again, is_read_only=True)


def _answer(router: "Router", result: Finished) -> Map:
    """All shards at one moment, as their leaders know it."""
    table, shards, moves = router.slots.first_table, [], []
    for shard, encoded in sorted(result.results.items()):
        described = decode_described(encoded)
        own = SlotTable.decode(described.table) if described.table else router.slots.first_table
        for first, last, _ in list(own.runs_of(shard)):
            table = table.assign(first, last, shard)
        shards.append((shard, described.keys))
        for goal, (slots, keys) in zip(own.goals, described.left):
            facts = (("from", shard), ("to", goal.shard), ("first", goal.first), ("last", goal.last))
            moves.append(_map(*facts, ("slots_left", slots), ("keys_left", keys)))
    runs = table.slot_runs()
    return _map(
        ("runs", [list(run) for run in runs]),
        (
            "shards",
            [
                _map(
                    ("id", shard),
                    ("slots", sum(last - first + 1 for first, last, owner in runs if owner == shard)),
                    ("keys", keys),
                )
                for shard, keys in shards
            ],
        ),
        ("moves", moves),
    )


def _map(*pairs: tuple[str, Any]) -> Map:
    return Map([(name.encode(), value) for name, value in pairs])


def _router(server: "Server") -> "Router":
    router: Router | None = server.router
    if router is None:
        raise ClientError("ERR this cluster has one shard, so there is nowhere to move slots to")
    return router


def _slot(raw: bytes) -> int:
    if not raw.isdigit() or not 0 <= int(raw) < SLOT_COUNT:
        raise ClientError(f"ERR '{printable(raw[:64])}' is not a slot: 0 to {SLOT_COUNT - 1}")
    return int(raw)


def _shard(router: "Router", raw: bytes) -> int:
    count = len(router.slots.shards)
    if not raw.isdigit() or not 1 <= int(raw) <= count:
        raise ClientError(f"ERR '{printable(raw[:64])}' is not a shard: 1 to {count}")
    return int(raw)
