"""Each rule of the protocol, broken on purpose. A mutation that no seed notices means that a checker is blind."""

from collections.abc import Callable
from typing import Any

from makoredis.base.errors import Fatal
from makoredis.txn.coordinator import Coordinator
from makoredis.txn.entries import ClosedEpochs
from makoredis.txn.gate import Gate
from makoredis.txn.held import Held
from makoredis.txn.in_hand import Waiting
from makoredis.txn.in_place import InPlace
from makoredis.txn.knowledge import Knowledge, Watermark
from makoredis.txn.locks import LockTable
from makoredis.txn.messages import Commit, Prepare
from makoredis.txn.participant import Participant
from makoredis.txn.pending import PendingList
from makoredis.txn.recovery import recover
from makoredis.txn.two_phase import TwoPhaseCommit
from tests.sim.txn.world import Machines


class AnswersBeforeChosen(Held):
    """Answers before the watermark: a write is shown when it is executed."""

    def _may_show(self, waiting: Waiting) -> bool:
        return True


class ReleasesPendingReads(Held):
    """A read of a pending key is not held back."""

    def _may_show(self, waiting: Waiting) -> bool:
        is_read = bool(waiting.results) and b'"append"' not in waiting.results
        return is_read or super()._may_show(waiting)


def holding(kind: type[Held]) -> Machines:
    """Participants that hold back less than they should."""

    class Broken(Participant):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.held = kind()

    return Machines(participant=Broken)


class CoordinatorAnswersAtOnce(Coordinator):
    """Answers a transaction over several shards when it is committed, before its vector is satisfied."""

    def _settle(self, transaction: Any) -> None:
        known, self.knowledge = self.knowledge, _Believer(self.knowledge.shards)
        super()._settle(transaction)
        self.knowledge = known


class _Believer(Knowledge):
    def is_satisfied(self, vector: Any) -> bool:
        return True


class PassesUndecided(Participant):
    """Announces a watermark past a prepared, undecided transaction."""

    def _closable_ts(self) -> int:
        return max(self.closed_ts, self.clock.last)


class MaximumForMinimum(Knowledge):
    """W is the largest watermark."""

    def _raise_global(self) -> None:
        if self.watermarks:
            self.global_ts = max(self.global_ts, max(ts for _, ts in self.watermarks.values()))


class RegressingWatermark(Knowledge):
    """The last announcement that arrives counts, and so W goes back."""

    def hear(self, announced: Watermark) -> bool:
        self.learn(announced.closed)
        self.version += 1
        self.watermarks[announced.shard] = (announced.epoch, announced.ts)
        if len(self.watermarks) == len(self.shards):
            self.global_ts = min(ts for _, ts in self.watermarks.values())
        return True


class RelabelledWatermark(Knowledge):
    """Takes the watermark of a new epoch for one of the old epoch too."""

    def _is_durable(self, shard: int, epoch: int, ts: int) -> bool:
        return self.watermarks.get(shard, (0, 0))[1] >= ts or super()._is_durable(shard, epoch, ts)

    def is_broken(self, vector: Any) -> bool:
        return not self.is_satisfied(vector) and super().is_broken(vector)


class AcceptsOldCommits(TwoPhaseCommit):
    """A new leader takes part under the name of an earlier epoch, and takes commits meant for it."""

    def _on_prepare(self, message: Prepare) -> None:
        epochs = [(shard, self.epoch if shard == self.shard else epoch) for shard, epoch in message.epochs]
        super()._on_prepare(_changed(message, epochs=epochs))

    def _on_commit(self, message: Commit) -> None:
        if message.epoch < self.epoch and message.id not in self.prepared and message.id not in self.outcomes:
            self._tell(message, _committed(message, self.shard))
            return
        super()._on_commit(_changed(message, epoch=self.epoch))

    _HANDLERS = TwoPhaseCommit._HANDLERS | {Prepare: _on_prepare, Commit: _on_commit}


def _committed(message: Commit, shard: int) -> Any:
    from makoredis.txn.messages import Committed

    return Committed(message.id, shard)


def _changed(message: Any, **changes: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(message, **changes)


class SkipsWatch(Participant):
    """Does not check watched keys."""

    def watches_hold(self, watches: Any) -> bool:
        return True


class UnlocksEarly(TwoPhaseCommit):
    """Gives up the locks when it has voted."""

    def _vote(self, transaction: Any) -> None:
        super()._vote(transaction)
        self.participant.unlock(transaction.prepare.id)


class KeepsVoidedRequests(Participant):
    """A voided transaction's request counts as executed."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.pending = _ForgetfulPending(self.space, self.requests, self.replica.ts)


class _ForgetfulPending(PendingList):
    def execute(self, transaction: Any, undo: Any = None) -> None:
        super().execute(transaction, undo)
        if transaction.record.request is not None:
            transaction.undo.pop()


class ServesTooEarly(Participant):
    """Serves before its first entry is chosen."""

    def proposed(self, index: int) -> None:
        super().proposed(index)
        if not self.is_serving:
            self._open()


class IgnoresBrokenVectors(PendingList):
    """Never voids."""

    def void(self, knowledge: Knowledge) -> list[Any]:
        return []


class NeverVoids(Participant):
    """Keeps what depends on lost epochs."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.pending = IgnoresBrokenVectors(self.space, self.requests, self.replica.ts)


class LosesVectors(TwoPhaseCommit):
    """A transaction does not inherit what the pending writers of its keys depend on."""

    def _vote(self, transaction: Any) -> None:
        transaction.vector = {}
        super()._vote(transaction)


class AbortsAlone(TwoPhaseCommit):
    """Gives up a silent coordinator's transaction without asking."""

    def _inquire(self, transaction: Any) -> None:
        self._abort(transaction.prepare.id, transaction.prepare.started_ts)


class NoLocks(LockTable):
    """Locks nothing."""

    def is_blocked(self, wanted: Any) -> bool:
        return False


class PassesLocks(Participant):
    """Single-shard transactions do not wait behind prepared ones."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.locks = NoLocks()


class StepsDownAsItIs(Participant):
    """A leader that loses its leadership keeps what it has executed."""

    def step_down(self) -> Any:
        self.pending._undo = lambda items: None  # type: ignore[method-assign]
        self.pending._apply_again = self.pending.items.append  # type: ignore[method-assign]
        return super().step_down()


class ForgetsUndo(PendingList):
    """Counts what is final as in the snapshot."""

    def keep(self, ts: int) -> None:
        super().keep(1 << 62)


class ForgetsUndoTooEarly(Participant):
    """Cannot take back what is final but not in the snapshot."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.pending = ForgetsUndo(self.space, self.requests, self.replica.ts)


class ForgetsOutcomes(TwoPhaseCommit):
    """Does not know what it has committed."""

    def _commit(self, transaction: Any, decision: Any) -> bool:
        result = super()._commit(transaction, decision)
        self.outcomes.clear()
        return result


class ShowsRowsAsTheyAre(Participant):
    """Captures rows for a checkpoint as if they were of now, whatever is prepared."""

    def row_ts(self, db: int, key: bytes) -> int:
        return self.clock.last


class ExecutesLateCopies(Participant):
    """Executes a late copy of a request whose answer the client has had."""

    def _answer_again(self, submission: Any, request: Any) -> bool:
        self.requests.acknowledged.clear()
        return super()._answer_again(submission, request)


class ForgetsClosedSessions(Participant):
    """Has dropped the answers to a session that is over, and executes a late copy of its requests."""

    def _answer_again(self, submission: Any, request: Any) -> bool:
        is_gone = (request.incarnation, request.session) in self.requests.gone
        return not is_gone and super()._answer_again(submission, request)


class PassesLocksInPlace(InPlace):
    """What is run in place does not look at locks."""

    def is_free(self, names: Any, *, is_exclusive: bool) -> bool:
        return True


class ShowsInPlaceAtOnce(InPlace):
    """What was run in place is answered when it was executed."""

    def commit(self, names: Any, request: Any = None) -> Any:
        super().commit(names, request)
        gate = Gate(0)
        gate.open()
        return gate


class ReadsPendingInPlace(InPlace):
    """What was read in place is answered at once, whoever wrote it."""

    def gate_of(self, names: Any) -> Any:
        return None


def in_place(kind: type[InPlace]) -> Machines:
    """Participants with a broken way of running in place."""

    class Broken(Participant):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.in_place = kind(self, self.rng)

    return Machines(participant=Broken)


def voting(kind: type[TwoPhaseCommit]) -> Machines:
    """Participants with a broken way of taking part in transactions over several shards."""

    class Broken(Participant):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.two_phase = kind(self)

    return Machines(participant=Broken)


class SharesGates(Participant):
    """What was run in place and depends on other shards is answered when its own entry is chosen."""

    def settle(self) -> None:
        super().settle()
        for item in self.pending.items:
            if item.gate is not None and 0 < item.index <= self.chosen_index and not item.gate.is_open:
                item.gate.open()


def final_too_high(*arguments: Any) -> Participant:
    """Closes earlier epochs at a timestamp above what was promised."""
    participant = recover(*arguments)
    facts = participant.proposals.facts
    own = facts[0]
    facts[0] = ClosedEpochs(own.shard, own.first, own.last, own.final_ts + 50_000 * bool(own.final_ts))
    participant._own = [facts[0] if fact is own else fact for fact in participant._own]
    return participant


MUTATIONS: dict[str, Callable[[], Machines]] = {
    "answer-before-chosen": lambda: holding(AnswersBeforeChosen),
    "answer-before-watermark": lambda: Machines(coordinator=CoordinatorAnswersAtOnce),
    "release-pending-read": lambda: holding(ReleasesPendingReads),
    "pass-undecided": lambda: Machines(participant=PassesUndecided),
    "max-for-min": lambda: Machines(knowledge=MaximumForMinimum),
    "regress-watermark": lambda: Machines(knowledge=RegressingWatermark),
    "relabel-watermark": lambda: Machines(knowledge=RelabelledWatermark),
    "final-too-high": lambda: Machines(recover=final_too_high),
    "commit-in-newer-epoch": lambda: voting(AcceptsOldCommits),
    "skip-watch": lambda: Machines(participant=SkipsWatch),
    "unlock-early": lambda: voting(UnlocksEarly),
    "keep-voided-request": lambda: Machines(participant=KeepsVoidedRequests),
    "serve-too-early": lambda: Machines(participant=ServesTooEarly),
    "never-void": lambda: Machines(participant=NeverVoids),
    "lose-vectors": lambda: voting(LosesVectors),
    "abort-alone": lambda: voting(AbortsAlone),
    "pass-locks": lambda: Machines(participant=PassesLocks),
    "step-down-as-is": lambda: Machines(participant=StepsDownAsItIs),
    "forget-undo": lambda: Machines(participant=ForgetsUndoTooEarly),
    "forget-outcomes": lambda: voting(ForgetsOutcomes),
    "row-past-vote": lambda: Machines(participant=ShowsRowsAsTheyAre),
    "late-copy": lambda: Machines(participant=ExecutesLateCopies),
    "late-copy-of-gone": lambda: Machines(participant=ForgetsClosedSessions),
    "in-place-past-locks": lambda: in_place(PassesLocksInPlace),
    "in-place-shown-at-once": lambda: in_place(ShowsInPlaceAtOnce),
    "in-place-pending-read": lambda: in_place(ReadsPendingInPlace),
    "in-place-shared-gate": lambda: Machines(participant=SharesGates),
    "checkpoint-too-early": lambda: Machines(is_checkpoint_early=True),
}


FOCUS: dict[str, dict[str, Any]] = {
    # A shard has to say no, fail over, and be asked again, while the coordinator still hopes.
    "commit-in-newer-epoch": {
        "shards": 3,
        "loss": 0.3,
        "delay_us": 1000,
        "crash_every_us": 60_000,
        "cut_every_us": 0,
        "resolve_after_us": 10_000,
        "chosen_us": 1000,
        "is_synchronous": False,
    },
    # A copy of a request has to arrive after the client is gone and its session is closed.
    "late-copy-of-gone": {"hang_up": 0.3, "duplication": 0.3, "slow_us": 60_000, "chosen_us": 1000, "delay_us": 1000},
}
"""Options with which a rule matters often enough in the model. Without the broken rule all is well with them too."""


def is_noticed(name: str, seed: int, *, is_cluster: bool = False) -> bool:
    """Whether a run with this mutation ends in a violation, or stops itself because of one."""
    return bool(verdict(name, seed, is_cluster=is_cluster))


def focus_of(name: str, *, is_cluster: bool = False) -> dict[str, Any]:
    """The options for a run with a mutation. Clients end their sessions only where it is about that."""
    is_general = is_cluster and name != "late-copy-of-gone"
    return {"hang_up": 0.0} | ({} if is_general else FOCUS.get(name, {}))


def verdict(name: str, seed: int, *, is_cluster: bool = False) -> str:
    """What a run with this mutation ends with: a checker's verdict or a failed assertion; empty if all seems well.

    An accident, such as a key that is missing somewhere, is no verdict and ends the test.
    """
    from tests.sim.txn.run import Simulation

    focus = focus_of(name, is_cluster=is_cluster)
    simulation = Simulation(seed, MUTATIONS[name](), is_cluster=is_cluster, focus=focus)
    try:
        return "".join(simulation.run()[:1])
    except Fatal as error:
        return str(error)
