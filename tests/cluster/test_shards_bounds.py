"""What several shards keep is bounded: keys by `maxmemory`, each leader evicting its part as transactions of its shard;
the last answers of clients by whether those are still there."""

from collections.abc import Iterator

import pytest
import redis

from tests.cluster.cluster_process import ClusterProcess, wait_until

SETTINGS = {"shards": 3, "disk_free_bytes_min": 0, "disk_ballast_bytes": 0}
NODES = ("n1", "n2", "n3")
KEYS = 480
VALUE = "x" * 20_000
ROOM = 4 << 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path_factory.mktemp("bounds"), **SETTINGS) as cluster:
        yield cluster


def counted_bytes(client: redis.Redis) -> int:
    memory = client.info("memory")
    return int(memory["used_memory"]) - int(memory["mem_not_counted_for_evict"])


def limit_everywhere(cluster: ClusterProcess, policy: str, room: int) -> dict[str, int]:
    """Returns the limits; room 0: as much as there is now."""
    limits = {}
    for node in NODES:
        client = cluster.client(node)
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", policy)
        limits[node] = counted_bytes(client) + room
        client.config_set("maxmemory", limits[node])
    return limits


def keys_here(cluster: ClusterProcess, node: str) -> list[bytes]:
    """What the node's snapshot shows."""
    client = cluster.client(node, single_connection_client=True)
    client.execute_command("READONLY")
    return sorted(client.keys())


def test_writes_go_on_and_memory_stays_near_the_limit(cluster: ClusterProcess) -> None:
    clients = [cluster.client(node) for node in NODES]
    for client in clients:
        wait_until(lambda: client.info("mako")["shards_led"] == 1, "each node leads a shard")  # noqa: B023
    limits = limit_everywhere(cluster, "allkeys-lru", ROOM)
    clients[0].set("used", VALUE)
    for number in range(0, KEYS, 4):
        client = clients[number // 4 % 3]
        client.set(f"key:{number}", VALUE)
        client.mset({f"key:{number + each}": VALUE for each in (1, 2, 3)})
        clients[1].get("used")
    for node, client in zip(NODES, clients):
        wait_until(lambda: counted_bytes(client) < limits[node] + ROOM // 2, "memory is near the limit")  # noqa: B023
    for client in clients:
        client.config_set("maxmemory", 0)
    evicted = [client.info("stats")["evicted_keys"] for client in clients]
    left = clients[0].keys()
    assert all(evicted), "each leader has evicted its part"
    assert sum(evicted) == KEYS + 1 - len(left) > KEYS // 4
    assert len(left) > KEYS // 10
    assert b"used" in left, "what is used stays"
    for node in NODES:
        wait_until(lambda: keys_here(cluster, node) == sorted(left), "replicas are equal")  # noqa: B023
    plain = keys_here(cluster, "n1")
    for policy in ("noeviction", "volatile-lru"):
        limit_everywhere(cluster, policy, 0)
        for client in clients:
            wait_until(lambda: is_refused(client), f"{policy}: a refusal")  # noqa: B023
        assert clients[0].get("used") == VALUE.encode() and clients[0].exists("a", "b", "c") == 0
    for client in clients:
        client.config_set("maxmemory", 0)
    for number in range(KEYS // 4):
        clients[number % 3].set(f"volatile:{number}", VALUE, ex=1000)
    limit_everywhere(cluster, "volatile-ttl", -(ROOM // 3))
    wait_until(lambda: clients[0].dbsize() < len(plain) + KEYS // 4, "keys with a deadline are evicted")
    wait_until(lambda: not is_refused(clients[0]), "and there is memory again")
    assert set(plain) <= set(clients[1].keys()), "no others"
    for client in clients:
        client.config_set("maxmemory", 0)
        client.close()


def is_refused(client: redis.Redis) -> bool:
    """Whether a write over all shards is refused for want of memory; if not, it is taken back."""
    try:
        client.mset({"a": VALUE, "b": VALUE, "c": VALUE})
    except redis.exceptions.OutOfMemoryError:
        return True
    client.delete("a", "b", "c")
    return False


def write_from(cluster: ClusterProcess, node: str, name: str) -> redis.Redis:
    """A client of its own connection that writes to every shard, alone and over all of them."""
    client = cluster.client(node, single_connection_client=True, socket_timeout=60)
    for key in "abc":
        client.incr(f"{{{key}}}{name}")
    client.mset({f"{{{key}}}m:{name}": 1 for key in "abc"})
    client.get(f"{{a}}{name}")
    return client


def sessions_kept(cluster: ClusterProcess) -> list[int]:
    """By node and shard."""
    kept = []
    for node in NODES:
        lines = cluster.client(node).info("mako")
        kept += [int(lines[f"shard{shard}"]["sessions"]) for shard in (1, 2, 3)]
    return kept


def test_answers_of_clients_that_are_gone_are_dropped_everywhere(cluster: ClusterProcess) -> None:
    names = [f"{node}:{number}" for node in NODES for number in range(3)]
    clients = {name: write_from(cluster, name[:2], name) for name in names}
    wait_until(lambda: min(sessions_kept(cluster)) == len(clients), "the answers to be everywhere")
    for name in [name for name in clients if not name.endswith(":0")]:
        clients.pop(name).close()
    wait_until(lambda: set(sessions_kept(cluster)) == {len(clients)}, "those of closed clients to be dropped")
    for name, client in clients.items():
        assert client.incr(f"{{a}}{name}") == 2
    cluster.kill("n2")
    cluster.start("n2")
    cluster.wait_until_up("n2")
    wait_until(lambda: set(sessions_kept(cluster)) == {2}, "those of the dead node's clients to be dropped", 60)
    wait_until(lambda: cluster.output("n2").count("caught up with all 3 shards in ") == 2, "the node says so")
    clients["n3:0"].incr("{b}n3:0")
    clients["n3:0"].close()
    wait_until(lambda: set(sessions_kept(cluster)) == {1}, "those of a client that wrote after that", 60)


def test_info_speaks_of_the_checkpoints_of_all_shards(cluster: ClusterProcess) -> None:
    client = cluster.client("n1", single_connection_client=True)
    before = client.info("persistence")
    client.mset({"a": 1, "b": 2, "c": 3})
    wait_until(lambda: client.info("persistence")["rdb_changes_since_last_save"] > 0, "changes in shards count")
    wait_until(lambda: client.save() and not client.info("persistence")["rdb_changes_since_last_save"], "all is saved")
    after = client.info("persistence")
    assert after["rdb_saves"] >= before["rdb_saves"] + 4, "three shards and the group of the members"
    assert after["rdb_last_bgsave_time_sec"] >= 0 and after["rdb_bgsave_in_progress"] == 0
    assert after["rdb_last_save_time"] >= before["rdb_last_save_time"] > 0
    assert client.lastsave().timestamp() == after["rdb_last_save_time"]
