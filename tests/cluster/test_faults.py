"""Real nodes under faults, with what clients were told held against what every replica has."""

import contextlib
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.cluster.cluster_process import ClusterProcess, wait_until
from tests.cluster.workload import Appender, Banker, Client, check_appends, open_accounts
from tools.chaos import failover, run


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path, proxied=True) as running:
        yield running


def test_some_chaos() -> None:
    run(8, 4711, None, is_quiet=True)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_much_chaos(seed: int) -> None:
    run(120, seed, None)


def test_a_leader_that_is_cut_off_shows_nothing_old_and_acknowledges_nothing(cluster: ClusterProcess) -> None:
    leader = cluster.wait_for_leader()
    survivor = cluster.followers()[0]
    cluster.client(leader).set("x", "before")
    cluster.cut(leader)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(cluster.client(leader).get("x")))
    cluster.client(survivor).set("x", "after")
    thread.start()
    time.sleep(1)
    assert answers == []
    cluster.heal()
    thread.join(40)
    assert answers == [b"after"]


def test_a_rolling_restart_fails_no_command_of_a_client_that_reconnects(cluster: ClusterProcess) -> None:
    open_accounts(cluster)
    appenders = [Appender(cluster, name, 1) for name in cluster.names]
    clients: list[Client] = [*appenders, *(Banker(cluster, name, 2) for name in cluster.names)]
    for client in clients:
        client.start()
    for name in cluster.names:
        assert cluster.terminate(name) == 0
        cluster.start(name)
        done = [client.done for client in clients]
        wait_until(lambda done=done: all(c.done > d for c, d in zip(clients, done)), "all go on")  # type: ignore[misc]
    for client in clients:
        client.stop()
    check_appends(cluster, appenders)


def test_no_write_through_any_node_vanishes(cluster: ClusterProcess) -> None:
    """Writes go to each node in turn; a leader that dropped proposals of others would lose two of three."""
    acknowledged: dict[bytes, bytes] = {}
    for number in range(600):
        if number == 300:
            leader = cluster.wait_for_leader()
            cluster.kill(leader)
            cluster.start(leader)
        name = cluster.names[number % 3]
        key, value = b"key:%d" % number, b"%d" % number
        try:
            cluster.client(name).set(key, value)
        except redis.ConnectionError:
            continue
        acknowledged[key] = value
    assert len(acknowledged) > 590
    keys = list(acknowledged)
    cluster.wait_until_equal(lambda client: dict(zip(keys, client.mget(keys))), acknowledged)


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_moves_the_leadership_and_nothing_fails_for_long(tmp_path: Path) -> None:
    """The disk of one node fills up while it leads, and is emptied again."""
    small = tmp_path / "n1"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=420m", "tmpfs", str(small)], check=True)
    try:
        with ClusterProcess(tmp_path) as cluster:
            while (leader := cluster.wait_for_leader()) != "n1":
                cluster.kill(leader)
                cluster.wait_for_leader()
                cluster.start(leader)
            (small / "fill").write_bytes(bytes(280 << 20))
            wait_until(lambda: cluster.leader() != "n1", "another node leads")
            for number in range(100):
                wait_until(lambda n=number: cluster.client("n1").set(f"key:{n}", n), "the write is taken")  # type: ignore[misc]
            (small / "fill").unlink()
            cluster.wait_until_equal(lambda client: client.dbsize(), 100)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


_WRITES = (
    ("SET", "key", "other"),
    ("MSET", "a", "1", "b", "2", "c", "3", "key", "other"),
    ("RENAME", "key", "other"),
    ("EVAL", "return redis.call('MSET', KEYS[1], 1, KEYS[2], 2)", "2", "a", "key"),
    ("FLUSHALL",),
)


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_transactions_over_several_shards_while_disks_fill_up(tmp_path: Path) -> None:
    """First one disk, then all of them, then none has too little space. Each client writes three keys at once: all are
    kept or none, and what was acknowledged last is there in the end."""
    names = ("n1", "n2", "n3")
    for name in names:
        (tmp_path / name).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(tmp_path / name)], check=True)
    try:
        limits = {"disk_free_bytes_min": 8 << 20, "disk_ballast_bytes": 4 << 20}
        with ClusterProcess(tmp_path, shards=3, **limits) as cluster:
            with ThreeKeys(cluster) as writers:
                writers.wait_for_more(50)
                fill(tmp_path / "n2" / "fill", leaving=6 << 20)
                wait_until(lambda: "takes no writes" in cluster.output("n2"), "n2 says it")
                writers.wait_for_more(50)
                for name in ("n1", "n3"):
                    fill(tmp_path / name / "fill", leaving=6 << 20)
                for name in names:
                    wait_until(lambda name=name: "takes no writes" in cluster.output(name), f"{name} says it")  # type: ignore[misc]
                for name in names:
                    with pytest.raises(redis.ResponseError, match="MISCONF"):
                        cluster.client(name).mset({"x": 1, "y": 1, "z": 1})
                    assert cluster.client(name).mget("x", "y", "z") == [None] * 3
                for name in names:
                    (tmp_path / name / "fill").unlink()
                writers.wait_for_more(50)
            for number, (last, attempted) in enumerate(zip(writers.acknowledged, writers.attempted)):
                values = cluster.client("n3").mget(writers.keys(number))
                assert len(set(values)) == 1 and last <= int(values[0]) <= attempted
            assert all(process.poll() is None for process in cluster.processes.values())
    finally:
        for name in names:
            subprocess.run(["umount", "-l", str(tmp_path / name)], check=True)


class ThreeKeys:
    """A client of each node that writes ever larger numbers, each to three keys at once."""

    def __init__(self, cluster: ClusterProcess) -> None:
        self.cluster = cluster
        self.acknowledged = [0] * len(cluster.names)
        self.attempted = [0] * len(cluster.names)
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self._write, args=(at,)) for at in range(len(cluster.names))]

    @staticmethod
    def keys(number: int) -> list[str]:
        return [f"{name}:{number}" for name in "abc"]

    def _write(self, at: int) -> None:
        client = self.cluster.client(self.cluster.names[at])
        while not self.is_over.is_set():
            self.attempted[at] += 1
            try:
                client.mset(dict.fromkeys(self.keys(at), self.attempted[at]))
            except redis.ResponseError as error:
                assert "MISCONF" in str(error)
                time.sleep(0.01)
            else:
                self.acknowledged[at] = self.attempted[at]

    def wait_for_more(self, count: int) -> None:
        """Of each client."""
        goals = [last + count for last in self.attempted]
        wait_until(lambda: all(map(int.__ge__, self.acknowledged, goals)), f"{count} more writes are acknowledged")

    def __enter__(self) -> "ThreeKeys":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.is_over.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
@pytest.mark.parametrize("shards", [1, 3])
def test_all_disks_full_refuse_writes_and_answer_reads(tmp_path: Path, shards: int) -> None:
    """Nobody can take over: the leaders stay, say so once, and go on when there is space."""
    names = ("n1", "n2", "n3")
    limits = {"disk_free_bytes_min": 8 << 20, "disk_ballast_bytes": 4 << 20}
    for name in names:
        (tmp_path / name).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(tmp_path / name)], check=True)
    try:
        with ClusterProcess(tmp_path, shards=shards, **limits) as cluster:
            cluster.client("n1").set("key", "value")
            for name in names:
                fill(tmp_path / name / "fill")
            for name in names:
                wait_until(lambda name=name: "takes no writes" in cluster.output(name), f"{name} says it")  # type: ignore[misc]
            for name in names * 5:
                client = cluster.client(name)
                for write in _WRITES:
                    with pytest.raises(redis.ResponseError, match="MISCONF"):
                        client.execute_command(*write)
                assert client.get("key") == b"value" and client.mget("a", "b", "key") == [None, None, b"value"]
            assert all(cluster.output(name).count("asked to lead") <= 6 * (1 + shards) for name in names)
            for name in names:
                (tmp_path / name / "fill").unlink()
            wait_until(lambda: cluster.client("n2").set("key", "last"), "writes are taken again")
            cluster.wait_until_equal(lambda client: client.get("key"), b"last")
    finally:
        for name in names:
            subprocess.run(["umount", "-l", str(tmp_path / name)], check=True)


def fill(path: Path, leaving: int = 0) -> None:
    """Takes all space that there is but so many bytes."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while (space := os.statvfs(path)).f_bavail * space.f_frsize > leaving:
            file.write(bytes(1 << 16))


def applied(cluster: ClusterProcess, name: str) -> int:
    return int(cluster.client(name).info("raft")["raft_applied_index"])


def loaded_shares(cluster: ClusterProcess, seconds: float) -> list[float]:
    """Loads the leader fully for a while. Returns how much of what it has applied the others have a second later."""
    leader = cluster.wait_for_leader()
    command = ["redis-benchmark", "-p", str(cluster.ports[leader]), "-c", "50", "-P", "16", "-t", "set", "-r", "100000"]
    before = applied(cluster, leader)
    load = subprocess.Popen([*command, "-l", "-q"], stdout=subprocess.DEVNULL)
    time.sleep(seconds)
    load.kill()
    load.wait()
    time.sleep(1)
    chosen = applied(cluster, leader) - before
    assert chosen > 100
    return [(applied(cluster, name) - before) / chosen for name in cluster.followers()]


@pytest.mark.long
def test_followers_keep_up_with_ten_minutes_of_full_load_and_nobody_stands_for_election(tmp_path: Path) -> None:
    with ClusterProcess(tmp_path) as cluster:
        term = cluster.client(cluster.wait_for_leader()).info("raft")["raft_term"]
        rounds = [loaded_shares(cluster, 60) for _ in range(10)]
        assert cluster.client(cluster.wait_for_leader()).info("raft")["raft_term"] == term
    for shares in zip(*rounds):
        assert min(shares) >= 0.99
        assert statistics.pstdev(shares) / statistics.mean(shares) < 0.05


@pytest.mark.long
def test_a_follower_that_is_slow_keeps_up_all_the_same(tmp_path: Path) -> None:
    """It is stopped for a third of the time, in short pieces."""
    with ClusterProcess(tmp_path) as cluster:
        slow = cluster.followers()[0]
        is_over = threading.Event()

        def hamper() -> None:
            while not is_over.wait(0.02):
                cluster.pause(slow)
                time.sleep(0.01)
                cluster.resume(slow)

        thread = threading.Thread(target=hamper)
        thread.start()
        try:
            rounds = [loaded_shares(cluster, 20) for _ in range(3)]
        finally:
            is_over.set()
            thread.join()
    for shares in rounds:
        assert min(shares) >= 0.99


@pytest.mark.long
def test_the_next_write_after_a_leader_is_killed_comes_soon() -> None:
    times = failover(20)
    assert statistics.median(times) <= 1.0
    assert max(times) <= 2.5


@pytest.mark.long
def test_a_hundred_orderly_stops_under_load(cluster: ClusterProcess) -> None:
    clients = [Appender(cluster, name, 1).start() for name in cluster.names]
    for number in range(100):
        name = cluster.names[number % 3]
        assert cluster.terminate(name) == 0, cluster.output(name)
        cluster.start(name)
    for client in clients:
        client.stop()
