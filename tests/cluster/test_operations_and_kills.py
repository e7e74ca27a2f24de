"""Nodes are killed while somebody operates the cluster: every command ends, is refused with one line, or can be given
again; nothing that was acknowledged is lost, and nothing stays half done."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from makoredis.admin.makoctl import Client, main
from makoredis.admin.wire import Address
from tests.cluster.load import Load
from tests.cluster.processes import Cluster, Node, wait_for

SETTINGS: dict[str, Any] = {
    "shards": 3,
    "disk_free_bytes_min": 0,
    "disk_ballast_bytes": 0,
    "checkpoint_log_bytes": 1 << 20,
    "log_keep_bytes": 1 << 20,
}
ENDS_SECONDS = 180.0


class Operator:
    """Somebody with a terminal, and somebody else with the plug of a machine."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.rng = Random(seed)
        self.members = [1, 2, 3]
        self.pool = ThreadPoolExecutor(1)
        self.report: list[str] = []

    def do(self, *words: str, victims: tuple[int, ...] = ()) -> None:
        """Gives a command while a node is killed, and again until it is done."""
        asked = self.cluster[self.rng.choice(self.members)]
        victim = self.cluster[self.rng.choice(victims or tuple(self.members))]
        running = self._begin(asked, words)
        time.sleep(self.rng.choice((0.0, 0.02, 0.1, 0.5)))
        victim.kill()
        time.sleep(self.rng.uniform(0, 1.5))
        victim.start()
        started = time.monotonic()
        status = running.result(ENDS_SECONDS)
        line = f"{' '.join(words)}: asked {asked.id}, killed {victim.id}: {status}, {time.monotonic() - started:.1f} s"
        print(line, flush=True)
        assert status in (0, 1, 3), line
        if status:
            wait_for(lambda: self._begin(self._anybody(), words).result(ENDS_SECONDS) == 0, line, ENDS_SECONDS)
        wait_for(lambda: all(map(_answers, self._running())), "all are back", ENDS_SECONDS)

    def _begin(self, asked: Node, words: tuple[str, ...]) -> "Future[int]":
        return self.pool.submit(main, ["--port", str(asked.port), "--timeout", "20", *words])

    def _anybody(self) -> Node:
        return self.cluster[self.rng.choice(self.members)]

    def _running(self) -> list[Node]:
        return [self.cluster[id] for id in self.members]


def _answers(node: Node) -> bool:
    with node.client(socket_timeout=5) as client:
        return bool(client.ping()) and client.get("no such key") is None


def status_of(node: Node) -> dict[str, Any]:
    client = Client(Address("127.0.0.1", node.port, "default", ""), 60)
    try:
        status: dict[str, Any] = client.call("MAKO", "STATUS")
        return status
    finally:
        client.close()


def is_at_rest(node: Node) -> bool:
    """No vote without a decision, nothing that the snapshot does not show, and no change under way."""
    info = node.info("mako")
    prepared = [info[f"shard{shard}"]["prepared"] for shard in range(1, info["shards"] + 1)]
    return not any(prepared) and not info["snapshot_waiting_transactions"]


def check_end(operator: Operator, acknowledged: dict[bytes, bytes]) -> None:
    cluster, members = operator.cluster, operator.members
    contents = cluster.wait_equal(members)
    lost = [key for key, value in acknowledged.items() if contents.get(key) != value]
    assert not lost, f"{len(lost)} of {len(acknowledged)} are lost, the first is {lost[0]!r}"
    for id in members:
        wait_for(lambda id=id: is_at_rest(cluster[id]), f"nothing is unfinished on n{id}")
    status = status_of(cluster[members[0]])
    assert not status["goal"]
    assert not status["is_changing"]
    assert sorted(node["id"] for node in status["nodes"]) == members


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_everything_that_an_operator_does(tmp_path: Path, seed: int) -> None:
    file = str(tmp_path / "all.backup")
    with Cluster(tmp_path, joining=1, settings=SETTINGS).start() as cluster:
        operator = Operator(cluster, seed)
        nodes = [cluster[id] for id in (1, 2, 3)]
        with Load(nodes) as load:
            wait_for(lambda: load.count > 100, "there is load")
            operator.do("backup", file)
            operator.do("backup", file)
            operator.do("snapshot")
            operator.do("transfer", "1", "--shard", "all", victims=(1, 2))
            operator.do("spread")
            operator.do("drain", "2", victims=(2, 3))
            operator.do("undrain", "2")
            operator.do("reshard", "0", "3000", "3")
            operator.do("rebalance", "--only", "1,2", victims=(1, 2))
            operator.do("rebalance")
            cluster[4].start()
            operator.members = [1, 2, 3, 4]
            operator.do("add", "4", f"127.0.0.1:{cluster[4].peer_port}")
            operator.members = [1, 2, 4]
            operator.do("remove", "3", victims=(1, 2, 4))
            load.nodes[:] = [cluster[id] for id in (1, 2, 4)]
            before = load.count
            wait_for(lambda: load.count > before + 20, "the load goes on")
            operator.do("backup", file)
            had = dict(load.acknowledged)
            load.stop()
        assert not load.errors, load.errors[:3]
        cluster[3].kill()
        check_end(operator, load.acknowledged)
        operator.do("restore", "--replace", file)
        contents = cluster.wait_equal(operator.members)
        assert contents.items() <= load.acknowledged.items() | had.items()
        assert len(contents) >= before
        check_end(operator, contents)


