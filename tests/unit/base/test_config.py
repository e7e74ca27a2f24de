"""The configuration file: what is wrong is one line that says where, what, and what would be valid."""

from pathlib import Path

import pytest

from makoredis.base.config import ConfigError, load_config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("elektion_ms: 500", "unknown key 'elektion_ms'; valid keys are: cluster"),
        ("consensus: rafft", "consensus: 'rafft' is not one of: raft, paxos"),
        ("reads: lese", "reads: 'lese' is not one of: lease, quorum"),
        ("election_ms: 500\nmax_clock_offset_ms: 251", "500 is not at least 2 × max_clock_offset_ms (251)"),
        ("election_ms: 199\nheartbeat_ms: 50", "election_ms: 199 is not at least 4 × heartbeat_ms (50)"),
        ("nodes: {n1: {id: 1, port: 7000}, n2: {id: 1, port: 7001}}", "nodes.n2.id: 1 is used twice"),
        ("nodes: {n1: {id: 1, port: 7000}, n2: {id: 2, port: 7000}}", "nodes.n2: 127.0.0.1:7000 is used by n1 too"),
        ("nodes: {a: {port: 7000, dir: x/d}, b: {port: 7001, dir: ./x/d}}", "nodes.b.dir: ./x/d is used by a too"),
        ("nodes: {n1: {prot: 1}}", "unknown key 'nodes.n1.prot'; valid keys are: id"),
        ("- a list", "the file must be a mapping of keys to values"),
    ],
)
def test_refusals(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "wrong.yml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert said in str(caught.value) and str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[3] / "conf").glob("*.yml")), ids=lambda file: file.name)
def test_the_files_that_we_give_are_right(file: Path) -> None:
    assert load_config(file).path == file
