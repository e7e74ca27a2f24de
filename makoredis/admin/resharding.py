"""`makoctl slots`, `reshard` and `rebalance`: which shard has which slots, and moving them.

The cluster moves slots itself once it has been told (`MAKO MOVE`). So a tool that is stopped, or a node that dies,
leaves nothing half done: the move goes on, and the same command given again shows how far it is.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from makoredis.admin.wire import Refused
from makoredis.base.ids import SLOT_COUNT
from makoredis.base.record import record

COMMANDS = ("slots", "reshard", "rebalance")
BAR_WIDTH = 40

Facts = dict[str, Any]
"""The answer of MAKO SLOTS."""
Run = tuple[int, int, int]
"""First and last slot, and a shard."""


class Caller(Protocol):
    """A connection to a node (`makoctl.Client`)."""

    def call(self, *words: str) -> Any: ...

    def wait_for(self, look: Any, condition: Any, what: str) -> Any: ...


@record
class Move:
    """Slots that are to go from one shard to another."""

    first: int
    last: int
    source: int
    target: int

    @property
    def count(self) -> int:
        return self.last - self.first + 1


def add_parsers(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """The command lines, each added by its name and a line of help."""
    add("slots", "which slots each shard has, and what is being moved")
    reshard = add("reshard", "move slots to a shard while everything goes on")
    reshard.add_argument("first", type=_slot)
    reshard.add_argument("last", type=_slot)
    reshard.add_argument("shard", type=int)
    rebalance = add("rebalance", "give all shards equally many slots")
    rebalance.add_argument("--dry-run", action="store_true", help="print the plan and do nothing")
    rebalance.add_argument("--only", metavar="SHARDS", help="have no slots in shards but these: 1,2,4")


def _slot(text: str) -> int:
    if not text.isdigit() or int(text) >= SLOT_COUNT:
        raise argparse.ArgumentTypeError(f"'{text}' is not a slot (0 to {SLOT_COUNT - 1})")
    return int(text)


def run(client: Caller, options: argparse.Namespace) -> Facts:
    """Does what the command line says. Returns what is to be shown.

    Raises: Failure, Refused.
    """
    facts: Facts = client.call("MAKO", "SLOTS")
    if options.command == "slots":
        return {**facts, "text": text(facts)}
    if options.command == "reshard":
        _check_run(facts, options.first, options.last, options.shard)
        moves = plan_of(runs(facts), options.first, options.last, options.shard)
        words = [("SLOTS", str(options.first), str(options.last), "TO", str(options.shard))]
    else:
        shards = _chosen(facts, options.only)
        moves = plan(runs(facts), shards)
        words = [("SLOTS", str(move.first), str(move.last), "TO", str(move.target)) for move in moves]
    shown = "\n".join(map(_line, moves)) or "nothing is to be moved"
    if options.command == "rebalance" and options.dry_run:
        return {"moves": [_fields(move) for move in moves], "text": shown}
    if not options.json:
        print(shown, flush=True)
    for each in words:
        client.call("MAKO", "MOVE", *each)
    if not options.no_wait:
        facts = _wait(client, sum(move.count for move in moves), is_shown=not options.json)
    return {**facts, "text": text(facts)}


def _wait(client: Caller, total: int, *, is_shown: bool) -> Facts:
    def is_done(facts: Facts) -> bool:
        left = min(total, sum(move["slots_left"] for move in facts["moves"]))
        if is_shown and total:
            print("\r" + bar(total - left, total), end="\n" if not facts["moves"] else "", file=sys.stderr, flush=True)
        return not facts["moves"]

    found: Facts = client.wait_for(lambda: client.call("MAKO", "SLOTS"), is_done, "slots are still on their way")
    return found


def bar(done: int, total: int) -> str:
    """How far it is."""
    filled = BAR_WIDTH * done // total
    return f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done} of {total} slots"


def runs(facts: Facts) -> list[Run]:
    return [(first, last, shard) for first, last, shard in facts["runs"]]


def _check_run(facts: Facts, first: int, last: int, target: int) -> None:
    """Raises: Refused."""
    if first > last:
        raise Refused(f"slots {first} to {last} are none; the first one comes first")
    _check_shard(str(target), [shard["id"] for shard in facts["shards"]])


def _check_shard(word: str, known: Sequence[int]) -> None:
    """Raises: Refused."""
    if word not in map(str, known):
        raise Refused(f"there is no shard '{word}'; there are {', '.join(map(str, known))}")


def _chosen(facts: Facts, only: str | None) -> list[int]:
    known = [shard["id"] for shard in facts["shards"]]
    if only is None:
        return known
    named = only.split(",")
    for word in named:
        _check_shard(word, known)
    return [shard for shard in known if str(shard) in named]


def plan_of(current: Iterable[Run], first: int, last: int, target: int) -> list[Move]:
    """What moving a run of slots to a shard means."""
    return [
        Move(max(first, start), min(last, end), shard, target)
        for start, end, shard in current
        if shard != target and start <= last and end >= first
    ]


def plan(current: Sequence[Run], shards: Sequence[int]) -> list[Move]:
    """The moves after which these shards have equally many slots and no others have any. No slot goes in vain."""
    have = dict.fromkeys(shards, 0)
    for first, last, shard in current:
        have[shard] = have.get(shard, 0) + last - first + 1
    # What is left over of an equal division stays with those that have most.
    fullest = sorted(shards, key=have.__getitem__, reverse=True)
    wanted = {shard: SLOT_COUNT // len(shards) + (at < SLOT_COUNT % len(shards)) for at, shard in enumerate(fullest)}
    surplus = {shard: count - wanted.get(shard, 0) for shard, count in have.items()}
    missing = [[shard, -count] for shard, count in sorted(surplus.items()) if count < 0]
    moves: list[Move] = []
    for first, last, shard in reversed(current):
        while missing and surplus[shard] > 0 and first <= last:
            target, room = missing[0]
            count = min(room, surplus[shard], last - first + 1)
            moves.append(Move(last - count + 1, last, shard, target))
            last -= count
            surplus[shard] -= count
            missing[0][1] -= count
            if not missing[0][1]:
                missing.pop(0)
    return sorted(moves, key=_first)


def _first(move: Move) -> int:
    return move.first


def _line(move: Move) -> str:
    return f"slots {move.first}-{move.last} ({move.count}): shard {move.source} -> shard {move.target}"


def _fields(move: Move) -> dict[str, int]:
    return {"first": move.first, "last": move.last, "from": move.source, "to": move.target}


def text(facts: Facts) -> str:
    """For people."""
    lines = []
    for shard in facts["shards"]:
        mine = ",".join(f"{first}-{last}" for first, last, owner in runs(facts) if owner == shard["id"]) or "none"
        lines.append(f"shard {shard['id']}: {shard['slots']} slots, {shard['keys']} keys: {mine}")
    for move in facts["moves"]:
        left = f"{move['slots_left']} slots with {move['keys_left']} keys to go"
        lines.append(f"slots {move['first']}-{move['last']} from shard {move['from']} to shard {move['to']}: {left}")
    return "\n".join(lines)
