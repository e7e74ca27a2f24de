"""Who the members are, where they are, and who they are to become: targets of changes as pure functions.

Addresses, goals and drained nodes are the notes of the consensus configuration (`Configuration.notes`), so they are
chosen, stored, undone and part of snapshots together with the membership that they are about.

A *goal* is the set of voters that a change asked for. It stays in the configuration until it is reached, so that
whoever leads drives it on: new nodes begin as learners, and when all of them have caught up, the goal becomes the
voters, in one step or through one joint phase.
"""

from collections.abc import Collection, Mapping

from makoredis.base.errors import ClientError
from makoredis.base.ids import NodeId
from makoredis.base.record import Wire, field, wire_decoder, wire_encode
from makoredis.consensus.membership import check_target
from makoredis.consensus.types import Configuration

Address = tuple[str, int]


class Notes(Wire):
    """What the cluster keeps beside its members. Fields are a file format: a new one goes last, with a default."""

    addresses: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Where nodes listen for their peers. Sorted, so that equal notes have equal bytes."""
    goal: list[int] = field(default_factory=list)
    """The voters to be; empty: the present ones."""
    drained: list[int] = field(default_factory=list)
    """Nodes that hand the leadership away as soon as another one can take it."""


_decode = wire_decoder(Notes)


def notes_of(configuration: Configuration) -> Notes:
    """The notes of a configuration; empty ones if it has none."""
    if not configuration.notes:
        return Notes()
    notes: Notes = _decode(configuration.notes)
    return notes


def with_notes(
    configuration: Configuration,
    addresses: Mapping[int, Address],
    goal: Collection[int],
    drained: Collection[int],
    leaving: Collection[NodeId] = (),
) -> Configuration:
    """A configuration with notes about its members, and about those who leave, as they still have to be reached."""
    members = configuration.members()
    kept = {int(node): addresses[node] for node in sorted(members.union(leaving)) if node in addresses}
    notes = Notes(kept, sorted(goal), sorted(members.intersection(drained)))
    return Configuration(
        voters=configuration.voters,
        outgoing=configuration.outgoing,
        learners=configuration.learners,
        witnesses=configuration.witnesses,
        notes=wire_encode(notes),
    )


def added(current: Configuration, new: dict[NodeId, Address]) -> Configuration:
    """With more nodes: learners now, voters as soon as they have caught up. Repeating it corrects addresses."""
    notes = notes_of(current)
    learners = tuple(sorted({*current.learners, *(node for node in new if not current.votes(node))}))
    voters_to_be = {*(notes.goal or current.voters), *new}
    goal = () if voters_to_be == set(current.voters) else voters_to_be
    return _checked(current, current.voters, learners, _with_addresses(notes, new), goal, notes.drained)


def removed(current: Configuration, node: NodeId) -> Configuration:
    """Without one node.

    Raises: ClientError.
    """
    if node not in current.members():
        raise ClientError(f"ERR node {node} is not a member of the cluster")
    notes = notes_of(current)
    voters = tuple(each for each in current.voters if each != node)
    learners = tuple(each for each in current.learners if each != node)
    goal = {each for each in notes.goal if each != node}
    if goal == set(voters):
        goal = set()
    return _checked(current, voters, learners, notes.addresses, goal, notes.drained)


def replaced(current: Configuration, old: Collection[NodeId], new: dict[NodeId, Address]) -> Configuration:
    """On the way to other voters in one change: the new ones begin as learners, the old ones stay until they are done.

    Raises: ClientError.
    """
    notes = notes_of(current)
    for node in old:
        if node not in current.voters:
            raise ClientError(f"ERR node {node} is not a voter of the cluster")
    goal = ({*current.voters} - {*old}) | {*new}
    if notes.goal and set(notes.goal) != goal:
        raise ClientError("TRYAGAIN another change of the members is under way")
    if not goal - {*current.witnesses}:
        raise ClientError("ERR nobody would be left to keep the data")
    learners = tuple(sorted({*current.learners, *(node for node in new if not current.votes(node))}))
    return _checked(current, current.voters, learners, _with_addresses(notes, new), goal, notes.drained)


def drained(current: Configuration, node: NodeId, *, is_drained: bool) -> Configuration:
    """With a node that shall not lead, or may again.

    Raises: ClientError.
    """
    if node not in current.members():
        raise ClientError(f"ERR node {node} is not a member of the cluster")
    notes = notes_of(current)
    nodes = {*notes.drained, node} if is_drained else {*notes.drained} - {node}
    if is_drained and not {*current.voters} - {*current.witnesses} - nodes:
        raise ClientError("ERR nobody would be left to lead")
    return with_notes(current, notes.addresses, notes.goal, nodes)


def step_to_goal(current: Configuration, caught_up: Collection[NodeId]) -> Configuration | None:
    """The next configuration on the way to the goal; None if there is nothing to do, or not yet.

    Args:
        caught_up: the nodes that have everything that is committed.
    """
    notes = notes_of(current)
    if not notes.goal or current.is_joint:
        return None
    voters = tuple(NodeId(node) for node in sorted(notes.goal))
    if any(node not in current.voters and node not in caught_up for node in voters):
        return None
    learners = tuple(node for node in current.learners if node not in notes.goal)
    return _checked(current, voters, learners, notes.addresses, (), notes.drained)


def _with_addresses(notes: Notes, new: Mapping[NodeId, Address]) -> dict[int, Address]:
    return {**notes.addresses, **{int(node): at for node, at in new.items()}}


def _checked(
    current: Configuration,
    voters: tuple[NodeId, ...],
    learners: tuple[NodeId, ...],
    addresses: dict[int, Address],
    goal: Collection[int],
    drained_nodes: Collection[int],
) -> Configuration:
    """Puts a target together.

    Raises: ClientError for one that can never be.
    """
    witnesses = tuple(node for node in current.witnesses if node in voters)
    target = Configuration(voters=voters, learners=learners, witnesses=witnesses)
    check_target(current, target)
    return with_notes(target, addresses, goal, drained_nodes, current.members())
