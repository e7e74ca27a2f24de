"""docs/configuration.md says what the configuration does."""

import ast
from dataclasses import fields
from pathlib import Path

import makoredis
from makoredis.base.config import FileConfig, NodeConfig
from makoredis.server.parameters import PARAMETERS
from tools import gen_configuration

_TABLES = ("table", "table.integer", "table.hooks", "self.values")
_WITHOUT_LITERAL_NAMES = {"enable-debug-command", "enable-module-command"}
"""`Server.allows_protected` makes these names from the command's."""


def _looked_at() -> set[str]:
    """The parameters whose name some code says to the parameter table."""
    names = set(_WITHOUT_LITERAL_NAMES)
    for path in Path(makoredis.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Subscript):
                base, name = node.value, node.slice
            elif isinstance(node, ast.Call) and len(node.args) == 1:
                base, name = node.func, node.args[0]
            else:
                continue
            is_table = any(("." + ast.unparse(base)).endswith("." + table) for table in _TABLES)
            if is_table and isinstance(name, ast.Constant) and name.value in PARAMETERS:
                names.add(name.value)
    return names


def test_the_page_is_current() -> None:
    assert gen_configuration.PAGE.read_text(encoding="utf-8") == gen_configuration.page(), "run `make docs`"


def test_every_parameter_that_the_code_looks_at_is_explained_and_no_other() -> None:
    assert _looked_at() == set(gen_configuration.MEANINGS) | set(gen_configuration.ONLY_SHOWN)


def test_no_parameter_both_does_something_and_does_not() -> None:
    assert not set(gen_configuration.MEANINGS) & set(gen_configuration.ONLY_SHOWN)


def test_every_key_of_the_file_is_explained() -> None:
    assert set(gen_configuration.FILE_KEYS) == {field.name for field in fields(FileConfig)} - {"path"}
    assert set(gen_configuration.NODE_KEYS) == {field.name for field in fields(NodeConfig)} - {"name"}
