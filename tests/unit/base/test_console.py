"""The form of log lines, and that none of them can stop a node."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from makoredis.base import console

ROOT = Path(__file__).parents[3]
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.5, "2023-11-14T22:13:20.500Z"),
        (1_700_000_000.9996, "2023-11-14T22:13:20.999Z"),
    ],
)
def test_times_are_utc_with_milliseconds(seconds: float, text: str) -> None:
    assert console.time_text(seconds) == text


def test_a_line_has_time_and_level(capfd: pytest.CaptureFixture[str]) -> None:
    console.log("warning", "the disk is full")
    assert re.fullmatch(rf"{TIME} warning: the disk is full\n", capfd.readouterr().out)


def test_what_is_announced_has_a_time_where_nobody_sits(capfd: pytest.CaptureFixture[str]) -> None:
    console.announce("ready")
    assert re.fullmatch(rf"{TIME} info: ready\n", capfd.readouterr().out)


SAYS_TWICE = "from makoredis.base import console; console.log('info', 'a'); console.log('info', 'b')"


@pytest.mark.parametrize(
    "redirection",
    [
        pytest.param(">/dev/full", id="disk is full"),
        pytest.param(">&-", id="closed"),
        pytest.param("| true", id="nobody reads"),
    ],
)
def test_lines_that_cannot_be_written_are_lost(redirection: str) -> None:
    command = f'{{ "{sys.executable}" -c "{SAYS_TWICE}"; echo $? >&2; }} {redirection}'
    ended = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert ended.stderr == "0\n"
