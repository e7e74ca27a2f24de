"""How many replicas have what clients were told, where there are several shards: WAIT for more than a majority.

A client may have written to every shard, and read what others wrote to any. All of that is in the logs of the shards'
leaders by now. So each leader says once up to which entry its log goes, and then how many other replicas have it so far
on their disks; the least of all shards counts. Whoever leads a shard next begins with a log that has all of that, and
says anew up to where it goes.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from makoredis.base.ids import NodeId, ShardId
from makoredis.cluster.messages import AskReplicas, ReplicaCount

if TYPE_CHECKING:
    from makoredis.cluster.shards import Shards


@dataclass(slots=True)
class _Mark:
    """What is known of one shard."""

    term: int
    index: int
    count: int


@dataclass(slots=True)
class _Question:
    """One client's."""

    wanted: int
    marks: dict[int, _Mark] = field(default_factory=dict)


class Replicated:
    """The questions of this node's clients, and the answers of the shards that are led here."""

    def __init__(self, shards: "Shards") -> None:
        self.shards = shards
        self._questions: dict[int, _Question] = {}
        self._number = shards.rng.getrandbits(48)  # late answers to an earlier incarnation are to nobody's question

    def begin(self, wanted: int) -> int:
        """Begins to ask. Returns the question's number; `end` has to follow."""
        self._number += 1
        question = self._questions[self._number] = _Question(wanted)
        self._ask(self._number, question)
        return self._number

    def end(self, number: int) -> None:
        """The answer is of no interest any more."""
        del self._questions[number]

    def count(self, number: int) -> int:
        """How many replicas beside its leader every shard has, as far as this node knows."""
        question = self._questions[number]
        self._look(question)
        marks = question.marks
        return min((marks[shard].count if shard in marks else 0) for shard in self.shards.replicas)

    def tick(self) -> None:
        """One heartbeat has passed: asks again."""
        for number, question in self._questions.items():
            self._ask(number, question)

    def _look(self, question: _Question) -> None:
        """At the shards that are led here."""
        for shard in self.shards.replicas:
            found = self._found(shard, question.marks.get(shard))
            if found is not None:
                self._note(question, shard, found)

    def _ask(self, number: int, question: _Question) -> None:
        """Asks the leaders of the other shards."""
        for shard in self.shards.replicas:
            mark = question.marks.get(shard)
            leader, _ = self.shards.leader_of(shard)
            if leader in (0, self.shards.node) or (mark is not None and mark.count >= question.wanted):
                continue
            term, index = (0, 0) if mark is None else (mark.term, mark.index)
            self.shards.send(NodeId(leader), AskReplicas(shard, number, term, index))

    def _found(self, shard: ShardId, mark: _Mark | None) -> _Mark | None:
        """What a leader here knows. None: there is none, or not yet."""
        replica = self.shards.replicas[shard]
        if not replica.is_settled():
            return None
        status = replica.core.status()
        is_known = mark is not None and mark.term == status.term
        index = mark.index if mark is not None and is_known else status.last_index
        return _Mark(status.term, index, sum(peer.match_index >= index for peer in status.peers.values()))

    @staticmethod
    def _note(question: _Question, shard: int, found: _Mark) -> None:
        mark = question.marks.get(shard)
        if mark is None or found.term > mark.term:
            question.marks[shard] = found
        elif (found.term, found.index) == (mark.term, mark.index):
            mark.count = max(mark.count, found.count)

    # -- messages

    def asked(self, sender: NodeId, message: AskReplicas) -> None:
        """Another node's client wants to know."""
        shard = ShardId(message.shard)
        found = self._found(shard, _Mark(message.term, message.index, 0))
        if found is not None:
            self.shards.send(sender, ReplicaCount(shard, message.number, found.term, found.index, found.count))

    def answered(self, message: ReplicaCount) -> None:
        """A leader says what it knows."""
        question = self._questions.get(message.number)
        if question is not None:
            self._note(question, message.shard, _Mark(message.term, message.index, message.count))
