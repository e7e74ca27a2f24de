"""Scripts on a running server: slow ones and who may end them, transactions, what others see, what survives."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis

from tests.conftest import ServerFactory
from tests.server_process import ServerProcess


def client_of(server: ServerProcess) -> "redis.Redis[str]":
    return server.client(decode_responses=True)


ENDLESS = "while true do end"
BUSY_SCRIPT = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
BUSY_FUNCTION = "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
KILLED = "Script killed by user with SCRIPT KILL... script: "


@pytest.fixture
def impatient(makoredis_server: ServerProcess) -> Iterator[ServerProcess]:
    """The shared server with a time limit of 50 ms."""
    client = client_of(makoredis_server)
    client.config_set("busy-reply-threshold", 50)
    yield makoredis_server
    for command in ("SCRIPT KILL", "FUNCTION KILL"):
        with suppress(redis.ResponseError):
            client.execute_command(command)
    client.config_set("busy-reply-threshold", 5000)
    client.function_flush()
    client.flushall()


def start(server: ServerProcess, *argv: str) -> socket.socket:
    """Sends a request whose reply will take its time, and returns when others are told so."""
    connection = server.connect()
    request = b"".join(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in argv)
    connection.sendall(b"*%d\r\n" % len(argv) + request)
    client = client_of(server)
    deadline = time.monotonic() + 30
    while True:
        try:
            client.ping()
        except redis.ResponseError as error:
            assert str(error) in (BUSY_SCRIPT, BUSY_FUNCTION)
            return connection
        assert time.monotonic() < deadline, "the server never became busy"


def reply(connection: socket.socket) -> str:
    connection.settimeout(30)
    line = connection.makefile("rb").readline().decode()
    connection.close()
    return line


def test_a_slow_script_can_be_killed(impatient: ServerProcess) -> None:
    connection = start(impatient, "EVAL", ENDLESS, "0")
    client = client_of(impatient)
    for words in (["GET", "a"], ["EVAL", "return 1", "0"], ["EXEC"], ["FUNCTION", "STATS"]):
        with pytest.raises(redis.ResponseError) as caught:
            client.execute_command(*words)
        assert str(caught.value).endswith(BUSY_SCRIPT)
    with pytest.raises(redis.ResponseError, match="SCRIPT KILL"):
        client.execute_command("FUNCTION KILL")
    assert client.script_kill()
    assert reply(connection).startswith("-ERR " + KILLED)
    assert client.ping()
    with pytest.raises(redis.ResponseError, match="No scripts in execution right now"):
        client.script_kill()


def test_a_script_cannot_defend_itself(impatient: ServerProcess) -> None:
    body = "while true do pcall(function() while true do redis.call('ping') end end) end"
    connection = start(impatient, "EVAL", body, "0")
    client_of(impatient).script_kill()
    assert reply(connection).startswith("-ERR " + KILLED)


def test_a_script_that_has_written_goes_on(impatient: ServerProcess) -> None:
    body = (
        "local began = redis.call('time')[1] redis.call('set', 'k', 1) "
        "while redis.call('time')[1] - began < 4 do end return redis.call('get', 'k')"
    )
    refusal = "No scripts in execution"
    while "No scripts in execution" in refusal:  # it has ended before we came: once more
        connection = start(impatient, "EVAL", body, "0")
        with pytest.raises(redis.ResponseError) as caught:
            client_of(impatient).script_kill()
        refusal = str(caught.value)
        assert reply(connection) == "$1\r\n"
    assert "already executed write commands" in refusal


def test_a_slow_function_can_be_killed(impatient: ServerProcess) -> None:
    client = client_of(impatient)
    client.function_load(f"#!lua name=slow\nredis.register_function('endless', function() {ENDLESS} end)")
    connection = start(impatient, "FCALL", "endless", "1", "key")
    with pytest.raises(redis.ResponseError, match="FUNCTION KILL"):
        client.ping()
    with pytest.raises(redis.ResponseError, match="FUNCTION KILL"):
        client.script_kill()
    running = client.execute_command("FUNCTION STATS")["running_script"]
    assert running["name"] == "endless" and running["command"] == ["FCALL", "endless", "1", "key"]
    assert running["duration_ms"] >= 50
    assert client.execute_command("FUNCTION KILL") == "OK"
    assert KILLED in reply(connection)
    assert client.execute_command("FUNCTION STATS")["running_script"] is None


def test_loading_a_library_has_its_own_limit(impatient: ServerProcess) -> None:
    with pytest.raises(redis.ResponseError, match="FUNCTION LOAD timeout"):
        client_of(impatient).function_load(f"#!lua name=slow\n{ENDLESS}")


def test_scripts_in_transactions(makoredis_server: ServerProcess) -> None:
    client = client_of(makoredis_server)
    pipeline = client.pipeline(transaction=True)
    pipeline.set("a", 1)
    pipeline.eval("return redis.call('incr', KEYS[1])", 1, "a")
    pipeline.eval("redis.call('incr', KEYS[1]) error('stop')", 1, "a")
    pipeline.get("a")
    results = pipeline.execute(raise_on_error=False)
    assert results[0] is True and results[1] == 2 and "stop" in str(results[2]) and results[3] == "3"
    client.delete("a")


def test_scripts_change_databases_for_themselves(makoredis_server: ServerProcess) -> None:
    client = client_of(makoredis_server)
    client.eval("redis.call('select', 7) redis.call('set', 'elsewhere', 1)", 0)
    assert client.get("elsewhere") is None
    assert client.eval("redis.call('select', 7) return redis.call('del', 'elsewhere')", 0) == 1


def test_commands_on_the_server(makoredis_server: ServerProcess) -> None:
    client = client_of(makoredis_server)
    assert client.eval("return redis.call('publish', 'nobody', 'hears')", 0) == 0
    assert "redis_version" in client.eval("return redis.call('info', 'server')", 0)
    assert client.eval("return redis.call('command', 'count')", 0) > 200
    assert len(client.eval("return redis.call('time')", 0)) == 2
    for request in (
        ["multi"],
        ["subscribe", "c"],
        ["monitor"],
        ["auth", "x"],
        ["client", "id"],
        ["config", "get", "x"],
    ):
        with pytest.raises(redis.ResponseError, match="not allowed from script"):
            client.eval("return redis.call(unpack(ARGV))", 0, *request)


def test_monitors_see_the_commands_of_scripts(makoredis_server: ServerProcess) -> None:
    with makoredis_server.connect() as watcher:
        watcher.sendall(b"MONITOR\r\n")
        assert watcher.recv(100) == b"+OK\r\n"
        client_of(makoredis_server).eval("return redis.call('get', 'seen')", 0)
        data = b""
        while b'"get"' not in data:
            data += watcher.recv(10000)
    lines = [line for line in data.decode().splitlines() if "CLIENT" not in line]
    assert lines[-2].endswith('"EVAL" "return redis.call(\'get\', \'seen\')" "0"')
    assert lines[-1].endswith('[0 lua] "get" "seen"')


def test_functions_are_data(new_server: ServerFactory) -> None:
    """Libraries survive a crash; cached scripts do not, as in Redis."""
    server = new_server().start()
    client = client_of(server)
    client.function_load("#!lua name=lib\nredis.register_function('twice', function(k, a) return a[1] * 2 end)")
    client.function_load("#!lua name=gone\nredis.register_function('gone', function() return 1 end)")
    client.function_delete("gone")
    sha = client.script_load("return 1")
    assert client.evalsha(sha, 0) == 1
    server.kill()
    server.start()
    client = client_of(server)
    assert client.fcall("twice", 0, "21") == 42
    assert [entry[1] for entry in client.function_list()] == ["lib"]
    with pytest.raises(redis.exceptions.NoScriptError):
        client.evalsha(sha, 0)


def test_memory_limit(new_server: ServerFactory) -> None:
    """Above the limit scripts may read and delete, and finish what they began."""
    server = new_server().start()
    client = client_of(server)
    client.set("k", "v")
    client.config_set("maxmemory", 1)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        client.eval("return redis.call('set', 'k', 1)", 0)
    assert client.eval("return redis.call('get', 'k')", 0) == "v"
    assert client.eval("redis.call('del', 'k') return redis.call('set', 'k', 'w')", 0) == "OK"
    assert client.eval("#!lua flags=allow-oom\nreturn redis.call('set', 'k', 'x')", 0) == "OK"
    assert client.eval("#!lua flags=no-writes\nreturn redis.call('get', 'k')", 0) == "x"
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        client.eval("#!lua\nreturn redis.call('get', 'k')", 0)


def test_missing_replicas(makoredis_server: ServerProcess) -> None:
    """`min-replicas-to-write` on a node that has none."""
    client = client_of(makoredis_server)
    client.config_set("min-replicas-to-write", 1)
    try:
        for body in ("return redis.call('set', 'k', 1)", "#!lua\nreturn redis.call('get', 'k')"):
            with pytest.raises(redis.ResponseError, match="Not enough good replicas to write"):
                client.eval(body, 0)
        with pytest.raises(redis.ResponseError, match="Not enough good replicas to write"):
            client.set("k", 1)
        assert client.eval("return redis.call('get', 'k')", 0) is None
        assert client.eval("#!lua flags=no-writes\nreturn redis.call('get', 'k')", 0) is None
    finally:
        client.config_set("min-replicas-to-write", 0)
    assert client.set("k", 1) and client.delete("k")


def test_permissions(makoredis_server: ServerProcess) -> None:
    client = client_of(makoredis_server)
    client.acl_setuser("limited", enabled=True, nopass=True, commands=["+@scripting", "+get", "+set"], keys=["a*"])
    limited = redis.Redis(port=makoredis_server.port, username="limited", password="x", decode_responses=True)
    assert limited.eval("return redis.call('set', KEYS[1], 1)", 1, "a") == "OK"
    with pytest.raises(redis.ResponseError, match="The user executing the script can't run this command"):
        limited.eval("return redis.call('incr', KEYS[1])", 1, "a")
    with pytest.raises(redis.ResponseError, match="can't access at least one of the keys"):
        limited.eval("return redis.call('set', 'b', 1)", 0)
    assert limited.eval("return {redis.acl_check_cmd('get', 'a'), redis.acl_check_cmd('get', 'b')}", 0) == [1, None]
    client.acl_deluser("limited")
    client.delete("a")
