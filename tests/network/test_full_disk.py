"""A node of several shards that has too little space on its disk: it writes nothing, and answers what only reads."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.server_process import ServerProcess
from tools.ports import free_ports

FAR_TOO_MUCH = 1 << 50
"""Free bytes that the node is told to want."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    settings = {
        "shards": 3,
        "nodes": {"n1": {"id": 1, "peer_port": free_ports(1)[0]}},
        "disk_free_bytes_min": FAR_TOO_MUCH,
        "disk_ballast_bytes": 0,
    }
    folder = tmp_path_factory.mktemp("full")
    with ServerProcess(folder, settings=settings, arguments=["--node", "n1"]) as server:
        yield server.client()


@pytest.mark.parametrize(
    "words",
    [
        ("SET", "a", "1"),
        ("MSET", "a", "1", "b", "2", "c", "3"),
        ("MSETNX", "a", "1", "b", "2", "c", "3"),
        ("RENAMENX", "a", "b"),
        ("SUNIONSTORE", "a", "b", "c"),
        ("PFMERGE", "a", "b", "c"),
        ("DEL", "a", "b", "c"),
        ("LMOVE", "a", "b", "LEFT", "LEFT"),
        ("BLMOVE", "a", "b", "LEFT", "LEFT", "1"),
        ("FLUSHALL",),
        ("EVAL", "return redis.call('SET', KEYS[1], 1)", "1", "a"),
        ("EVAL", "redis.call('GET', KEYS[1]) return redis.call('MSET', KEYS[1], 1, KEYS[2], 2)", "2", "a", "b"),
        ("EVAL", "return redis.call('SET', 'name' .. redis.call('DBSIZE'), 1)", "0"),
    ],
    ids=lambda words: " ".join(words[:1]),
)
def test_what_writes_is_refused(client: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(redis.ResponseError, match="MISCONF Errors writing to the log"):
        client.execute_command(*words)


def test_what_reads_is_answered(client: Any) -> None:
    assert client.mget("a", "b", "c") == [None, None, None]
    assert client.eval("return {redis.call('EXISTS', KEYS[1], KEYS[2]), redis.call('DBSIZE')}", 2, "a", "b") == [0, 0]
    with client.pipeline() as pipeline:
        assert pipeline.get("a").exists("b", "c").execute() == [None, 0]
    assert client.dbsize() == 0 and client.keys() == []


def test_a_transaction_is_refused_as_a_whole(client: Any) -> None:
    with client.pipeline() as pipeline:
        pipeline.get("a").set("b", 1).flushall()
        with pytest.raises(redis.exceptions.ExecAbortError, match="because of: MISCONF"):
            pipeline.execute()
    with client.pipeline() as pipeline:
        pipeline.set("b", 1)
        with pytest.raises(redis.exceptions.ExecAbortError, match="because of: MISCONF"):
            pipeline.execute()
    assert client.dbsize() == 0


def test_a_pipeline_goes_on_behind_what_is_refused(client: Any) -> None:
    with client.pipeline(transaction=False) as pipeline:
        replies = pipeline.mget("a", "b").mset({"a": 1, "b": 2}).get("a").execute(raise_on_error=False)
    assert replies[0] == [None, None] and replies[2] is None
    assert str(replies[1]).startswith("MISCONF")


def test_what_is_refused_is_not_logged_either(client: Any) -> None:
    def log_bytes() -> int:
        return int(client.info("mako")["log_bytes_since_checkpoint"])

    before = log_bytes()
    for _ in range(100):
        with pytest.raises(redis.ResponseError, match="MISCONF"):
            client.mset({"a": 1, "b": 2, "c": 3})
    assert log_bytes() - before < 100 * 3 * 10, "an entry in each of the three logs takes far more than ten bytes"
