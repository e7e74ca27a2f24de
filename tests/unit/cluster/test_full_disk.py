"""Whom a leader with a full disk asks to lead, and what the log says."""

from makoredis.base.ids import NodeId
from makoredis.cluster.full_disk import ASK_SECONDS_MAX, REPORT_SECONDS, SpaceReports, Successors

A, B, C = NodeId(1), NodeId(2), NodeId(3)


def test_everybody_is_asked_in_turn() -> None:
    successors, now, asked = Successors(), 100.0, []
    for _ in range(6):
        asked.append(successors.next([A, B, C], now))
        now += ASK_SECONDS_MAX
    assert asked == [A, B, C, A, B, C]


def test_who_has_become_able_is_asked_before_others_are_again() -> None:
    successors = Successors()
    assert successors.next([B], 0.0) == B
    assert successors.next([B, C], 100.0) == C


def test_it_is_asked_ever_more_rarely() -> None:
    """A leader that was not asked every tick: while it hands over it serves nobody."""
    successors, times = Successors(), []
    for tick in range(20 * 60):
        now = 1000.0 + tick * 0.05
        if successors.next([A, B], now) is not None:
            times.append(round(now - 1000.0))
    assert times == [0, 2, 6, 14, 30, 46]


def test_nobody_to_ask() -> None:
    successors = Successors()
    assert successors.next([], 0.0) is None
    assert successors.next([A], 0.0) == A


def test_a_full_disk_and_its_end_are_said_once() -> None:
    reports = SpaceReports()
    first = reports.look("5 bytes are free below d, 9 are needed", 100.0)
    assert first == (
        "warning",
        "the disk is full: 5 bytes are free below d, 9 are needed; this node takes no writes until there are",
    )
    assert reports.look("4 bytes", 100.0 + 2 * REPORT_SECONDS) is None
    assert reports.look(None, 101.0 + 2 * REPORT_SECONDS) == (
        "info",
        "there is space on the disk again: writes are taken",
    )


def test_space_that_comes_and_goes_does_not_fill_the_log() -> None:
    reports = SpaceReports()
    said = [reports.look("x" if tick % 2 else None, tick * 0.05) for tick in range(20 * 60)]
    assert sum(report is not None for report in said) <= 60 / REPORT_SECONDS + 1


def test_nothing_is_said_while_there_is_space() -> None:
    assert SpaceReports().look(None, 100.0) is None
