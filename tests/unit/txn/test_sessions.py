"""Sessions that are over: what is remembered of them, and what is dropped."""

from itertools import pairwise
from random import Random

import pytest

from makoredis.txn import sessions
from makoredis.txn.in_hand import Turned
from makoredis.txn.knowledge import Knowledge
from makoredis.txn.locks import KeyLock
from makoredis.txn.messages import Part, Prepare
from makoredis.txn.participant import Participant
from makoredis.txn.requests import RequestRecord, RequestTable
from makoredis.txn.sessions import ALL_SESSIONS, GoneSessions, Intervals, close_sessions
from tests.unit.txn.test_recovery import leader

WRITE = Part(b"new", [KeyLock(0, b"k", True)])


def request(session: int, sequence: int = 1) -> RequestRecord:
    return RequestRecord(7, session, sequence, sequence - 1, b"")


def fresh() -> Participant:
    participant = leader([], Knowledge([0]))
    participant.take_output()
    return participant


def choose(participant: Participant) -> None:
    """What was executed is in the log, and on a majority."""
    index = participant.replica.index + 1
    assert participant.take_entry() is not None
    participant.proposed(index)
    participant.chosen(index)


def test_intervals_are_as_a_set() -> None:
    for seed in range(200):
        rng, model, intervals = Random(seed), set[int](), Intervals()
        for _ in range(40):
            first = rng.randrange(40)
            last = first + rng.randrange(8)
            numbers = set(range(first, last + 1))
            if rng.random() < 0.7:
                added = intervals.add(first, last)
                assert {number for low, high in added for number in range(low, high + 1)} == numbers - model
                model |= numbers
            else:
                intervals.remove(first, last)
                model -= numbers
            assert {number for number in range(-1, 60) if number in intervals} == model
            listed = list(intervals)
            assert all(low <= high for low, high in listed) and len(listed) == len(intervals)
            assert all(high + 1 < low for (_, high), (low, _) in pairwise(listed)), "neighbours are one"
            assert all(intervals.around(number) in listed for number in model)


def test_a_closed_session_is_dropped_and_its_late_copies_are_told() -> None:
    table = RequestTable()
    for session in (1, 2, 3):
        table.record(request(session))
    assert table.keeps(7, 2, 9) and not table.keeps(8, 0, 9) and not table.keeps(*(7, 4, 9))
    table.close_range(7, 1, 2)
    assert table.find(7, 1, 1) is None and table.find(7, 3, 1) is not None
    assert table.is_past(7, 1, 1) and table.is_past(7, 2, 99) and not table.is_past(7, 3, 2)
    assert not table.keeps(7, 1, 2) and list(table.acknowledged) == [(7, 3)]


def test_what_is_applied_after_its_session_was_closed_leaves_nothing() -> None:
    table = RequestTable()
    table.close_range(7, 1, 1)
    table.add(request(1)).apply(None)
    table.record(request(1))
    assert not table.sessions and not table.acknowledged and table.is_past(7, 1, 1)


def test_all_sessions_of_a_process_are_closed_in_one() -> None:
    table = RequestTable()
    for session in range(100):
        table.record(request(session))
    table.close_range(7, *ALL_SESSIONS)
    assert not table.sessions and table.gone.dump() == [(7, *ALL_SESSIONS)]


def test_lives_that_have_ended_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "INCARNATIONS_MAX", 3)
    gone = GoneSessions([(1, 5, 5), (2, *ALL_SESSIONS), (3, *ALL_SESSIONS), (4, 1, 1)])
    assert [incarnation for incarnation, _, _ in gone.dump()] == [1, 3, 4]
    gone.add(5, 1, 1)
    gone.add(6, 1, 1)
    assert [incarnation for incarnation, _, _ in gone.dump()] == [4, 5, 6]


def test_a_leader_logs_that_sessions_are_over_and_then_says_so() -> None:
    participant = fresh()
    participant.submit("write", WRITE, request(3))
    choose(participant)
    assert close_sessions(participant, 7, [(1, 3)], [(1, 8)]) == []
    assert participant.requests.find(7, 3, 1) is not None, "until it is chosen it may not be so for the next leader"
    choose(participant)
    assert participant.requests.find(7, 3, 1) is None and participant.requests.gone.dump() == [(7, 1, 8)]
    assert close_sessions(participant, 7, [(1, 3)], [(1, 8)]) == [(1, 3)]
    assert not participant.has_entry()


def test_nothing_is_logged_of_sessions_that_wrote_nothing() -> None:
    participant = fresh()
    assert close_sessions(participant, 7, [(1, 3), (6, 6)], [(1, 3), (6, 6)]) == [(1, 3), (6, 6)]
    assert not participant.has_entry()


def test_a_late_copy_is_not_executed() -> None:
    participant = fresh()
    participant.submit("write", WRITE, request(3))
    choose(participant)
    close_sessions(participant, 7, [(3, 3)], [(3, 3)])
    choose(participant)
    participant.take_output()
    participant.submit("copy", WRITE, request(3))
    assert participant.take_output().replies == [Turned("copy")]
    assert not participant.has_entry()


def test_a_session_whose_request_waits_for_locks_is_closed_later() -> None:
    participant = fresh()
    prepare = Prepare((1, 7), 0, [(0, 2), (1, 3)], 90, WRITE, False, False)
    participant.step(prepare)
    participant.submit("write", WRITE, request(3))
    assert participant.sessions_in_progress(7) == {3} and participant.sessions_in_progress(8) == set()
    assert close_sessions(participant, 7, [(1, 2), (3, 3)], [(1, 3), (1, 3)]) == [(1, 2)]
    assert not participant.proposals.closed_sessions
