"""What participants do when the coordinator of a transaction is silent: they ask each other (design section 11).

Whoever asks or is asked freezes its vote: it takes no commit from the coordinator any more, only from another
participant that has committed. So the votes cannot change while they are collected:

* one has committed ⇒ everybody commits, with its timestamp and vector;
* one has aborted, refuses, or is led by a later epoch and has no record ⇒ everybody aborts: either the coordinator
  never had all votes, or what was committed depends on a lost epoch and is void;
* all are frozen ⇒ nobody has committed and nobody will: everybody aborts. So does at once who takes part alone, as in a
  script that may touch more keys than it names.

A later leader without a record is as good as an abort because every participant of a writing transaction logs a
record, also one that only reads: had the record been chosen, the later leader would have it; if not, its epoch was
closed below the participant's proposal, because an undecided transaction holds `closed_ts` back.
"""

from dataclasses import dataclass, field

from makoredis.txn.messages import Answer, Fate


@dataclass(slots=True)
class Inquiry:
    """One participant's collection of the others' answers."""

    others: tuple[int, ...]
    frozen: set[int] = field(default_factory=set)

    def take(self, answer: Answer) -> Fate | None:
        """Returns what the transaction's fate is, None as long as it is open."""
        if answer.state == Fate.FROZEN:
            self.frozen.add(answer.shard)
            return self.verdict()
        return Fate(answer.state)

    def verdict(self) -> Fate | None:
        """What follows from the answers so far."""
        return Fate.ABORTED if self.frozen.issuperset(self.others) else None
