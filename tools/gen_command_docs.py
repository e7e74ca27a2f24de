"""Writes makoredis/commands/docs.json: the syntax and complexity of Redis's commands, for COMMAND DOCS.

    python -m tools.gen_command_docs PORT

Asks a real redis-server there what its COMMAND DOCS says, and keeps what programs read: the arguments with their types
and tokens, from which redis-cli makes its hints, and the complexity. Commands that only later versions have are left
out; for those, COMMAND DOCS makes do with the names of their arguments in table.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

import redis

from makoredis.commands.table import TABLE

FILE = Path(__file__).resolve().parent.parent / "makoredis" / "commands" / "docs.json"
KEPT = ("complexity", "arguments")


def _plain(value: Any) -> Any:
    """Bytes as text; what has no order in it as a sorted list."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {_plain(name): _plain(item) for name, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(_plain, value))
    return [_plain(item) for item in value] if isinstance(value, list) else value


def facts(docs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What is kept, by command, of a reply; subcommands stand beside their containers."""
    found = {}
    for name, doc in docs.items():
        found[name.upper()] = {field: doc[field] for field in KEPT if field in doc}
        found |= facts(doc.get("subcommands", {}))
    return {name: kept for name, kept in found.items() if kept and name in TABLE}


def main() -> int:
    client = redis.Redis(port=int(sys.argv[1]), protocol=3)
    client.response_callbacks.clear()
    found = facts(_plain(client.execute_command("COMMAND DOCS")))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found))
    FILE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
