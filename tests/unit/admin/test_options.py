"""Command lines of makoctl that nobody has to be asked about."""

import pytest

from makoredis.admin.makoctl import main
from makoredis.admin.options import parse


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("nonsense", "invalid choice: 'nonsense'"),
        ("remove", "the following arguments are required: id"),
        ("remove x", "'x' is not the id of a node (1 to 65535)"),
        ("remove 0", "'0' is not the id of a node"),
        ("remove -1", "'-1' is not the id of a node"),
        ("remove 70000", "'70000' is not the id of a node"),
        ("remove 1 2", "unrecognized arguments: 2"),
        ("add 9", "the following arguments are required: HOST:PEER_PORT"),
        ("add 9 nowhere", "'nowhere' is not host:peer-port"),
        ("add 9 :1", "':1' is not host:peer-port"),
        ("add 9 host:99999", "'host:99999' is not host:peer-port"),
        ("replace 1 2", "needs ids of nodes that leave and id=host:peer-port"),
        ("replace 4=h:1", "needs ids of nodes that leave and id=host:peer-port"),
        ("replace 1 1 4=h:1", "node 1 is named twice"),
        ("replace 1 1=h:1", "node 1 is named twice"),
        ("replace 1 4=h:1 4=h:2", "node 4 is named twice"),
        ("replace 1 4=h", "'h' is not host:peer-port"),
        ("transfer 1 --shard x", "'x' is not 'all' or the id of a shard"),
        ("transfer 1 --shard 0", "'0' is not 'all' or the id of a shard"),
        ("each", "each: the following arguments are required: COMMAND"),
        ("reshard 0 16384 1", "'16384' is not a slot (0 to 16383)"),
        ("reshard -1 5 1", "'-1' is not a slot"),
        ("reshard 1 5", "the following arguments are required: shard"),
        ("--port 99999 status", "'99999' is not a port"),
        ("--timeout -1 status", "'-1' is not a number of seconds"),
        ("--timeout nan status", "'nan' is not a number of seconds"),
        ("--timeout inf status", "'inf' is not a number of seconds"),
        ("backup", "the following arguments are required: file"),
    ],
)
def test_refused(words: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    assert caught.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--port 7 --json remove 3", "remove 3 --port 7 --json", "--json remove --port 7 3"])
def test_shared_options_stand_anywhere(words: str) -> None:
    options = parse(words.split())
    found = (options.command, options.id, options.port, options.json, options.host)
    assert found == ("remove", 3, 7, True, "127.0.0.1")


def test_what_is_sent_to_each_node_is_not_looked_at() -> None:
    assert parse(["each", "CONFIG", "SET", "--port", "7"]).words == ["CONFIG", "SET", "--port", "7"]


def test_a_host_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "a..b", "--timeout", "0", "status"]) == 1
    assert capsys.readouterr().err == "makoctl: 'a..b' is not the name of a host\n"
