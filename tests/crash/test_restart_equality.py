"""SIGKILL and restart, for every type: what a server answered to any read before, it answers after.

Requests of all types come in random order while checkpoints happen all the time, so what is read back is part
checkpoint and part log. Nothing here knows what the requests should do: that is for the tests that compare with Redis.
"""

import time
from collections.abc import Callable
from random import Random

import pytest
import redis

from tests.conftest import ServerFactory
from tests.server_process import ServerProcess

Words = list[object]
_KEYS = 4
_DATABASES = 2
_DEADLINE_S = 60
_FIELDS_AT_ONCE = 1000
"""A request for each would take hours for a large hash."""
_LIBRARY = "#!lua name=lib{0}\nredis.register_function('f{0}', function(keys) return redis.call('incr', keys[1]) end)"


def _string(rng: Random, key: str, at: int) -> Words:
    return rng.choice(
        [
            ["SET", key, f"v{at}", *rng.choice([[], ["PX", 10**9 + at], ["KEEPTTL"]])],
            ["APPEND", key, "x" * (at % 90)],
            ["SETRANGE", key, at % 500, "yz"],
            ["SETBIT", key, at % 4000, 1],
            ["BITFIELD", key, "SET", "u8", "#3", at % 256, "INCRBY", "i5", 100, 3],
            ["GETDEL", key],
        ]
    )


def _number(rng: Random, key: str, at: int) -> Words:
    return rng.choice([["INCRBY", key, at], ["DECR", key], ["INCRBYFLOAT", key, "0.125"], ["SET", key, 5]])


def _hyperloglog(rng: Random, key: str, at: int) -> Words:
    return rng.choice([["PFADD", key, *range(at, at + at % 60)], ["PFCOUNT", key], ["PFMERGE", key, f"p{at % _KEYS}"]])


def _list(rng: Random, key: str, at: int) -> Words:
    return rng.choice(
        [
            ["RPUSH", key, f"e{at}", "x" * (at % 80)],
            ["LPUSH", key, *range(at % 7 + 1)],
            ["LPOP", key, 2],
            ["LINSERT", key, "BEFORE", 3, "in"],
            ["LREM", key, 0, 1],
            ["LTRIM", key, 0, 400],
            ["LMOVE", key, f"l{at % _KEYS}", "LEFT", "RIGHT"],
            ["SORT", key, "ALPHA", "STORE", f"l{at % _KEYS}"],
        ]
    )


def _hash(rng: Random, key: str, at: int) -> Words:
    field = f"f{at % 40}"
    return rng.choice(
        [
            ["HSET", key, field, f"v{at}", f"g{at % 9}", "x" * (at % 90)],
            ["HINCRBY", key, f"n{at % 5}", at],
            ["HINCRBYFLOAT", key, f"r{at % 3}", "1.5"],
            ["HDEL", key, field, f"g{at % 7}"],
            ["HPEXPIREAT", key, int(time.time() * 1000) + 10**8 + at, "FIELDS", 2, field, f"g{at % 9}"],
            ["HPERSIST", key, "FIELDS", 1, field],
            ["HPEXPIRE", key, 0, "FIELDS", 1, field],
        ]
    )


def _set(rng: Random, key: str, at: int) -> Words:
    other = f"e{at % _KEYS}"
    return rng.choice(
        [
            ["SADD", key, f"m{at % 60}", at % 30],
            ["SREM", key, f"m{at % 50}"],
            ["SPOP", key, 2],
            ["SMOVE", key, other, f"m{at % 60}"],
            ["SUNIONSTORE", other, key, other],
        ]
    )


def _sorted_set(rng: Random, key: str, at: int) -> Words:
    other = f"z{at % _KEYS}"
    return rng.choice(
        [
            ["ZADD", key, at / 7, f"m{at % 150}", "-inf", f"n{at % 3}"],
            ["ZINCRBY", key, "2.5", f"m{at % 150}"],
            ["ZREM", key, f"m{at % 100}"],
            ["ZPOPMIN", key, 2],
            ["ZREMRANGEBYRANK", key, 3, 5],
            ["ZUNIONSTORE", other, 2, key, other],
            ["GEOADD", f"g{at % _KEYS}", at % 180, at % 80, f"m{at % 50}"],
        ]
    )


def _stream(rng: Random, key: str, at: int) -> Words:
    group, consumer = f"g{at % 2}", f"c{at % 3}"
    return rng.choice(
        [
            ["XADD", key, f"{at}-1", "f", "x" * (at % 70)],
            ["XADD", key, "MAXLEN", "~", 150, f"{at}-1", "f", at, "g", "y"],
            ["XADD", key, f"{at}-1", "f", at],
            ["XGROUP", "CREATE", key, group, 0, "MKSTREAM"],
            ["XREADGROUP", "GROUP", group, consumer, "COUNT", 3, "STREAMS", key, ">"],
            ["XREADGROUP", "GROUP", group, consumer, "COUNT", 3, "STREAMS", key, ">"],
            ["XACK", key, group, f"{at - 9}-1", f"{at - 10}-1"],
            ["XDEL", key, f"{at - rng.randrange(60)}-1"],
            ["XAUTOCLAIM", key, group, consumer, 0, 0, "COUNT", 2],
            ["XCLAIM", key, group, consumer, 0, f"{at - 8}-1", "RETRYCOUNT", 7, "FORCE"],
            ["XGROUP", "DELCONSUMER", key, group, consumer],
            ["XSETID", key, f"{at}-5"],
        ]
    )


def _any_key(rng: Random, key: str, at: int) -> Words:
    key, other = (rng.choice("sniplehzx") + str(rng.randrange(_KEYS)) for _ in range(2))
    return rng.choice(
        [
            ["PEXPIREAT", key, int(time.time() * 1000) + 10**8 + at],
            ["PERSIST", key],
            ["DEL", key],
            ["COPY", key, other, "REPLACE"],
            ["RENAME", key, key + "moved"],
            ["MOVE", key, at % _DATABASES],
            ["SWAPDB", 0, 1],
            ["FUNCTION", "LOAD", "REPLACE", _LIBRARY.format(at % 3)],
            ["FUNCTION", "DELETE", f"lib{at % 3}"],
            ["FCALL", f"f{at % 3}", 1, "n1"],
            ["EVAL", "for i = 1, 3 do redis.call('rpush', KEYS[1], i) redis.call('incr', KEYS[2]) end", 2, key, "n2"],
        ]
    )


_MAKERS: list[tuple[str, Callable[[Random, str, int], Words]]] = [
    ("s", _string), ("n", _number), ("p", _hyperloglog), ("l", _list), ("h", _hash), ("e", _set), ("z", _sorted_set),
    ("x", _stream), ("x", _stream), ("", _any_key),
]  # fmt: skip


def _run(client: "redis.Redis", rng: Random, first: int, count: int) -> set[str]:
    """Sends random requests, some of them in transactions. Returns the names of the commands that did not fail."""
    done: set[str] = set()
    for start in range(first, first + count, 20):
        pipeline = client.pipeline(transaction=rng.random() < 0.5)
        pipeline.execute_command("SELECT", rng.randrange(_DATABASES))
        requests = []
        for at in range(start, start + 20):
            letter, make = rng.choice(_MAKERS)
            requests.append(make(rng, f"{letter}{rng.randrange(_KEYS)}", at))
            pipeline.execute_command(*requests[-1])
        for request, reply in zip(requests, pipeline.execute(raise_on_error=False)[1:]):
            if not isinstance(reply, redis.ResponseError):
                done.add(str(request[0]))
    return done


def _content(client: "redis.Redis", key: bytes, kind: bytes) -> object:
    """Everything that a client can read of a value."""
    ask = client.execute_command
    if kind == b"string":
        return ask("GET", key)
    if kind == b"list":
        return ask("LRANGE", key, 0, -1)
    if kind == b"set":
        return sorted(ask("SMEMBERS", key))
    if kind == b"zset":
        return ask("ZRANGE", key, 0, -1, "WITHSCORES")
    if kind == b"hash":
        found: list[object] = []
        fields = ask("HKEYS", key)
        for start in range(0, len(fields), _FIELDS_AT_ONCE):
            some = fields[start : start + _FIELDS_AT_ONCE]
            deadlines = ask("HPEXPIRETIME", key, "FIELDS", len(some), *some)
            found += zip(some, ask("HMGET", key, *some), deadlines)
        return found
    return ask("XRANGE", key, "-", "+"), ask("XINFO", "STREAM", key, "FULL", "COUNT", 0)


def _plain(server: ServerProcess) -> "redis.Redis":
    """A client that gives replies as they come."""
    client = redis.Redis(port=server.port, socket_timeout=_DEADLINE_S, protocol=2)
    client.response_callbacks.clear()
    return client


def image(server: ServerProcess) -> dict[object, object]:
    """All that a server answers about its keys and functions."""
    client = _plain(server)
    found: dict[object, object] = {"functions": sorted(client.execute_command("FUNCTION", "LIST", "WITHCODE"))}
    for number in range(_DATABASES):
        client.execute_command("SELECT", number)
        for key in client.execute_command("KEYS", "*"):
            kind = client.execute_command("TYPE", key)
            found[number, key] = kind, client.execute_command("PEXPIRETIME", key), _content(client, key, kind)
    client.close()
    return found


def _difference(before: dict[object, object], after: dict[object, object]) -> list[str]:
    return [
        f"{name}: {before.get(name)!r} became {after.get(name)!r}"
        for name in sorted(before.keys() | after.keys(), key=repr)
        if before.get(name) != after.get(name)
    ]


def kill_rounds(server: ServerProcess, seed: int, rounds: int, requests: int) -> set[str]:
    """Returns the names of the commands that had an effect, or at least did not fail."""
    rng = Random(seed)
    done: set[str] = set()
    first = 1
    server.start()
    for number in range(rounds):
        client = _plain(server)
        deadline = time.monotonic() + _DEADLINE_S
        while True:
            done |= _run(client, rng, first, requests)
            first += requests
            is_saved = b"rdb_saves:0" not in client.execute_command("INFO", "persistence")
            if is_saved or number % 3 == 2:  # a third of the times from the log alone, mostly
                break
            assert time.monotonic() < deadline, "no checkpoint is made"
        before = image(server)
        server.kill()
        server.start()
        problems = _difference(before, image(server))
        assert not problems, f"seed {seed}, round {number}: {problems[:3]}"
    return done


def test_every_type_is_there_again(new_server: ServerFactory) -> None:
    server = new_server(durability="sync", settings={"checkpoint_log_bytes": 30_000})
    done = kill_rounds(server, seed=1, rounds=3, requests=1200)
    missing = {"XAUTOCLAIM", "XCLAIM", "HPEXPIREAT", "FCALL", "PFMERGE", "GEOADD", "MOVE", "EVAL"} - done
    assert not missing, f"commands that never succeeded: {missing}"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 30))
def test_every_type_is_there_again_many_times(new_server: ServerFactory, seed: int) -> None:
    server = new_server(durability="interval" if seed % 4 == 0 else "sync", settings={"checkpoint_log_bytes": 30_000})
    kill_rounds(server, seed, rounds=12, requests=2000)


def _big(client: "redis.Redis", size: int) -> None:
    """Collections of so many elements of 50 bytes: each takes many pieces in a checkpoint."""
    text = "x" * 50
    for start in range(0, size, 500):
        numbers = range(start, start + 500)
        pipeline = client.pipeline(transaction=False)
        pipeline.rpush("list", *(f"{number}{text}" for number in numbers))
        pipeline.hset("hash", mapping={f"f{number}": text for number in numbers})
        pipeline.sadd("set", *(f"m{number}{text}" for number in numbers))
        pipeline.zadd("zset", {f"m{number}{text}": number / 3 for number in numbers})
        pipeline.append("string", text * 500)
        for number in numbers:
            pipeline.xadd("stream", {"f": text}, id=f"{number + 1}-1")
        pipeline.execute()
    client.xgroup_create("stream", "group", "0")
    client.xreadgroup("group", "consumer", {"stream": ">"}, count=size // 2)
    client.execute_command("HPEXPIRE", "hash", 10**9, "FIELDS", 2, "f1", "f2")


def _change(client: "redis.Redis", size: int) -> None:
    """A few changes of each, which come behind the checkpoint."""
    client.lpop("list", 3)
    client.lset("list", size // 2, "set")
    client.linsert("list", "BEFORE", "set", "in")
    client.hset("hash", "f7", "changed")
    client.hdel("hash", "f8")
    client.spop("set", 5)
    client.zincrby("zset", 1000.5, "m9" + "x" * 50)
    client.zpopmax("zset", 4)
    client.setrange("string", size, "changed")
    client.xack("stream", "group", "3-1", "4-1")
    client.xdel("stream", f"{size // 3}-1")
    client.xtrim("stream", maxlen=size - 7, approximate=False)


@pytest.mark.parametrize("size", [2_500, pytest.param(100_000, marks=pytest.mark.long)])
def test_big_collections_come_back_from_their_pieces(new_server: ServerFactory, size: int) -> None:
    """From a checkpoint; from a checkpoint and the log behind it; from the next checkpoint, with new pieces."""
    server = new_server(durability="sync").start()
    client = redis.Redis(port=server.port, socket_timeout=_DEADLINE_S)
    _big(client, size)
    assert client.save()
    for step in range(3):
        before = image(server)
        server.kill()
        server.start()
        problems = [problem[:200] for problem in _difference(before, image(server))]
        assert not problems, f"step {step}: {problems}"
        client = redis.Redis(port=server.port, socket_timeout=_DEADLINE_S)
        _change(client, size)
        if step == 1:
            assert client.save()
            _change(client, size)
