"""What clients and tools look at: CONFIG, COMMAND, CLIENT LIST, MONITOR, SLOWLOG, INFO, against what Redis answers."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import ServerFactory
from tests.server_process import ServerProcess


@pytest.fixture
def client(makoredis_server: ServerProcess) -> redis.Redis:
    connection = redis.Redis(port=makoredis_server.port)
    connection.flushall()
    return connection


def raw(port: int) -> redis.Connection:
    connection = redis.Connection(port=port, decode_responses=True)
    connection.connect()
    return connection


def ask(connection: redis.Connection, *words: object) -> object:
    connection.send_command(*words)
    return connection.read_response()


def test_hidden_parameters_answer_to_their_name_only(client: redis.Redis) -> None:
    shown = client.config_get("*")
    for name in ("durability", "redis-version", "key-load-delay"):
        assert name not in shown
        assert list(client.config_get(name)) == [name]
        assert client.config_get(name[:-1] + "?") == {}


def test_everything_that_is_shown_can_be_set_back(client: redis.Redis) -> None:
    before = client.config_get("*")
    for name, value in before.items():
        try:
            client.config_set(name, value)
        except redis.ResponseError as error:
            assert "immutable" in str(error) or "protected" in str(error), (name, error)
    assert client.config_get("*") == before


def test_the_port_moves_or_is_refused(new_server: ServerFactory) -> None:
    server = new_server(durability="memory").start()
    first = redis.Redis(port=server.port)
    first.ping()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(redis.ResponseError, match=r"argument 'port'.*Unable to listen on this port"):
            first.config_set("port", port)
    assert redis.Redis(port=server.port).ping()
    first.config_set("port", port)
    assert redis.Redis(port=port).ping(), "it listens there now"
    assert first.ping(), "connections stay"
    with pytest.raises(redis.ConnectionError):
        redis.Redis(port=server.port).ping()
    with pytest.raises(redis.ResponseError, match=r"argument 'bind'.*Failed to bind"):
        first.config_set("bind", "192.0.2.1")
    assert redis.Redis(port=port).ping()


def test_monitor_shows_what_was_executed_in_order(makoredis_server: ServerProcess, client: redis.Redis) -> None:
    monitor, worker = raw(makoredis_server.port), raw(makoredis_server.port)
    assert ask(monitor, "MONITOR") == "OK"
    ask(worker, "MULTI")
    ask(worker, "SET", "foo", "bar")
    ask(worker, "CONFIG", "SET", "requirepass", "")
    ask(worker, "EXEC")
    with pytest.raises(redis.AuthenticationError):
        ask(worker, "AUTH", "somebody", "secret")
    lines = [str(monitor.read_response()) for _ in range(4)]
    shown = [line.split("] ", 1)[1].lower() for line in lines]
    assert shown == ['"multi"', '"set" "foo" "bar"', '"exec"', '"auth" "(redacted)" "(redacted)"']
    assert ask(monitor, "RESET") == "RESET"


def test_a_swapped_database_touches_watched_keys_and_wakes_waiting_clients(makoredis_server: ServerProcess) -> None:
    worker, other = raw(makoredis_server.port), raw(makoredis_server.port)
    ask(worker, "FLUSHALL")
    ask(worker, "SELECT", 1)
    ask(worker, "RPUSH", "list", "a")
    ask(worker, "SELECT", 0)
    ask(worker, "WATCH", "list")
    ask(other, "WATCH", "elsewhere")
    blocked = raw(makoredis_server.port)
    blocked.send_command("BRPOP", "list", 10)
    wait_until(lambda: "blocked_clients:1" in str(ask(other, "INFO", "clients")))
    assert "total_blocking_keys:1\r\n" in str(ask(other, "INFO", "clients"))
    ask(worker, "SWAPDB", 0, 1)
    assert blocked.read_response() == ["list", "a"]
    for connection, expected in ((worker, None), (other, ["PONG"])):
        ask(connection, "MULTI")
        ask(connection, "PING")
        assert ask(connection, "EXEC") == expected


def test_a_pause_holds_writes_and_expiry(makoredis_server: ServerProcess, client: redis.Redis) -> None:
    worker, reader = raw(makoredis_server.port), raw(makoredis_server.port)
    expired = client.info("stats")["expired_keys"]
    with client.pipeline(transaction=False) as pipeline:  # in one turn: no key is deleted between the two
        pipeline.set("short", 1, px=1).execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        assert pipeline.execute()[0] is True
    try:
        worker.send_command("SET", "key", "value")
        wait_until(lambda: client.info("clients")["blocked_clients"] == 1)
        assert ask(reader, "EVAL", "#!lua flags=no-writes\nreturn 1", 0) == 1
        reader.send_command("EVAL", "return 2", 0)
        wait_until(lambda: client.info("clients")["blocked_clients"] == 2)
        wait_until(lambda: client.get("short") is None)
        assert client.dbsize() == 1
        assert client.info("stats")["expired_keys"] == expired
    finally:
        client.client_unpause()
    assert worker.read_response() == "OK"
    assert reader.read_response() == 2
    wait_until(lambda: client.info("stats")["expired_keys"] == expired + 1)


def test_hits_and_misses_are_counted(client: redis.Redis) -> None:
    client.set("key", "value")
    before = client.info("stats")
    for key in ("key", "key", "missing"):
        client.get(key)
    after = client.info("stats")
    assert after["keyspace_hits"] - before["keyspace_hits"] == 2
    assert after["keyspace_misses"] - before["keyspace_misses"] == 1


def test_the_slow_log_has_blocking_commands_once_they_end(makoredis_server: ServerProcess, client: redis.Redis) -> None:
    blocked = raw(makoredis_server.port)
    client.config_set("slowlog-log-slower-than", 0)
    try:
        blocked.send_command("BLPOP", "list", 10)
        wait_until(lambda: client.info("clients")["blocked_clients"] == 1)
        client.slowlog_reset()
        client.rpush("list", "a")
        assert blocked.read_response() == ["list", "a"]
        commands = [entry["command"] for entry in client.slowlog_get()]
        assert commands == [b"BLPOP list 10", b"RPUSH list a", b"SLOWLOG RESET"]
    finally:
        client.config_set("slowlog-log-slower-than", 10000)


def test_used_memory_follows_the_data(new_server: ServerFactory) -> None:
    """Without a log, whose buffers would count too."""
    client = redis.Redis(port=new_server(durability="memory").start().port)

    def used() -> int:
        return int(client.info("memory")["used_memory"])

    before = used()
    for number in range(200):
        client.mset({b"key:%d:%d" % (number, each): b"x" * 1000 for each in range(100)})
    assert 18_000_000 < used() - before < 40_000_000
    client.flushall()
    wait_until(lambda: used() - before < 5_000_000)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("set", "k", "v"), [["k", ["OW", "update"]]]),
        (("set", "k", "v", "get"), [["k", ["RW", "access", "update"]]]),
        (("bitfield", "k", "get", "u8", "0"), [["k", ["RO", "access"]]]),
        (("sort", "a", "by", "store", "store", "b"), [["a", ["RO", "access"]], ["b", ["OW", "update"]]]),
    ],
)
def test_flags_of_keys(makoredis_server: ServerProcess, words: tuple[str, ...], expected: object) -> None:
    found = ask(raw(makoredis_server.port), "COMMAND", "GETKEYSANDFLAGS", *words)
    assert [[key, [flag for flag in flags if flag != "variable_flags"]] for key, flags in found] == expected


def test_command_info_is_redis_own(makoredis_server: ServerProcess) -> None:
    info = ask(raw(makoredis_server.port), "COMMAND", "INFO", "zunionstore", "config|get|more", "get")
    assert info[0][2] == ["write", "denyoom", "movablekeys"]
    assert info[0][6] == ["@write", "@sortedset", "@slow"]
    assert info[1] is None
    assert info[2][:6] == ["get", 2, ["readonly", "fast"], 1, 1, 1]


def test_subcommands_are_not_commands(makoredis_server: ServerProcess) -> None:
    with pytest.raises(redis.ResponseError, match=r"unknown command 'CONFIG\|GET'"):
        ask(raw(makoredis_server.port), "CONFIG|GET", "port")


def documents(connection: "redis.Redis[bytes]", *names: str) -> dict[bytes, Any]:
    connection.response_callbacks.clear()
    return dict(connection.execute_command("COMMAND DOCS", *names))


def without_texts(arguments: list[dict[bytes, Any]]) -> list[dict[bytes, Any]]:
    """Arguments as 7.0 tells of them, too."""
    return [
        {name: without_texts(item) if name == b"arguments" else item for name, item in each.items()}
        for each in ({name: item for name, item in each.items() if name != b"display_text"} for each in arguments)
    ]


@pytest.mark.redis
def test_documents_are_redis_own(makoredis_server: ServerProcess, redis_server: Path) -> None:
    ours = documents(redis.Redis(port=makoredis_server.port, protocol=3))
    theirs = documents(redis.Redis(unix_socket_path=str(redis_server), protocol=3))
    compared = 0
    for name in ours.keys() & theirs.keys():
        assert ours[name].get(b"complexity") == theirs[name].get(b"complexity"), name
        own = theirs[name].get(b"arguments", [])
        if own:
            assert without_texts(ours[name][b"arguments"]) == own, name
            compared += 1
    assert compared > 150


def test_documents_of_later_commands_name_their_arguments(makoredis_server: ServerProcess) -> None:
    found = documents(redis.Redis(port=makoredis_server.port, protocol=3), "HEXPIRE")
    assert found[b"hexpire"][b"arguments"][0] == {b"name": b"key", b"type": b"key", b"display_text": b"key"}


@pytest.mark.parametrize("section", ["server", "clients", "memory", "persistence", "stats", "replication", "cpu"])
def test_info_has_every_field_of_redis(client: redis.Redis, redis_server: Path, section: str) -> None:
    theirs = redis.Redis(unix_socket_path=str(redis_server)).info(section)
    assert theirs.keys() - client.info(section).keys() == set()


def test_slow_commands_are_samples_of_latency(client: redis.Redis) -> None:
    slow = "local sum = 0 for i = 1, 3000000 do sum = sum + i end return sum"
    client.execute_command("LATENCY", "RESET")
    client.eval(slow, 0)
    assert client.execute_command("LATENCY", "LATEST") == []
    client.config_set("slowlog-log-slower-than", -1)
    client.config_set("latency-monitor-threshold", 1)
    client.slowlog_reset()
    try:
        client.eval(slow, 0)
        events = {name: (latest, highest) for name, _, latest, highest in client.execute_command("LATENCY", "LATEST")}
        assert events[b"command"][1] >= events[b"command"][0] >= 1
        assert client.execute_command("LATENCY", "HISTORY", "command")
        assert b"command - high" in client.execute_command("LATENCY", "GRAPH", "command")
        assert client.slowlog_len() == 0
        client.config_set("slowlog-log-slower-than", 0)
        client.get("key")
        assert client.slowlog_len() == 2, "as quick as it was, and CONFIG SET with it"
    finally:
        client.config_set("latency-monitor-threshold", 0)
        client.config_set("slowlog-log-slower-than", 10_000)
        client.execute_command("LATENCY", "RESET")


def test_memory_stats_has_the_fields_of_redis(client: redis.Redis, redis_server: Path) -> None:
    theirs = redis.Redis(unix_socket_path=str(redis_server))
    theirs.flushall()
    ours, real = client.memory_stats(), theirs.memory_stats()
    assert list(ours) == list(real)
    assert {name: type(value) for name, value in ours.items()} == {name: type(value) for name, value in real.items()}


def test_no_field_of_info_has_two_values(makoredis_server: ServerProcess) -> None:
    """Clients read all sections into one map: ioredis looks for the role there before it trusts a Sentinel."""
    text = str(ask(raw(makoredis_server.port), "INFO", "everything"))
    names = [line.partition(":")[0] for line in set(text.splitlines()) if ":" in line]
    assert "consensus_role" in names
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)


def test_times_of_commands_are_distributions(client: redis.Redis) -> None:
    client.config_resetstat()
    with client.pipeline(transaction=False) as pipeline:
        for number in range(40):
            pipeline.set("key", number)
        for number in range(10):
            pipeline.set("key", number).getrange("key", 0, -1)
        pipeline.execute()
    rows = client.execute_command("LATENCY", "HISTOGRAM", "set", "getrange", "zadd")
    assert {name: row[b"calls"] for name, row in rows.items()} == {b"set": 50, b"getrange": 10}
    for row in rows.values():
        micros, counts = list(row[b"histogram_usec"]), list(row[b"histogram_usec"].values())
        assert micros == sorted(set(micros)) and counts == sorted(set(counts)) and counts[-1] == row[b"calls"]

    client.config_set("latency-tracking-info-percentiles", "0 50 99.90")
    assert client.config_get("latency-tracking-*")["latency-tracking-info-percentiles"] == "0 50 99.9"
    values = client.info("latencystats")["latency_percentiles_usec_getrange"]
    assert list(values) == ["p0", "p50", "p99.9"]
    assert 0 <= values["p0"] <= values["p50"] <= values["p99.9"] <= max(rows[b"getrange"][b"histogram_usec"]) + 1
    for wrong, text in (("50 101", "should sit between"), ("half", "Invalid latency-tracking-info-percentiles")):
        with pytest.raises(redis.ResponseError, match=text):
            client.config_set("latency-tracking-info-percentiles", wrong)
    client.config_set("latency-tracking", "no")
    assert client.info("latencystats") == {}
    client.config_set("latency-tracking", "yes")
    client.config_set("latency-tracking-info-percentiles", "50 99 99.9")
    client.config_resetstat()
    assert client.execute_command("LATENCY", "HISTOGRAM", "set") == {}
