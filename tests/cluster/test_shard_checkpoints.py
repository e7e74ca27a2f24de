"""Nodes with several shards that are killed while checkpoints write what has changed: nothing acknowledged is lost, all
replicas are equal, and one that was away gets a snapshot of what is being written."""

import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis

from tests.cluster.cluster_process import ClusterProcess, wait_until

SETTINGS: dict[str, object] = {
    "shards": 3,
    "disk_free_bytes_min": 0,
    "disk_ballast_bytes": 0,
    "checkpoint_log_bytes": 1_500_000,
    "log_keep_bytes": 200_000,
}
"""A checkpoint takes several batches, and so it is cut in two by some of the kills."""
KEYS = [f"key:{number}" for number in range(150)]
VALUE_BYTES = 20_000
PATIENCE_SECONDS = 120.0


class Writer(threading.Thread):
    """Counts keys up, in large values, one after the other; knows for each the last number that was acknowledged."""

    def __init__(self, cluster: ClusterProcess, number: int) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.keys = KEYS[number::3]
        self.name_of_node = cluster.names[number]
        self.acknowledged = dict.fromkeys(self.keys, 0)
        self.count = 0
        self.is_over = False

    def run(self) -> None:
        number = 0
        while not self.is_over:
            number += 1
            for key in self.keys:
                if self.is_over or not self._write(key, number):
                    break

    def _write(self, key: str, number: int) -> bool:
        try:
            client = self.cluster.client(self.name_of_node)
            client.set(key, b"%d %s" % (number, bytes([number % 251]) * VALUE_BYTES))
        except (redis.RedisError, OSError):
            time.sleep(0.05)  # its node was killed
            return False
        self.acknowledged[key] = number
        self.count += 1
        return True


def read(client: Any) -> dict[str, bytes]:
    return {key: value for key, value in zip(KEYS, client.mget(KEYS)) if value is not None}


def agreed(cluster: ClusterProcess) -> dict[str, bytes]:
    """What all nodes have, as soon as they have the same."""
    for name in cluster.names:
        cluster.wait_until_up(name)

    def same() -> dict[str, bytes] | None:
        found = read(cluster.client("n1"))
        for name in cluster.names:
            reader = cluster.client(name, single_connection_client=True)
            reader.execute_command("READONLY")
            if read(reader) != found:
                return None
        return found

    answer: dict[str, bytes] = wait_until(same, "all replicas are equal", PATIENCE_SECONDS)
    return answer


def kill_and_check(folder: Path, rounds: int, seed: int) -> None:
    rng = Random(seed)
    with ClusterProcess(folder, 3, **SETTINGS) as cluster:
        wait_until(lambda: cluster.client("n1").mset(dict.fromkeys(KEYS, "0 ")), "the shards have leaders")
        writers = [Writer(cluster, number) for number in range(3)]
        for writer in writers:
            writer.start()
        for turn in range(rounds):
            goal = sum(writer.count for writer in writers) + 300
            wait_until(
                lambda goal=goal: sum(writer.count for writer in writers) >= goal, "clients go on", PATIENCE_SECONDS
            )
            victims = cluster.names if turn % 3 == 1 else [rng.choice(cluster.names)]
            for name in victims:
                cluster.kill(name)
            time.sleep(rng.uniform(0.0, 1.0))
            for name in victims:
                cluster.start(name, wait=False)
        for writer in writers:
            writer.is_over = True
            writer.join()
        expected = agreed(cluster)
        for writer in writers:
            for key, number in writer.acknowledged.items():
                assert int(expected[key].split()[0]) >= number, f"{key}: {number} was acknowledged"
        # What is on the disks leads to the same.
        for name in cluster.names:
            cluster.kill(name)
        for name in cluster.names:
            cluster.start(name, wait=False)
        assert agreed(cluster) == expected


def test_nodes_killed_while_checkpoints_are_written(tmp_path: Path) -> None:
    kill_and_check(tmp_path, 3, 1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 6))
def test_nodes_killed_many_times_while_checkpoints_are_written(tmp_path: Path, seed: int) -> None:
    kill_and_check(tmp_path, 12, seed)
