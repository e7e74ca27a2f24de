"""MAKO: the cluster's own commands: who is a member, who leads, and how far everybody is.

Changes are made by the leader; another node forwards them to it. A change is answered when its configuration is chosen,
and repeating one that has taken place does nothing, so a command whose answer was lost can simply be sent again.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import Busy, ClientError, NotLeader, printable
from makoredis.base.ids import NodeId
from makoredis.cluster.members import (
    Address,
    added,
    drained,
    leaving,
    need_member,
    notes_of,
    pinned,
    removed,
    replaced,
    spread_pins,
)
from makoredis.consensus.core import ChangeRefused, Status
from makoredis.consensus.types import Configuration
from makoredis.server.commands.help import help_reply
from makoredis.server.info_shards import shards_status
from makoredis.server.routes import NO_REPLY, session_command
from makoredis.server.session import ForwardKind, Request, Session
from resp.replies import OK, Map

if TYPE_CHECKING:
    from makoredis.server.server import Server

NODE_ID_MAX = 65_535


@session_command("MAKO|STATUS", "Returns the members of the cluster, their roles, and how far each one is.")
def mako_status(server: "Server", session: Session, *options: bytes) -> Any:
    if options and (len(options) > 1 or options[0].upper() != b"LOCAL"):
        raise ClientError("ERR syntax error")
    if not options and not _leads(server) and _can_ask_leader(server):
        return _elsewhere(server, session, [b"MAKO", b"STATUS"])
    status = server.node.host.core.status()
    addresses = server.node.membership.addresses(status.configuration)
    clients = server.node.client_addresses()
    notes = notes_of(status.configuration)
    return Map(
        [
            (b"cluster", server.node.settings.cluster.encode()),
            (b"answered_by", status.node),
            (b"leader", status.leader),
            (b"term", status.term),
            (b"commit_index", status.commit_index),
            (b"configuration_index", status.configuration_index),
            (b"is_changing", int(status.configuration_index > status.commit_index or status.configuration.is_joint)),
            (b"goal", notes.goal),
            (
                b"nodes",
                [
                    _node_status(server, status, node, addresses.get(node), clients.get(node))
                    for node in sorted(status.configuration.members())
                ],
            ),
            (b"shards", shards_status(server)),
        ]
    )


def _node_status(
    server: "Server", status: Status, node: NodeId, address: Address | None, client: Address | None
) -> Map:
    peer, clocks = status.peers.get(node), server.node.clocks
    match: int | None = status.persisted_index if node == status.node else None
    state, is_live, lag = "self" if node == status.node else "unknown", None, None
    if peer is not None:
        match, state, is_live = peer.match_index, peer.state, int(peer.is_live)
    if node == status.node:
        is_live = 1
    if match is not None:
        lag = max(0, status.commit_index - match)
    return Map(
        [
            (b"id", node),
            (b"role", _role(status, node).encode()),
            (b"drained", int(node in notes_of(status.configuration).drained)),
            (b"client_address", _address_text(client)),
            (b"peer_address", _address_text(address)),
            (b"live", is_live),
            (b"state", state.encode()),
            (b"match_index", match),
            (b"lag", lag),
            (b"clock_offset_us", clocks.offsets_us.get(node)),
            (b"clock_refused", int(node in clocks.ahead)),
        ]
    )


def _role(status: Status, node: NodeId) -> str:
    configuration = status.configuration
    if node == status.leader:
        return "leader"
    if node in configuration.learners:
        return "learner"
    if node in configuration.witnesses:
        return "witness"
    return "voter" if node in configuration.voters else "leaving"


@session_command("MAKO|ADD", "Adds a node to the cluster, or corrects the address of a member.")
def mako_add(server: "Server", session: Session, id: bytes, address: bytes) -> Any:
    new = {_node_id(id): _address(address)}

    def target_of(current: Configuration) -> Configuration:
        for node, at in new.items():
            _check_move(server, current, node, at)
        return added(current, new)

    return _change(server, session, [b"MAKO", b"ADD", id, address], target_of)


def _check_move(server: "Server", current: Configuration, node: NodeId, address: Address) -> None:
    """Raises: ClientError for another address of a member that answers at the one it has: nobody would reach it, and
    without a majority that is reached there is no way to say that it was a slip."""
    known = server.node.membership.addresses(current).get(node)
    answers = node in _answering(server)
    if answers and known is not None and address not in (known, server.node.listens_at(node)):
        raise ClientError(
            f"ERR node {node} is a member and answers at {known[0]}:{known[1]}; stop it before its address is changed"
        )


def _answering(server: "Server") -> set[NodeId]:
    """This node, and those of the others that are there."""
    status = server.node.host.core.status()
    others = {node for node, peer in status.peers.items() if peer.is_live or server.node.is_connected(node)}
    return {status.node, *others}


@session_command("MAKO|REMOVE", "Removes a node from the cluster.")
def mako_remove(server: "Server", session: Session, id: bytes) -> Any:
    node = _node_id(id)
    return _change(server, session, [b"MAKO", b"REMOVE", id], lambda current: _without(server, current, node))


def _without(server: "Server", current: Configuration, node: NodeId) -> Configuration:
    if node not in current.members():
        return current
    _check_majority(server, current, node)
    return removed(current, node) if server.node.shards is None else leaving(current, node)


def _check_majority(server: "Server", current: Configuration, node: NodeId) -> None:
    """Raises: ClientError where those who are left and answer would not be a majority: nothing could be changed any
    more until one of the others is back."""
    left = {each for each in current.voters if each != node}
    answering = left & _answering(server)
    if node in current.voters and left and 2 * len(answering) <= len(left):
        missing = ", ".join(str(each) for each in sorted(left - answering))
        raise ClientError(
            f"ERR without node {node} there would be no majority: {missing} of the {len(left)} voters left "
            "does not answer; start or remove what is down first"
        )


@session_command("MAKO|REPLACE", "Replaces voters of the cluster by other nodes, in one change.")
def mako_replace(server: "Server", session: Session, *words: bytes) -> Any:
    old, new = _split_replacement(words)
    argv = [b"MAKO", b"REPLACE", *words]
    return _change(server, session, argv, lambda current: _with_others(current, old, new))


def _with_others(current: Configuration, old: list[NodeId], new: dict[NodeId, Address]) -> Configuration:
    is_done = not current.members() & set(old) and new.keys() <= set(current.voters)
    return current if is_done else replaced(current, old, new)


def _split_replacement(words: Sequence[bytes]) -> tuple[list[NodeId], dict[NodeId, Address]]:
    """`1 2 3 4=host:port 5=host:port`: what has no address goes, what has one comes."""
    old = [_node_id(word) for word in words if b"=" not in word]
    new = {}
    for word in words:
        if b"=" in word:
            id, _, address = word.partition(b"=")
            new[_node_id(id)] = _address(address)
    if not old or not new or new.keys() & set(old):
        raise ClientError("ERR REPLACE needs ids of nodes that leave and id=host:peer-port of others that come")
    return old, new


@session_command("MAKO|TRANSFER", "Hands the leadership to a node.")
def mako_transfer(server: "Server", session: Session, id: bytes, *shard: bytes) -> Any:
    _need_cluster(server)
    node = _node_id(id)
    argv = [b"MAKO", b"TRANSFER", id, *shard]
    if shard:
        pins = dict.fromkeys(_shard_numbers(server, shard), int(node))
        return _change(server, session, argv, lambda current: _led_by(current, node, pins))
    if not _may_change_here(server, session):
        return _elsewhere(server, session, argv)
    status = server.node.host.core.status()
    need_member(status.configuration, node)
    if node != status.node and node in status.peers and node not in server.node.membership.successors(status):
        reason = "is drained" if node in notes_of(status.configuration).drained else "is not caught up"
        raise ClientError(f"ERR node {node} cannot lead: it {reason}")
    _try(lambda: server.node.host.transfer_leadership(node))
    return OK


def _led_by(current: Configuration, node: NodeId, pins: dict[int, int]) -> Configuration:
    """With shards that a node shall lead from now on. Raises: ClientError for one that may not."""
    notes = notes_of(current)
    need_member(current, node)
    if node in notes.drained:
        raise ClientError(f"ERR node {node} cannot lead: it is drained")
    if not current.may_lead(node):
        raise ClientError(f"ERR node {node} may not lead: it is no voter, or a log witness")
    return pinned(current, {**notes.pinned, **pins})


def _shard_numbers(server: "Server", words: Sequence[bytes]) -> list[int]:
    """`SHARD <number> | ALL`. Raises: ClientError."""
    shards = server.node.shards
    if shards is None:
        raise ClientError("ERR this cluster has one shard: TRANSFER takes the id of a node alone")
    if len(words) != 2 or words[0].upper() != b"SHARD":
        raise ClientError("ERR syntax error")
    if words[1].upper() == b"ALL":
        return [int(shard) for shard in shards.replicas]
    if not words[1].isdigit() or int(words[1]) not in shards.replicas:
        raise ClientError(f"ERR there is no shard '{printable(words[1][:64])}'")
    return [int(words[1])]


@session_command("MAKO|SPREAD", "Has the shards led by different nodes again, as far as possible.")
def mako_spread(server: "Server", session: Session) -> Any:
    shards = server.node.shards
    if shards is None:
        raise ClientError("ERR this cluster has one shard: there is nothing to spread")
    numbers = () if server.node.settings.spreads_leaders else [int(shard) for shard in shards.replicas]
    return _change(
        server, session, [b"MAKO", b"SPREAD"], lambda current: pinned(current, spread_pins(current, numbers))
    )


@session_command("MAKO|DRAIN", "Makes a node hand the leadership away and not lead until it is undrained.")
def mako_drain(server: "Server", session: Session, *ids: bytes) -> Any:
    node = _this_or(server, ids)
    argv = [b"MAKO", b"DRAIN", b"%d" % node]
    return _change(server, session, argv, lambda current: drained(current, node, is_drained=True))


@session_command("MAKO|UNDRAIN", "Lets a drained node lead again.")
def mako_undrain(server: "Server", session: Session, *ids: bytes) -> Any:
    node = _this_or(server, ids)
    argv = [b"MAKO", b"UNDRAIN", b"%d" % node]
    return _change(server, session, argv, lambda current: drained(current, node, is_drained=False))


@session_command("MAKO|SNAPSHOT", "Writes a checkpoint of this node now, and answers when it is on the disk.")
def mako_snapshot(server: "Server", session: Session) -> Any:
    server.checkpoint_waiters.append(session)
    server.node.keepers.request()
    server.hold_for_checkpoint(session)
    return NO_REPLY


@session_command("MAKO|HELP", "Returns helpful text about the different subcommands.")
def mako_help(server: "Server", session: Session) -> Any:
    return help_reply(
        "MAKO",
        "STATUS [LOCAL]",
        "    Return the members, their roles and how far each one is, as the leader (LOCAL: this node) sees it.",
        "ADD <id> <host:peer-port>",
        "    Add a node that was started with `join: true`. It gets the data first and votes once it has caught up.",
        "    For a member: correct its address.",
        "REMOVE <id>",
        "    Remove a node.",
        "REPLACE <old-id> [<old-id> ...] <new-id>=<host:peer-port> [<new-id>=<host:peer-port> ...]",
        "    Replace voters by other nodes in one change, once these have caught up.",
        "TRANSFER <id> [SHARD <number>|ALL]",
        "    Hand the leadership to a node: of the members, or of shards, which it then leads whenever it can.",
        "SPREAD",
        "    Have the shards led by different nodes again.",
        "DRAIN [<id>]",
        "    Make a node (default: this one) hand the leadership away, and not lead while others can.",
        "UNDRAIN [<id>]",
        "    Let a drained node lead again.",
        "MOVE SLOTS <first-slot> <last-slot> TO <shard>",
        "    Have slots moved to a shard, from wherever they are, while everything goes on.",
        "MOVE STOP",
        "    Leave all slots where they are now.",
        "SLOTS",
        "    Return which slots each shard has, and what is still to be moved.",
        "SNAPSHOT",
        "    Write a checkpoint of this node now.",
        "BACKUP BEGIN|READ|END",
        "    Read a backup of the whole keyspace as of one moment, piece by piece until READ returns an empty string.",
        "    `makoctl backup FILE` does that, and `makoctl restore FILE` writes one into an empty cluster.",
    )


# -- changes


def _change(
    server: "Server", session: Session, argv: list[bytes], target_of: Callable[[Configuration], Configuration]
) -> Any:
    """Changes the configuration, here or on the leader; answered when the change is chosen."""
    _need_cluster(server)
    if not _may_change_here(server, session):
        return _elsewhere(server, session, argv)
    node = server.node
    target = target_of(node.host.core.status().configuration)
    _try(lambda: node.membership.change(target))
    gate = node.host.executor.want_entry()
    request: Request | None = None
    if session.proxy is None:
        session.sequence += 1
        request = Request(session.sequence, ForwardKind.SINGLE, session.database, session.protocol, [argv])
    server.dispatcher.answer(session, OK, gate, request)
    return NO_REPLY


def _try(action: Callable[[], object]) -> None:
    """Turns what may succeed a moment later into an error that says so."""
    try:
        action()
    except (ChangeRefused, Busy) as error:
        raise ClientError(f"TRYAGAIN {error}") from None
    except NotLeader:
        raise ClientError("TRYAGAIN the leadership has just changed") from None


def _leads(server: "Server") -> bool:
    return server.node.host.is_leader


def _may_change_here(server: "Server", session: Session) -> bool:
    may_run: bool = server.forwarding.may_run_here(session)
    return may_run


def _can_ask_leader(server: "Server") -> bool:
    leader = server.node.host.leader
    transport = server.node.transport
    return leader is not None and transport is not None and transport.is_up(leader)


def _elsewhere(server: "Server", session: Session, argv: list[bytes]) -> Any:
    server.forwarding.submit(session, ForwardKind.SINGLE, [argv])
    return NO_REPLY


def _need_cluster(server: "Server") -> None:
    if not server.node.is_replicated:
        raise ClientError("ERR this node is alone: start it with a configuration file that names more than one node")


# -- arguments


def _node_id(raw: bytes) -> NodeId:
    if not raw.isdigit() or not 1 <= int(raw) <= NODE_ID_MAX:
        raise ClientError(f"ERR '{printable(raw[:64])}' is not the id of a node: 1 to {NODE_ID_MAX}")
    return NodeId(int(raw))


def _address(raw: bytes) -> Address:
    host, _, port = raw.decode("latin-1").rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise ClientError(f"ERR '{printable(raw[:128])}' is not host:peer-port")
    return host.strip("[]"), int(port)


def _this_or(server: "Server", ids: Sequence[bytes]) -> NodeId:
    if len(ids) > 1:
        raise ClientError("ERR syntax error")
    return _node_id(ids[0]) if ids else server.node.settings.id


def _address_text(address: Address | None) -> bytes | None:
    return None if address is None else f"{address[0]}:{address[1]}".encode()
