"""What a connection's state does to others and to what is recorded: MONITOR, WAIT, NO-TOUCH, CLIENT LIST."""

import re
import time

import pytest
import redis

from tests.server_process import ServerProcess

MONITORED = """
"SET" "a" "b"
"GET" "a\\x00\\n\\t\\\\\\""
"MULTI"
"SET" "a" "1"
"EXEC"
"AUTH" "(redacted)" "(redacted)"
"HELLO" "2" "AUTH" "(redacted)" "(redacted)"
"SELECT" "3"
"PING"
""".strip().splitlines()


def test_monitor_shows_requests_in_the_order_of_their_execution(makoredis_server: ServerProcess) -> None:
    with makoredis_server.connect() as watcher, makoredis_server.connect() as client:
        watcher.sendall(b"MONITOR\r\n")
        assert watcher.recv(100) == b"+OK\r\n"
        for request in (
            b"SET a b",
            b'GET "a\\x00\\n\\t\\\\\\""',
            b"MULTI",
            b"SET a 1",
            b"EXEC",
            b"AUTH default secret",
            b"HELLO 2 AUTH default secret",
            b"CONFIG GET port",
            b"ACL SETUSER monitored >secret",
            b"NOSUCH",
            b"SELECT 3",
            b"PING",
        ):
            client.sendall(request + b"\r\n")
            assert client.recv(10000)
        data = b""
        while b'"PING"' not in data:
            data += watcher.recv(10000)
        client.sendall(b"ACL DELUSER monitored\r\n")
        assert client.recv(100)
    lines = data.decode().splitlines()
    for line, expected in zip(lines, MONITORED, strict=True):
        found = re.fullmatch(r"\+\d+\.\d{6} \[(\d) 127\.0\.0\.1:\d+\] (.*)", line)
        assert found is not None, line
        assert found[2] == expected
        assert found[1] == ("3" if expected in MONITORED[-2:] else "0")


def test_the_slow_log_hides_passwords(makoredis_server: ServerProcess) -> None:
    client = makoredis_server.client()
    before = client.config_get("slowlog-log-slower-than")["slowlog-log-slower-than"]
    client.config_set("slowlog-log-slower-than", 0)
    try:
        client.slowlog_reset()
        client.config_set("masterauth", "secret")
        client.execute_command("ACL", "SETUSER", "slow", ">secret")
        client.execute_command("ACL", "DELUSER", "slow")
        shown = b" ".join(entry["command"] for entry in client.slowlog_get())
        assert b"(redacted)" in shown
        assert b"secret" not in shown
    finally:
        client.config_set("slowlog-log-slower-than", before)
        client.config_set("masterauth", "")


def test_wait_is_over_when_its_time_is(makoredis_server: ServerProcess) -> None:
    client = makoredis_server.client()
    client.set("k", 1)
    assert client.wait(0, 1000) == 0
    started = time.monotonic()
    assert client.wait(1, 60) == 0
    assert time.monotonic() - started >= 0.05
    assert client.execute_command("WAITAOF", 1, 0, 1000) == [1, 0]
    assert client.execute_command("WAITAOF", 1, 1, 60) == [1, 0]
    with client.pipeline() as pipeline:
        pipeline.set("k", 2)
        pipeline.execute_command("WAIT", 5, 0)
        assert pipeline.execute() == [True, 0]


@pytest.mark.parametrize(
    ("request_line", "text"),
    [
        ("WAIT x 1", "value is not an integer or out of range"),
        ("WAIT 1 x", "timeout is not an integer or out of range"),
        ("WAIT 1 -1", "timeout is negative"),
        ("WAITAOF 2 0 0", "value is out of range, value must between 0 and 1"),
        ("WAITAOF 0 -1 0", "value is out of range, must be positive"),
        ("REPLICAOF 127.0.0.1 6379", "REPLICAOF is not supported"),
        ("FAILOVER", "FAILOVER is not supported"),
        ("PSYNC ? -1", "PSYNC is not supported"),
    ],
)
def test_refusals(makoredis_server: ServerProcess, request_line: str, text: str) -> None:
    with makoredis_server.client() as client, pytest.raises(redis.ResponseError, match=re.escape(text)):
        client.execute_command(*request_line.split())


def test_replicaof_no_one_is_what_it_is_already(makoredis_server: ServerProcess) -> None:
    with makoredis_server.client() as client:
        assert client.execute_command("REPLICAOF", "NO", "ONE") in (True, b"OK")


def test_no_touch(makoredis_server: ServerProcess) -> None:
    client, other = makoredis_server.client(), makoredis_server.client()
    client.set("untouched", 1)
    client.execute_command("CLIENT", "NO-TOUCH", "ON")
    time.sleep(1.1)
    assert client.get("untouched")
    assert other.object("idletime", "untouched") >= 1
    deadline = time.monotonic() + 60
    while client.touch("untouched") and other.object("idletime", "untouched"):  # a second may pass between the two
        assert time.monotonic() < deadline, "TOUCH changes nothing"


def test_client_list_shows_what_clients_are_in(makoredis_server: ServerProcess) -> None:
    client = makoredis_server.client()
    with makoredis_server.connect() as connection:
        for request in (
            b"CLIENT SETNAME seen",
            b"CLIENT TRACKING ON",
            b"CLIENT NO-TOUCH ON",
            b"SUBSCRIBE a",
            b"PSUBSCRIBE b*",
        ):
            connection.sendall(request + b"\r\n")
            assert connection.recv(1000)
        (line,) = [line for line in client.client_list() if line["name"] == "seen"]
    assert set(line["flags"]) == {"P", "t", "T"}
    assert (line["sub"], line["psub"], line["ssub"], line["redir"], line["user"]) == ("1", "1", "0", "0", "default")
