"""The programs that people use with a Redis: redis-cli, redis-benchmark, redis-py. None of them may complain."""

import os
import pty
import shutil
import subprocess

import pytest
import redis

from tests.server_process import ServerProcess

pytestmark = pytest.mark.redis


def run(program: str, server: ServerProcess, *arguments: str, given: bytes = b"", seconds: float = 60) -> str:
    """The output of a program that must end well."""
    if shutil.which(program) is None:
        pytest.skip(f"no {program} on the PATH")
    done = subprocess.run(
        [program, "-p", str(server.port), *arguments], input=given, capture_output=True, timeout=seconds, check=False
    )
    output = done.stdout.decode(errors="replace")
    assert done.returncode == 0, (output, done.stderr)
    assert done.stderr == b""
    return output


@pytest.fixture
def filled(makoredis_server: ServerProcess) -> ServerProcess:
    client = makoredis_server.client()
    client.flushall()
    for number in range(100):
        client.set(f"key:{number}", "x" * number)
    client.rpush("list", *range(50))
    client.sadd("set", *range(20))
    client.hset("hash", mapping={"a": "1", "b": "2"})
    client.zadd("zset", {"m": 1.5})
    client.xadd("stream", {"f": "v"})
    return makoredis_server


def test_cli_in_both_protocols(filled: ServerProcess) -> None:
    assert run("redis-cli", filled, "GET", "key:3") == "xxx\n"
    assert run("redis-cli", filled, "-3", "HGETALL", "hash").split() == ["a", "1", "b", "2"]
    assert run("redis-cli", filled, "-n", "3", "DBSIZE") == "0\n"
    assert "used_memory" in run("redis-cli", filled, "INFO")
    assert run("redis-cli", filled, "--no-raw", "LRANGE", "list", "0", "0") == '1) "0"\n'


def test_cli_reads_commands_from_its_input(filled: ServerProcess) -> None:
    lines = b"MULTI\nSET a 1\nINCR a\nEXEC\nGET a\nNOSUCH\n"
    output = run("redis-cli", filled, given=lines)
    assert output.split("\n")[:4] == ["OK", "QUEUED", "QUEUED", "OK"]
    assert "unknown command 'NOSUCH'" in output


def test_cli_scan_and_bigkeys(filled: ServerProcess) -> None:
    names = run("redis-cli", filled, "--scan").split()
    assert len(names) == 105
    assert run("redis-cli", filled, "--scan", "--pattern", "key:1?").count("key:1") == 10
    report = run("redis-cli", filled, "--bigkeys")
    assert "Sampled 105 keys" in report
    assert "Biggest" in report
    assert "Sampled 105 keys" in run("redis-cli", filled, "--memkeys")


def test_cli_pipe(filled: ServerProcess) -> None:
    requests = b"".join(b"*3\r\n$3\r\nSET\r\n$4\r\np%03d\r\n$1\r\nx\r\n" % number for number in range(1000))
    output = run("redis-cli", filled, "--pipe", given=requests)
    assert "errors: 0, replies: 1000" in output
    assert filled.client().dbsize() == 1105


def test_cli_stat_and_latency(filled: ServerProcess) -> None:
    if shutil.which("redis-cli") is None:
        pytest.skip("no redis-cli on the PATH")
    for options, expected in ((["--stat", "-i", "0.1"], b"keys"), (["--latency", "-i", "0.2"], b"avg: ")):
        ours, theirs = pty.openpty()  # what goes into a pipe would be kept back
        process = subprocess.Popen(
            ["redis-cli", "-p", str(filled.port), *options], stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL
        )
        os.close(theirs)
        try:
            output = b""
            while expected not in output:
                output += os.read(ours, 4096)
        finally:
            process.kill()
            process.wait()
            os.close(ours)
        assert expected in output
        assert b"rror" not in output


@pytest.mark.parametrize("options", [["-P", "1"], ["-P", "16"], ["--threads", "2", "-r", "1000"]], ids="-".join)
def test_benchmark(makoredis_server: ServerProcess, options: list[str]) -> None:
    """Every default test, without a warning or an error."""
    output = run("redis-benchmark", makoredis_server, "-n", "400", "-c", "20", "--csv", *options, seconds=120)
    rows = output.strip().split("\n")
    assert len(rows) == 21, output
    assert "rror" not in output
    assert "arning" not in output


def test_benchmark_quiet(makoredis_server: ServerProcess) -> None:
    output = run("redis-benchmark", makoredis_server, "-n", "500", "-q", "-t", "set,get")
    assert "SET:" in output
    assert "WARNING" not in output


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py(filled: ServerProcess, protocol: int) -> None:
    client = redis.Redis(port=filled.port, protocol=protocol, decode_responses=True, socket_timeout=60)
    with client.pipeline() as pipeline:
        pipeline.set("a", "ä").hgetall("hash").smembers("set").zrange("zset", 0, -1, withscores=True)
        replies = pipeline.execute()
    assert replies[0] is True
    assert replies[1] == {"a": "1", "b": "2"}
    assert len(replies[2]) == 20
    assert [(str(member), score) for member, score in replies[3]] == [("m", 1.5)]
    assert client.get("a") == "ä"
    assert client.info()["redis_version"].startswith("7.")
    assert client.config_get("maxmemory")
    with client.lock("lock", timeout=100):
        assert client.exists("lock") == 1
    with client.pubsub() as pubsub:
        pubsub.subscribe("channel")
        assert pubsub.get_message(timeout=30)["type"] == "subscribe"
        client.publish("channel", "hello")
        assert pubsub.get_message(timeout=30)["data"] == "hello"
    client.close()
