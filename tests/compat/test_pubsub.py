"""Channels, patterns and keyspace notifications, as several clients hear them."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.duet import Duet
from tests.server_process import ServerProcess

STORIES = {
    "a subscriber of RESP2 may do little else": """
        A: SUBSCRIBE a b
        B: PUBLISH a hello
        B: PUBLISH c nobody
        A: PING
        A: PING x
        A: PING x y
        A: GET x
        A: UNSUBSCRIBE b zz
        A: UNSUBSCRIBE
        A: PING
        A: UNSUBSCRIBE
        A: PUNSUBSCRIBE
        A: SUNSUBSCRIBE
        """,
    "one of RESP3 may do everything, and hears itself": """
        ~A: HELLO 3
        A: SUBSCRIBE a a
        A: PSUBSCRIBE *
        A: SSUBSCRIBE a
        A: GET x
        A: PING
        B: SPUBLISH a 3
        B: PUBLISH b 4
        A: SUNSUBSCRIBE
        A: SUNSUBSCRIBE
        A: RESET
        B: PUBLISH a 1
        A: PING
        """,
    "patterns": """
        A: PSUBSCRIBE news.[ab]*
        C: SUBSCRIBE news.art
        B: PUBLISH news.art x
        B: PUBLISH news.car x
        A: PUNSUBSCRIBE news.[ab]*
        B: PUBLISH news.art x
        B: PUBSUB NUMPAT
        """,
    "PUBSUB": """
        A: SUBSCRIBE a
        A: SSUBSCRIBE s
        A: PSUBSCRIBE p*
        B: PUBSUB CHANNELS
        B: PUBSUB CHANNELS b*
        B: PUBSUB CHANNELS a b
        B: PUBSUB SHARDCHANNELS
        B: PUBSUB shardchannels a b
        B: PUBSUB SHARDNUMSUB s b
        B: PUBSUB NUMSUB a b a
        B: PUBSUB NUMSUB
        B: PUBSUB NUMPAT
        B: PUBSUB NUMPAT x
        B: PUBSUB
        B: PUBSUB FOO
        B: PUBSUB HELP
        B: PUBLISH
        B: PUBLISH a
        B: SUBSCRIBE
        B: SSUBSCRIBE
        A: QUIT
        B: PUBSUB CHANNELS
        """,
    "a transaction is heard when it is over": """
        A: SUBSCRIBE x
        B: MULTI
        B: PUBLISH x 1
        B: INCR k
        B: PUBLISH x 2
        B: EXEC
        C: MULTI
        C: SUBSCRIBE y
        C: GET k
        C: EXEC
        B: PUBLISH y 1
        C: UNSUBSCRIBE y
        """,
    "CLIENT REPLY does not silence messages": """
        ~A: HELLO 3
        A: CLIENT REPLY OFF
        A: SUBSCRIBE x
        B: PUBLISH x 1
        A: GET x
        A: CLIENT REPLY ON
        A: CLIENT REPLY SKIP
        A: SUBSCRIBE y
        A: PING
        """,
    "notifications: letters choose the classes": """
        B: CONFIG SET notify-keyspace-events KEl
        A: PSUBSCRIBE *
        B: SET foo bar
        B: LPUSH l a
        B: CONFIG SET notify-keyspace-events Eg
        B: DEL l
        B: CONFIG SET notify-keyspace-events A
        B: DEL foo
        """,
    "notifications: between published messages, where they happened": """
        B: CONFIG SET notify-keyspace-events KEA
        A: PSUBSCRIBE *
        B: MULTI
        B: SET x 1
        B: PUBLISH hello world
        B: SELECT 2
        B: INCR x
        B: EXEC
        """,
    "notifications: a client of RESP3 hears its own": """
        ~A: HELLO 3
        A: CONFIG SET notify-keyspace-events KEA
        A: SUBSCRIBE __keyspace@0__:x
        ~A: SET x 1
        A: GET x
        A: MULTI
        A: PING
        A: EXEC
        """,
    "notifications: keys expire actively and when they are looked at": """
        B: CONFIG SET notify-keyspace-events Ex
        A: PSUBSCRIBE *
        B: SET x 1 PX 30
        sleep: 1.5
        B: GET x
        B: SETEX y 100 x
        B: EXPIRE y -1
        """,
    "notifications: new keys": """
        B: CONFIG SET notify-keyspace-events En
        A: PSUBSCRIBE *
        B: SET foo bar
        B: SET foo baz
        B: MSET foo 1 bar 2
        B: LPUSH l a
        B: LPUSH l a
        B: SADD s1 a b
        B: SADD s a
        B: SMOVE s s2 a
        B: SUNIONSTORE s3 s1 s2
        B: SUNIONSTORE s3 s1 s2
        B: RENAME s3 s4
        B: RENAME s4 s1
        B: COPY s1 s5
        B: COPY s1 s5 REPLACE
        B: ZADD z 1 a
        B: XADD st 1-1 a b
        B: XGROUP CREATE st2 g $ MKSTREAM
        B: INCR cnt
        B: SORT l STORE lo
        """,
    "notifications: misses": """
        B: CONFIG SET notify-keyspace-events Em
        A: PSUBSCRIBE *
        B: SET foo bar
        B: GET foo
        B: GET no
        B: MGET no foo no
        B: EXISTS no no2
        B: TTL no
        B: TYPE no
        B: OBJECT ENCODING no
        B: MEMORY USAGE no
        B: DEL no
        B: INCR no2
        B: HGET no f
        B: LRANGE no 0 -1
        B: GETDEL no
        B: GETEX no
        B: GETSET no 1
        B: SORT no3 STORE no4
        B: WATCH no3
        B: SINTERCARD 2 foo2 no3
        B: TOUCH no3
        """,
}


@pytest.fixture(scope="module")
def duet(makoredis_server: ServerProcess, redis_server: Path) -> Iterator[Duet]:
    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(redis_server))
        return connection

    ready = ("FLUSHALL", "CONFIG SET notify-keyspace-events ''")
    yield Duet(makoredis_server.connect, connect, ready)
    with makoredis_server.client() as client:
        client.config_set("notify-keyspace-events", "")


@pytest.mark.parametrize("story", STORIES)
def test_story(duet: Duet, story: str) -> None:
    duet.tell(STORIES[story])


OWN = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n%d\r\n"
OWN_SHARDED = OWN.replace(b"$7\r\nmessage", b"$8\r\nsmessage")
OWN_OF_PATTERN = b">4\r\n$8\r\npmessage\r\n$1\r\n?\r\n$1\r\na\r\n$1\r\n%d\r\n"
SETTER = b"redis.call('PUBLISH', 'a', 4) redis.call('SET', 'k', 1) return redis.call('PUBLISH', 'a', 5)"
INVALID = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"


@pytest.mark.parametrize(
    ("requests", "heard"),
    [
        ([b"PUBLISH a 1", b"PING"], b":2\r\n" + OWN % 1 + OWN_OF_PATTERN % 1 + b"+PONG\r\n"),
        ([b"SPUBLISH a 2", b"PING"], b":1\r\n" + OWN_SHARDED % 2 + b"+PONG\r\n"),
        (
            [b"MULTI", b"SET k 1", b"PUBLISH a 3", b"PING", b"EXEC", b"PING"],
            b"+OK\r\n"
            + 3 * b"+QUEUED\r\n"
            + b"*3\r\n+OK\r\n:2\r\n+PONG\r\n"
            + OWN % 3
            + OWN_OF_PATTERN % 3
            + b"+PONG\r\n",
        ),
        (
            [[b"EVAL", SETTER, b"0"], b"PING"],
            b":2\r\n" + OWN % 4 + OWN_OF_PATTERN % 4 + OWN % 5 + OWN_OF_PATTERN % 5 + b"+PONG\r\n",
        ),
        (
            [b"CLIENT TRACKING on", b"GET k", [b"EVAL", SETTER, b"0"], b"PING"],
            b"+OK\r\n_\r\n:2\r\n"
            + OWN % 4
            + OWN_OF_PATTERN % 4
            + OWN % 5
            + OWN_OF_PATTERN % 5
            + INVALID
            + b"+PONG\r\n",
        ),
        ([b"CLIENT REPLY SKIP", b"PUBLISH a 6", b"PING"], OWN % 6 + OWN_OF_PATTERN % 6 + b"+PONG\r\n"),
    ],
)
def test_what_a_client_publishes_to_itself_comes_behind_the_reply(
    makoredis_server: ServerProcess, requests: list[bytes | list[bytes]], heard: bytes
) -> None:
    """As Redis does from 7.2 on; before, it came ahead of the reply, and within that of EXEC."""
    with makoredis_server.connect() as client, client.makefile("rb") as replies:
        greetings = [b"HELLO 3", b"FLUSHALL", b"SUBSCRIBE a", b"PSUBSCRIBE ?", b"SSUBSCRIBE a", b"ECHO ready"]
        client.sendall(b"".join(map(_encoded, greetings)))
        while replies.readline() != b"ready\r\n":
            continue
        client.sendall(b"".join(map(_encoded, requests)))
        assert replies.read(len(heard)) == heard


def _encoded(request: bytes | list[bytes]) -> bytes:
    words = request.split() if isinstance(request, bytes) else request
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
