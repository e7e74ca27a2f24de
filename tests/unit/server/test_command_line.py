"""What the command line refuses before anything is started."""

from pathlib import Path

import pytest

from makoredis.__main__ import main

CLUSTER = Path(__file__).parents[3] / "conf" / "3replica.yml"


@pytest.mark.parametrize(
    "option", [("--port", "7000"), ("--dir", "data"), ("--bind", "127.0.0.2"), ("--durability", "interval")]
)
def test_an_option_of_one_node_when_all_are_started(
    option: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("makoredis.__main__.launch", lambda *_: pytest.fail("the nodes are started all the same"))
    assert main(["--config", str(CLUSTER), *option]) == 1
    assert capsys.readouterr().err == (
        f"makoredis: {option[0]} is for one node; add --node NAME, or set it in {CLUSTER}\n"
    )


def test_several_nodes_are_fine_to_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(CLUSTER), "--check-config"]) == 0
    assert capsys.readouterr().out == "the configuration is valid\n"


def test_shards_take_nodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "makoredis.yml"
    file.write_text("shards: 3\n")
    assert main(["--config", str(file), "--check-config"]) == 1
    assert capsys.readouterr().err == (
        f"makoredis: {file}: shards: 3 takes nodes, if only one: 'nodes: {{n1: {{id: 1}}}}'\n"
    )
    file.write_text("shards: 3\nnodes: {n1: {id: 1}}\n")
    assert main(["--config", str(file), "--check-config"]) == 0
