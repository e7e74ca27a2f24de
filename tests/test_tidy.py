"""The rules of the house that a program can check: layers, purity, sizes, and that nothing is left undocumented."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from makoredis.server.routes import Routes

ROOT = Path(__file__).resolve().parent.parent

LAYERS = {
    "version": 0,
    "base": 0,
    "data": 1,
    "consensus": 1,
    "commands": 2,
    "txn": 2,
    "storage": 2,
    "cluster": 3,
    "server": 4,
    "admin": 5,
    "__main__": 6,
}
"""Imports point to lower numbers, or stay within the package. Packages of one number never import each other."""

PURE = ("data", "consensus", "txn", "commands")
IMPURE_MODULES = {
    "asyncio",
    "datetime",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "plyvel",
    "secrets",
    "select",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "trio",
    "uuid",
}
"""What a pure package does not import: clocks, disks, sockets, threads, chance."""

FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70
LONG_FUNCTIONS = {
    "makoredis/consensus/state.py:__init__": "declares every field of a replica's state, each with what it means",
    "makoredis/server/session.py:__init__": "declares every field of a connection's state, likewise",
}
"""Functions that may be longer, each with its reason."""

_LEFT_UNDONE = re.compile(r"\b(TODO|FIXME|XXX)\b")

CODE = ("makoredis", "resp")
EVERYTHING = ("makoredis", "resp", "tests", "tools")


def _files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, module and name of each import, those within functions and for the type checker too."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}:{node.lineno}: relative import"
            for alias in node.names:
                yield node.lineno, node.module or "", alias.name


def _package(module: str, name: str) -> str | None:
    """The package of makoredis that an import means; None for anything else."""
    parts = module.split(".")
    if parts[0] != "makoredis":
        return None
    return parts[1] if len(parts) > 1 else name


def test_every_package_has_its_layer() -> None:
    packages = {path.relative_to(ROOT / "makoredis").parts[0].removesuffix(".py") for path in _files("makoredis")}
    assert packages - {"__init__"} == set(LAYERS)


def test_imports_point_down() -> None:
    wrong = []
    for path in _files("makoredis"):
        own = path.relative_to(ROOT / "makoredis").parts[0].removesuffix(".py")
        for line, module, name in _imports(path):
            other = _package(module, name)
            if own != "__init__" and other is not None and other != own and LAYERS[other] >= LAYERS[own]:
                wrong.append(f"{_name(path)}:{line}: {own} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_resp_knows_nothing_of_makoredis() -> None:
    wrong = [
        f"{_name(path)}:{line}"
        for path in _files("resp")
        for line, module, _ in _imports(path)
        if module.split(".")[0] == "makoredis"
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_know_no_clock_disk_network_or_chance(package: str) -> None:
    wrong = []
    for path in _files(f"makoredis/{package}"):
        for line, module, name in _imports(path):
            top = module.split(".")[0]
            if top in IMPURE_MODULES or (top == "random" and name != "Random"):
                wrong.append(f"{_name(path)}:{line}: {module}")
    assert not wrong, "\n".join(wrong)


def test_only_the_engine_knows_leveldb() -> None:
    users = {_name(path) for path in _files("makoredis") for _, module, _ in _imports(path) if module == "plyvel"}
    assert users == {"makoredis/storage/engine.py"}


def test_files_stay_small() -> None:
    long = []
    for path in _files(*EVERYTHING):
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines >= FILE_LINES_MAX:
            long.append(f"{_name(path)}: {lines} lines")
    assert not long, "\n".join(long)


def _long_functions() -> Iterator[tuple[str, int]]:
    for path in _files(*CODE):
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    yield f"{_name(path)}:{node.name}", lines


def test_functions_stay_small() -> None:
    long = dict(_long_functions())
    unexpected = [f"{name}: {lines} lines" for name, lines in long.items() if name not in LONG_FUNCTIONS]
    assert not unexpected, "\n".join(unexpected)
    assert set(LONG_FUNCTIONS) <= set(long), "an exception that is not needed any more"


def test_nothing_is_left_to_do() -> None:
    wrong = []
    for path in _files(*EVERYTHING):
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if _LEFT_UNDONE.search(line):
                wrong.append(f"{_name(path)}:{number}: {line.strip()}")
    assert not wrong, "\n".join(wrong)


def test_every_module_says_what_it_is_for() -> None:
    silent = [_name(path) for path in _files(*CODE, "tools") if not ast.get_docstring(_tree(path))]
    assert not silent, "\n".join(silent)


def test_every_implemented_command_has_a_summary() -> None:
    silent = [name for name, route in Routes().by_name.items() if not route.summary.strip()]
    assert not silent, silent


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{_name(page)}: {target}")
    assert not broken, "\n".join(broken)
