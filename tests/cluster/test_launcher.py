"""All nodes of a file started by one command, and stopped by one Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import redis

from tests.cluster.cluster_process import ROOT, ClusterProcess, wait_until


def test_one_command_starts_and_stops_all_nodes(tmp_path: Path) -> None:
    cluster = ClusterProcess(tmp_path)
    log = tmp_path / "launcher.log"
    with log.open("wb") as output:
        launcher = subprocess.Popen(
            [sys.executable, "-u", "-m", "makoredis", "--config", str(cluster.configs["n1"])],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    try:
        client = redis.Redis(port=cluster.ports["n2"], socket_timeout=40)
        wait_until(lambda: client.set("x", "1"), "the cluster takes a write")
        wait_until(lambda: len(re.findall("ready on", log.read_text())) == 3, "all nodes are ready")
        launcher.send_signal(signal.SIGINT)
        assert launcher.wait(60) == 0
    finally:
        launcher.kill()
    text = log.read_text()
    for name in cluster.names:
        assert f"{name} | ended with status 0" in text
    assert "Traceback" not in text
