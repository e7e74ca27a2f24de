"""Programs of real clients as tests: installs what they need into a folder, and runs them against a makoredis.

The packages are no dependencies of makoredis. They are taken from the environment, or from a package index into a
temporary folder; where neither has them, the test is skipped and says so.
"""

import os
import shutil
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

INSTALL_TIMEOUT_S = 300
RUN_TIMEOUT_S = 240


def python_packages(folder: Path, *names: str) -> dict[str, str]:
    """The environment of a Python that can import these packages. Skips the test when they can't be had."""
    missing = [name for name in names if find_spec(name) is None]
    if not missing:
        return dict(os.environ)
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder)]
    _install([*words, *missing], folder, f"pip cannot install {', '.join(missing)}")
    return {**os.environ, "PYTHONPATH": str(folder)}


def node_packages(folder: Path, *names: str) -> Path:
    """A folder whose scripts can require these packages of Node. Skips the test when they can't be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder.joinpath("package.json").write_text('{"private": true}')
    words = ["npm", "install", "--silent", "--no-audit", "--no-fund", *names]
    _install(words, folder, f"npm cannot install {', '.join(names)}")
    return folder


def _install(words: list[str], folder: Path, reason: str) -> None:
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{reason} within {INSTALL_TIMEOUT_S} s")
    if done.returncode:
        last = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()[-1:]
        pytest.skip(f"{reason}: {' '.join(last)[:200]}")


def run_program(words: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    """Runs a program to its end. Returns its output.

    Raises: AssertionError with that output when it fails.
    """
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    output = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, f"{' '.join(words)} failed:\n{output[-4000:]}"
    return output


class Background:
    """A worker that runs beside a test, in a process group of its own; stopped at the end of the `with` block."""

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._log = folder / "worker.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                words, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )

    def __enter__(self) -> "Background":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


def write(folder: Path, name: str, text: str) -> None:
    """Writes a program, indented as it stands in a test."""
    folder.joinpath(name).write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
