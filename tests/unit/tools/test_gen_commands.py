"""docs/commands.md says what the server has."""

from makoredis.commands.table import TABLE
from makoredis.server.routes import Routes
from tools import gen_commands


def test_the_page_is_current() -> None:
    assert gen_commands.PAGE.read_text(encoding="utf-8") == gen_commands.page(), "run `make docs`"


def test_every_group_of_the_table_has_its_section() -> None:
    assert {row.group for row in TABLE.values()} == set(gen_commands.TITLES)


def test_what_is_implemented_and_what_is_not_are_told_apart() -> None:
    page = gen_commands.page()
    routes = Routes().by_name
    assert "| `GET` | 1.0.0 | " in page
    missing = next(row for row in TABLE.values() if row.name not in routes and not row.row.get("has_subcommands"))
    assert f"| `{missing.name.replace('|', ' ')}` |" not in page
    assert f"`{missing.name.replace('|', ' ')}`" in page
