"""Every `*.txt` beside this file is a story that must happen exactly as told; ACCEPT_GOLDEN=1 rewrites what changed."""

import os
from pathlib import Path

import pytest

from tests.golden.raft.transcript import Story

STORIES = sorted(Path(__file__).parent.glob("*.txt"))


def retell(text: str) -> str:
    """Executes the commands of a transcript and puts down what happens now."""
    story = Story()
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("> "):
            lines += [line, *story.run(line[2:])]
        elif line.startswith("#") or not line:
            lines.append(line)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(path: Path) -> None:
    text = path.read_text()
    told = retell(text)
    if os.environ.get("ACCEPT_GOLDEN"):
        path.write_text(told)
    assert told == text or os.environ.get("ACCEPT_GOLDEN")


def test_there_are_stories() -> None:
    assert len(STORIES) >= 10
