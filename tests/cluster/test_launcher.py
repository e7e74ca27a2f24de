"""All nodes of a file started by one command, and stopped by one Ctrl-C."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis
import yaml

from tests.cluster.cluster_process import ROOT, ClusterProcess, wait_until

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def _launch(cluster: ClusterProcess, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "makoredis", "--config", str(cluster.configs["n1"])],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )


def _wait_until_all_are_ready(cluster: ClusterProcess, log: Path) -> None:
    client = redis.Redis(port=cluster.ports["n2"], socket_timeout=40)
    wait_until(lambda: client.set("x", "1"), "the cluster takes a write")
    wait_until(lambda: len(re.findall("ready on", log.read_text())) == 3, "all nodes are ready")


def test_one_command_starts_and_stops_all_nodes(tmp_path: Path) -> None:
    cluster = ClusterProcess(tmp_path)
    log = tmp_path / "launcher.log"
    launcher = _launch(cluster, log)
    try:
        _wait_until_all_are_ready(cluster, log)
        launcher.send_signal(signal.SIGINT)
        assert launcher.wait(60) == 0
    finally:
        launcher.kill()
    text = log.read_text()
    for name in cluster.names:
        for said in ("info: makoredis .*ready on .*", "info: SIGTERM: stopping", "info: stopped"):
            assert re.search(rf"^{name} \| {TIME} {said}$", text, re.MULTILINE), text
        assert re.search(rf"^{name} \| {TIME} info: ended with status 0$", text, re.MULTILINE)
    assert "Traceback" not in text


@pytest.mark.long
def test_nodes_stop_when_their_launcher_is_killed(tmp_path: Path) -> None:
    cluster = ClusterProcess(tmp_path)
    log = tmp_path / "launcher.log"
    launcher = _launch(cluster, log)
    try:
        _wait_until_all_are_ready(cluster, log)
    finally:
        launcher.kill()
    launcher.wait()
    for port in cluster.ports.values():
        wait_until(lambda port=port: _is_free(port), f"port {port} is free")  # type: ignore[misc]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("key", ["port", "peer_port"])
def test_a_port_that_is_taken_is_named(tmp_path: Path, key: str) -> None:
    config = ClusterProcess(tmp_path).configs["n1"]
    port = yaml.safe_load(config.read_text(encoding="utf-8"))["nodes"]["n1"][key]
    with socket.create_server(("127.0.0.1", port)):
        refused = subprocess.run(
            [sys.executable, "-m", "makoredis", "--config", str(config), "--node", "n1"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=60,
        )
    assert refused.returncode == 1
    assert re.fullmatch(rf"makoredis: cannot listen .*port {port}: Address already in use\n", refused.stderr)
