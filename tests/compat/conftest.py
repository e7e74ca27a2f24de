"""Starts one real redis-server for all differential tests.

DIFFERENTIAL_EXAMPLES=2000 in the environment makes the random ones longer. DIFFERENTIAL_SHARDS=3 has all of them talk
to a server with so many shards, through the network; DIFFERENTIAL_NODES=3 to a follower of so many nodes.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.cluster.processes import Cluster
from tests.compat.harness import Differential, InProcessSide, NetworkSide
from tools.ports import free_ports

settings.register_profile(
    "differential",
    deadline=None,
    derandomize="DIFFERENTIAL_EXAMPLES" not in os.environ,
    max_examples=int(os.environ.get("DIFFERENTIAL_EXAMPLES", "60")),
    # One server for all examples is the point: every sequence starts by emptying it.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("differential")

_START_TIMEOUT_S = 20
_SHARDS = int(os.environ.get("DIFFERENTIAL_SHARDS", "1"))
_NODES = int(os.environ.get("DIFFERENTIAL_NODES", "1"))
_CLUSTER = """
cluster: differential
nodes: {{n1: {{id: 1, host: 127.0.0.1, port: {port}, peer_port: {peer_port}, dir: {folder}}}}}
shards: {shards}
"""


def connect(path: Path) -> socket.socket:
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
            connect(path).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)


@dataclass
class RunningServer:
    """A makoredis process of this session."""

    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), _START_TIMEOUT_S)


_READY = re.compile(rb"ready on 127\.0\.0\.1:([0-9]+)")


@contextmanager
def _makoredis(folder: Path) -> Iterator[RunningServer]:
    """Starts makoredis on a free port with an empty data folder, and ends it."""
    if _NODES > 1:
        with Cluster(folder, _NODES, settings={"shards": _SHARDS, "durability": "interval"}) as cluster:
            yield RunningServer(cluster.start().followers()[-1].port)
        return
    options = ["--port", "0", "--dir", str(folder), "--durability", "memory"]
    if _SHARDS > 1:
        file = folder / "cluster.yml"
        port, peer_port = free_ports(2)
        file.write_text(_CLUSTER.format(port=port, peer_port=peer_port, folder=folder / "n1", shards=_SHARDS))
        options = ["--config", str(file), "--node", "n1"]
    command = [sys.executable, "-m", "makoredis", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        ready = _READY.search(line)
        assert ready, f"makoredis did not start: {line!r}"
        yield RunningServer(int(ready[1]))
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def makoredis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """makoredis itself, in a process of its own."""
    with _makoredis(tmp_path_factory.mktemp("makoredis")) as server:
        yield server


@pytest.fixture
def network_differential(redis_server: Path, makoredis_process: RunningServer) -> Iterator[Differential]:
    """The makoredis process against the real server: slower than `differential`, but the whole way."""
    ours, theirs = NetworkSide(makoredis_process.connect), NetworkSide(lambda: connect(redis_server))
    yield Differential(ours, theirs)
    ours.close()
    theirs.close()


@pytest.fixture
def differential(request: pytest.FixtureRequest, redis_server: Path) -> Iterator[Differential]:
    """Our commands in process against the real server."""
    if _SHARDS > 1 or _NODES > 1:
        yield request.getfixturevalue("network_differential")
        return
    theirs = NetworkSide(lambda: connect(redis_server))
    yield Differential(InProcessSide(), theirs)
    theirs.close()
