"""makoctl against a real cluster."""

import json
from pathlib import Path
from typing import Any

import pytest

from makoredis.admin.makoctl import main
from tests.cluster.processes import Cluster, wait_for


def test_a_node_comes_and_another_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Cluster(tmp_path, joining=1).start() as cluster:

        def makoctl(*words: str, status: int = 0) -> str:
            assert main(["--port", str(cluster[2].port), *words]) == status
            captured = capsys.readouterr()
            return captured.out if status == 0 else captured.err

        def look(*words: str) -> Any:
            return json.loads(makoctl("--json", *words))

        def hand_over() -> bool:
            """A node that lags at this moment is asked again."""
            status = main(["--port", str(cluster[2].port), "--json", "transfer", "4"])
            captured = capsys.readouterr()
            if status == 1 and "not caught up" in captured.err:
                return False
            assert status == 0, captured.err
            assert json.loads(captured.out)["leader"] == 4
            return True

        assert {node["id"] for node in look("status")["nodes"]} == {1, 2, 3}
        cluster[4].start()
        added = look("add", "4", f"127.0.0.1:{cluster[4].peer_port}")
        assert {node["id"] for node in added["nodes"] if node["role"] != "learner"} == {1, 2, 3, 4}
        drained = look("drain", str(added["leader"]))
        assert drained["leader"] != added["leader"]
        shown = makoctl("status")
        assert "(drained)" in shown and f"127.0.0.1:{cluster[4].port}" in shown
        look("undrain", str(added["leader"]))
        gone = look("remove", "1")
        assert {node["id"] for node in gone["nodes"]} == {2, 3, 4}
        wait_for(hand_over, "node 4 leads")
        assert makoctl("snapshot") == "OK\n"
        assert makoctl("each", "CONFIG", "SET", "slowlog-max-len", "77") == "2: OK\n3: OK\n4: OK\n"
        for node in (2, 3, 4):
            with cluster[node].client() as client:
                assert client.config_get("slowlog-max-len") == {"slowlog-max-len": "77"}
        assert "not done yet" in makoctl("--timeout", "5", "add", "9", "127.0.0.1:1", status=3)
        for command in ("drain", "undrain", "remove", "transfer"):
            assert "node 10 is not a member of cluster" in makoctl(command, "10", status=1)
        assert main(["--port", str(cluster[2].port), "remove", "10", "--json"]) == 1
        assert json.loads(capsys.readouterr().out)["status"] == 1
        refused = makoctl("each", "CONFIG", "SET", "nosuch", "1", status=1)
        assert refused.count("Unknown option") == 3 and "node 9: where it listens" in refused


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "1", "--timeout", "0", "status"]) == 1
    assert capsys.readouterr().err.startswith("makoctl: 127.0.0.1:1: ")
