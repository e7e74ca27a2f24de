"""Three nodes with three shards: every kind of command over keys of several of them, through any node."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.cluster.cluster_process import ClusterProcess, wait_until

SETTINGS = {"shards": 3, "disk_free_bytes_min": 0, "disk_ballast_bytes": 0}
A, B, C = "b", "c", "a"
"""Keys of the first, the second and the third shard."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path_factory.mktemp("shards"), 3, **SETTINGS) as cluster:
        wait_until(lambda: cluster.client("n1").mset({A: 1, B: 1, C: 1}), "the shards have leaders")
        yield cluster


@pytest.fixture
def clients(cluster: ClusterProcess) -> Iterator[list[Any]]:
    clients = [cluster.client(name, decode_responses=True) for name in cluster.names]
    clients[0].flushall()
    yield clients
    for client in clients:
        client.close()


def test_the_keys_are_in_three_shards_with_a_leader_on_each_node(cluster: ClusterProcess) -> None:
    client = cluster.client("n1")

    def led() -> bool:
        slots = cluster.client("n2").execute_command("CLUSTER SLOTS")
        nodes = client.execute_command("CLUSTER NODES")
        if len(slots) != 3 or len({primary[1] for _, _, primary, *_ in slots}) != 3:
            return False
        runs = sorted(run for facts in nodes.values() for run in facts["slots"])
        return runs == [["0", "5460"], ["10922", "16383"], ["5461", "10921"]] and all(
            len(facts["slots"]) == 1 for facts in nodes.values()
        )

    wait_until(led, "every node leads a shard")
    slots = [client.execute_command("CLUSTER KEYSLOT", key) for key in (A, B, C)]
    assert [slot * 3 // 16384 for slot in slots] == [0, 1, 2]
    assert len(client.execute_command("CLUSTER SHARDS")) == 3


def test_commands_of_many_keys(clients: list[Any]) -> None:
    one, two, three = clients
    assert one.mset({A: 1, B: 2, C: 3})
    assert two.mget(A, B, C, "none") == ["1", "2", "3", None]
    assert three.exists(A, B, C, "none", A) == 4
    assert one.touch(A, B, C) == 3
    assert not two.msetnx({A: 9, "new:1": 9, "new:2": 9})
    assert one.mget("new:1", "new:2") == [None, None]
    assert two.msetnx({"new:1": 9, "new:2": 9, "new:3": 9})
    assert three.delete(A, B, "none") == 2
    assert one.unlink(C, "new:1", "new:2", "new:3") == 4
    assert two.dbsize() == 0


def test_commands_that_combine_keys(clients: list[Any]) -> None:
    one, two, three = clients
    one.set(A, "x", ex=1000)
    assert two.rename(A, B) and three.get(B) == "x" and 0 < one.ttl(B) <= 1000 and two.get(A) is None
    assert not one.renamenx(B, B)
    assert three.copy(B, C) and one.get(C) == "x" and not two.copy(B, C)
    two.delete(A, B, C)
    one.rpush(A, "1", "2", "3")
    assert two.lmove(A, B, "LEFT", "RIGHT") == "1" and three.rpoplpush(A, C) == "3"
    assert [one.lrange(key, 0, -1) for key in (A, B, C)] == [["2"], ["1"], ["3"]]
    one.delete(A, B, C)
    one.sadd(A, 1, 2, 3)
    two.sadd(B, 2, 3, 4)
    assert three.smove(A, B, 1) and two.smembers(A) == {"2", "3"}
    assert one.sinterstore(C, A, B) == 2 and two.sunion(A, B) == {"1", "2", "3", "4"}
    assert three.sdiff(B, A) == {"1", "4"}
    one.delete(A, B, C)
    one.zadd(A, {"m": 1})
    one.zadd(B, {"m": 2, "n": 3})
    assert two.zunionstore(C, [A, B]) == 2 and three.zrange(C, 0, -1, withscores=True) == [("m", 3), ("n", 3)]
    assert one.zrangestore(A, B, 1, 1) == 1 and two.zrange(A, 0, -1) == ["n"]
    one.delete(A, B, C)
    one.set(A, "abc")
    two.set(B, "abd")
    assert three.bitop("XOR", C, A, B) == 3 and one.get(C) == "\x00\x00\x07"
    assert two.lcs(A, B) == "ab"
    one.delete(A, B, C)
    one.pfadd(A, "x", "y")
    two.pfadd(B, "z")
    assert three.pfcount(A, B) == 3 and three.pfmerge(C, A, B) and one.pfcount(C) == 3
    one.delete(A, B, C)
    one.rpush(A, 3, 1, 2)
    one.mset({"weight_1": 30, "weight_2": 20, "weight_3": 10})
    assert two.sort(A, by="weight_*", get=["#", "weight_*"], store=B) == 6
    assert three.lrange(B, 0, -1) == ["3", "10", "2", "20", "1", "30"]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        one.sunionstore(C, A, B)
    with pytest.raises(redis.ResponseError, match="no such key"):
        one.rename("none", A)
    assert one.set("moving", 1) and one.copy("moving", "copied", destination_db=3) and one.move("moving", 4)


def test_transactions(clients: list[Any]) -> None:
    one, two, three = clients
    one.set(B, "text")
    pipe = two.pipeline(transaction=True)
    answers = pipe.set(A, 1).incr(C).lpush(B, "wrong type").get(B).ping().execute(raise_on_error=False)
    assert answers[:2] == [True, 1] and isinstance(answers[2], redis.ResponseError) and answers[3:] == ["text", True]
    with three.pipeline(transaction=True) as watching:
        watching.watch(A, B)
        one.set(B, "other")
        watching.multi()
        watching.incr(A)
        watching.incr(C)
        with pytest.raises(redis.WatchError):
            watching.execute()
        watching.watch(A, B)
        watching.multi()
        watching.incr(A)
        watching.incr(C)
        assert watching.execute() == [2, 2]
    assert one.get(A) == "2"


def test_commands_on_all_keys_in_transactions(clients: list[Any]) -> None:
    one, two, three = clients
    one.mset({A: 1, B: 2, C: 3})
    pipe = two.pipeline(transaction=True)
    answers = pipe.dbsize().incr(A).set("new", 1).dbsize().keys("*").delete(B, C).dbsize().randomkey().execute()
    assert answers[:4] == [3, 2, True, 4] and sorted(answers[4]) == sorted([A, B, C, "new"])
    assert answers[5:7] == [2, 2] and answers[7] in (A, "new")
    assert sorted(three.keys("*")) == sorted([A, "new"])
    pipe = three.pipeline(transaction=True)
    answers = pipe.get(A).flushdb().get(A).dbsize().set(B, "x").mget(A, B, C).dbsize().scan(0).execute()
    assert answers == ["2", True, None, 0, True, [None, "x", None], 1, (0, [B])]
    assert one.keys("*") == [B] and two.dbsize() == 1
    one.rpush(A, 1)
    one.set(C, 1, px=1)
    pipe = one.pipeline(transaction=True)
    pipe.execute_command("SCAN", 0, "TYPE", "list").select(1).set(C, 1).dbsize().flushall().dbsize().select(0)
    assert pipe.execute() == [(0, [A]), True, True, 1, True, 0, True] and two.dbsize() == 0
    with three.pipeline(transaction=True) as watching:
        watching.watch(A)
        one.set(A, 1)
        watching.multi()
        with pytest.raises(redis.WatchError):
            watching.flushall().execute()
        assert one.get(A) == "1"
        watching.watch(A)
        watching.multi()
        assert watching.flushall().keys("*").execute() == [True, []]
    two.execute_command("READONLY")
    wait_until(
        lambda: two.pipeline(transaction=True).dbsize().keys("*").get(A).execute() == [0, [], None],
        "the second node's replicas are empty, too",
    )


def test_commands_on_all_keys_in_scripts(clients: list[Any]) -> None:
    one, two, three = clients
    one.mset({f"key:{number}": number for number in range(200)} | {A: 1, B: 2, C: 3})
    assert two.eval("return {redis.call('DBSIZE'), redis.call('INCR', KEYS[1]), redis.call('DBSIZE')}", 1, A) == [
        203,
        2,
        203,
    ]
    delete_all = """
        for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end
        return redis.call('DBSIZE')"""
    assert three.eval(delete_all, 0, "key:1??") == 103 and one.dbsize() == 103
    walk = """
        local cursor, sum = '0', 0
        repeat
            local found = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 5)
            cursor = found[1]
            for _, key in ipairs(found[2]) do sum = sum + redis.call('GET', key) end
        until cursor == '0'
        return sum"""
    assert two.eval(walk, 0, "key:*") == sum(range(100))
    picked = one.eval("local key = redis.call('RANDOMKEY') return {key, redis.call('GETDEL', key)}", 0)
    assert picked[1] is not None and three.get(picked[0]) is None
    refill = "redis.call('FLUSHALL') for i = 1, 50 do redis.call('SET', 'new:' .. i, i) end return redis.call('DBSIZE')"
    assert three.eval(refill, 0) == 50 and sorted(two.keys("*")) == sorted(f"new:{number}" for number in range(1, 51))
    assert two.mget("new:1", "new:50") == ["1", "50"]
    assert one.eval("return pcall(redis.call, 'FLUSHDB') and redis.call('EXISTS', 'new:1')", 0) == 0


def test_transactions_on_all_keys_are_of_one_moment(clients: list[Any]) -> None:
    """Counting beside others who add and remove keys in pairs, or empty everything and fill it again."""
    is_over = threading.Event()

    def change(client: Any, number: int) -> None:
        while not is_over.is_set():
            client.mset({f"a:{number}": 1, f"b:{number}": 1})
            pipe = client.pipeline(transaction=True)
            if pipe.delete(f"a:{number}", f"b:{number}").dbsize().execute()[1] % 2:
                is_over.set()
            script = "redis.call('FLUSHALL') redis.call('MSET', 'c', 1, 'd', 1) return redis.call('DBSIZE')"
            if number == 0 and client.eval(script, 0) != 2:
                is_over.set()

    changers = [threading.Thread(target=change, args=(client, number)) for number, client in enumerate(clients[:2])]
    for changer in changers:
        changer.start()
    try:
        for _ in range(40):
            size, keys, again = clients[2].pipeline(transaction=True).dbsize().keys("*").dbsize().execute()
            assert size == again == len(keys) and size % 2 == 0
        assert not is_over.is_set()
    finally:
        is_over.set()
        for changer in changers:
            changer.join(60)


def test_pipelines_keep_their_order(clients: list[Any]) -> None:
    for client in clients:
        pipe = client.pipeline(transaction=False)
        for number in range(40):
            key = (A, B, C)[number % 3]
            pipe.rpush(key, number)
            pipe.llen(key)
        for key in (A, B, C):
            pipe.incr(key)
            pipe.lrange(key, 0, -1)
            pipe.delete(key)
            pipe.get(key)
        answers = pipe.execute(raise_on_error=False)
        assert answers[:80] == [number // 3 + 1 for number in range(40) for _ in range(2)]
        for at in range(3):
            error, values, deleted, nothing = answers[80 + 4 * at : 84 + 4 * at]
            assert isinstance(error, redis.ResponseError) and "WRONGTYPE" in str(error)
            assert values == [str(number) for number in range(at, 40, 3)] and (deleted, nothing) == (1, None)


def test_pipelines_of_one_command(clients: list[Any]) -> None:
    """They are run together on the leader of their shard, also where keys are past their deadline."""

    def ask(client: Any, *commands: tuple[Any, ...]) -> list[Any]:
        pipe = client.pipeline(transaction=False)
        for words in commands:
            pipe.execute_command(*words)
        return list(pipe.execute(raise_on_error=False))

    for client in clients:
        for key in (A, B, C):
            assert ask(client, *[("RPUSH", key, number) for number in range(5)]) == [1, 2, 3, 4, 5]
            assert all("WRONGTYPE" in str(answer) for answer in ask(client, *[("INCR", key)] * 3))
            assert ask(client, *[("LPOP", key)] * 6) == ["0", "1", "2", "3", "4", None]
            assert ask(client, *[("SET", key, number) for number in range(3)]) == [True] * 3
            assert ask(client, *[("INCR", key)] * 3, ("SADD", key))[:3] == [3, 4, 5]
            assert ask(client, *[("SET", key + "{" + key + "}", "x", "PX", 1)] * 3) == [True] * 3
            time.sleep(0.01)
            assert ask(client, ("GET", key), *[("GET", key + "{" + key + "}")] * 3) == ["5", None, None, None]
            assert ask(client, *[("ZADD", "z{" + key + "}", 1, number % 2) for number in range(4)]) == [1, 1, 0, 0]
            assert ask(client, *[("SADD", "s{" + key + "}", 1)] * 3) == [1, 0, 0]
            assert ask(client, *[("SADD", "s{" + key + "}", 1)] * 3) == [0, 0, 0]
        client.flushall()


def test_pipelines_of_all_kinds_of_commands(clients: list[Any]) -> None:
    for client in clients:
        pipe = client.pipeline(transaction=False)
        pipe.set(A, 1).ping().set(B, 2).execute_command("MULTI")
        pipe.incr(A).incr(B).execute_command("EXEC")
        pipe.mget(A, B, C).publish("nobody", "message").get(A).execute_command("SELECT", 1)
        pipe.get(A).set(A, 3).execute_command("SELECT", 0).get(A).eval("return redis.call('INCR', KEYS[1])", 1, A)
        pipe.get(A).append(C, "x").rename(C, B).get(B).echo("end")
        answers = pipe.execute(raise_on_error=False)
        assert answers[:7] == [True, True, True, "OK", "QUEUED", "QUEUED", [2, 3]]
        assert answers[7:11] == [["2", "3", None], 0, "2", True]
        assert answers[11:16] == [None, True, True, "2", 3]
        assert answers[16:] == ["3", 1, True, "x", "end"]
        client.flushall()


def test_a_select_that_fails_in_a_transaction(clients: list[Any]) -> None:
    """What comes behind it runs on the database from before, as in Redis."""
    for client in clients:
        pipe = client.pipeline(transaction=True)
        pipe.set(A, 1).execute_command("SELECT", 99).set(B, 2).execute_command("SELECT", 1)
        pipe.execute_command("SELECT", "x").set(C, 3).execute_command("SELECT", 0).mget(A, B, C)
        answers = pipe.execute(raise_on_error=False)
        assert [str(each) for each in answers if isinstance(each, redis.ResponseError)] == [
            "DB index is out of range",
            "value is not an integer or out of range",
        ]
        assert answers[-1] == ["1", "2", None]
        client.flushall()


def test_a_long_pipeline_over_all_shards(clients: list[Any]) -> None:
    for client in clients:
        pipe = client.pipeline(transaction=False)
        for number in range(3000):
            pipe.set(f"key:{number % 500}", number)
            pipe.get(f"key:{number % 500}")
        answers = pipe.execute()
        assert answers == [each for number in range(3000) for each in (True, str(number))]


@pytest.mark.parametrize("size", [150_000, pytest.param(1_500_000, marks=pytest.mark.long)])
def test_a_pipeline_of_long_answers(clients: list[Any], size: int) -> None:
    """They come a few at a time, in order. All at once would be more than what nodes may have to say to each other."""
    values = {f"long:{number}": str(number) * size for number in range(8)}
    for key, value in values.items():
        clients[0].set(key, value)
    for client in clients:
        pipe = client.pipeline(transaction=False)
        for _ in range(4):
            for key in values:
                pipe.get(key)
            pipe.echo("between")
            for key in list(values)[::-1]:
                pipe.strlen(key).get(key)
            pipe.incr("count")
        answers = pipe.execute()
        assert [answer[:2] for answer in answers if isinstance(answer, str)] == 4 * [
            *(each[:2] for each in values.values()),
            "be",
            *(each[:2] for each in list(values.values())[::-1]),
        ]
        assert answers.count(size) == 32
    assert clients[0].get("count") == "12"


def test_databases_that_there_are_not(clients: list[Any]) -> None:
    for client in clients:
        client.set(A, 1)
        for words in ([A, B, "DB", 99], [A, B, "DB", -1], [A, B, "DB", 16], [A, B, "DB", 10**30], [A, B, "DB", "x"]):
            with pytest.raises(redis.ResponseError, match="out of range"):
                client.execute_command("COPY", *words)
        for number in (99, -1):
            with pytest.raises(redis.ResponseError, match="out of range"):
                client.execute_command("MOVE", A, number)
        assert client.execute_command("COPY", A, B, "DB", 1) == 1 and client.execute_command("MOVE", A, 2) == 1
        assert client.exists(A, B) == 0
        client.flushall()


def test_who_waits_does_not_mind_values_of_another_type(clients: list[Any]) -> None:
    one, two, _ = clients
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(two.blpop([A, B], timeout=60)))
    thread.start()
    wait_until(lambda: int(two.info("clients")["blocked_clients"]) == 1, "it waits")
    transaction = one.pipeline(transaction=True)
    assert transaction.lpush(A, "x").delete(A).set(A, "text").execute() == [1, 1, True]
    assert one.wait(2, 60_000) >= 1 and one.strlen(A) == 4
    assert not answers
    one.delete(A)
    assert one.rpush(B, "y") == 1
    thread.join(60)
    assert answers == [(B, "y")]


def test_scripts_that_write_what_they_have_not_named(clients: list[Any]) -> None:
    """Nothing that was acknowledged may be missing, whatever the command and wherever its keys are."""
    writes = (
        "redis.call('SET', 'k' .. i, i)",
        "redis.call('MSET', 'k' .. i, i, 'l' .. i, i)",
        "redis.call('SET', 'k' .. i, i, 'EX', 1000)",
        "redis.call('SETEX', 'k' .. i, 1000, i)",
        "redis.call('SELECT', 3) redis.call('SET', 'k' .. i, i)",
    )
    for client in clients:
        for write in writes:
            loop = f"for i = 1, 5 do {write} end"
            assert client.eval(f"{loop} return redis.call('GET', 'k3')", 0) == "3"
            pipe = client.pipeline(transaction=False)
            pipe.execute_command("SELECT", 3 if "SELECT" in write else 0)
            pipe.mget([f"k{i}" for i in range(1, 6)]).execute_command("SELECT", 0)
            assert pipe.execute() == [True, ["1", "2", "3", "4", "5"], True], write
            client.flushall()
        many = "local t = {} for i = 1, 3000 do t[i] = 'k' .. i end"
        assert client.eval(f"{many} return redis.call('DEL', unpack(t))", 0) == 0


def test_who_touches_many_keys_that_it_has_not_named(clients: list[Any]) -> None:
    """One run finds many of them, though it sees what is not so; it does not hang because of that."""
    one, two, three = clients
    assert one.eval("for i = 1, 200 do redis.call('INCR', 'n' .. i) end return redis.call('GET', 'n200')", 0) == "1"
    assert two.eval("for i = 1, 200 do redis.call('INCR', 'n' .. i) end return redis.call('GET', 'n200')", 0) == "2"
    one.rpush("l", *range(100))
    one.mset({f"weight:{i}": 100 - i for i in range(100)})
    assert three.sort("l", by="weight:*", get=["weight:*", "#"], start=0, num=2) == ["1", "99", "2", "98"]
    assert two.eval("repeat until redis.call('GET', 'n1') == '2' return 5", 0) == 5
    endless = "local n = tonumber(redis.call('GET', 'n1') or 0) repeat n = n - 1 until n == 0 return n"
    assert three.eval(endless, 0) == 0


def test_a_script_that_reads_the_name_of_the_next_key_from_the_one_before(clients: list[Any]) -> None:
    """The node's own snapshot shows where it will lead; where that has other values, there are more runs."""
    one, two, three = clients
    one.mset({f"link:{number}": f"link:{number + 1}" for number in range(500)})
    follow = "local key = 'link:0' for _ = 1, 500 do key = redis.call('GET', key) end"
    assert two.eval(f"{follow} return key", 0) == "link:500"
    assert three.eval(f"{follow} return redis.call('APPEND', key, 'end')", 0) == 3 and one.get("link:500") == "end"
    one.mset({f"link:{number}": f"link:{number - 1}" for number in range(500)} | {"link:0": "link:499"})
    assert three.eval(f"{follow} return key", 0) == "link:0"
    for client in (one, two, three) * 5:
        one.incr("number")
        once = "redis.call('SET', 'link:' .. redis.call('GET', 'number'), ARGV[1]) return redis.call('GET', 'number')"
        number = client.eval(once, 0, "put")
        assert one.getdel(f"link:{number}") == "put"


@pytest.mark.long
def test_who_touches_thousands_of_keys_that_it_has_not_named(clients: list[Any]) -> None:
    one, two, three = clients
    many = "for i = 1, 20000 do redis.call('INCR', 'm' .. i) end return redis.call('GET', 'm20000')"
    assert three.eval(many, 0) == "1" and two.eval(many, 0) == "2" and one.dbsize() == 20_000
    endless = "local i = tonumber(redis.call('GET', 'at') or 0) while true do redis.call('GET', 'k' .. i) i = i + 1 end"
    with pytest.raises(redis.ResponseError, match="name them as KEYS"):
        one.eval(endless, 0)


def test_what_is_over_several_shards_counts_once(clients: list[Any]) -> None:
    """However often it was run, and wherever."""
    one = clients[0]
    one.config_set("slowlog-log-slower-than", 0)
    one.config_resetstat()
    one.slowlog_reset()
    with one.monitor() as monitor:
        one.mset({A: 1, B: 2, C: 3})
        assert one.mget(A, B, "missing") == ["1", "2", None] and one.get("missing") is None
        script = (
            "for _, key in ipairs({'n1', 'n2', 'n3', 'n4'}) do redis.call('INCR', key) end redis.call('LPUSH', 'n1', 1)"
        )
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            one.eval(script, 0)
        one.pipeline(transaction=True).set(A, 2).get(B).get(C).execute()
        one.keys("*")
        one.blpop(["no:a", "no:b"], 0.01)
        one.ping()
        seen = []
        while not seen or seen[-1] != "PING":
            seen.append(monitor.next_command()["command"])
    one.config_set("slowlog-log-slower-than", 10_000)
    assert [line for line in seen if line.startswith(("INCR", "LPUSH"))] == [f"INCR n{i}" for i in range(1, 5)] + [
        "LPUSH n1 1"
    ]
    counted = one.info("commandstats")
    calls = {
        name: counted[f"cmdstat_{name}"]["calls"] for name in ("mset", "mget", "eval", "incr", "lpush", "set", "get")
    }
    assert calls == {"mset": 1, "mget": 1, "eval": 1, "incr": 4, "lpush": 1, "set": 1, "get": 3}
    assert counted["cmdstat_lpush"]["failed_calls"] == 1 and counted["cmdstat_mset"]["usec"] > 0
    assert one.info("errorstats")["errorstat_WRONGTYPE"] == {"count": 1}
    assert one.info("stats")["keyspace_misses"] == 1
    slow = {entry["command"].split()[0] for entry in one.slowlog_get(100)}
    assert slow >= {b"MSET", b"MGET", b"EVAL", b"SET", b"GET", b"KEYS", b"BLPOP"}


def test_scripts(clients: list[Any]) -> None:
    one, two, _ = clients
    script = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('INCRBY', KEYS[2], ARGV[1])"
    assert one.eval(script, 2, A, B, 5) == 5 and two.eval(script, 2, A, B, 6) == 11
    undeclared = "redis.call('INCR', 'b') redis.call('INCR', 'c') return redis.call('INCR', 'a')"
    assert one.eval(undeclared, 0) == 1 and two.mget(A, B, C) == ["7", "12", "1"]
    assert one.eval("return pcall(redis.call, 'INCR', KEYS[1] .. 'x') and redis.call('GET', 'bx')", 1, A) == "1"
    two.function_load("#!lua name=shards\nredis.register_function('put', function(keys, args) "
                      "return redis.call('MSET', keys[1], args[1], keys[2], args[1]) end)", replace=True)  # fmt: skip
    wait_until(lambda: one.fcall("put", 2, A, C, 8), "the function is known everywhere")
    assert two.mget(A, C) == ["8", "8"]


def test_functions_can_be_called_as_soon_as_they_are_loaded(clients: list[Any]) -> None:
    """By the client that has loaded them, on whichever node."""
    library = "#!lua name=fresh\nredis.register_function('fresh', function() return {} end)"
    for number, client in enumerate(clients * 5):
        client.function_load(library.format(number), replace=True)
        assert client.fcall("fresh", 1, A) == number
    for client in clients:
        client.function_delete("fresh")
        with pytest.raises(redis.ResponseError, match="Function not found"):
            client.fcall("fresh", 1, A)
        client.function_load(library.format(0))
    clients[0].function_delete("fresh")


def test_commands_on_all_keys(clients: list[Any]) -> None:
    one, two, three = clients
    one.mset({f"key:{number}": number for number in range(300)})
    assert two.dbsize() == 300 and len(three.keys("*")) == 300 and len(one.keys("key:1?")) == 10
    wait_until(lambda: two.info("keyspace").get("db0", {}).get("keys") == 300, "replicas have them")
    assert sorted(two.scan_iter(count=50)) == sorted(f"key:{number}" for number in range(300))
    cursor, keys = three.scan(0, count=1000)
    assert cursor == 0 and len(keys) == 300, "all at once, as from one keyspace"
    cursor, keys = three.scan(0, count=10)
    assert cursor != 0 and 10 <= len(keys) < 300
    cursor, keys = one.scan(0, match="key:1?", count=1000)
    assert cursor == 0 and sorted(keys) == [f"key:{number}" for number in range(10, 20)]
    with two.client() as reader:
        reader.execute_command("READONLY")
        wait_until(lambda: len(reader.scan(0, count=1000)[1]) == 300, "the snapshot has them")
        assert reader.scan(0, count=1000)[0] == 0
    assert three.randomkey().startswith("key:")
    assert one.flushdb() and two.dbsize() == 0 and three.randomkey() is None


def test_keys_expire(clients: list[Any]) -> None:
    one, two, _ = clients
    for key in (A, B, C):
        one.set(key, 1, px=100)
    time.sleep(0.15)
    assert two.mget(A, B, C) == [None, None, None]
    wait_until(lambda: two.dbsize() == 0, "the keys are deleted")


def test_a_blocked_client_is_served_from_another_node(clients: list[Any]) -> None:
    one, two, three = clients
    got: list[Any] = []
    waiter = threading.Thread(target=lambda: got.append(two.blpop([A, B, C], 30)))
    waiter.start()
    time.sleep(0.2)
    three.rpush(C, "element")
    waiter.join(60)
    assert got == [(C, "element")]
    started = time.monotonic()
    assert one.blpop([A, B], 1) is None and time.monotonic() - started < 15
    waiter = threading.Thread(target=lambda: got.append(one.blmove(A, B, 30, "LEFT", "LEFT")))
    waiter.start()
    two.rpush(A, "moved")
    waiter.join(60)
    assert got[1:] == ["moved"] and three.lrange(B, 0, -1) == ["moved"]


def test_published_messages_reach_every_node(clients: list[Any]) -> None:
    one, two, _ = clients
    subscriber = two.pubsub()
    subscriber.subscribe("channel")
    assert subscriber.get_message(timeout=10)["type"] == "subscribe"
    one.pipeline(transaction=True).incr(A).publish("channel", "hello").incr(B).execute()
    assert wait_until(lambda: subscriber.get_message(timeout=1), "the message arrives")["data"] == "hello"
    subscriber.close()


def test_a_session_on_a_replica_reads_its_own_writes(cluster: ClusterProcess) -> None:
    client = cluster.client("n3", single_connection_client=True)
    client.execute_command("READONLY")
    for number in range(30):
        client.mset({A: number, B: number, C: number})
        assert client.mget(A, B, C) == [b"%d" % number] * 3
        assert client.get(B) == b"%d" % number


def test_waiting_for_all_replicas(tmp_path: Path) -> None:
    with ClusterProcess(tmp_path, 3, **SETTINGS) as cluster:
        patient: dict[str, Any] = {"single_connection_client": True, "socket_timeout": 120}
        clients = [cluster.client(name, **patient) for name in cluster.names]
        one, two, _ = clients
        wait_until(lambda: one.mset({A: 1, B: 1, C: 1}), "the shards have leaders")
        for client in clients:
            assert client.mset({A: 2, B: 2, C: 2}) and client.set(B, 3)
            assert client.execute_command("WAIT", 2, 0) == 2 and client.execute_command("WAIT", 1, 0) == 1
            assert client.execute_command("WAITAOF", 1, 2, 0) == [1, 2]
            assert client.get(B) == b"3"
        assert one.pipeline(transaction=True).incr(A).execute_command("WAIT", 2, 0).execute() == [3, 1]
        wait_until(lambda: two.execute_command("WAIT", 3, 500) == 2, "it ends with all that there are")
        cluster.kill("n3")
        wait_until(lambda: two.mset({A: 5, B: 5, C: 5}), "the others go on")
        assert two.execute_command("WAIT", 2, 100) == 1
        got: list[Any] = []
        waiter = threading.Thread(target=lambda: got.append(two.execute_command("WAIT", 2, 0)))
        waiter.start()
        wait_until(lambda: one.set(A, 6), "others are not held up")
        cluster.start("n3")
        waiter.join(120)
        assert got == [2]
        reader = cluster.client("n3", single_connection_client=True)
        reader.execute_command("READONLY")
        wait_until(lambda: reader.mget(A, B, C) == [b"6", b"5", b"5"], "it has everything")


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    with ClusterProcess(tmp_path, 3, **SETTINGS) as cluster:
        client = cluster.client("n1")
        values = {f"key:{number}": b"%d" % number for number in range(50)}
        wait_until(lambda: client.mset(values), "the shards have leaders")
        for name in cluster.names:
            cluster.kill(name)
        for name in cluster.names:
            cluster.start(name, wait=False)
        for name in cluster.names:
            cluster.wait_until_up(name)
        found = wait_until(lambda: cluster.client("n2").mget(list(values)), "the shards have leaders again")
        assert found == list(values.values())


def test_clients_are_redirected_if_they_are_to_be(tmp_path: Path) -> None:
    with ClusterProcess(tmp_path, 3, redirect="moved", **SETTINGS) as cluster:
        plain = cluster.client("n1")
        wait_until(lambda: plain.mset({A: 1, B: 1, C: 1}), "the shards have leaders")

        def answers() -> list[str]:
            texts = []
            for key in (A, B, C):
                try:
                    plain.get(key)
                except redis.ResponseError as error:
                    texts.append(str(error))
            return texts

        wait_until(lambda: len(answers()) == 2, "two shards are led elsewhere")
        client = redis.RedisCluster(port=cluster.ports["n2"], host="127.0.0.1", socket_timeout=40)
        assert [client.incr(key) for key in (A, B, C)] == [2, 2, 2]
        client.close()


def test_a_node_that_was_away_gets_what_the_logs_have_lost(tmp_path: Path) -> None:
    small = {"checkpoint_log_bytes": 8192, "log_keep_bytes": 8192}
    with ClusterProcess(tmp_path, 3, **SETTINGS, **small) as cluster:
        client = cluster.client("n1")
        wait_until(lambda: client.mset({A: 0, B: 0, C: 0}), "the shards have leaders")
        client.hset("hash", mapping={f"field:{number}": number for number in range(50)})
        cluster.kill("n3")
        wait_until(lambda: client.mset({A: 0, B: 0, C: 0}), "the shards have leaders again")
        known = client.info("mako")["shard1"]["last"]
        values = {f"key:{number}": b"%d" % number * 200 for number in range(300)}
        for at in range(0, 300, 30):
            client.mset({key: values[key] for key in list(values)[at : at + 30]})
        client.rpush("list", *range(100))

        def is_cut(node: Any) -> bool:
            # Entries go when others come: those above came perhaps while the leader still waited for n3.
            client.mset({key: values[key] for key in list(values)[:30]})
            return bool(node.save() and node.info("mako")["shard1"]["first"] > known)

        for node in (cluster.client("n1"), cluster.client("n2")):
            wait_until(lambda node=node: is_cut(node), "the log is cut")
        cluster.start("n3")
        reader = cluster.client("n3", single_connection_client=True)
        reader.execute_command("READONLY")
        wait_until(lambda: reader.mget(list(values)) == list(values.values()), "n3 has everything")
        wait_until(lambda: "took a snapshot of its leader" in cluster.output("n3"), "n3 was sent a snapshot")
        assert cluster.client("n3").info("mako")["snapshots_installed"] >= 1
        for name in cluster.names:
            cluster.kill(name)
        for name in cluster.names:
            cluster.start(name, wait=False)
        for name in cluster.names:
            cluster.wait_until_up(name)
        client = cluster.client("n3")
        wait_until(lambda: client.mget(list(values)) == list(values.values()), "all is there after a restart")
        assert client.lrange("list", 0, -1) == [b"%d" % number for number in range(100)]
        assert client.hlen("hash") == 50 and client.dbsize() == 305
