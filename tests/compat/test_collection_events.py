"""Keyspace notifications of lists, sets and hashes: the same events in the same order as a real redis-server sends."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from makoredis.data import events
from tests.compat.harness import InProcessSide

SCENARIOS = {
    "push and pop": "RPUSH l a b|LPUSH l c|LPUSHX l d|RPUSHX no d|LPOP l|RPOP l|LPOP l 5|LPOP l|LPOP no 3",
    "lists in the middle": "RPUSH l a b a c|LSET l 0 x|LINSERT l BEFORE b y|LINSERT l AFTER no y|LREM l 0 a|LREM l 1 z",
    "trim": "RPUSH l a b c|LTRIM l 0 -1|LTRIM l 1 1|LTRIM l 5 9",
    "emptied by LREM": "RPUSH l a a|LREM l 0 a",
    "move": "RPUSH l a b|LMOVE l m LEFT RIGHT|RPOPLPUSH l m|LMOVE m m LEFT RIGHT|LMOVE no m LEFT RIGHT|RPUSH o x|"
    "LMOVE o o RIGHT LEFT",
    "LMPOP": "RPUSH l a b c|LMPOP 2 no l RIGHT COUNT 2|LMPOP 1 l LEFT|LMPOP 1 l LEFT",
    "served at once": "RPUSH l a b c d|BLPOP no l 0|BRPOP l 0|BLMOVE l m LEFT LEFT 0|BLMPOP 0 1 l LEFT COUNT 9",
    "sets": "SADD s a b c|SADD s a|SADD s a d|SREM s a no|SREM s no|SPOP s 1|SPOP s 9|SPOP s|SADD t a|SPOP t",
    "SMOVE": "SADD s a b|SADD t b|SMOVE s t a|SMOVE s t b|SMOVE t t a|SMOVE t u a|SMOVE t u no",
    "stored sets": "SADD s a b|SADD t b c|SINTERSTORE i s t|SUNIONSTORE u s t|SDIFFSTORE d s t|SINTERSTORE i s no|"
    "SINTERSTORE i s no|RPUSH x 1|SUNIONSTORE x s|SDIFFSTORE s s",
    "hashes": "HSET h a 1 b 2|HSET h a 1|HMSET h c 3|HSETNX h a 9|HSETNX h d 9|HINCRBY h n 2|HINCRBYFLOAT h n 0.5|"
    "HDEL h a no|HDEL h no|HDEL h b c d n|HINCRBY i n 1|HINCRBYFLOAT j n 1|HSETNX k f v",
}


@pytest.fixture
def server(redis_server: Path) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=str(redis_server)) as client:
        client.flushall()
        client.config_set("notify-keyspace-events", "EAn")
        yield client
        client.config_set("notify-keyspace-events", "")


@pytest.mark.parametrize("name", SCENARIOS)
def test_events(server: redis.Redis, name: str) -> None:
    ours = InProcessSide()
    ours.space.config.notify_events = events.ALL | events.NEW
    with server.pubsub() as listener:
        listener.psubscribe("__keyevent@0__:*")
        assert listener.get_message(timeout=60) is not None
        for line in SCENARIOS[name].split("|"):
            argv = line.encode().split()
            ours.notices.clear()
            ours.execute(argv)
            server.execute_command(*argv)
            theirs = _received_until_marker(server, listener)
            assert [(event, key) for _, event, key, _ in ours.notices] == theirs, line


def _received_until_marker(server: redis.Redis, listener: object) -> list[tuple[bytes, bytes]]:
    server.publish("__keyevent@0__:marker", b"")
    received = []
    while True:
        message = listener.get_message(timeout=60)  # type: ignore[attr-defined]
        assert message is not None
        event = message["channel"].split(b":", 1)[1]
        if event == b"marker":
            return received
        received.append((event, message["data"]))
