"""Exactly-once: which requests have been executed, and what they were answered.

A request is named by where it came from: `(incarnation of the node, session, sequence)`. Its answer is recorded by the
same transaction that carries its effects, so it is replicated, undone and part of checkpoints together with them. With
it go the answers of the client's requests right before it that changed nothing: asked again, they would see what came
after them. An answer is dropped once the client has it, or is gone (`sessions`); the number of sessions is bounded,
oldest out first, alike on every replica.
"""

from collections.abc import Collection, Iterable

from makoredis.base.record import Wire, field, record
from makoredis.txn.sessions import GoneSessions, SessionRange

SESSIONS_MAX = 100_000
"""Sessions whose answers are kept; a session beyond that loses its protection against a second execution."""

Origin = tuple[int, int]
"""Incarnation and session."""


class RequestRecord(Wire):
    """What a transaction's record says of the request that caused it."""

    incarnation: int
    session: int
    sequence: int
    acknowledged: int
    reply: bytes
    earlier: list[tuple[int, bytes]] = field(default_factory=list)
    """Sequences and answers of requests before this one that the client may not have and no other record has."""

    def answered(self, reply: bytes) -> "RequestRecord":
        """The same with its answer."""
        return RequestRecord(self.incarnation, self.session, self.sequence, self.acknowledged, reply, self.earlier)


class RequestTable:
    """Answers by origin and sequence."""

    __slots__ = ("acknowledged", "gone", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[Origin, dict[int, bytes]] = {}
        self.acknowledged: dict[Origin, int] = {}
        """By session, up to where its client has had the answers."""
        self.gone = GoneSessions()
        """Sessions whose answers nobody will ask for."""

    def find(self, incarnation: int, session: int, sequence: int) -> bytes | None:
        """The answer that was given, None if the request was not executed."""
        answers = self.sessions.get((incarnation, session))
        return None if answers is None else answers.get(sequence)

    def is_past(self, incarnation: int, session: int, sequence: int) -> bool:
        """Whether a request without an answer here is a late copy: the client has the answer and has gone on, or is
        gone."""
        origin = (incarnation, session)
        return sequence <= self.acknowledged.get(origin, -1) or origin in self.gone

    def add(self, request: RequestRecord) -> "ForgetRequest":
        """Records an answer, and drops those that the client has. Returns what takes the record back."""
        return ForgetRequest(self, request, self.record(request))

    def record(self, request: RequestRecord) -> bool:
        """The same for an answer that will not be taken back. Returns whether it is the client's first."""
        origin = (request.incarnation, request.session)
        answers = self.sessions.get(origin)
        is_new = answers is None
        if answers is None:
            if origin in self.gone:
                return False
            answers = self.sessions[origin] = {}
            if len(self.sessions) > SESSIONS_MAX:
                self.close(next(iter(self.sessions)))
        elif request.acknowledged >= request.sequence - 1:
            answers.clear()
        else:
            _drop(answers, request.acknowledged)
        self.acknowledged[origin] = request.acknowledged
        if request.earlier:
            answers.update(request.earlier)
        answers[request.sequence] = request.reply
        return is_new

    def forget(self, request: RequestRecord, is_first: bool) -> None:
        """Takes back what `record` did, and returned. Answers that the client has acknowledged are not needed again."""
        origin = (request.incarnation, request.session)
        answers = self.sessions.get(origin)
        if answers is not None:
            answers.pop(request.sequence, None)
            for sequence, _ in request.earlier:
                answers.pop(sequence, None)
            if is_first:
                self.close(origin)

    def close(self, origin: Origin) -> None:
        """Forgets a session that is gone."""
        self.sessions.pop(origin, None)
        self.acknowledged.pop(origin, None)

    def close_range(self, incarnation: int, first: int, last: int) -> None:
        """Forgets all these sessions of a node: they are gone, and what still comes of them is a late copy."""
        for low, high in self.gone.add(incarnation, first, last):
            for origin in self._within(incarnation, low, high):
                self.close(origin)

    def keeps(self, incarnation: int, first: int, last: int) -> bool:
        """Whether there are answers for any of these sessions."""
        return bool(self._within(incarnation, first, last))

    def _within(self, incarnation: int, first: int, last: int) -> list[Origin]:
        return origins_within(self.sessions, incarnation, first, last)

    def dump(self) -> list[tuple[int, int, dict[int, bytes]]]:
        """All answers, for a checkpoint."""
        return [(*origin, dict(answers)) for origin, answers in self.sessions.items()]

    def load(self, rows: list[tuple[int, int, dict[int, bytes]]], gone: Iterable[SessionRange] = ()) -> None:
        """Takes over what `dump` gave, and `gone.dump`."""
        self.gone = GoneSessions(gone)
        self.sessions = {(incarnation, session): answers for incarnation, session, answers in rows}
        self.acknowledged = {origin: min(answers) - 1 for origin, answers in self.sessions.items() if answers}


def origins_within(origins: Collection[Origin], incarnation: int, first: int, last: int) -> list[Origin]:
    """Those that are sessions of an interval of numbers; costs what the smaller of both does."""
    if last - first < len(origins):
        candidates = [(incarnation, session) for session in range(first, last + 1)]
        return [origin for origin in candidates if origin in origins]
    return [origin for origin in origins if origin[0] == incarnation and first <= origin[1] <= last]


def _drop(answers: dict[int, bytes], acknowledged: int) -> None:
    """Drops what the client has: the front, because answers are recorded in order."""
    stale = []
    for sequence in answers:
        if sequence > acknowledged:
            break
        stale.append(sequence)
    for sequence in stale:
        del answers[sequence]


@record
class ForgetRequest:
    """Inverse of recording an answer."""

    table: RequestTable
    request: RequestRecord
    is_first: bool

    def apply(self, space: object) -> None:
        self.table.forget(self.request, self.is_first)
