"""Members come and go, and leaderships move, by command and under load, where there are several shards."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis

from makoredis.admin.makoctl import main
from tests.cluster.load import Load
from tests.cluster.processes import Cluster, Node, wait_for
from tests.cluster.test_membership import address, check, mako, plain, status, wait_for_load

SETTINGS = {"shards": 3, "checkpoint_log_bytes": 20_000, "log_keep_bytes": 20_000, "disk_ballast_bytes": 0}


def shards(node: Node) -> dict[int, dict[str, Any]]:
    """The shards as one node sees them."""
    found = {each["id"]: each for each in map(plain, plain(mako(node, "STATUS", "LOCAL"))["shards"])}
    return {id: {**each, "replicas": list(map(plain, each["replicas"]))} for id, each in found.items()}


def voters(node: Node) -> list[set[int]]:
    """Of the members' group and of every shard, as a node knows them."""
    of_shards = [
        {replica["node"] for replica in shard["replicas"] if replica["role"] in (b"leader", b"voter")}
        for shard in shards(node).values()
    ]
    members = {id for id, each in status(node)["nodes"].items() if each["role"] in (b"leader", b"voter")}
    return [members, *of_shards]


def wait_for_voters(node: Node, *ids: int) -> None:
    wait_for(lambda: all(group == {*ids} for group in voters(node)), f"{ids} are the voters of every group")


def leaders(node: Node) -> dict[int, int]:
    return {id: shard["leader"] for id, shard in shards(node).items()}


def wait_for_leaders(node: Node, expected: dict[int, int]) -> None:
    wait_for(lambda: leaders(node) == expected, f"the shards are led as {expected}")


def test_a_node_is_added_and_one_removed_under_load(tmp_path: Path) -> None:
    with Cluster(tmp_path, joining=1, settings=SETTINGS).start() as cluster:
        with Load([cluster[1], cluster[2], cluster[3]]) as load:
            wait_for_load(load, 150)
            cluster[4].start()
            assert mako(cluster[2], "ADD", 4, address(cluster[4])) == b"OK"
            wait_for_voters(cluster[4], 1, 2, 3, 4)
            assert mako(cluster[2], "REMOVE", 3) == b"OK"
            assert mako(cluster[2], "REMOVE", 3) == b"OK", "repeating it does nothing"
            wait_for_voters(cluster[4], 1, 2, 4)
            wait_for_load(load, 100)
            check(cluster, load, [1, 2, 4])
            cluster[3].kill()
        # The new one counts: with it and one other there is a majority, after everybody was started again.
        for id in (1, 2, 4):
            cluster[id].kill()
        cluster.start([1, 4])
        wait_for_voters(cluster[4], 1, 2, 4)
        check(cluster, load, [1, 4])


def test_all_nodes_are_replaced_in_one_change(tmp_path: Path) -> None:
    with Cluster(tmp_path, joining=3, settings=SETTINGS).start() as cluster:
        old, new = [cluster[id] for id in (1, 2, 3)], [cluster[id] for id in (4, 5, 6)]
        with Load(old) as load:
            wait_for_load(load, 100)
            words = [f"{node.id}={address(node)}" for node in new]
            assert mako(cluster[1], "REPLACE", 1, 2, 3, *words) == b"OK"
            for node in new[:2]:
                node.start()
            # One of the new ones does not run yet: the change waits, the cluster goes on, whoever dies and comes back.
            victim = cluster.leader()
            victim.kill()
            wait_for_load(load, 50)
            assert voters(next(node for node in old if node is not victim)) == [{1, 2, 3}] * 4
            new[2].start()
            victim.start()
            assert mako(cluster[1], "REPLACE", 1, 2, 3, *words) == b"OK", "the command may be given again"
            wait_for_voters(new[0], 4, 5, 6)
            load.stop()
        for node in old:
            node.kill()
        with Load(new) as more:
            wait_for_load(more, 50)
            check(cluster, more, [4, 5, 6])
        assert load.acknowledged.items() <= cluster.wait_equal([4, 5, 6]).items()
        assert load.errors == []


@pytest.fixture(scope="module")
def trio_of_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), settings=SETTINGS).start() as cluster:
        yield cluster


def test_leaderships_are_handed_over_and_spread_again(trio_of_nodes: Cluster) -> None:
    cluster = trio_of_nodes
    wait_for_leaders(cluster[1], {1: 1, 2: 2, 3: 3})
    with Load(list(cluster.nodes.values())) as load:
        assert mako(cluster[3], "TRANSFER", 2, "SHARD", 1) == b"OK"
        wait_for_leaders(cluster[3], {1: 2, 2: 2, 3: 3})
        assert mako(cluster[1], "TRANSFER", 3, "SHARD", "ALL") == b"OK"
        wait_for_leaders(cluster[3], {1: 3, 2: 3, 3: 3})
        wait_for_load(load, 30)
        assert mako(cluster[2], "SPREAD") == b"OK"
        wait_for_leaders(cluster[1], {1: 1, 2: 2, 3: 3})
        wait_for_load(load, 30)
        check(cluster, load, [1, 2, 3])


def test_a_drained_node_does_not_lead_until_it_is_undrained(trio_of_nodes: Cluster) -> None:
    cluster = trio_of_nodes
    with Load(list(cluster.nodes.values())) as load:
        wait_for_load(load, 30)
        assert mako(cluster[1], "DRAIN", 2) == b"OK"
        wait_for(lambda: 2 not in leaders(cluster[1]).values(), "node 2 leads no shard")
        wait_for(lambda: status(cluster[1])["leader"] != 2, "nor the members")
        with pytest.raises(redis.ResponseError, match="is drained"):
            mako(cluster[1], "TRANSFER", 2, "SHARD", 3)
        wait_for_load(load, 30)
        assert mako(cluster[2], "UNDRAIN") == b"OK"
        wait_for_leaders(cluster[1], {1: 1, 2: 2, 3: 3})
        wait_for_load(load, 30)
        check(cluster, load, [1, 2, 3])


def test_a_learner_that_never_came_is_taken_back(trio_of_nodes: Cluster) -> None:
    cluster = trio_of_nodes
    assert mako(cluster[1], "ADD", 9, "127.0.0.1:1") == b"OK"
    wait_for(lambda: all(each["goal"] == [1, 2, 3, 9] for each in shards(cluster[1]).values()), "it is known to all")
    assert mako(cluster[2], "REMOVE", 9) == b"OK"
    wait_for(lambda: set(status(cluster[1])["nodes"]) == {1, 2, 3}, "it is no member any more")
    wait_for(
        lambda: all({each["node"] for each in shard["replicas"]} == {1, 2, 3} for shard in shards(cluster[1]).values()),
        "nor has it a replica",
    )


def test_refusals(trio_of_nodes: Cluster) -> None:
    for words, text in (
        (("TRANSFER", "9", "SHARD", "1"), "node 9 is not a member"),
        (("TRANSFER", "1", "SHARD", "4"), "there is no shard '4'"),
        (("TRANSFER", "1", "SHARDS"), "syntax error"),
        (("DRAIN", "9"), "node 9 is not a member"),
    ):
        with pytest.raises(redis.ResponseError) as caught:
            mako(trio_of_nodes[2], *words)
        assert text in str(caught.value)


def test_makoctl(trio_of_nodes: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = trio_of_nodes

    def makoctl(*words: str) -> str:
        assert main(["--port", str(cluster[2].port), *words]) == 0, capsys.readouterr()
        return capsys.readouterr().out

    def look(*words: str) -> dict[int, dict[str, Any]]:
        return {shard["id"]: shard for shard in json.loads(makoctl("--json", *words))["shards"]}

    wait_for_leaders(cluster[1], {1: 1, 2: 2, 3: 3})
    assert {id: shard["leader"] for id, shard in look("transfer", "3", "--shard", "all").items()} == {1: 3, 2: 3, 3: 3}
    assert 3 not in {shard["leader"] for shard in look("drain", "3").values()}
    look("undrain", "3")
    assert {shard["leader"] for shard in look("spread").values()} == {1, 2, 3}
    assert look("transfer", "1", "--shard", "2")[2]["leader"] == 1
    wait_for(lambda: "1 (pinned)" in makoctl("status"), "the pin is shown")
    shown = makoctl("status")
    assert "SHARD  SLOTS        LEADER" in shown and "1 2 3" in shown
    look("spread")
    wait_for(lambda: all(map(is_complete, look("status").values())), "the leaders say how their shards are")


def is_complete(shard: dict[str, Any]) -> bool:
    """Whether the leader itself has answered, which it does not while another one is elected."""
    has_lags = [replica["lag"] is not None for replica in shard["replicas"]] == [True] * 3
    return bool(shard["answered_by"] == shard["leader"] and has_lags and shard["watermark_us"] > 0)


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_changes_go_on_whoever_is_killed_meanwhile(tmp_path: Path, seed: int) -> None:
    """Nodes are replaced one after the other by makoctl, while some member is killed and started again all the time."""
    rng = Random(seed)
    with Cluster(tmp_path, joining=3, settings=SETTINGS).start() as cluster, Load([cluster[1]]) as load:
        wait_for_load(load, 100)
        load.nodes += [cluster[4], cluster[5]]
        members = [1, 2, 3]
        for old, new in ((2, 4), (3, 5), (1, 6)):
            cluster[new].start()
            stop = threading.Event()
            with ThreadPoolExecutor(1) as pool:
                killing = pool.submit(kill_one_after_the_other, cluster, [*members, new], rng, stop)
                try:
                    words = ["replace", str(old), f"{new}={address(cluster[new])}"]
                    wait_for(lambda words=words, new=new: ask_anybody(cluster, words, new), f"{words} is done", 300)
                finally:
                    stop.set()
                killing.result()
            members = [*(member for member in members if member != old), new]
            wait_for_voters(cluster[new], *members)
            cluster[old].kill()
        wait_for_load(load, 50)
        load.stop()
        assert load.acknowledged.items() <= cluster.wait_equal(members).items()


def kill_one_after_the_other(cluster: Cluster, ids: list[int], rng: Random, stop: threading.Event) -> None:
    """A majority is always there: the next one is killed when the last one is back."""
    while not stop.wait(rng.uniform(0.2, 3)):
        node = cluster[rng.choice(ids)]
        node.kill()
        stop.wait(rng.uniform(0, 1.5))
        node.start()
        wait_for(lambda node=node: leaders_known(node), f"{node.name} is back")  # removed or not


def leaders_known(node: Node) -> bool:
    with node.client(socket_timeout=2) as client:
        status = plain(client.execute_command("MAKO", "STATUS", "LOCAL"))
        return all(plain(shard)["leader"] is not None for shard in status["shards"])


def ask_anybody(cluster: Cluster, words: list[str], new: int) -> bool:
    """Gives the command to the new node, or to another, if that is what it takes; again until it is done."""
    return any(main(["--port", str(cluster[id].port), "--timeout", "5", *words]) == 0 for id in (new, 1, 4, 5))
