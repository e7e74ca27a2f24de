"""What a start refuses, or warns of, because the configuration does not fit to what the data directory says.

The first start writes down who the members are; from then on the file's members do not count. A file that says
something else altogether is a mistake that would look like a hang, or like two clusters, so it is named at once.
"""

from collections.abc import Collection, Mapping

from makoredis.base.errors import Fatal
from makoredis.base.ids import NodeId, ShardId
from makoredis.cluster.members import Address, notes_of
from makoredis.consensus.types import Configuration
from makoredis.storage.engine import Reader
from makoredis.storage.state import StateTable


def check_members(stored: Configuration, node: NodeId, configured: Collection[NodeId], *, is_alone: bool) -> None:
    """Compares the members that the disk knows with those of the file.

    Args:
        configured: the first members that the file names.
        is_alone: whether the file describes one node without peers.

    Raises: Fatal if a member of a cluster was started as a single node, which would wait for a majority for ever, or
        if a single node's data was given to one of several first members: the others would be a cluster of their own.
    """
    members = stored.members()
    if is_alone and members != {node}:
        raise Fatal(
            f"the data is that of a cluster with the nodes {_list(members)}, the configuration describes a single "
            "node; start it with the cluster's file: --config FILE --node NAME"
        )
    # A cluster that has shrunk to one member knows that one's address; a single node never had one.
    if len(configured) > 1 and members == {node} and not notes_of(stored).addresses:
        raise Fatal(
            f"the data is that of a single node, the configuration has the nodes {_list(configured)} from the "
            f"beginning, of which the others would be a cluster without this data; say `join: true` for all but node "
            f"{node}, start them with empty directories, and add them with makoctl add"
        )


def moved_address(stored: Configuration, node: NodeId, listens_on: Address | None) -> str | None:
    """What to tell if the other members look for this node elsewhere than where it listens."""
    known: Mapping[int, Address] = notes_of(stored).addresses
    at = known.get(int(node))
    if listens_on is None or at is None or tuple(at) == tuple(listens_on) or not listens_on[1]:
        return None
    here = f"{listens_on[0]}:{listens_on[1]}"
    return (
        f"the other nodes know this one at {at[0]}:{at[1]}, it listens for them on {here}; unless that is the same "
        f"place, tell them at any other node: makoctl add {node} {here}"
    )


def check_shards(reader: Reader, table: StateTable, shards: int, first_shards: int) -> None:
    """Raises: Fatal if the data was written with more shards, or the new ones would not begin without slots."""
    if table.checkpoint.metadata is None:
        return
    found = 0
    while StateTable(reader, ShardId(found + 1)).checkpoint.metadata is not None:
        found += 1
    if found == shards or (found == 0 and shards == 1):
        return
    if not 1 < found < shards:
        raise Fatal(
            f"the data was written with shards: {found or 1}, the configuration says {shards}; several shards can "
            "become more, not fewer, and one shard stays one"
        )
    if not 0 < first_shards <= found:
        raise Fatal(
            f"the data was written with shards: {found}, the configuration says {shards}; say first_shards: "
            f"{found} too, because new shards begin without slots"
        )

def _list(nodes: Collection[NodeId]) -> str:
    return ", ".join(map(str, sorted(nodes)))
