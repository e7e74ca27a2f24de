"""Writes docs/commands.md: which of Redis's commands are implemented, from the command table and the server's routes.

    python -m tools.gen_commands
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from makoredis.commands.table import TABLE, CommandRow
from makoredis.server.routes import Routes

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"

TITLES = {
    "generic": "Keys of any type",
    "string": "Strings",
    "bitmap": "Bitmaps",
    "hyperloglog": "HyperLogLogs",
    "list": "Lists",
    "set": "Sets",
    "hash": "Hashes",
    "sorted_set": "Sorted sets",
    "geo": "Geospatial indexes",
    "stream": "Streams",
    "pubsub": "Publish and subscribe",
    "transactions": "Transactions",
    "scripting": "Scripts and functions",
    "connection": "Connections",
    "server": "Server",
    "cluster": "Cluster",
}
"""Groups of the table, in the order of the page."""

HEAD = """\
# Commands

<!-- Written by `make docs` from the command table and the server's routes; changes belong there. -->

Of Redis's commands and subcommands, {implemented} are implemented and {missing} are not. Names, arity, flags and keys
are those of Redis (`COMMAND INFO`); *since* is the version of Redis that introduced a command.
"""


def page() -> str:
    """The whole page."""
    routes = Routes().by_name
    rows = [row for row in TABLE.values() if row.name in routes or not row.row.get("has_subcommands")]
    missing = [row for row in rows if row.name not in routes]
    parts = [HEAD.format(implemented=len(rows) - len(missing), missing=len(missing))]
    summaries = {name: route.summary for name, route in routes.items()}
    for group, title in TITLES.items():
        parts.append(_section(title, [row for row in rows if row.group == group], summaries))
    return "\n".join(parts)


def _section(title: str, rows: Iterable[CommandRow], summaries: dict[str, str]) -> str:
    lines = [f"## {title}", "", "| command | since | what it does |", "|---|---|---|"]
    missing = []
    for row in rows:
        if row.name in summaries:
            lines.append(f"| `{_shown(row)}` | {row.since} | {_escaped(summaries[row.name])} |")
        else:
            missing.append(f"`{_shown(row)}`")
    if missing:
        lines += ["", f"Not implemented: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def _shown(row: CommandRow) -> str:
    return row.name.replace("|", " ")


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
