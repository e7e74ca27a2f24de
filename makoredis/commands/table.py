"""The facts about every command: arity, flags, where its keys are. One row each: Redis's commands from `table.json`,
makoredis's own ones from `own_table.json`, in the same form.

This table is the whole truth on a command for dispatch, routing, COMMAND, ACL categories and the generated docs; a
handler is only bound to a row by name (`makoredis.commands.registry` for commands on keys, `makoredis.server` for those
on the connection or the server). A name with `|` is a subcommand; its arity counts the container's name too.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from makoredis.base.record import record

WRITE = "write"
READONLY = "readonly"
DENY_OOM = "denyoom"
NO_SCRIPT = "noscript"
NO_MULTI = "no_multi"
BLOCKING = "blocking"
NO_AUTH = "no_auth"
ALLOW_BUSY = "allow_busy"


@record
class KeySpec:
    """One rule that finds keys among the arguments, as Redis 7 defines them.

    Begin: at position `begin`, or behind the keyword `keyword`, searched from position `begin` on (negative: from the
    end, backwards). Then either a range (`last` relative to the first key, negative from the end; every `step`-th;
    with `limit` > 1 only the first 1/limit of what is left) or, when `is_counted`, a number of keys that stands at
    `count_at` relative to the beginning, with the first key at `first`.
    """

    begin: int
    keyword: bytes
    last: int
    step: int
    limit: int
    is_counted: bool
    count_at: int
    first: int
    flags: tuple[str, ...]
    is_unknown: bool
    notes: str = ""
    """A remark for COMMAND."""


@record
class CommandRow:
    """One command of the table. `row` is what `table.json` says, for COMMAND DOCS and the generated docs."""

    name: str
    arity: int
    flags: frozenset[str]
    group: str
    since: str
    key_specs: tuple[KeySpec, ...]
    row: dict[str, Any]
    is_write: bool
    first_key: int
    """Position of the first key where the keys are a plain range, else 0."""
    last_key: int
    key_step: int
    names_all_keys: bool
    """False for SORT, whose BY and GET read keys that depend on the data."""

    def accepts(self, argument_count: int) -> bool:
        """Whether a request with so many arguments (the name counts) has the right arity."""
        return argument_count == self.arity if self.arity >= 0 else argument_count >= -self.arity

    def keys(self, argv: Sequence[bytes]) -> list[bytes]:
        """The keys that a request names."""
        if self.first_key:
            last = self.last_key
            return list(argv[self.first_key : (len(argv) + last if last < 0 else last) + 1 : self.key_step])
        return [argv[at] for at, _ in self.key_positions(argv)]

    def key_positions(self, argv: Sequence[bytes]) -> list[tuple[int, KeySpec]]:
        """Where the keys stand, each with the rule that found it."""
        refine = _REFINEMENTS.get(self.name)
        found = [(at, spec) for spec in self.key_specs for at in _positions(spec, argv)]
        return found if refine is None else refine(found, argv)


KeyPositions = list[tuple[int, KeySpec]]


def _flagged(*flags: str) -> KeySpec:
    return KeySpec(0, b"", 0, 1, 0, False, 0, 0, flags, True)


_READS = _flagged("RO", "ACCESS")
_OVERWRITES = _flagged("OW", "UPDATE")


def _refine_set(found: KeyPositions, argv: Sequence[bytes]) -> KeyPositions:
    """Only SET … GET looks at the old value."""
    if any(word.upper() == b"GET" for word in argv[3:]):
        return found
    return [(at, _OVERWRITES) for at, _ in found]


def _refine_bitfield(found: KeyPositions, argv: Sequence[bytes]) -> KeyPositions:
    """BITFIELD with nothing but GET reads."""
    if any(word.upper() in (b"SET", b"INCRBY") for word in argv[2:]):
        return found
    return [(at, _READS) for at, _ in found]


def _refine_migrate(found: KeyPositions, argv: Sequence[bytes]) -> KeyPositions:
    """MIGRATE with KEYS has "" where its only key would stand."""
    return [(at, spec) for at, spec in found if at != 3 or argv[3]]


_REFINEMENTS: dict[str, Callable[[KeyPositions, Sequence[bytes]], KeyPositions]] = {
    "SET": _refine_set,
    "BITFIELD": _refine_bitfield,
    "MIGRATE": _refine_migrate,
}
"""What the rules of the table cannot say: Redis has a function for each of these, too."""


_SORT_OPTION_WORDS = {b"LIMIT": 2, b"GET": 1, b"BY": 1}


def _sort_destination(argv: Sequence[bytes]) -> Sequence[int]:
    """Where SORT's STORE says its key; the last one counts. No rule of the table can express this."""
    found: Sequence[int] = ()
    at = 2
    while at < len(argv) - 1:
        word = argv[at].upper()
        if word == b"STORE":
            found = (at + 1,)
            at += 1
        at += 1 + _SORT_OPTION_WORDS.get(word, 0)
    return found


def _positions(spec: KeySpec, argv: Sequence[bytes]) -> Sequence[int]:
    if spec.is_unknown:
        return _sort_destination(argv) if "OW" in spec.flags else ()
    begin = _begin(spec, argv)
    if begin is None or begin >= len(argv):
        return ()
    if spec.is_counted:
        try:
            count = int(argv[begin + spec.count_at])
        except (ValueError, IndexError):
            return ()
        first = begin + spec.first
        last = first + (count - 1) * spec.step
    else:
        first = begin
        last = begin + spec.last if spec.last >= 0 else len(argv) + spec.last
        if spec.last < 0 and spec.limit > 1:
            last = begin + (len(argv) - begin) // spec.limit + spec.last
    if last >= len(argv):
        return ()
    return range(first, last + 1, spec.step)


def _begin(spec: KeySpec, argv: Sequence[bytes]) -> int | None:
    if not spec.keyword:
        return spec.begin
    if spec.begin >= 0:
        search: Sequence[int] = range(spec.begin, len(argv))
    else:
        search = range(len(argv) + spec.begin, 0, -1)
    for at in search:
        if argv[at].upper() == spec.keyword:
            return at + 1
    return None


def _key_spec(raw: dict[str, Any]) -> KeySpec:
    begin, find = raw["begin_search"], raw["find_keys"]
    keyword = begin.get("keyword") or {}
    spread = find.get("range") or {}
    counted = find.get("keynum") or {}
    return KeySpec(
        begin=(begin.get("index") or {}).get("pos", keyword.get("startfrom", 0)),
        keyword=keyword.get("keyword", "").upper().encode(),
        last=spread.get("lastkey", 0),
        step=spread.get("step", counted.get("step", 1)),
        limit=spread.get("limit", 0),
        is_counted=bool(counted),
        count_at=counted.get("keynumidx", 0),
        first=counted.get("firstkey", 0),
        flags=tuple(raw["flags"]),
        is_unknown="unknown" in find or "unknown" in begin,
        notes=raw.get("notes", ""),
    )


def _command_row(raw: dict[str, Any]) -> CommandRow:
    specs = tuple(_key_spec(spec) for spec in raw.get("key_specs", ()))
    first = last = step = 0
    if specs and not any(spec.keyword or spec.is_counted or spec.is_unknown or spec.limit > 1 for spec in specs):
        first, step = specs[0].begin, specs[0].step
        ends = [spec.begin + spec.last if spec.last >= 0 else spec.last for spec in specs]
        last = ends[-1]
    return CommandRow(
        name=raw["name"],
        arity=raw["arity"],
        flags=frozenset(raw["flags"]),
        group=raw["group"],
        since=raw["since"],
        key_specs=specs,
        row=raw,
        is_write="write" in raw["flags"],
        first_key=first,
        last_key=last,
        key_step=step,
        names_all_keys=not any(spec.is_unknown for spec in specs),
    )


def _rows(file: str) -> dict[str, CommandRow]:
    raws = json.loads(files("makoredis.commands").joinpath(file).read_text(encoding="utf-8"))
    return {raw["name"]: _command_row(raw) for raw in raws}


@cache
def documents() -> dict[str, dict[str, Any]]:
    """By command, what COMMAND DOCS says beyond the table: complexity and arguments (tools/gen_command_docs.py)."""
    found: dict[str, dict[str, Any]] = json.loads(files("makoredis.commands").joinpath("docs.json").read_text("utf-8"))
    return found


TABLE: dict[str, CommandRow] = {**_rows("table.json"), **_rows("own_table.json")}
"""Every command that Redis has, whether makoredis answers it or not, and then makoredis's own ones, by upper-case name
(`OBJECT|ENCODING`)."""
