"""A shard's leader in one epoch: executes ahead of the log, takes part in cross-shard commits, and decides what may
be shown (Mako §4, §5; design sections 8–11).

Inputs: `tick`, `submit`, `step`, `proposed` or `refused`, `chosen`, `settle` (after the
node's `Knowledge` has grown), `advance_to` (with the node's snapshot). Outputs: `take_entry` (to propose),
`take_output` (messages, replies, a watermark to announce), and gates. Time comes in by `tick` and `now_us`. What it
does for transactions over several shards is in `two_phase`.

A transaction of this shard alone is run in one of two ways. `submit` queues it behind locks and answers with its
ticket. Or the driver runs it on the keyspace itself (`in_place`), and lets the reply wait at a gate.

Rules, each of which some test breaks on purpose:
* A reply leaves only when every transaction whose effects it shows, its own included, is final.
* `closed_ts` of an entry stays below the proposal of every prepared, undecided transaction.
* A prepared transaction's effects are not in the keyspace; it is run under its locks and taken back at once, and its
  effects are applied when it is committed. So `PendingList` knows nothing of undecided transactions.
* Facts that voided something are in the next entry, before what was executed on the roll-back.
* Nothing is served before the entry that closes the earlier epochs is chosen.
* Nothing is run on keys that belong to another shard (`handover`); that they do is a state like any other, so the
  answer waits for the transaction that moved them.

With `is_synchronous` the same is done as two-phase commit over consensus, to be measured against: a vote is given when
an entry that names it is chosen, and all locks of what writes are held until its entry is. Locks are not held until it
is final: its watermark may wait for somebody prepared beside it, who waits for its locks elsewhere.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from random import Random

from makoredis.base.clock import HybridClock
from makoredis.data.access import Access
from makoredis.data.effects import PutSlotTable, Undo
from makoredis.data.slot_table import SlotTable
from makoredis.txn.entries import ClosedEpochs, CrossShard, EntryPayload, TransactionRecord
from makoredis.txn.gate import Gate, void
from makoredis.txn.handover import elsewhere
from makoredis.txn.held import Held
from makoredis.txn.in_hand import (
    Output,
    Submission,
    Turned,
    Waiting,
    row_ts,
)
from makoredis.txn.in_place import InPlace
from makoredis.txn.knowledge import Knowledge, Watermark
from makoredis.txn.locks import LockTable
from makoredis.txn.messages import (
    Part,
    Prepare,
    Refusal,
    ShardMessage,
    WatchedKey,
)
from makoredis.txn.pending import PendingList, PendingTransaction, latest_ts, vector_of
from makoredis.txn.proposals import Proposals
from makoredis.txn.replica import LoggedTransaction, Replica, ShardCheckpoint
from makoredis.txn.requests import RequestRecord
from makoredis.txn.two_phase import TwoPhaseCommit
from makoredis.txn.vectors import to_wire

Program = Callable[[Access, bytes], bytes]
"""Runs an operation on one shard's keyspace and returns its results; a function of both, and of the access's time."""

RESOLVE_AFTER_US = 300_000
"""A participant that has heard nothing for this long asks the others, and again after as long."""
IDLE_ADVANCE_US = 100_000
"""How often an idle shard follows the others' watermarks."""


class Participant:
    """The leader of one shard in one epoch. Made by `recovery`; `step_down` ends it."""

    def __init__(self, replica: Replica, epoch: int, knowledge: Knowledge, program: Program, rng: Random) -> None:
        self.shard = replica.shard
        self.epoch = epoch
        self.knowledge = knowledge
        self.program = program
        self.replica = replica
        """Knows what is chosen; its keyspace is this leader's as long as it leads."""
        self.space = replica.space
        self.rng = rng
        self.clock = HybridClock()
        self.now_us = 0
        """Kept by the driver: a clock that nobody sets, for who waits so long for something."""
        self.wall_ahead_us = 0
        """Kept by the driver: by how much the wall clock is ahead of that one (or behind, if negative)."""
        self.has_lease = True
        """Kept by the driver: whether nobody else can have been elected."""
        self.is_serving = False
        self.is_synchronous = False
        """Kept by the driver: whether locks are held until what they are for is durable."""
        self.first_table: SlotTable | None = None
        """Kept by the driver: how slots are divided as long as the log does not say it."""
        self.resolve_after_us = RESOLVE_AFTER_US
        self.reports = False
        """Whether the driver wants to hear of what has become final."""
        self.opening_index = 0
        self.requests = replica.requests
        self.in_place = InPlace(self, rng)
        self.pending = PendingList(self.space, self.requests, replica.ts)
        self.locks = LockTable()
        self.two_phase = TwoPhaseCommit(self)
        self.closed_ts = replica.closed_ts
        """Of the last entry proposed."""
        self.chosen_index = replica.index
        self.voided_count = 0
        self.written = replica.written
        """When keys were last written or rolled back."""
        self.proposals = Proposals(epoch)
        self._own: list[ClosedEpochs] = []
        """How this shard's earlier epochs ended; true once the first entry is chosen."""
        self._locked: deque[PendingTransaction] = deque()
        """Synchronous execution: what holds its locks until its entry is chosen."""
        self.held = Held()
        self.shared_ts = 0
        """Of the last transaction over several shards: others wait for the watermark to get there."""
        self._wanted_ts = 0
        """Somebody waits for the watermark to get here."""
        self._last_entry_us = 0
        self.output = Output()
        self._settled = (-1, -1)
        """What was known and chosen when `settle` was called last."""
        self._facts_seen = -1

    # -- what the driver calls

    def tick(self, now_us: int) -> None:
        """Time has passed. Asks about silent coordinators' transactions; follows the others' watermarks when idle."""
        self.now_us = now_us
        self.two_phase.tick(now_us)
        if now_us - self._last_entry_us >= IDLE_ADVANCE_US:
            highest = max((ts for _, ts in self.knowledge.watermarks.values()), default=0)
            if highest > self.closed_ts:
                self.want(highest)

    def submit(self, ticket: Hashable, part: Part, request: RequestRecord | None = None) -> None:
        """A transaction of this shard alone. A `Reply` follows when it is final, or `Turned`.

        Args:
            request: what the client calls it, if it may come again; its answer will be filled in.
        """
        if not self.is_serving:
            self.output.replies.append(Turned(ticket))
            return
        self._start(Submission(ticket, part, request))

    def withdraw(self, ticket: Hashable) -> None:
        """Whoever submitted it is gone: if it still waits for locks, it does not happen."""
        for owner in self.locks.waiting():
            if isinstance(owner, Submission) and owner.ticket == ticket:
                self.unlock(owner)
                return

    @staticmethod
    def gate_of_item(item: PendingTransaction) -> Gate:
        """The gate that opens when a transaction is final."""
        if item.gate is None:
            item.gate = Gate(item.position)
            if item.is_final:
                item.gate.open()
        return item.gate

    def step(self, message: ShardMessage) -> None:
        """A message from a coordinator or another shard's leader."""
        if not self.is_serving:
            if isinstance(message, Prepare):
                self.two_phase.refuse(message, Refusal.NOT_SERVING)
            return
        self.two_phase.step(message)

    def has_entry(self) -> bool:
        """Whether there is something to be proposed."""
        if self.proposals.has_content():
            return True
        return self.is_serving and self._wanted_ts > self.closed_ts < self._closable_ts()

    def take_entry(self) -> bytes | None:
        """The payload to propose now, None if there is no need for one; `proposed` or `refused` has to follow."""
        if not self.has_entry():
            return None
        self.closed_ts = self._closable_ts()
        self._last_entry_us = self.now_us
        self.in_place.entry_gate = None
        return self.proposals.take(self.closed_ts)

    def proposed(self, index: int) -> None:
        """The entry just taken has its place in the log."""
        transactions = self.proposals.proposed(index)
        if self.is_synchronous:
            self._locked += [item for item in transactions if item.lock_owner is not None]
        if not self.opening_index:
            self.opening_index = index

    def refused(self) -> None:
        """The entry just taken could not be proposed; what is in it goes into the next."""
        self.proposals.refused()

    def chosen(self, index: int) -> None:
        """Everything up to `index` is on a majority."""
        self.chosen_index = max(self.chosen_index, index)
        watermark = 0
        while (entry := self.proposals.take_chosen(index)) is not None:
            watermark = entry.closed_ts
            self.replica.note_entry(entry.index, entry.closed_ts, entry.facts, self.knowledge)
            for sessions in entry.closed_sessions:
                self.requests.close_range(*sessions)
            for id in entry.prepared:
                self.two_phase.vote_durably(id)
        while self._locked and self._locked[0].index <= index:
            self._unlock_item(self._locked.popleft())
        self.replica.index = self.chosen_index
        if self.opening_index and index >= self.opening_index and not self.is_serving:
            self._open()
        if watermark and self.is_serving:
            closed = self.knowledge.closed.get(self.shard, [])
            self.output.watermark = Watermark(self.shard, self.epoch, watermark, list(closed))
            self.knowledge.hear(self.output.watermark)
        self.settle()

    def settle(self) -> None:
        """The log or the knowledge has grown: voids, releases, forgets."""
        knowledge = self.knowledge
        seen = (knowledge.version, self.chosen_index)
        if seen == self._settled:
            return
        self._settled = seen
        has_voided = False
        if knowledge.facts_version != self._facts_seen:
            self._facts_seen = knowledge.facts_version
            self.proposals.note_facts(knowledge)
            has_voided = self._void()
        done = self.pending.settle(knowledge, self.chosen_index)
        for item in done:
            gate = item.gate
            if gate is not None and not gate.is_open:
                gate.open()
        if self.reports:
            self.output.final += [item for item in done if not item.is_told]
        if self.replica.notes_keys:
            for item in done:
                self.replica.note_touched(item.record)
        if done or has_voided:
            self._release_replies()
        global_ts = knowledge.global_ts
        self.two_phase.forget(global_ts)
        self.replica.forget_committed(global_ts)

    def take_output(self) -> Output:
        """What has to be sent."""
        output = self.output
        if output.is_empty():
            return output
        self.output = Output()
        return output

    def turn_count(self) -> int:
        """Transactions that wait to be proposed."""
        return len(self.proposals.turn)

    def sessions_in_progress(self, incarnation: int) -> set[int]:
        """Those of a node's sessions that have a request here which waits for locks, or for what it shows."""
        waiting = [owner for owner in self.locks.waiting() if isinstance(owner, Submission)]
        waiting += [one.submission for one in self.held.waiting]
        requests = [one.request for one in waiting if one.request is not None]
        return {request.session for request in requests if request.incarnation == incarnation}

    def owes_answers(self) -> bool:
        """Whether somebody waits here, for locks or for what is not final."""
        return bool(self.held.waiting) or len(self.locks) > 0

    def is_busy(self) -> bool:
        """Whether the watermark will move again soon, for there is more to be chosen."""
        return self.proposals.is_under_way()

    # -- the end of a leadership

    def step_down(self) -> tuple[Replica, list[Hashable]]:
        """The leadership is lost: takes back all that the node's snapshot does not show.

        Returns: the replica, which goes on with the log behind its `index`; and the tickets of all who wait. Whether
            theirs is executed, the next leader knows. Gates that never open are in the output.
        """
        self.is_serving = False
        self.settle()
        tickets = [waiting.submission.ticket for waiting in self.held.waiting]
        tickets += [owner.ticket for owner in self.locks.waiting() if isinstance(owner, Submission)]
        self.held = Held()
        everything = list(self.pending.items)
        later = self.pending.take_back(self.chosen_index)
        for item in everything:
            self.written.note(item.record.effects, self.clock.last)
            if item.gate is not None and not item.is_final and not item.gate.is_void:
                self.output.voided += void(item.gate)
        replica = self.replica
        replica.version = self.version
        replica.ts = self.pending.kept_ts
        replica.clock_ts = max(replica.clock_ts, self.clock.last)
        for item in later:
            replica.undecided.append(LoggedTransaction(item.index, item.record, item.is_final or item.is_told))
        return replica, tickets

    # -- for snapshots and checkpoints

    @property
    def complete_to(self) -> int:
        """Every transaction of this shard up to here is chosen and executed."""
        return self.replica.closed_ts

    @property
    def version(self) -> int:
        """See `Replica`."""
        return self.replica.version + self.pending.executed

    @property
    def rows_ts(self) -> int:
        """See `Replica`: what the keyspace was loaded from."""
        return self.replica.rows_ts

    @property
    def is_whole(self) -> bool:
        """See `Replica`: a leader begins with nothing less."""
        return True

    def advance_to(self, ts: int, knowledge: Knowledge) -> None:
        """The node's snapshot shows everything up to `ts`."""
        self.pending.keep(ts)

    def shows(self, db: int, key: bytes, ts: int) -> bool:
        """Whether a key is as it was at `ts`, the node's snapshot."""
        return self.written.of(db, key) <= ts

    def shows_all(self) -> bool:
        """Whether that holds for every key."""
        return not self.pending.items

    def waiting_count(self) -> int:
        """Transactions that are executed and not in the node's snapshot."""
        return len(self.pending.items)

    def note_keys(self, is_wanted: bool) -> None:
        """See `Replica`."""
        self.replica.note_keys(is_wanted)

    def take_touched(self) -> list[tuple[int, bytes]]:
        """See `Replica`."""
        return self.replica.take_touched()

    def row_ts(self, db: int, key: bytes) -> int:
        """Up to which timestamp a key's row goes that is captured now."""
        return row_ts(self.written.of(db, key), self.two_phase.prepared.values(), db, key)

    def checkpoint_index(self) -> int:
        """`checkpoint().index`, without the rest."""
        return self.replica.index

    def checkpoint(self) -> ShardCheckpoint:
        """What the rows captured from now on are based on (see `replica`)."""
        pending = self.pending
        undecided = pending.chosen_above_snapshot(self.chosen_index)
        return self.replica.describe(undecided, pending.kept_ts, latest_ts(pending.items), self.clock.last)

    # -- leadership

    def open_with(self, facts: Iterable[ClosedEpochs], logged: Iterable[ClosedEpochs]) -> None:
        """Sets what the first entry says, and what the log says already (see `recovery`)."""
        known = [*logged, *facts]
        self.proposals.open_with(facts, logged)
        self._own = [fact for fact in known if fact.shard == self.shard]

    def inherit(self, index: int, entry: EntryPayload) -> None:
        """An entry of the log from before this leadership that may not be chosen yet."""
        self.proposals.inherit(index, entry)
        self.clock.observe(entry.closed_ts)
        self.closed_ts = entry.closed_ts

    def _open(self) -> None:
        self.knowledge.learn(self._own)
        self.is_serving = True
        if self.space.slot_table is None and self.first_table is not None:
            effect = PutSlotTable(self.first_table.encode())
            ts = self.clock.tick(self.wall_us)
            self.append(PendingTransaction(TransactionRecord(ts, [effect]), {}))

    @property
    def wall_us(self) -> int:
        """The wall clock."""
        return self.now_us + self.wall_ahead_us

    def _closable_ts(self) -> int:
        return max(self.closed_ts, self.two_phase.closable_ts(self.clock.last))

    def want(self, ts: int) -> None:
        """Somebody waits for the watermark to get to a timestamp."""
        self.clock.observe(ts)
        self._wanted_ts = max(self._wanted_ts, ts)

    # -- one shard

    def _start(self, submission: Submission) -> None:
        if self.locks.is_blocked(submission.part.locks):
            self.locks.wait(submission, submission.part.locks)
        else:
            self._run_single(submission)
            if self.is_synchronous and not self._keeps_locks(submission):
                self.unlock(submission)

    def _run_single(self, submission: Submission) -> None:
        request, part = submission.request, submission.part
        if request is not None and self._answer_again(submission, request):
            return
        moved = elsewhere(self.space, self.shard, part.locks)
        if moved:
            self._send_away(submission, moved)
            return
        if not self.watches_hold(part.watches):
            self._reply(submission, self.pending.seen_by(part.locks), b"")
            return
        if self.is_synchronous and submission not in self.locks:
            self.locks.try_lock(submission, part.locks)
        access = self.new_access()
        results = self.program(access, part.operation)
        seen = self.pending.seen_by(part.locks)
        if not access.effects:
            self._reply_reading(submission, seen, results)
            return
        item = self.execute(access, seen, None if request is None else request.answered(results))
        if self.is_synchronous:
            item.lock_owner = submission
        self._reply(submission, [item], results)

    def _send_away(self, submission: Submission, moved: bytes) -> None:
        """The keys are in another shard; so it never happens here."""
        request, locks = submission.request, submission.part.locks
        seen = self.pending.seen_by(locks)
        if request is not None and any(lock.is_exclusive for lock in locks):
            self._reply(submission, [self.execute(self.new_access(), seen, request.answered(moved))], moved)
        else:
            self._reply_reading(submission, seen, moved)

    def execute(
        self, access: Access, seen: Iterable[PendingTransaction], request: RequestRecord | None
    ) -> PendingTransaction:
        """Makes a transaction of what was done on the keyspace, on top of what was seen there."""
        vector = vector_of(seen, self.knowledge) if self.pending.has_bound else {}
        cross = CrossShard(None, to_wire(vector)) if vector else None
        ts = self.clock.tick(self.wall_us)
        record_ = TransactionRecord(ts, access.effects, request, access.notices, access.messages, cross)
        item = PendingTransaction(record_, vector, origin=access.origin)
        undo = access.undo
        access.effects, access.undo, access.notices, access.messages = [], [], [], []
        return self.append(item, undo)

    def _answer_again(self, submission: Submission, request: RequestRecord) -> bool:
        name = (request.incarnation, request.session, request.sequence)
        answer = self.requests.find(*name)
        if answer is None:
            if not self.requests.is_past(*name):
                return False
            self.output.replies.append(Turned(submission.ticket))
            return True
        pending = self.pending.of_request(name)
        self._reply(submission, [] if pending is None else [pending], answer)
        return True

    def _reply_reading(self, submission: Submission, seen: list[PendingTransaction], results: bytes) -> None:
        """The reply of what writes nothing, so that nothing but the leadership says that it is not out of date."""
        if self.has_lease or self.held.may_ask:
            self._reply(submission, seen, results, 0 if self.has_lease else self.held.next_round())
        else:
            self.output.replies.append(Turned(submission.ticket))

    def _reply(self, submission: Submission, seen: list[PendingTransaction], results: bytes, round_: int = 0) -> None:
        self.held.hold(Waiting(submission, seen, results, self.clock.last, round_), self.output.replies)

    def _release_replies(self) -> None:
        for one in self.held.release(self.output.replies):
            self._start(one.submission)

    def confirmed(self, round_: int) -> None:
        """A majority has confirmed this leadership since it was asked for this round (`held`)."""
        self.held.confirmed = max(self.held.confirmed, round_)
        self._release_replies()
        for message in self.held.take_releases():
            self.two_phase.tell_released(message)

    def append(self, item: PendingTransaction, undo: list[Undo] | None = None) -> PendingTransaction:
        """Executes a transaction, unless that was done (`undo` given), and has it logged."""
        self.pending.execute(item, undo)
        self.proposals.turn.append(item)
        self._wanted_ts = max(self._wanted_ts, item.record.ts)  # or no snapshot would ever show it
        self.note_written(item)
        return item

    def note_written(self, item: PendingTransaction) -> None:
        """For WATCH: its keys are as new as it is."""
        self.written.note(item.record.effects, item.record.ts)

    def watches_hold(self, watches: Iterable[WatchedKey]) -> bool:
        """Whether none of these keys was written since."""
        return all(self.written.of(watch.db, watch.key) <= watch.as_of for watch in watches)

    def new_access(self) -> Access:
        """To run something on the keyspace now."""
        return Access(self.space, self.rng, now_ms=self.wall_us // 1000)

    # -- voiding

    def _void(self) -> bool:
        """Takes back what depends on something lost. Returns whether anything does."""
        self.two_phase.void(self.knowledge)
        voided = self.pending.void(self.knowledge)
        if not voided:
            return False
        self.voided_count += len(voided)
        ts = self.clock.tick(self.wall_us)
        for item in voided:
            self.written.note(item.record.effects, ts)
            self._unlock_item(item)
            self.output.voided += void(item.gate) if item.gate is not None else []
        self.proposals.drop_void()
        return True

    # -- locks

    def unlock(self, id: Hashable) -> None:
        """Gives up somebody's locks, and runs who waited for them."""
        granted = deque(self.locks.release(id))
        while granted:
            owner = granted.popleft()
            if isinstance(owner, Submission):
                self._start_locked(owner, granted)
            else:
                self.two_phase.granted(owner)

    def _start_locked(self, submission: Submission, granted: deque[Hashable]) -> None:
        """A transaction of this shard alone has got the locks that it waited for."""
        self._run_single(submission)
        if not self._keeps_locks(submission):
            granted.extend(self.locks.release(submission))

    def _keeps_locks(self, submission: Submission) -> bool:
        items = self.pending.items
        return self.is_synchronous and bool(items) and items[-1].lock_owner is submission

    def _unlock_item(self, item: PendingTransaction) -> None:
        """Synchronous execution: a transaction is durable here, or void."""
        if item.lock_owner is not None:
            owner, item.lock_owner = item.lock_owner, None
            self.unlock(owner)

    # -- for those who watch

    def status(self) -> dict[str, int]:
        """Counts of what is unfinished."""
        return {
            "pending": len(self.pending),
            "kept": len(self.pending.items),
            "prepared": len(self.two_phase.prepared),
            "locks": len(self.locks),
            "waiting": len(self.held.waiting),
            "outcomes": len(self.two_phase.outcomes),
            "voided": self.voided_count,
        }
