"""PUBLISH says how many clients get a message, wherever they are connected."""

from pathlib import Path

import pytest

from tests.cluster.processes import Cluster, wait_for


@pytest.mark.parametrize("shards", [1, 3])
def test_subscribers_of_all_nodes_count(tmp_path: Path, shards: int) -> None:
    with Cluster(tmp_path, settings={"shards": shards}).start() as cluster:
        clients = {node.id: node.client() for node in cluster.nodes.values()}

        def becomes(count: int, channel: str = "news", command: str = "PUBLISH") -> None:
            for id, client in clients.items():
                if cluster[id].process is not None:
                    wait_for(lambda client=client: client.execute_command(command, channel, "x") == count, f"{count}")

        becomes(0)
        listeners = {id: client.pubsub() for id, client in clients.items()}
        for id, listener in listeners.items():
            listener.subscribe("news", f"only:{id}")
        becomes(3)
        becomes(1, "only:2")
        listeners[1].psubscribe("n*s")
        listeners[3].psubscribe("n*s")
        becomes(5)
        listeners[1].ssubscribe("shard")
        becomes(1, "shard", "SPUBLISH")
        listeners[2].unsubscribe("news")
        listeners[3].punsubscribe("n*s")
        becomes(3)
        clients[3].close()
        listeners[3].close()
        cluster[3].kill()
        becomes(2)
        cluster[3].start()
        with cluster[3].client() as client:
            wait_for(lambda: client.publish("news", "x") == 2, "a node that is back knows it too")
            again = client.pubsub()
            again.subscribe("news")
            wait_for(lambda: clients[1].publish("news", "x") == 3, "and is known")
            again.close()
        wait_for(lambda: clients[1].publish("news", "x") == 2, "a client that is gone does not count")
        for id in (1, 2):
            listeners[id].close()
            clients[id].close()
