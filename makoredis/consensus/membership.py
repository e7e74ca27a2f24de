"""Which configuration is in force, and how one may follow another (Raft §6, thesis chapter 4).

A configuration is an entry of the log and counts from the moment it is appended, committed or not; if the entry is cut
off again, the one before is back in force. Two majorities of consecutive configurations always overlap, because

* at most one change is uncommitted at a time, and a leader starts one only after it committed an entry of its own term;
* if more than one voter differs, the group passes through a joint configuration that needs both majorities.

A configuration is written whole, not as a difference, so that replaying one needs nothing but itself.
"""

from makoredis.base.errors import ClientError
from makoredis.base.ids import Index, NodeId
from makoredis.consensus.types import Configuration


class Membership:
    """The configurations of a log, oldest first; the last one is in force."""

    def __init__(self, index: Index, configuration: Configuration) -> None:
        """Begins with the configuration in force at `index`, the base of the log."""
        self._history: list[tuple[Index, Configuration]] = [(index, configuration)]
        self.index = index
        self.configuration = configuration

    def append(self, index: Index, configuration: Configuration) -> None:
        """A configuration entry was appended."""
        self._history.append((index, configuration))
        self.index, self.configuration = index, configuration

    def cut_from(self, index: Index) -> None:
        """The log was cut from `index` on."""
        while len(self._history) > 1 and self._history[-1][0] >= index:
            self._history.pop()
        self.index, self.configuration = self._history[-1]

    def at(self, index: Index) -> Configuration:
        """The configuration in force at an index, or at the base if that is later."""
        found = (configuration for begin, configuration in reversed(self._history) if begin <= index)
        return next(found, self._history[0][1])

    def has_only_voter(self, node: NodeId) -> bool:
        """Whether, as far back as the log goes, nobody but this node ever had a vote."""
        return all(configuration.voters == (node,) and not configuration.outgoing for _, configuration in self._history)

    def may_lead(self, node: NodeId, commit: Index) -> bool:
        """Whether this node may stand for election.

        As long as the configuration in force may still be cut off again, those of the one before count as well: a node
        that is being removed may have the only log that everybody would vote for (thesis §4.2.2).
        """
        for begin, configuration in reversed(self._history):
            if configuration.may_lead(node):
                return True
            if begin <= commit:
                return False
        return False

    def drop_to(self, index: Index) -> None:
        """The log was compacted up to `index`."""
        while len(self._history) > 1 and self._history[1][0] <= index:
            del self._history[0]

    def restore(self, index: Index, configuration: Configuration) -> None:
        """Starts again behind an installed snapshot."""
        self._history = [(index, configuration)]
        self.index, self.configuration = index, configuration


def normalized(configuration: Configuration) -> Configuration:
    """The same sets, sorted and without repetition."""
    return Configuration(
        voters=_sorted(configuration.voters),
        outgoing=_sorted(configuration.outgoing),
        learners=_sorted(configuration.learners),
        witnesses=_sorted(configuration.witnesses),
        notes=configuration.notes,
    )


def check_target(current: Configuration, target: Configuration) -> None:
    """Refuses configurations that can never be right.

    Raises: ClientError.
    """
    voters, witnesses = set(target.voters), set(target.witnesses)
    if target.outgoing:
        raise ClientError("ERR a joint configuration cannot be asked for, it is passed through")
    if not voters - witnesses:
        raise ClientError("ERR a configuration needs a voter that keeps data")
    if not witnesses <= voters:
        raise ClientError("ERR a log witness must be a voter")
    if voters & set(target.learners):
        raise ClientError("ERR a node is either a voter or a learner")
    kept_data = current.members() - set(current.witnesses)
    if witnesses & kept_data or set(current.witnesses) & (target.members() - witnesses):
        raise ClientError("ERR a log witness cannot become a full replica nor the reverse: remove it first")


def next_configuration(current: Configuration, target: Configuration) -> Configuration:
    """The first configuration on the way from `current` (not joint) to `target`: it or the joint one of both."""
    if len(set(current.voters) ^ set(target.voters)) <= 1:
        return target
    return Configuration(
        voters=target.voters,
        outgoing=current.voters,
        learners=target.learners,
        witnesses=_sorted((*current.witnesses, *target.witnesses)),
        notes=target.notes,
    )


def without_outgoing(joint: Configuration) -> Configuration:
    """The configuration that ends a joint phase."""
    return Configuration(
        voters=joint.voters,
        learners=joint.learners,
        witnesses=tuple(node for node in joint.witnesses if node in joint.voters),
        notes=joint.notes,
    )


def _sorted(nodes: tuple[NodeId, ...]) -> tuple[NodeId, ...]:
    return tuple(sorted(set(nodes)))
