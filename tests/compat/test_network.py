"""The tables of cases again, through the sockets of a makoredis process."""

from typing import Any

import pytest

from tests.compat import test_bits, test_keys, test_strings
from tests.compat.harness import Differential

CASES: dict[str, list[Any]] = {
    f"{module.__name__.rpartition('_')[2]}-{name}": cases
    for module in (test_strings, test_bits, test_keys)
    for name, cases in module.CASES.items()
}


@pytest.mark.parametrize("name", CASES)
def test_cases(network_differential: Differential, name: str) -> None:
    network_differential.check(CASES[name])


def test_what_is_said_of_a_command(network_differential: Differential) -> None:
    """In RESP3 flags, categories, tips and key specifications are sets."""
    network_differential.check(["COMMAND INFO get set ping mget nosuch", "COMMAND INFO config|get"])


def test_numbers_of_databases(network_differential: Differential) -> None:
    lines = "SELECT a;SELECT 99;SELECT -1;SELECT 9999999999999999999;SELECT 99999999999;SELECT 1;SELECT 0;SWAPDB a 0"
    network_differential.check([*lines.split(";"), ["EVAL", "return redis.call('select', 'a')", 0]])
