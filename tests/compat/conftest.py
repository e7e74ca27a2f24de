"""Starts one real redis-server for all differential tests.

DIFFERENTIAL_EXAMPLES=2000 in the environment makes the random ones longer.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.compat.harness import Differential, InProcessSide, NetworkSide

settings.register_profile(
    "differential",
    deadline=None,
    max_examples=int(os.environ.get("DIFFERENTIAL_EXAMPLES", "60")),
    # One server for all examples is the point: every sequence starts by emptying it.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("differential")

_START_TIMEOUT_S = 20


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a real redis-server that keeps nothing on disk."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on the PATH: the differential tests are left out")
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "redis.sock"
    options = f"--port 0 --unixsocket {path} --save '' --appendonly no --dir {folder} --enable-debug-command yes"
    process = subprocess.Popen([program, *options.replace("''", "").split(" ")], stdout=subprocess.DEVNULL)
    try:
        _wait_for(path, process)
        yield path
    finally:
        process.terminate()
        process.wait()


def _wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        assert process.poll() is None, "redis-server did not start"
        try:
            _connect(path).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)


@pytest.fixture
def differential(redis_server: Path) -> Iterator[Differential]:
    """Our commands in process against the real server."""
    theirs = NetworkSide(lambda: _connect(redis_server))
    yield Differential(InProcessSide(), theirs)
    theirs.close()
