"""COMMAND: what the server knows of its commands. redis-cli's hints and cluster clients read it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError
from makoredis.commands.arguments import SYNTAX_ERROR
from makoredis.commands.glob import matches
from makoredis.commands.table import CommandRow, KeySpec, documents
from makoredis.server.acl_categories import ALL_CATEGORIES, categories_of
from makoredis.server.commands.help import help_reply
from makoredis.server.routes import Route, session_command
from makoredis.server.session import Session
from resp.replies import Map, SetReply, Simple

if TYPE_CHECKING:
    from makoredis.server.server import Server


@session_command("COMMAND", "Returns detailed information about all commands.")
def command(server: "Server", session: Session, *ignored: bytes) -> Any:
    return [_info(server, name) for name in _top_level(server)]


@session_command("COMMAND|COUNT", "Returns a count of commands.")
def command_count(server: "Server", session: Session) -> Any:
    return len(_top_level(server))


@session_command("COMMAND|INFO", "Returns information about one, multiple or all commands.")
def command_info(server: "Server", session: Session, *names: bytes) -> Any:
    if not names:
        return command(server, session)
    return [_info(server, _table_name(name)) for name in names]


@session_command("COMMAND|DOCS", "Returns documentary information about one, multiple or all commands.")
def command_docs(server: "Server", session: Session, *names: bytes) -> Any:
    wanted = [_table_name(name) for name in names] if names else _top_level(server)
    return Map([(name.lower().encode(), _docs(server, name)) for name in wanted if _exists(server, name)])


@session_command("COMMAND|LIST", "Returns a list of command names.")
def command_list(server: "Server", session: Session, *options: bytes) -> Any:
    names = [name.lower().encode() for name in _all_names(server)]
    if not options:
        return names
    if len(options) != 3 or options[0].upper() != b"FILTERBY":
        raise SYNTAX_ERROR
    how, value = options[1].upper(), options[2]
    if how == b"PATTERN":
        return [name for name in names if matches(value.lower(), name)]
    if how == b"ACLCAT":
        category = value.decode("latin-1").lower()
        return [name for name in names if category in _categories(server, name.decode().upper())]
    if how == b"MODULE":
        return []
    raise SYNTAX_ERROR


@session_command("COMMAND|GETKEYS", "Extracts the key names from an arbitrary command.")
def command_getkeys(server: "Server", session: Session, *argv: bytes) -> Any:
    row = _row_with_keys(server, argv)
    return [argv[at] for at, _ in _key_positions(row, argv)]


@session_command("COMMAND|GETKEYSANDFLAGS", "Extracts the key names and access flags for an arbitrary command.")
def command_getkeysandflags(server: "Server", session: Session, *argv: bytes) -> Any:
    row = _row_with_keys(server, argv)
    return [[argv[at], _key_flags(spec)] for at, spec in _key_positions(row, argv)]


@session_command("COMMAND|HELP", "Returns helpful text about the different subcommands.")
def command_help(server: "Server", session: Session) -> Any:
    return help_reply(
        "COMMAND",
        "(no subcommand)",
        "    Return details about all commands.",
        "COUNT",
        "    Return the total number of commands in this server.",
        "LIST",
        "    Return a list of all commands in this server.",
        "INFO [<command-name> ...]",
        "    Return details about multiple commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about multiple commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "GETKEYS <full-command>",
        "    Return the keys from a full command.",
        "GETKEYSANDFLAGS <full-command>",
        "    Return the keys and the access flags from a full command.",
    )


def _row_with_keys(server: "Server", argv: Sequence[bytes]) -> CommandRow:
    try:
        route = server.routes.find_any_arity(argv)
    except ClientError:
        raise ClientError("ERR Invalid command specified") from None
    if not route.row.key_specs:
        raise ClientError("ERR The command has no key arguments")
    if not route.row.accepts(len(argv)):
        raise ClientError("ERR Invalid number of arguments specified for command")
    return route.row


def _key_positions(row: CommandRow, argv: Sequence[bytes]) -> list[tuple[int, KeySpec]]:
    found = row.key_positions(argv)
    if not found and "no_mandatory_keys" not in row.flags:
        raise ClientError("ERR Invalid arguments specified for command")
    return found


def _table_name(raw: bytes) -> str:
    return raw.decode("latin-1").upper()


def _top_level(server: "Server") -> list[str]:
    return sorted({name.split("|")[0] for name in server.routes.by_name})


def _all_names(server: "Server") -> list[str]:
    return sorted(set(_top_level(server)) | set(server.routes.by_name))


def _exists(server: "Server", name: str) -> bool:
    return name in server.routes.by_name or name in server.routes.containers


def _route_or_row(server: "Server", name: str) -> tuple[Route | None, CommandRow]:
    return server.routes.by_name.get(name), server.routes.row(name)


def _categories(server: "Server", name: str) -> frozenset[str]:
    return categories_of(server.routes.row(name))


def _info(server: "Server", name: str) -> Any:
    if not _exists(server, name):
        return None
    row = server.routes.row(name)
    first, last, step = _legacy_range(row)
    subcommands = [sub for sub in sorted(server.routes.by_name) if sub.startswith(name + "|")]
    return [
        name.lower().encode(),
        row.arity,
        SetReply([Simple(flag.encode()) for flag in _shown_flags(row)]),
        first,
        last,
        step,
        SetReply([Simple(b"@" + category.encode()) for category in _shown_categories(row)]),
        SetReply([tip.lower().encode() for tip in row.row.get("command_tips", ())]),
        SetReply([_key_spec(spec) for spec in row.key_specs]),
        [_info(server, sub) for sub in subcommands] if subcommands else SetReply([]),
    ]


_FLAGS = (
    *("write", "readonly", "denyoom", "module", "admin", "pubsub", "noscript", "blocking", "loading", "stale"),
    *("skip_monitor", "skip_slowlog", "asking", "fast", "no_auth", "no_mandatory_keys", "no_async_loading", "no_multi"),
    *("movablekeys", "allow_busy"),
)
"""Those that COMMAND shows, in Redis's order."""


def _shown_flags(row: CommandRow) -> list[str]:
    flags = row.flags | {"movablekeys"} if _has_movable_keys(row) else row.flags
    return [flag for flag in _FLAGS if flag in flags]


def _shown_categories(row: CommandRow) -> list[str]:
    categories = categories_of(row)
    return [category for category in ALL_CATEGORIES if category in categories]


def _has_movable_keys(row: CommandRow) -> bool:
    """Whether first key, last key and step don't say where all the keys are."""
    return any(
        spec.keyword or spec.is_counted or spec.is_unknown or "INCOMPLETE" in spec.flags for spec in row.key_specs
    )


def _key_flags(spec: KeySpec) -> SetReply:
    return SetReply([Simple((flag if len(flag) == 2 else flag.lower()).encode()) for flag in spec.flags])


def _legacy_range(row: CommandRow) -> tuple[int, int, int]:
    """First key, last key, step as COMMAND gave them before key specs: of the plain ranges only."""
    ranges = [spec for spec in row.key_specs if not (spec.keyword or spec.is_counted or spec.is_unknown)]
    if not ranges:
        return 0, 0, 0
    ends = [spec.begin + spec.last if spec.last >= 0 else spec.last for spec in ranges]
    return ranges[0].begin, ends[-1] if ends[-1] < 0 else max(ends), ranges[0].step


def _key_spec(spec: KeySpec) -> Any:
    if spec.is_unknown:
        begin: Any = Map([(b"type", b"unknown"), (b"spec", Map([]))])
    elif spec.keyword:
        begin = Map([(b"type", b"keyword"), (b"spec", Map([(b"keyword", spec.keyword), (b"startfrom", spec.begin)]))])
    else:
        begin = Map([(b"type", b"index"), (b"spec", Map([(b"index", spec.begin)]))])
    if spec.is_unknown:
        find: Any = Map([(b"type", b"unknown"), (b"spec", Map([]))])
    elif spec.is_counted:
        body = [(b"keynumidx", spec.count_at), (b"firstkey", spec.first), (b"keystep", spec.step)]
        find = Map([(b"type", b"keynum"), (b"spec", Map(body))])
    else:
        body = [(b"lastkey", spec.last), (b"keystep", spec.step), (b"limit", spec.limit)]
        find = Map([(b"type", b"range"), (b"spec", Map(body))])
    rule: list[tuple[Any, Any]] = [(b"flags", _key_flags(spec)), (b"begin_search", begin), (b"find_keys", find)]
    return Map([(b"notes", spec.notes.encode()), *rule] if spec.notes else rule)


def _docs(server: "Server", name: str) -> Any:
    route, row = _route_or_row(server, name)
    summary = route.summary if route is not None else f"A container for {name.lower()} commands."
    pairs: list[tuple[Any, Any]] = [
        (b"summary", summary.encode()),
        (b"since", row.since.encode()),
        (b"group", row.group.replace("_", "-").encode()),
    ]
    document = documents().get(name, {})
    if "complexity" in document:
        pairs.append((b"complexity", document["complexity"].encode()))
    if "deprecated_since" in row.row:
        pairs.append((b"deprecated_since", row.row["deprecated_since"].encode()))
        if row.row.get("replaced_by"):
            pairs.append((b"replaced_by", row.row["replaced_by"].encode()))
    arguments = document.get("arguments") or [_unknown_argument(each) for each in row.row.get("arguments", ())]
    if arguments:
        pairs.append((b"arguments", [_argument(argument) for argument in arguments]))
    subcommands = [sub for sub in sorted(server.routes.by_name) if sub.startswith(name + "|")]
    if subcommands:
        docs = Map([(sub.lower().encode(), _docs(server, sub)) for sub in subcommands])
        pairs.append((b"subcommands", docs))
    return Map(pairs)


def _unknown_argument(name: str) -> dict[str, Any]:
    """An argument of which only the name is known."""
    return {"name": name, "type": "key" if name in ("key", "destination", "source") else "string"}


def _argument(argument: dict[str, Any]) -> Any:
    name, kind, parts = argument["name"].encode(), argument["type"].encode(), argument.get("arguments")
    pairs: list[tuple[Any, Any]] = [(b"name", name), (b"type", kind)]
    if not parts:
        pairs.append((b"display_text", name))
    if "key_spec_index" in argument:
        pairs.append((b"key_spec_index", argument["key_spec_index"]))
    pairs += [(field.encode(), argument[field].encode()) for field in _ARGUMENT_TEXTS if field in argument]
    if "flags" in argument:
        pairs.append((b"flags", SetReply([Simple(flag.encode()) for flag in argument["flags"]])))
    if parts:
        pairs.append((b"arguments", [_argument(part) for part in parts]))
    return Map(pairs)


_ARGUMENT_TEXTS = ("token", "since", "deprecated_since")
