"""Client side caching: who is told of which change, in which order, byte for byte."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.duet import Duet
from tests.server_process import ServerProcess

STORIES = {
    "a key is invalidated once for each time it was read": """
        ~A: HELLO 3
        A: CLIENT TRACKING ON
        A: GET k
        B: SET k 1
        B: SET k 2
        A: MGET k other
        B: SET other 1
        B: SET k 3
        A: CLIENT TRACKING OFF
        A: GET k
        B: SET k 4
        """,
    "what is read in RESP2 goes to the client that was named": """
        R: SUBSCRIBE __redis__:invalidate
        A: CLIENT TRACKING ON REDIRECT {id R}
        A?: CLIENT GETREDIR
        A?: CLIENT TRACKINGINFO
        A: GET k
        B: SET k 1
        A: GET k
        A: SET k 2
        A: LRANGE l 0 -1
        B: RPUSH l 1
        B: FLUSHALL
        """,
    "an own change is heard behind the reply": """
        ~A: HELLO 3
        A: CLIENT TRACKING ON
        A: SET k 1
        A: GET k
        A: SET k 2
        A: GET k
        A: MULTI
        A: INCR k
        A: GET k
        A: EXEC
        B: INCR k
        A: GET k
        A: FLUSHALL
        """,
    "NOLOOP": """
        ~A: HELLO 3
        A: CLIENT TRACKING ON NOLOOP
        A: MGET a b
        A: SET a 1
        B: SET b 1
        B: SET a 2
        A: CLIENT TRACKINGINFO
        """,
    "OPTIN and OPTOUT": """
        ~A: HELLO 3
        A: CLIENT CACHING YES
        A: CLIENT TRACKING ON OPTIN
        A: GET a
        A: CLIENT CACHING NO
        A: CLIENT CACHING YES
        A: CLIENT TRACKINGINFO
        A: GET b
        A: GET c
        A: CLIENT CACHING YES
        A: MULTI
        A: GET d
        A: EXEC
        B: MSET a 1 b 1 c 1 d 1
        A: CLIENT TRACKING ON OPTOUT
        A: CLIENT TRACKING OFF
        A: CLIENT TRACKING ON OPTOUT
        A: GET a
        A: CLIENT CACHING YES
        A: CLIENT CACHING MAYBE
        A: CLIENT CACHING NO
        A: CLIENT TRACKINGINFO
        A: GET b
        B: MSET a 1 b 1 c 1
        """,
    "BCAST": """
        ~A: HELLO 3
        ~N: HELLO 3
        A: CLIENT TRACKING ON BCAST
        N: CLIENT TRACKING ON BCAST PREFIX a PREFIX b NOLOOP
        B: SET a1 1
        B: MSET b1 1 a2 2 c1 3
        N: SET a3 1
        A: SET a4 1
        N: CLIENT TRACKINGINFO
        A: CLIENT TRACKINGINFO
        N: CLIENT TRACKING ON BCAST PREFIX c
        B: SET c1 1
        B: FLUSHDB
        """,
    "expired keys": """
        ~A: HELLO 3
        A: CLIENT TRACKING ON
        B: SET k 1 PX 4000
        A: GET k
        sleep: 4.6
        A: GET k
        B: SET k 1
        B: EXPIRE k 100
        A: GET k
        B: PERSIST k
        A: GET k
        B: DEL k
        """,
    "a broken redirection": """
        ~A: HELLO 3
        A: CLIENT TRACKING ON REDIRECT {id R}
        A: GET k
        R: QUIT
        B: SET k 1
        A?: CLIENT TRACKINGINFO
        A: CLIENT TRACKING ON REDIRECT {id B}
        A?: CLIENT TRACKINGINFO
        """,
    "everything is emptied, even if there is nothing": """
        ~A: HELLO 3
        ~C: HELLO 3
        A: CLIENT TRACKING ON
        C: CLIENT TRACKING ON
        A: GET nothing
        B: FLUSHALL
        A: GET nothing
        A: FLUSHDB ASYNC
        B: SET nothing 1
        B: SELECT 3
        B: SET k 1
        B: FLUSHALL
        B: SET nothing 2
        """,
    "what was read before tracking ended is forgotten": """
        ~A: HELLO 3
        A: CLIENT TRACKING ON
        A: GET k
        A: CLIENT TRACKING OFF
        B: FLUSHALL
        A: CLIENT TRACKING ON
        B: SET k 1
        """,
    "scripts read what they declare, if they read at all": """
        ~A: HELLO 3
        A: CLIENT TRACKING ON
        A: EVAL "return redis.call('set', 'other', '1')" 2 a b
        B: MSET a 1 b 1
        A: EVAL "return redis.call('get', 'other')" 2 a b
        B: MSET b 2 a 2
        A: EVAL_RO "return redis.call('ping')" 1 a
        B: SET a 3
        """,
    "errors": """
        A: CLIENT TRACKING
        A: CLIENT TRACKING MAYBE
        A: CLIENT TRACKING ON REDIRECT
        A: CLIENT TRACKING ON REDIRECT x
        A: CLIENT TRACKING ON REDIRECT 999999
        A: CLIENT TRACKING ON REDIRECT {id A} REDIRECT {id A}
        A: CLIENT TRACKING ON PREFIX x
        A: CLIENT TRACKING ON BCAST OPTIN
        A: CLIENT TRACKING ON OPTIN OPTOUT
        A: CLIENT TRACKING ON BCAST PREFIX foo PREFIX foobar
        A: CLIENT TRACKING ON BCAST PREFIX foobar PREFIX bar PREFIX foo
        A: CLIENT TRACKING ON BCAST PREFIX foo
        A: CLIENT TRACKING ON BCAST PREFIX fo
        A: CLIENT TRACKING ON
        A: CLIENT GETREDIR
        A: CLIENT GETREDIR x
        A: CLIENT TRACKING OFF
        A: CLIENT GETREDIR
        A: CLIENT TRACKINGINFO
        A: CLIENT CACHING YES
        """,
    "CLIENT REPLY OFF silences no invalidation": """
        ~A: HELLO 3
        A: CLIENT TRACKING ON
        A: GET k
        A: CLIENT REPLY OFF
        B: SET k 1
        A: GET k
        A: CLIENT REPLY ON
        B: SET k 1
        A: RESET
        A: GET k
        B: SET k 1
        """,
    "a transaction's keys come one by one": """
        ~A: HELLO 3
        A: CLIENT TRACKING ON
        A: MGET a b c
        B: MULTI
        B: SET c 1
        B: SET a 1
        B: SET c 2
        B: EXEC
        """,
    "a blocked client hears of the change that served it": """
        ~A: HELLO 3
        A: CLIENT TRACKING ON
        B: RPUSH l2 a
        A: LRANGE l2 0 -1
        ~A: BLMOVE l1 l2 LEFT LEFT 0
        B: RPUSH l1 x
        """,
}


@pytest.fixture(scope="module")
def duet(makoredis_server: ServerProcess, redis_server: Path) -> Iterator[Duet]:
    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(redis_server))
        return connection

    yield Duet(makoredis_server.connect, connect)


@pytest.mark.parametrize("story", STORIES)
def test_story(duet: Duet, story: str) -> None:
    duet.tell(STORIES[story])


def test_the_table_has_a_limit(makoredis_server: ServerProcess) -> None:
    with makoredis_server.client(protocol=3) as client:
        before = client.config_get("tracking-table-max-keys")["tracking-table-max-keys"]
        client.execute_command("CLIENT", "TRACKING", "ON")
        try:
            for number in range(250):
                client.get(f"tracked{number}")
            client.config_set("tracking-table-max-keys", 10)
            client.ping()
            stats = client.info("stats")
            assert stats["tracking_total_keys"] == stats["tracking_total_items"] == 10
        finally:
            client.config_set("tracking-table-max-keys", before)
