"""A replica whose data is damaged is repaired from the others by command, for all shards at once."""

from pathlib import Path

import pytest

from tests.cluster.processes import Cluster, Node, wait_for
from tests.cluster.test_repair import damage, run
from tests.cluster.test_shard_members import voters


@pytest.mark.parametrize("loses_another", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_damaged_replica_gets_its_data_anew(tmp_path: Path, loses_another: bool) -> None:
    # Little log is kept, so that only snapshots have everything.
    settings = {"shards": 3, "checkpoint_log_bytes": 20_000, "log_keep_bytes": 20_000, "disk_ballast_bytes": 0}
    with Cluster(tmp_path, settings=settings).start() as cluster:
        broken = cluster[3]
        with cluster[1].client() as client:
            for hundred in range(4):
                client.mset({f"key{100 * hundred + number}": "x" * 500 for number in range(100)})
        cluster.wait_equal()
        broken.kill()
        damage(broken)
        refused = run(broken)
        assert refused.returncode == 1
        command = f"makoredis --config {cluster.config} --node {broken.name} --repair fetches it from them"
        assert refused.stderr.strip().endswith(command)
        with cluster[1].client() as client:
            wait_for(lambda: client.set("meanwhile", "written"), "the others go on")

        broken.start("--repair")
        wait_for(lambda: is_voter_everywhere(broken, cluster[1]), "it is a voter of every group again")
        wait_for(lambda: "this node is a voter of every group now" in broken.log_path.read_text(), "it says so")
        assert len(cluster.wait_equal()) == 401
        assert list(tmp_path.glob(f"{broken.name}.damaged-*"))
        assert "took a snapshot of its leader" in broken.log_path.read_text()

        if loses_another:
            cluster[2].kill()  # now every write needs the repaired one
        with cluster[1].client() as client:
            wait_for(lambda: client.mset({"after": "repaired", "b": 1, "c": 1}), "two of three are enough")
        for node in cluster.nodes.values():
            node.kill()
        cluster.start([1, 2, 3])  # as ever
        assert len(cluster.wait_equal()) == 404


def is_voter_everywhere(repaired: Node, node: Node) -> bool:
    """Whether every group counts on the repaired node, as another one knows. Until it runs, the others may not yet have
    removed what it was before: it is empty behind its removal, and answers behind that."""
    with repaired.client() as client:
        return bool(client.ping()) and voters(node) == [{1, 2, 3}] * 4
