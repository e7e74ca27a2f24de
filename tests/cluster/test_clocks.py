"""A peer whose clock is ahead is refused, and everybody can see it."""

import socket
import time
from pathlib import Path

import pytest

from makoredis.admin.makoctl import main
from makoredis.cluster.messages import PROTOCOL_VERSION, Clock, Hello, encode_peer_message
from resp.encode import encode_command
from tests.cluster.processes import Cluster, Node, wait_for


def test_a_peer_with_a_clock_ahead_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Cluster(tmp_path).start() as cluster:
        leader = cluster.leader()
        follower = cluster.followers(leader)[0]
        follower.kill()
        with _call(leader, follower, 60_000) as ahead:
            assert ahead.recv(1) == b"", "hung up on"
        assert leader.info("mako")["refused_clocks"] == 1
        assert 55_000_000 < leader.info("mako")[f"clock_offset_us_node{follower.id}"] <= 60_000_000
        assert main(["--port", str(leader.port), "status"]) == 0
        assert "ms ahead" in capsys.readouterr().out
        assert f"the clock of node {follower.id} is" in leader.log_path.read_text()
        with _call(leader, follower, 0) as fine:
            wait_for(lambda: leader.info("mako")["refused_clocks"] == 0, "it is taken")
            fine.sendall(encode_command([encode_peer_message(Clock(_now_us() + 60_000_000))]))
            assert fine.recv(1) == b"", "hung up on once the clock has gone ahead"
        assert leader.info("mako")["refused_clocks"] == 1
        follower.start()
        wait_for(lambda: leader.info("mako")["refused_clocks"] == 0, "the real one is taken")
        wait_for(lambda: leader.info("mako")["connected_peers"] == 2, "it is connected")


def _call(node: Node, caller: Node, ahead_ms: int) -> socket.socket:
    hello = Hello(PROTOCOL_VERSION, "makoredis", caller.id, 7, _now_us() + ahead_ms * 1000)
    sock = socket.create_connection(("127.0.0.1", node.peer_port), 30)
    sock.sendall(encode_command([encode_peer_message(hello)]))
    return sock


def _now_us() -> int:
    return time.time_ns() // 1000
