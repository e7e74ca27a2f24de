"""INFO's sections on replication, with Redis's names where Redis has a word for it, and ROLE.

To a Redis client the leader is a master and every other node one of its slaves. `raft` is the consensus core as it is,
`mako` what execution ahead of the log does.
"""

import time
from typing import TYPE_CHECKING, Any

from makoredis.base.ids import NodeId
from makoredis.consensus.core import PeerStatus
from makoredis.server.info_shards import shards
from makoredis.storage.layout import table_range

if TYPE_CHECKING:
    from makoredis.server.server import Server

Lines = dict[str, object]

_LINK_STATES = {"probe": "wait_bgsave", "replicate": "online", "snapshot": "send_bulk"}
"""What Redis calls the states of a leader's link to a follower."""


def replication(server: "Server") -> Lines:
    """Roles as Redis shows them; offsets are log indexes."""
    host = server.node.host
    is_follower = server.node.is_replicated and not host.is_leader
    lines = _follower(server) if is_follower else _leader(server)
    return {
        **lines,
        "master_failover_state": "no-failover",
        "master_replid": server.run_id,
        "master_replid2": "0" * 40,
        "master_repl_offset": host.applied_index,
        "second_repl_offset": -1,
        "repl_backlog_active": int(server.node.is_replicated),
        "repl_backlog_size": server.config.table["repl-backlog-size"],
        "repl_backlog_first_byte_offset": 0,
        "repl_backlog_histlen": 0,
    }


def _leader(server: "Server") -> Lines:
    peers = _peers(server)
    lines: Lines = {"role": "master", "connected_slaves": live_peers(server)}
    applied = server.node.host.applied_index
    for number, (node, peer) in enumerate(sorted(peers.items())):
        host, port = _address(server, node)
        state = _LINK_STATES[peer.state] if peer.is_live else "disconnected"
        lag = max(0, applied - peer.match_index)
        lines[f"slave{number}"] = f"ip={host},port={port},state={state},offset={peer.match_index},lag={lag}"
    return lines


def _follower(server: "Server") -> Lines:
    node = server.node
    host, port = _address(server, node.host.leader)
    is_up = _is_link_up(server)
    return {
        "role": "slave",
        "master_host": host,
        "master_port": port,
        "master_link_status": "up" if is_up else "down",
        "master_last_io_seconds_ago": int(time.monotonic() - node.heard_at) if node.heard_at else -1,
        "master_sync_in_progress": int(node.keepers.snapshots.receiver.is_installing),
        "slave_read_repl_offset": node.host.applied_index,
        "slave_repl_offset": node.host.applied_index,
        "slave_priority": 100,
        "slave_read_only": 1,
        "replica_announced": 1,
        "connected_slaves": 0,
    }


def raft(server: "Server") -> Lines:
    """The consensus core."""
    host = server.node.host
    status = host.core.status()
    configuration = status.configuration
    lines: Lines = {
        "raft_node": status.node,
        "raft_role": status.role.name.lower(),
        "raft_term": status.term,
        "raft_leader": status.leader or 0,
        "raft_vote": status.vote or 0,
        "raft_voters": _joined(configuration.voters),
        "raft_outgoing": _joined(configuration.outgoing),
        "raft_learners": _joined(configuration.learners),
        "raft_witnesses": _joined(configuration.witnesses),
        "raft_configuration_index": status.configuration_index,
        "raft_transferring_to": status.transferring_to or 0,
        "raft_first_index": status.first_index,
        "raft_last_index": status.last_index,
        "raft_persisted_index": status.persisted_index,
        "raft_commit_index": status.commit_index,
        "raft_applied_index": status.applied_index,
        "raft_log_memory_bytes": status.log_bytes,
        "raft_leaders_seen": host.leaders_seen,
        "raft_elections_won": host.elections_won,
        "raft_is_quiesced": int(status.is_quiesced),
    }
    for node, peer in sorted(status.peers.items()):
        lines[f"raft_peer{node}"] = (
            f"state={peer.state},live={int(peer.is_live)},caught_up={int(peer.is_caught_up)},"
            f"match={peer.match_index},next={peer.next_index},lag={max(0, status.commit_index - peer.match_index)}"
        )
    return lines


def mako(server: "Server") -> Lines:
    """Speculation, snapshots and what goes between nodes."""
    node = server.node
    executor = node.host.executor
    snapshots = node.keepers.all_snapshots()
    receivers, senders = [each.receiver for each in snapshots], [each.sender for each in snapshots]
    transport = node.transport
    store_bytes, journal_bytes = node.store.disk_bytes()
    return {
        "consensus_role": "leader" if node.host.is_leader else "follower",
        "node_id": node.settings.id,
        "leader_id": node.host.leader or 0,
        "serves": int(_serves(server)),
        "quiesced_groups": sum(core.quiesced() is not None for core in node.cores().values()),
        "quiesced_groups_woken": node.quiescence.woken,
        "executed_transactions": executor.version,
        "pending_transactions": executor.pending_count,
        "released_transactions": executor.version - executor.pending_count - executor.undone_count,
        "undone_transactions": executor.undone_count,
        "released_index": node.host.chosen_index(),
        "executed_index": max(executor.last_proposed, node.host.applied_index),
        "watermark_us": executor.watermark,
        "watermark_lag_us": _watermark_lag_us(server),
        "forwarded_requests": server.forwarding.forwarded_count,
        "waiting_for_leader": len(server.forwarding.waiting),
        "proxies": len(server.forwarding.proxies.by_origin),
        "remembered_sessions": len(executor.requests.sessions),
        "dropped_messages": 0 if transport is None else transport.dropped,
        "refused_clocks": len(node.clocks.ahead),
        **{f"clock_offset_us_node{peer}": offset for peer, offset in sorted(node.clocks.offsets_us.items())},
        "connected_peers": 0 if transport is None else sum(transport.is_up(peer) for peer in transport.links),
        "snapshots_sent": sum(each.sent_count for each in senders),
        "snapshots_sending": sum(each.active_count for each in senders),
        "snapshot_bytes_sent": sum(each.sent_bytes for each in senders),
        "snapshots_installed": sum(each.installed_count for each in receivers),
        "snapshot_installing": int(any(each.is_installing for each in receivers)),
        "snapshot_bytes_received": sum(each.received_bytes for each in receivers),
        "checkpoints": node.keepers.count(),
        "log_bytes_since_checkpoint": node.keepers.log_bytes(),
        "log_disk_bytes": node.store.engine.approximate_size(*table_range(b"l")) + journal_bytes,
        "store_disk_bytes": store_bytes,
        **shards(server),
    }


def _serves(server: "Server") -> bool:
    """Whether transactions may run here; in a quiesced group after a round. To ask does not keep it awake."""
    core = server.node.host.core
    return server.node.host.is_complete() and (core.quiesced() is not None or core.lease_valid(is_use=False))


def _watermark_lag_us(server: "Server") -> int:
    """How old what is final is; 0 while all that this node knows of is final."""
    host = server.node.host
    is_behind = host.executor.pending_count or host.core.status().last_index > host.applied_index
    return max(0, server.wall_us - host.executor.watermark) if is_behind else 0


def role_reply(server: "Server") -> Any:
    """ROLE's reply."""
    node = server.node
    if node.is_replicated and not node.host.is_leader:
        host, port = _address(server, node.host.leader)
        state = b"connect" if not _is_link_up(server) else b"connected"
        if node.keepers.snapshots.receiver.is_installing:
            state = b"sync"
        return [b"slave", host.encode(), port, state, node.host.applied_index]
    slaves = []
    for peer, status in sorted(_peers(server).items()):
        host, port = _address(server, peer)
        slaves.append([host.encode(), b"%d" % port, b"%d" % status.match_index])
    return [b"master", node.host.applied_index, slaves]


def live_peers(server: "Server") -> int:
    """How many other nodes answer the leader, which this is."""
    return sum(peer.is_live for peer in _peers(server).values())


def _peers(server: "Server") -> dict[NodeId, PeerStatus]:
    return server.node.host.core.status().peers


def _address(server: "Server", node: NodeId | None) -> tuple[str, int]:
    """Where a node listens for clients; unknown: `?` and 0, which are no address."""
    return ("?", 0) if node is None else server.node.client_addresses().get(node, ("?", 0))


def _is_link_up(server: "Server") -> bool:
    node = server.node
    leader = node.host.leader
    return leader is not None and node.transport is not None and node.transport.is_up(leader)


def _joined(nodes: tuple[NodeId, ...]) -> str:
    return ",".join(map(str, nodes))
