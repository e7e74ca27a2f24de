"""Members come and go, and leadership moves, by command and under load."""

from pathlib import Path
from typing import Any

import pytest
import redis

from tests.cluster.load import Load
from tests.cluster.processes import Cluster, Node, wait_for

SMALL_LOG = {"checkpoint_log_bytes": 20_000, "log_keep_bytes": 20_000}


def mako(node: Node, *words: object) -> Any:
    """Runs a command, again while it says TRYAGAIN."""

    def run() -> Any:
        with node.client() as client:
            return client.execute_command("MAKO", *words)

    return wait_for(run, f"MAKO {words}")


def status(node: Node) -> dict[str, Any]:
    found = plain(mako(node, "STATUS"))
    return {**found, "nodes": {each["id"]: each for each in map(plain, found["nodes"])}}


def plain(pairs: Any) -> dict[str, Any]:
    items = pairs.items() if isinstance(pairs, dict) else zip(pairs[::2], pairs[1::2])
    return {key.decode(): value for key, value in items}


def voters(node: Node) -> set[int]:
    nodes = status(node)["nodes"]
    return {id for id, each in nodes.items() if each["role"] in (b"leader", b"voter")}


def wait_for_voters(node: Node, ids: set[int]) -> None:
    wait_for(lambda: voters(node) == ids, f"{ids} are the voters")


def wait_for_load(load: Load, more: int) -> None:
    goal = load.count + more
    wait_for(lambda: load.count >= goal, f"{more} more writes are acknowledged")


def address(node: Node) -> str:
    return f"127.0.0.1:{node.peer_port}"


def check(cluster: Cluster, load: Load, ids: list[int]) -> None:
    """Everything acknowledged is on every member, and no client saw an error."""
    load.stop()
    assert load.errors == []
    contents = cluster.wait_equal(ids)
    assert load.acknowledged.items() <= contents.items()


def test_a_node_is_added_and_one_removed_under_load(tmp_path: Path) -> None:
    with Cluster(tmp_path, joining=1, settings=SMALL_LOG).start() as cluster:
        with Load([cluster[1], cluster[2], cluster[3]]) as load:
            wait_for_load(load, 500)
            cluster[4].start()
            follower = cluster.followers()[0]
            assert mako(follower, "ADD", 4, address(cluster[4])) == b"OK"
            assert mako(follower, "ADD", 4, address(cluster[4])) == b"OK", "repeating it does nothing"
            wait_for(lambda: voters(follower) == {1, 2, 3, 4}, "node 4 votes")
            leader = cluster.leader()
            gone = next(node for node in (cluster[1], cluster[2], cluster[3]) if node is not leader)
            assert mako(leader, "REMOVE", gone.id) == b"OK"
            left = [id for id in (1, 2, 3, 4) if id != gone.id]
            wait_for(lambda: voters(leader) == set(left), "it does not vote any more")
            wait_for_load(load, 300)
            check(cluster, load, left)
            gone.kill()
        # The new one counts: with it and one other there is a majority, after everybody was started again.
        for id in left:
            cluster[id].kill()
        cluster.start([4, leader.id])
        assert voters(cluster[4]) == set(left)
        check(cluster, load, [4, leader.id])


def test_all_nodes_are_replaced_in_one_change(tmp_path: Path) -> None:
    with Cluster(tmp_path, joining=3, settings=SMALL_LOG).start() as cluster:
        old, new = [cluster[id] for id in (1, 2, 3)], [cluster[id] for id in (4, 5, 6)]
        with Load(old) as load:
            wait_for_load(load, 300)
            words = [f"{node.id}={address(node)}" for node in new]
            assert mako(cluster[1], "REPLACE", 1, 2, 3, *words) == b"OK"
            # Nobody of the new ones runs yet: the change waits, the cluster goes on, whoever leads.
            wait_for_load(load, 100)
            assert voters(cluster[1]) == {1, 2, 3}
            cluster.leader().kill()
            for node in new:
                node.start()
            wait_for(lambda: voters(new[0]) == {4, 5, 6}, "the new nodes are the cluster")
            load.stop()
        for node in old:
            node.kill()
        with Load(new) as more:
            wait_for_load(more, 100)
            check(cluster, more, [4, 5, 6])
        contents = cluster.wait_equal([4, 5, 6])
        assert load.acknowledged.items() <= contents.items()
        assert load.errors == []


def test_nodes_are_replaced_one_after_the_other(tmp_path: Path) -> None:
    with Cluster(tmp_path, joining=3, settings=SMALL_LOG).start() as cluster, Load([cluster[1]]) as load:
        wait_for_load(load, 200)
        load.nodes += [cluster[4], cluster[5]]
        members = {1, 2, 3}
        for old, new in ((2, 4), (3, 5), (1, 6)):
            cluster[new].start()
            alive = cluster[max(members)]
            mako(alive, "ADD", new, address(cluster[new]))
            members = members | {new}
            wait_for_voters(cluster[new], members)
            mako(alive, "REMOVE", old)
            members = members - {old}
            wait_for_voters(cluster[new], members)
            cluster[old].kill()
        wait_for_load(load, 100)
        check(cluster, load, [4, 5, 6])


@pytest.fixture(scope="module")
def trio_of_nodes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Cluster(tmp_path_factory.mktemp("cluster")).start() as cluster:
        yield cluster


def test_leadership_is_handed_over_without_an_error(trio_of_nodes: Cluster) -> None:
    cluster = trio_of_nodes
    nodes = list(cluster.nodes.values())
    with Load(nodes) as load:
        for id in (1, 2, 3, 1):
            wait_for_load(load, 100)
            hand_over(cluster, cluster[2], id)
        wait_for_load(load, 100)
        check(cluster, load, [1, 2, 3])


def transfer(through: Node, id: int) -> bool:
    """A node that lags at this moment is asked again."""
    try:
        return bool(mako(through, "TRANSFER", id) == b"OK")
    except redis.ResponseError as error:
        if "not caught up" in str(error):
            return False
        raise


def hand_over(cluster: Cluster, through: Node, id: int) -> None:
    """Until the node leads; the command is given again when an election has come in between."""

    def leads() -> bool:
        if cluster.leader().id == id:
            return True
        transfer(through, id)
        return False

    wait_for(leads, f"the leadership is handed to node {id}")


def test_a_drained_node_does_not_lead_until_it_is_undrained(trio_of_nodes: Cluster) -> None:
    cluster = trio_of_nodes
    leader = cluster.leader()
    with Load(list(cluster.nodes.values())) as load:
        wait_for_load(load, 50)
        assert mako(leader, "DRAIN") == b"OK"
        wait_for(lambda: cluster.leader() is not leader, "another node leads")
        wait_for_load(load, 50)
        assert load.errors == []
    wait_for(lambda: status(leader)["nodes"][leader.id]["drained"] == 1, "its status says so")
    with pytest.raises(redis.ResponseError, match="is drained"):
        mako(leader, "TRANSFER", leader.id)
    assert mako(leader, "UNDRAIN") == b"OK"
    hand_over(cluster, leader, leader.id)


def test_checkpoint_by_command(trio_of_nodes: Cluster) -> None:
    node = trio_of_nodes[3]
    before = node.info("persistence")["rdb_saves"]
    assert mako(node, "SNAPSHOT") == b"OK"
    assert node.info("persistence")["rdb_saves"] > before


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("ADD", "x", "h:1"), "'x' is not the id of a node"),
        (("ADD", "9", "nowhere"), "'nowhere' is not host:peer-port"),
        (("REPLACE", "1"), "wrong number of arguments for 'mako|replace' command"),
        (("REPLACE", "1", "2"), "REPLACE needs ids of nodes that leave"),
        (("REPLACE", "7", "8=h:1"), "node 7 is not a voter"),
        (("REPLACE", "1", "2=h:1"), "node 2 is a voter of the cluster already"),
        (("ADD", "1", "127.0.0.1:1"), "stop it before its address is changed"),
        (("TRANSFER", "9"), "node 9 is not a member"),
        (("DRAIN", "9"), "node 9 is not a member"),
        (("NONSENSE",), "unknown subcommand 'NONSENSE'. Try MAKO HELP."),
    ],
)
def test_refusals(trio_of_nodes: Cluster, words: tuple[str, ...], text: str) -> None:
    with pytest.raises(redis.ResponseError) as caught:
        mako(trio_of_nodes[2], *words)
    assert text in str(caught.value)


def test_the_commands_are_known(trio_of_nodes: Cluster) -> None:
    with trio_of_nodes[1].client() as client:
        assert b"mako" in client.command_list()
        assert any(b"REPLACE" in line for line in client.execute_command("MAKO", "HELP"))


def test_info_shows_roles_and_lag(trio_of_nodes: Cluster) -> None:
    wait_for(lambda: shows_roles(trio_of_nodes), "every node shows who leads and who follows")


def shows_roles(cluster: Cluster) -> bool:
    """A follower that was slow to answer may be missing for a moment, and the leader may change between two looks."""
    leader = cluster.leader()
    followers = cluster.followers(leader)
    found = leader.info("replication")
    if found["connected_slaves"] != 2 or found["slave0"]["state"] != "online":
        return False
    if {found["slave0"]["port"], found["slave1"]["port"]} != {node.port for node in followers}:
        return False
    for node in followers:
        replica = node.info("replication")
        shown = [replica[name] for name in ("role", "master_port", "master_link_status")]
        if shown != ["slave", leader.port, "up"]:
            return False
    raft = leader.info("raft")
    assert raft["raft_commit_index"] <= raft["raft_last_index"]
    with leader.client() as client, followers[0].client() as other:
        roles = client.execute_command("ROLE")[:1] + other.execute_command("ROLE")[:3]
    expected = [b"master", b"slave", b"127.0.0.1", leader.port]
    return raft["raft_role"] == "leader" and raft["raft_voters"] in ("1,2,3", [1, 2, 3]) and roles == expected
