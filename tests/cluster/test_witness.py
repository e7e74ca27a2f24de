"""Two full replicas and a log witness, which votes and keeps no data."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.processes import Cluster, Node, wait_for

SMALL_LOG = {"checkpoint_log_bytes": 8192, "log_keep_bytes": 8192, "disk_ballast_bytes": 0}


class WithWitness(Cluster):
    """Node 3 is the witness."""

    def write_config(self) -> None:
        super().write_config()
        config = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        config["nodes"]["n3"]["witness"] = True
        self.config.write_text(yaml.safe_dump(config), encoding="utf-8")


def put(client: Any, prefix: str, count: int = 200) -> None:
    for number in range(0, count, 20):
        client.mset({f"{prefix}:{number + each}": "x" * 200 for each in range(20)})


def last_indexes(node: Node) -> list[int]:
    """Of the logs of the group of all nodes and of the shards."""
    mako = node.info("mako")
    shards = [each["last"] for name, each in mako.items() if re.fullmatch(r"shard\d+", name)]
    return [int(node.info("raft")["raft_last_index"]), *shards]


@pytest.mark.parametrize("shards", [1, 3])
def test_a_witness_keeps_the_cluster_going_and_catches_up_without_data(tmp_path: Path, shards: int) -> None:
    with WithWitness(tmp_path, settings={**SMALL_LOG, "shards": shards}).start() as cluster:
        through_witness, one = cluster[3].client(), cluster[1].client()
        put(through_witness, "first")
        assert through_witness.get("first:7") == b"x" * 200 and through_witness.dbsize() == 200
        cluster[3].kill()
        wait_for(lambda: one.set("one of two", "is there"), "two full replicas go on")
        put(one, "second")
        cluster[3].start()
        wait_for(lambda: through_witness.ping(), "the witness is back")
        cluster[2].kill()  # from now on every entry needs the witness, which has missed more than the log holds
        wait_for(lambda: one.set("one of three", "is there"), "a replica and the witness go on", 60)
        put(one, "third")
        cluster[3].kill()
        cluster[3].start()
        wait_for(lambda: one.set("again", "is there"), "the witness counts after a restart", 60)
        cluster[2].start()
        wait_for(lambda: len(cluster[2].contents()) == 603, "the other replica has everything", 60)
        # What is only on the first node and the witness makes the witness refuse its vote, and must.
        wait_for(lambda: last_indexes(cluster[2]) == last_indexes(cluster[1]), "and the whole log", 60)
        cluster[1].kill()
        wait_for(lambda: through_witness.get("third:7") == b"x" * 200, "and can lead", 60)
