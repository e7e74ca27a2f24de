"""From a request to its reply where there are several shards (design sections 10 and 12).

* Keys of one shard: its leader runs the commands, here or on another node, as one transaction of its own.
* Keys of several shards, and commands that may touch more keys than they name: the values of all keys are fetched under
  locks, the commands run here on a keyspace that holds just those (`scratch`), and the shards get their effects, all or
  none (`makoredis.txn.coordinator`). A run that touches a key which was not fetched changes nothing, and is repeated
  with it.
* Keys that have moved: who is asked in vain says where they are, and the job begins anew.
"""

import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from makoredis.base.errors import ClientError, Fatal
from makoredis.base.ids import ShardId
from makoredis.base.record import wire_encode
from makoredis.cluster.shards import Shards
from makoredis.data.access import Access
from makoredis.data.effects import Effect
from makoredis.data.slot_table import SlotTable
from makoredis.data.slots import slot_of
from makoredis.data.values import Value
from makoredis.server.commands.cluster import moved
from makoredis.server.routes import Route
from makoredis.server.session import ForwardKind, Held
from makoredis.server.shards import everything
from makoredis.server.shards.direct import Direct
from makoredis.server.shards.exec import QueuedCommands
from makoredis.server.shards.keys import (
    Name,
    Reach,
    divide,
    lock_on_all,
    locks_on,
    names_of,
    reach_of,
)
from makoredis.server.shards.operations import (
    INTERNAL_ERROR,
    Expire,
    Fetch,
    Nothing,
    Ran,
    Run,
    Survey,
    Surveyed,
    decode_fetched,
    decode_ran,
    decode_surveyed,
    decoded,
    failed,
    perform,
    refusal_among,
)
from makoredis.server.shards.parts import Missing
from makoredis.server.shards.requests import Requests
from makoredis.server.shards.scratch import NAMES_MAX, Scratch
from makoredis.server.shards.snapshot_reads import SnapshotReads
from makoredis.server.shards.waiting import Waiting
from makoredis.txn.coordinator import Finished, Verdict
from makoredis.txn.executor import Announcement
from makoredis.txn.messages import Part, WatchedKey
from resp.encode import encode
from resp.replies import OK

if TYPE_CHECKING:
    from makoredis.server.server import Server
    from makoredis.server.session import Session

RUNS_MAX = 32
"""How often a command is repeated because it touched keys that it had not named, however long that takes."""
RUNS_SECONDS_MAX = 10.0
"""So long it is repeated beyond that: each run finds at least one more key, as one that reads the name of the next key
from the one before."""
_NAMES_PER_TURN = 500
"""With more keys than this the next run waits for the next turn."""
EXPIRE_KEYS_PER_TICK = 500
"""Per shard and database."""
TOO_MANY_RUNS = ClientError(
    f"ERR the command touched keys that it had not named, others in each of its runs, for {RUNS_SECONDS_MAX:.0f} "
    "seconds; name them as KEYS"
)
TOO_MANY_KEYS = ClientError(
    f"ERR the command touched more than {NAMES_MAX} keys that it had not named; name them as KEYS"
)


@dataclass(slots=True, eq=False)
class Job:
    """Commands of one client that take effect together."""

    session: "Session"
    run: Run
    names: list[Name]
    finish: Callable[[Ran | None], None]
    """Gets what the commands answered; None: a watched key was written."""
    is_open: bool = False
    """Whether they may touch keys that they don't name."""
    watches: dict[Name, int] = field(default_factory=dict)
    walks: set[int] | None = None
    """Of commands on all keys: the databases of which all keys' names are needed; None: there are no such commands."""
    seed: int = 0
    """Of chance, for commands on all keys: what they pick in one run has been fetched in the next."""
    runs: int = 0
    began: float = 0.0
    """When the first run did, monotonic seconds."""
    ran: Ran | None = None
    missing: Missing = field(default_factory=Missing)
    refusal: str | None = None
    """The error for what writes, when a shard's leader has said that its disk is full. Then the job only reads: what it
    would log for nothing takes space, too."""
    held: Held | None = None
    """The place of the answer among the session's replies, if that goes on meanwhile."""


class Router:
    """Where the requests of this node's clients go."""

    def __init__(self, server: "Server", shards: Shards) -> None:
        self.server = server
        self.shards = shards
        self.slots = shards.slots
        self.requests = Requests(server, shards)
        self.snapshot = SnapshotReads(server, shards)
        self.waiting = Waiting(server, self)
        self.reaches = {name: reach_of(route) for name, route in server.routes.by_name.items()}
        self.direct = Direct(self)

    def takes(self, route: Route) -> bool:
        """Whether a command is about keys."""
        return self.reaches[route.name] is not Reach.ELSEWHERE

    # -- one command

    def start(self, session: "Session", route: Route, argv: list[bytes]) -> None:
        """Runs a command; its reply follows when it is final."""
        if self.server.monitors.sessions:
            self.server.monitors.feed(session, route.row, argv)
        redirection = self._redirection(session, route, argv)
        if redirection is not None:
            session.send_reply(self.server.error_reply(redirection))
            return
        if session.reads_here and "readonly" in route.row.flags:
            stale = self.snapshot.refusal()
            if stale is not None:
                session.send_reply(self.server.error_reply(stale))
                return
        if session.tracking is not None:
            self.server.tracking.asks(session, [(route, argv)])
        if self.reaches[route.name] is Reach.EVERYTHING:
            everything.start(self, session, route, argv)
            return
        if "blocking" in route.row.flags:
            self.waiting.start(session, route, argv)
            return
        self.begin(self.job_of(session, route, argv, lambda ran: self._reply(session, route, argv, ran)))

    def _redirection(self, session: "Session", route: Route, argv: list[bytes]) -> ClientError | None:
        """Where a client is sent that follows redirections (`redirect: moved`), if all keys are led elsewhere."""
        if not self.server.node.settings.redirects or session.reads_here or session.is_internal:
            return None
        divided = divide(self.slots, names_of(route, argv, session.database, self.server.config.databases))
        if len(divided) != 1:
            return None
        shard, names = next(iter(divided.items()))
        if self.shards.leader_of(ShardId(shard))[0] in (0, self.shards.node):
            return None
        return moved(self.server, slot_of(names[0][1]))

    def job_of(self, session: "Session", route: Route, argv: list[bytes], finish: Callable[[Ran | None], None]) -> Job:
        """One command as a job."""
        is_read_only = "readonly" in route.row.flags
        run = Run(session.protocol, [(session.database, argv)], is_read_only, no_touch=session.no_touch)
        names = names_of(route, argv, session.database, self.server.config.databases)
        return Job(session, run, names, finish, self.reaches[route.name] is Reach.OPEN)

    def _reply(self, session: "Session", route: Route, argv: list[bytes], ran: Ran | None) -> None:
        assert ran is not None
        self.publish(session, ran)
        if session.tracking is not None and route.runs_scripts:
            self.server.tracking.script_ended(session)
        self.requests.accounts.answered(session, route, argv, ran.replies[0], sum(ran.micros))
        self.requests.reply(session, ran.replies[0])

    def publish(self, session: "Session", ran: Ran) -> None:
        """Sends what commands have published, now that it is final."""
        for channel, message, is_sharded in ran.messages:
            name = b"SPUBLISH" if is_sharded else b"PUBLISH"
            self.server.forwarding.submit(session, ForwardKind.SINGLE, [[name, channel, message]], is_silent=True)

    # -- any commands

    def _reads_snapshot(self, job: Job) -> bool:
        is_allowed = job.run.is_read_only and not job.watches and self.snapshot.may_read(job.session)
        if not is_allowed or not self.snapshot.has(job.names):
            return False
        return job.walks is None or self.snapshot.has_all()

    def begin(self, job: Job) -> None:
        """Starts a job, or starts it again with more keys."""
        job.runs += 1
        job.began = job.began or self.server.now
        divided = divide(self.slots, [*job.names, *job.watches])
        if job.runs > RUNS_MAX and self.server.now - job.began > RUNS_SECONDS_MAX:
            self._fail(job, TOO_MANY_RUNS)
        elif not divided and job.walks is None:
            self._run_here(job)
        elif self._reads_snapshot(job):
            self._read_snapshot(job)
        elif job.walks is not None:
            self._coordinate(job, {shard: divided.get(shard, []) for shard in map(int, self.slots.shards)})
        elif len(divided) == 1 and not job.is_open and job.refusal is None:
            shard, names = next(iter(divided.items()))
            self._ask(job, shard, names)
        else:
            self._coordinate(job, divided)

    def begin_batch(self, session: "Session", held: Held, run: Run, names: list[Name]) -> None:
        """Plain commands of one shard (`direct`) of which that has not all keys any more: a job like any other."""

        def finish(ran: Ran | None) -> None:
            assert ran is not None
            self.requests.fill(session, held, ran.replies, ran.micros)

        self.begin(Job(session, run, names, finish, held=held))

    def _fail(self, job: Job, error: ClientError) -> None:
        self.requests.reply(job.session, encode(self.server.error_reply(error), job.run.protocol))

    def _watched(self, job: Job, names: list[Name]) -> list[WatchedKey]:
        return [WatchedKey(*name, job.watches[name]) for name in names if name in job.watches]

    def _ask(self, job: Job, shard: int, names: list[Name]) -> None:
        locks = locks_on(names, is_exclusive=not job.run.is_read_only)
        part = Part(wire_encode(job.run), locks, self._watched(job, names))
        again = partial(self._again, job)
        self.requests.ask(job.session, shard, part, lambda results, ts: self._answered(job, results), again, job.held)

    def _again(self, job: Job) -> None:
        """Some keys are in other shards than was thought. Nothing was done."""
        job.runs -= 1
        self.begin(job)

    def _answered(self, job: Job, results: bytes) -> None:
        job.finish(decode_ran(results) if results else None)

    def _coordinate(self, job: Job, divided: dict[int, list[Name]]) -> None:
        is_read_only = job.run.is_read_only
        shards = {key: shard for shard, names in divided.items() for _, key in names}
        parts = {shard: self._part(job, names) for shard, names in divided.items()}
        self.requests.coordinate(
            job.session,
            parts,
            lambda finished: self._finished(job, finished),
            partial(self._again, job),
            is_read_only=is_read_only,
            combine=None if is_read_only else lambda results: self._combine(job, results, shards),
            held=job.held,
        )

    def _part(self, job: Job, names: list[Name]) -> Part:
        """What a shard has to fetch for a job."""
        is_exclusive = not job.run.is_read_only
        locks, watches = locks_on(names, is_exclusive=is_exclusive), self._watched(job, names)
        if job.walks is None:
            return Part(wire_encode(Fetch(names, job.run.no_touch, is_exclusive)), locks, watches)
        survey = Survey(names, sorted(job.walks), is_exclusive)
        return Part(wire_encode(survey), [*lock_on_all(is_exclusive=is_exclusive), *locks], watches)

    def _combine(
        self, job: Job, results: Mapping[int, bytes], shards: Mapping[bytes, int]
    ) -> dict[int, list[Effect]] | None:
        """Runs the commands on what was fetched. Returns every shard's effects; None if the run was void, or the job is
        to be declined because a disk is full."""
        if b"" in results.values():
            job.ran = _failed(job)
            return {}
        surveys: dict[int, Surveyed] = {}
        if job.walks is None:
            fetched = [row for encoded in results.values() for row in decode_fetched(encoded)]
        else:
            surveys = {shard: decode_surveyed(encoded) for shard, encoded in sorted(results.items())}
            fetched = [row for survey in surveys.values() for row in survey.values]
        job.refusal = job.refusal or refusal_among(fetched)
        if job.refusal is not None and not job.run.is_read_only:
            return None
        scratch = self._run(job, decoded(fetched), surveys.values())
        if scratch is None:
            return None if job.missing else {}
        return scratch.effects(self._owner(shards, surveys), results)

    def _run(
        self, job: Job, rows: Iterable[tuple[int, bytes, Value, int]], surveys: Iterable[Surveyed]
    ) -> Scratch | None:
        """Runs a job's commands on these values. None: it has failed, or is void."""
        seed = None if job.walks is None else job.seed
        scratch = Scratch(self.server, [*job.names, *job.watches], rows, surveys, seed, self.snapshot.guess)
        self.server.dispatcher.session = job.session
        is_sure = not job.is_open and job.walks is None
        try:
            with nullcontext() if is_sure else self.requests.accounts.trying(scratch.missing):
                job.ran = scratch.run(job.run, job.refusal)
        except Fatal:
            raise
        except Exception:  # noqa: BLE001 - a request ends here: what it ran into must not end the node
            self.server.log("error", f"a command of {job.session.address} failed:\n{traceback.format_exc()}")
            job.ran = _failed(job)
            return None
        job.missing = scratch.missing
        if job.session.tracking is not None:
            job.session.tracking.script_reads = scratch.access.script_reads
        return None if job.missing else scratch

    def _owner(self, shards: Mapping[bytes, int], surveys: Mapping[int, Surveyed]) -> Callable[[bytes], int]:
        """Says whose a key is: whom it was fetched from, or who says so of itself."""
        tables: dict[int, SlotTable] = {}

        def owner(key: bytes) -> int:
            known = shards.get(key)
            if known is not None:
                return known
            if not tables:
                tables.update({shard: SlotTable.decode(each.table) for shard, each in surveys.items() if each.table})
            claims = (shard for shard, table in tables.items() if table.shard_of(key) == shard)
            return next(claims, self.slots.shard_of(key))

        return owner

    def _finished(self, job: Job, finished: Finished) -> None:
        if finished.verdict is Verdict.WATCH_FAILED:
            job.finish(None)
            return
        if finished.verdict is Verdict.DECLINED and not job.missing:
            job.run = Run(job.run.protocol, job.run.commands, is_read_only=True, no_touch=job.run.no_touch)
            self.begin(job)
            return
        if job.run.is_read_only:
            self._combine(job, finished.results, {})
        self._complete(job)

    def _complete(self, job: Job) -> None:
        missing, job.missing = job.missing, Missing()
        if missing:
            job.names += missing.names
            if len(job.names) > NAMES_MAX:
                self._fail(job, TOO_MANY_KEYS)
                return
            if missing.sizes or missing.walks:
                job.walks = missing.walks | (job.walks or set())
                job.seed = job.seed or self.server.node.host.access.rng.getrandbits(32)
            if len(job.names) > _NAMES_PER_TURN:
                self.server.reactor.defer(partial(self._go_on, job))
            else:
                self.begin(job)
        else:
            job.finish(job.ran)

    def _go_on(self, job: Job) -> None:
        if job.session.closed_reason is None:
            self.begin(job)

    def _run_here(self, job: Job) -> None:
        """Commands that name no keys: whether they get by without is seen by trying."""
        self._run(job, (), ())
        self._complete(job)

    def _read_snapshot(self, job: Job) -> None:
        surveys = () if job.walks is None else self.snapshot.survey(job.walks)
        self._run(job, self.snapshot.values(job.names), surveys)
        self.requests.note_ts(job.session, self.shards.snapshot.ts)
        self._complete(job)

    # -- transactions

    def watch(self, session: "Session", keys: list[bytes]) -> None:
        """Remembers when the keys were last written, as far as their leaders know."""
        names = [(session.database, key) for key in keys if (session.database, key) not in session.watch_marks]
        self._watch(session, list(divide(self.slots, names).items()))

    def _watch(self, session: "Session", left: list[tuple[int, list[Name]]]) -> None:
        if not left:
            self.requests.reply(session, OK.encoded)
            return
        (shard, names), *others = left

        def answered(results: bytes, ts: int) -> None:
            session.watch_marks.update(dict.fromkeys(names, ts))
            self._watch(session, others)

        def again() -> None:
            left_names = [name for _, each in left for name in each]
            self._watch(session, list(divide(self.slots, left_names).items()))

        part = Part(wire_encode(Nothing()), locks_on(names, is_exclusive=False))
        self.requests.ask(session, shard, part, answered, again)

    def execute(self, session: "Session", queued: list[tuple[Route, list[bytes]]]) -> bool:
        """EXEC. False: it is not about keys at all."""
        watches = dict(session.watch_marks)
        if not watches and not any(self.takes(route) for route, _ in queued):
            return False
        self.server.discard_transaction(session)
        try:
            transaction = QueuedCommands(self, session, queued)
        except ClientError as error:
            text = f"EXECABORT Transaction discarded because of: {error.text}"
            session.send_reply(self.server.error_reply(ClientError(text)))
            return True
        for route, argv in queued:
            if self.server.monitors.sessions:
                self.server.monitors.feed(session, route.row, argv)
        if session.tracking is not None:
            self.server.tracking.asks(session, [each for each in queued if self.takes(each[0])])
        commands = transaction.commands
        run = Run(session.protocol, commands, transaction.is_read_only, no_touch=session.no_touch)
        job = Job(session, run, transaction.names, transaction.finish, transaction.is_open, watches)
        job.walks, job.seed = transaction.walks, self.server.node.host.access.rng.getrandbits(32)
        self.begin(job)
        return True

    # -- what participants ask for

    def run_part(self, access: Access, operation: bytes) -> bytes:
        """Does a shard's part of a transaction."""
        access.count_receivers = self.server.pubsub.count_receivers
        try:
            return perform(self.server, access, operation)
        except Fatal:
            raise
        except Exception:  # noqa: BLE001 - as in `_run`
            self.server.log("error", f"a command failed:\n{traceback.format_exc()}")
            access.rollback()
            return failed(operation)

    # -- the turn

    def end_turn(self) -> None:
        """Hands out answers and asks anew, until nothing is left to do; then tells the world what has become final."""
        tracking, pubsub = self.server.tracking, self.server.pubsub
        self.shards.set_reports(bool(tracking.sessions or pubsub.channels or pubsub.patterns))
        self._end_turn()
        for final in self.shards.take_final():
            record = final.record
            origin = final.origin or self.shards.author_of(record)
            announcement = Announcement(record.effects, record.notices, [], origin, record.ts, record.request)
            pubsub.announce(announcement)
            if tracking.sessions:
                tracking.announce(announcement)

    def _end_turn(self) -> None:
        self.requests.end_turn()
        while True:
            self.shards.end_turn()
            self.waiting.note(self.shards.take_touched())
            voided = self.shards.take_voided()
            self.direct.ask_again(voided)
            if not self.requests.take() and not self.waiting.serve() and not voided:
                return

    def tick(self) -> None:
        """A heartbeat has passed."""
        self.requests.tick()
        self.waiting.tick()

    def expire_keys(self) -> None:
        """Deletes keys past their deadline in the shards that are led here."""
        for shard, replica in self.shards.replicas.items():
            participant = replica.participant
            if participant is None or not replica.is_serving():
                continue
            due_at = participant.space.next_due()
            if due_at is None or due_at > self.server.now_ms:
                continue  # the lease is not looked at for nothing: that would count as use
            if not (replica.has_lease() or replica.reads_by_quorum):
                continue
            for database in participant.space.by_id:
                if not database.expires and not database.hash_deadlines.by_name:
                    continue
                due = database.take_due(self.server.now_ms, EXPIRE_KEYS_PER_TICK)
                due += database.take_due_hashes(self.server.now_ms, EXPIRE_KEYS_PER_TICK)
                names = [(database.id, key) for key in due]
                if names:
                    part = Part(wire_encode(Expire(names)), locks_on(names, is_exclusive=True))
                    self.shards.submit_own(shard, part)

    def session_closed(self, session: "Session") -> None:
        self.waiting.forget(session)
        self.requests.session_closed(session)


def _failed(job: Job) -> Ran:
    """What a job's commands answer when one of them, or what fetches their values, has run into a fault of ours."""
    return Ran([encode(INTERNAL_ERROR, job.run.protocol)] * len(job.run.commands))
