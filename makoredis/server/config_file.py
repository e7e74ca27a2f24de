"""CONFIG REWRITE: keeps the file as the user wrote it, and puts the changed parameters at its end."""

import os
from pathlib import Path

import yaml

from makoredis.server.parameters import PARAMETERS, ParameterTable

MARK = "# Written by CONFIG REWRITE. What stands below replaces every other `parameters:` of this file.\n"


def rewrite(file: str, table: ParameterTable) -> None:
    """Writes every parameter that differs from its default into the file, atomically.

    Raises: OSError.
    """
    path = Path(file)
    text = path.read_text(encoding="utf-8").split(MARK)[0]
    changed = {
        name: table[name]
        for name, parameter in PARAMETERS.items()
        if table[name] != parameter.default and parameter.access == "mutable"
    }
    kept = _without_parameters(text)
    block = yaml.safe_dump({"parameters": changed}, sort_keys=True) if changed else ""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(kept.rstrip("\n") + "\n" + (MARK + block if block else ""), encoding="utf-8")
    os.replace(temporary, path)


def _without_parameters(text: str) -> str:
    """The file without a top-level `parameters:` block, whose values are in the new one."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        if line.startswith("parameters:"):
            inside = True
        elif inside and line.strip() and not line[0].isspace() and not line.startswith("#"):
            inside = False
        if not inside:
            lines.append(line)
    return "".join(lines)
