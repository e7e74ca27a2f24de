"""The next entry waits for clients who were just answered, and not for those who don't come back."""

from makoredis.cluster.gathering import PAUSE_ENTRIES, Gathering


def gathering() -> Gathering:
    made = Gathering()
    made.seconds = 0.001
    return made


def test_ends_when_as_many_have_come_as_were_answered() -> None:
    wait = gathering()
    wait.answered(3, 2)
    for waiting in (2, 3, 4):
        wait.look(waiting, 10.0)
        assert wait.is_on
    wait.look(5, 10.0)
    assert not wait.is_on


def test_ends_after_a_while() -> None:
    wait = gathering()
    wait.answered(4, 0)
    wait.look(3, 10.0)
    wait.look(3, 10.0009)
    assert wait.is_on
    wait.look(3, 10.0011)
    assert not wait.is_on
    wait.answered(4, 0)
    assert wait.is_on, "most of them did come"


def test_pauses_when_clients_do_not_come_back() -> None:
    wait = gathering()
    wait.answered(4, 0)
    wait.look(0, 10.0)
    wait.look(1, 11.0)
    for _ in range(PAUSE_ENTRIES):
        wait.answered(4, 0)
        assert not wait.is_on
    wait.answered(4, 0)
    assert wait.is_on


def test_one_client_is_not_waited_for() -> None:
    wait = gathering()
    wait.answered(1, 0)
    assert not wait.is_on


def test_is_off_unless_it_has_a_limit() -> None:
    wait = Gathering()
    wait.answered(50, 0)
    assert not wait.is_on
