"""CLUSTER and READONLY: the topology for clients that want to go straight to the leader, or read from followers."""

from hashlib import sha1
from typing import TYPE_CHECKING, Any, NamedTuple

from makoredis.base.errors import ClientError
from makoredis.base.ids import SLOT_COUNT, NodeId
from makoredis.cluster.slots import count_slots
from makoredis.commands.arguments import int64
from makoredis.data.slots import slot_of
from makoredis.server.commands.help import help_reply
from makoredis.server.routes import session_command
from makoredis.server.session import Session
from resp.replies import OK, Map, Verbatim

if TYPE_CHECKING:
    from makoredis.server.server import Server

_DISABLED = ClientError("ERR This instance has cluster support disabled")
_BUS_PORT_OFFSET = 10_000


def node_name(server: "Server", node: int) -> bytes:
    """The 40 hexadecimal digits by which Redis's clients know a node."""
    return sha1(f"{server.node.settings.cluster}/{node}".encode(), usedforsecurity=False).hexdigest().encode()


class _Shard(NamedTuple):
    """Its runs of slots, and who leads it (None: nobody is known to)."""

    slots: list[tuple[int, int]]
    leader: NodeId | None
    term: int
    applied_index: int


def _shards(server: "Server") -> list[_Shard]:
    """All shards as this node knows them."""
    node = server.node
    if node.shards is None:
        return [_Shard([(0, SLOT_COUNT - 1)], node.host.leader, node.host.term, node.host.applied_index)]
    slots = node.shards.slots
    found = []
    for shard, replica in node.shards.replicas.items():
        leader, term = node.shards.leader_of(shard)
        found.append(_Shard(slots.slots_of(shard), NodeId(leader) if leader else None, term, replica.applied_index))
    return found


def _keys_of_slot(server: "Server", slot: int) -> list[bytes]:
    """The keys of a slot in database 0. While it moves they are in two shards, of which this node may see one at a
    later moment than the other."""
    found = [list(space.databases[0].slots[slot]) for space in server.node.spaces()]
    parts = [keys for keys in found if keys]
    return parts[0] if len(parts) == 1 else list(dict.fromkeys(key for keys in parts for key in keys))


def moved(server: "Server", slot: int) -> ClientError | None:
    """The redirection to the leader, None while there is none. A slot that moves is shown where it comes from, and this
    node may be its leader there."""
    leader = next(each.leader for each in _shards(server) if any(first <= slot <= last for first, last in each.slots))
    if leader == server.node.settings.id:
        return None
    address = None if leader is None else server.node.client_addresses().get(leader)
    return None if address is None else ClientError(f"MOVED {slot} {address[0]}:{address[1]}")


def _need_cluster(server: "Server") -> None:
    if not server.node.is_replicated:
        raise _DISABLED


def _nodes(server: "Server", leader: NodeId | None) -> list[tuple[NodeId, str, int]]:
    """Id, host and port for clients of every node, the leader of a shard first."""
    clients = server.node.client_addresses()
    order = sorted(clients, key=lambda node: (node != leader, node))
    return [(node, *clients[node]) for node in order]


@session_command("READONLY", "Enables read-only queries for a connection to a Redis Cluster replica node.")
def readonly(server: "Server", session: Session) -> Any:
    _need_cluster(server)
    session.reads_here = True
    session.refresh_special()
    return OK


@session_command("READWRITE", "Enables read-write queries for a connection to a Redis Cluster replica node.")
def readwrite(server: "Server", session: Session) -> Any:
    _need_cluster(server)
    session.reads_here = False
    session.refresh_special()
    return OK


@session_command("ASKING", "Signals that a cluster client is following an -ASK redirect.")
def asking(server: "Server", session: Session) -> Any:
    _need_cluster(server)
    return OK


@session_command("CLUSTER|MYID", "Returns the ID of a node.")
def cluster_myid(server: "Server", session: Session) -> Any:
    _need_cluster(server)
    return node_name(server, server.node.settings.id)


@session_command("CLUSTER|KEYSLOT", "Returns the hash slot for a key.")
def cluster_keyslot(server: "Server", session: Session, key: bytes) -> Any:
    _need_cluster(server)
    return slot_of(key)


@session_command("CLUSTER|COUNTKEYSINSLOT", "Returns the number of keys in a hash slot.")
def cluster_countkeysinslot(server: "Server", session: Session, slot: bytes) -> Any:
    _need_cluster(server)
    number = _slot(slot)
    return len(_keys_of_slot(server, number))


@session_command("CLUSTER|GETKEYSINSLOT", "Returns the key names in a hash slot.")
def cluster_getkeysinslot(server: "Server", session: Session, slot: bytes, count: bytes) -> Any:
    _need_cluster(server)
    limit = int64(count)
    if limit < 0:
        raise ClientError("ERR Invalid number of keys")
    number = _slot(slot)
    return _keys_of_slot(server, number)[:limit]


def _slot(raw: bytes) -> int:
    slot = int64(raw, ClientError("ERR Invalid or out of range slot"))
    if not 0 <= slot < SLOT_COUNT:
        raise ClientError("ERR Invalid slot")
    return slot


@session_command("CLUSTER|INFO", "Returns information about the state of a node.")
def cluster_info(server: "Server", session: Session) -> Any:
    _need_cluster(server)
    shards = _shards(server)
    slots_ok = count_slots(run for shard in shards if shard.leader is not None for run in shard.slots)
    term = max(shard.term for shard in shards)
    lines = {
        "cluster_enabled": 1,
        "cluster_state": "ok" if slots_ok == SLOT_COUNT else "fail",
        "cluster_slots_assigned": SLOT_COUNT,
        "cluster_slots_ok": slots_ok,
        "cluster_slots_pfail": 0,
        "cluster_slots_fail": SLOT_COUNT - slots_ok,
        "cluster_known_nodes": len(server.node.client_addresses()),
        "cluster_size": sum(bool(shard.slots) for shard in shards),
        "cluster_current_epoch": term,
        "cluster_my_epoch": term,
        "cluster_stats_messages_sent": 0,
        "cluster_stats_messages_received": 0,
        "total_cluster_links_buffer_limit_exceeded": 0,
    }
    return Verbatim(b"txt", "".join(f"{name}:{value}\r\n" for name, value in lines.items()).encode())


@session_command("CLUSTER|SLOTS", "Returns the mapping of cluster slots to nodes.")
def cluster_slots(server: "Server", session: Session) -> Any:
    """During an election a shard's first node stands for its leader, and holds requests until there is one: redis-py
    gives up when not all slots are covered."""
    _need_cluster(server)
    return [
        [
            first,
            last,
            *([host.encode(), port, node_name(server, node), []] for node, host, port in _nodes(server, shard.leader)),
        ]
        for first, last, shard in sorted((*run, shard) for shard in _shards(server) for run in shard.slots)
    ]


@session_command("CLUSTER|SHARDS", "Returns the mapping of cluster slots to shards.")
def cluster_shards(server: "Server", session: Session) -> Any:
    _need_cluster(server)
    return [
        Map(
            [
                (b"slots", [bound for run in shard.slots for bound in run]),
                (b"nodes", [_shard_node(server, shard, *each) for each in _nodes(server, shard.leader)]),
            ]
        )
        for shard in _shards(server)
    ]


def _shard_node(server: "Server", shard: _Shard, node: NodeId, host: str, port: int) -> Map:
    return Map(
        [
            (b"id", node_name(server, node)),
            (b"port", port),
            (b"ip", host.encode()),
            (b"endpoint", host.encode()),
            (b"role", b"master" if node == shard.leader else b"replica"),
            (b"replication-offset", shard.applied_index),
            (b"health", b"online"),
        ]
    )


@session_command("CLUSTER|NODES", "Returns the cluster configuration for a node.")
def cluster_nodes(server: "Server", session: Session) -> Any:
    """A node that leads some shard is shown as a master with its slots, any other one as the first leader's slave."""
    _need_cluster(server)
    shards, me, transport = _shards(server), server.node.settings.id, server.node.transport
    first = next((shard.leader for shard in shards if shard.leader is not None), None)
    term = max(shard.term for shard in shards)
    lines = []
    for node, host, port in _nodes(server, first):
        led = [shard for shard in shards if shard.leader == node]
        is_up = node == me or (transport is not None and transport.is_up(node))
        flags = ("myself," if node == me else "") + ("master" if led else "slave") + ("" if is_up else ",fail")
        master = "-" if led or first is None else node_name(server, first).decode()
        link = "connected" if is_up else "disconnected"
        slots = "".join(f" {first}-{last}" if first < last else f" {first}" for first, last in _runs(led))
        lines.append(
            f"{node_name(server, node).decode()} {host}:{port}@{port + _BUS_PORT_OFFSET} {flags} {master} 0 0 "
            f"{term} {link}{slots}\n"
        )
    return Verbatim(b"txt", "".join(lines).encode())


def _runs(shards: list[_Shard]) -> list[tuple[int, int]]:
    return sorted(run for shard in shards for run in shard.slots)


@session_command("CLUSTER|HELP", "Returns helpful text about the different subcommands.")
def cluster_help(server: "Server", session: Session) -> Any:
    return help_reply(
        "CLUSTER",
        "COUNTKEYSINSLOT <slot>",
        "    Return the number of keys in <slot>.",
        "GETKEYSINSLOT <slot> <count>",
        "    Return key names stored by current node in a slot.",
        "INFO",
        "    Return information about the cluster.",
        "KEYSLOT <key>",
        "    Return the hash slot for <key>.",
        "MYID",
        "    Return the node id.",
        "NODES",
        "    Return cluster configuration seen by node.",
        "SLOTS",
        "    Return information about slots range mappings.",
        "SHARDS",
        "    Return information about slot range mappings and the nodes associated with them.",
    )
