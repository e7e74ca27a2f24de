"""Who the members are, where they are, and who they are to become: targets of changes as pure functions.

Addresses, goals and drained nodes are the notes of the consensus configuration (`Configuration.notes`), so they are
chosen, stored, undone and part of snapshots together with the membership that they are about.

A *goal* is the set of voters that a change asked for. It stays in the configuration until it is reached, so that
whoever leads drives it on: new nodes begin as learners, and when all of them have caught up, the goal becomes the
voters, in one step or through one joint phase.

Where there are several shards, commands change the group that keeps no keys, and each shard's group *follows* it: it
takes over goal, addresses and drained nodes, and the configuration's number. The group that is followed reaches its own
goal last, once every shard has: so it says what was asked for until all of it is done, whoever dies meanwhile, and a
node that is no member of it any more is a member nowhere.
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
    number: int = 0
    """Grows with every change. A shard's group, where there are several, has that of what it has taken over."""
    pinned: dict[int, int] = field(default_factory=dict)
    """By shard, who shall lead it, if somebody has said so."""


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
    return _noted(configuration, Notes(dict(addresses), list(goal), list(drained)), leaving)


def _noted(configuration: Configuration, notes: Notes, leaving: Collection[NodeId] = ()) -> Configuration:
    members = configuration.members()
    addresses = notes.addresses
    kept = Notes(
        {int(node): addresses[node] for node in sorted(members.union(leaving)) if node in addresses},
        sorted(notes.goal),
        sorted(members.intersection(notes.drained)),
        notes.number,
        {shard: node for shard, node in sorted(notes.pinned.items()) if node in members},
    )
    return Configuration(
        voters=configuration.voters,
        outgoing=configuration.outgoing,
        learners=configuration.learners,
        witnesses=configuration.witnesses,
        notes=wire_encode(kept),
    )


def added(current: Configuration, new: dict[NodeId, Address]) -> Configuration:
    """With more nodes: learners now, voters as soon as they have caught up. Repeating it corrects addresses."""
    notes = notes_of(current)
    learners = tuple(sorted({*current.learners, *(node for node in new if not current.votes(node))}))
    voters_to_be = {*(notes.goal or current.voters), *new}
    goal = () if voters_to_be == set(current.voters) and not notes.goal else voters_to_be
    return _checked(current, current.voters, learners, _with(notes, _with_addresses(notes, new), goal))


def removed(current: Configuration, node: NodeId) -> Configuration:
    """Without one node.

    Raises: ClientError.
    """
    need_member(current, node)
    notes = notes_of(current)
    voters = tuple(each for each in current.voters if each != node)
    learners = tuple(each for each in current.learners if each != node)
    goal = {each for each in notes.goal if each != node}
    if goal == set(voters):
        goal = set()
    return _checked(current, voters, learners, _with(notes, notes.addresses, goal))


def leaving(current: Configuration, node: NodeId) -> Configuration:
    """On the way to be without one node: it stays until the groups that follow this one have done without it.

    Raises: ClientError.
    """
    need_member(current, node)
    notes = notes_of(current)
    goal = {*(notes.goal or current.voters)} - {node}
    if not goal - {*current.witnesses}:
        raise ClientError("ERR nobody would be left to keep the data")
    return _noted(current, _with(notes, notes.addresses, goal), current.members())


def replaced(current: Configuration, old: Collection[NodeId], new: dict[NodeId, Address]) -> Configuration:
    """On the way to other voters in one change: the new ones begin as learners, the old ones stay until they are done.

    Raises: ClientError.
    """
    notes = notes_of(current)
    if current.is_joint:
        raise ClientError("TRYAGAIN another change of the members is under way")
    for node in old:
        if node not in current.voters:
            raise ClientError(f"ERR node {node} is not a voter of the cluster")
    for node in new:
        if node in current.voters:
            raise ClientError(f"ERR node {node} is a voter of the cluster already; REPLACE takes nodes that are not")
    goal = ({*current.voters} - {*old}) | {*new}
    if notes.goal and set(notes.goal) != goal:
        raise ClientError("TRYAGAIN another change of the members is under way")
    if not goal - {*current.witnesses}:
        raise ClientError("ERR nobody would be left to keep the data")
    learners = tuple(sorted({*current.learners, *(node for node in new if not current.votes(node))}))
    return _checked(current, current.voters, learners, _with(notes, _with_addresses(notes, new), goal))


def drained(current: Configuration, node: NodeId, *, is_drained: bool) -> Configuration:
    """With a node that shall not lead, or may again.

    Raises: ClientError.
    """
    need_member(current, node)
    notes = notes_of(current)
    nodes = {*notes.drained, node} if is_drained else {*notes.drained} - {node}
    if is_drained and not {*current.voters} - {*current.witnesses} - nodes:
        raise ClientError("ERR nobody would be left to lead")
    return _noted(current, Notes(notes.addresses, notes.goal, sorted(nodes), notes.number, notes.pinned))


def pinned(current: Configuration, pins: Mapping[int, int]) -> Configuration:
    """With other wishes who shall lead which shard; the earlier ones are void."""
    notes = notes_of(current)
    return _noted(current, Notes(notes.addresses, notes.goal, notes.drained, notes.number, dict(pins)))


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
    return _checked(current, voters, (), _with(notes, notes.addresses, ()))


def numbered(current: Configuration, target: Configuration) -> Configuration:
    """A target with the next number, if it is one."""
    if target == current:
        return target
    notes = notes_of(target)
    number = notes_of(current).number + 1
    return _noted(target, Notes(notes.addresses, notes.goal, notes.drained, number, notes.pinned), current.members())


def following(current: Configuration, leading: Configuration) -> Configuration | None:
    """The configuration by which a shard's group takes over the goal of the one that it follows.

    Args:
        leading: the other group's configuration; it has to be chosen.
    Returns: None if there is nothing to take over, or not yet.
    """
    other = notes_of(leading)
    if current.is_joint or leading.is_joint or notes_of(current).number == other.number:
        return None
    wanted = wanted_voters(leading)
    learners = tuple(sorted(wanted.difference(current.voters)))
    goal = () if wanted == {*current.voters} else wanted
    return _checked(
        current,
        current.voters,
        learners,
        Notes(other.addresses, sorted(goal), other.drained, other.number, other.pinned),
    )


def has_followed(current: Configuration, leading: Configuration) -> bool:
    """Whether a shard's group has reached the goal of the one that it follows."""
    return (
        notes_of(current).number == notes_of(leading).number
        and not current.is_joint
        and not current.learners
        and {*current.voters} == wanted_voters(leading)
    )


def wanted_voters(configuration: Configuration) -> set[NodeId]:
    """The voters to be."""
    goal = notes_of(configuration).goal
    return {NodeId(node) for node in goal} if goal else {*configuration.voters}


def preferred_leader(configuration: Configuration, shard: int, *, is_spread: bool) -> NodeId | None:
    """Who shall lead a shard: whom somebody has named; or the first node, or the nodes in turn if spread."""
    able = _able_to_lead(configuration)
    named = notes_of(configuration).pinned.get(shard)
    if named is not None and named in able:
        return NodeId(named)
    if not able:
        return None
    return able[(shard - 1) % len(able) if is_spread else 0]


def spread_pins(configuration: Configuration, shards: Collection[int]) -> dict[int, int]:
    """Who shall lead which of these shards so that every node leads about as many."""
    able = _able_to_lead(configuration)
    return {shard: int(able[(shard - 1) % len(able)]) for shard in shards if able}


def _able_to_lead(configuration: Configuration) -> list[NodeId]:
    drained_nodes = notes_of(configuration).drained
    return sorted(
        node for node in wanted_voters(configuration) if configuration.may_lead(node) and node not in drained_nodes
    )


def need_member(current: Configuration, node: NodeId) -> None:
    """Raises: ClientError."""
    if node not in current.members():
        raise ClientError(f"ERR node {node} is not a member of the cluster")


def _with(notes: Notes, addresses: Mapping[int, Address], goal: Collection[int]) -> Notes:
    return Notes(dict(addresses), sorted(goal), notes.drained, notes.number, notes.pinned)


def _with_addresses(notes: Notes, new: Mapping[NodeId, Address]) -> dict[int, Address]:
    return {**notes.addresses, **{int(node): at for node, at in new.items()}}


def _checked(
    current: Configuration, voters: tuple[NodeId, ...], learners: tuple[NodeId, ...], notes: Notes
) -> Configuration:
    """Puts a target together.

    Raises: ClientError for one that can never be.
    """
    witnesses = tuple(node for node in current.witnesses if node in voters)
    target = Configuration(voters=voters, learners=learners, witnesses=witnesses)
    check_target(current, target)
    return _noted(target, notes, current.members())
