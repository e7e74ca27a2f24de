"""The timer's turns, by its own task or by the reactor, whoever is awake."""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from makoredis.server.server import Server
from makoredis.server.timer import TICK_SECONDS


async def test_who_is_awake_runs_what_is_due_once(server: Server, mock_clock: MockClock) -> None:
    timer = server.timer
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timer.run)
        await wait_all_tasks_blocked()
        turns = server.stats.turns
        assert not timer.run_if_due()
        assert 0 < timer.seconds_left() <= TICK_SECONDS
        mock_clock.jump(TICK_SECONDS)
        assert timer.run_if_due()
        assert server.stats.turns == turns + 1
        assert not timer.run_if_due()
        await wait_all_tasks_blocked()
        assert server.stats.turns == turns + 1, "the task has nothing to do"
        mock_clock.jump(TICK_SECONDS)
        await wait_all_tasks_blocked()
        assert server.stats.turns == turns + 2, "nobody else was awake"
        nursery.cancel_scope.cancel()


async def test_what_is_wanted_earlier_is_due_earlier(server: Server, mock_clock: MockClock) -> None:
    timer = server.timer
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timer.run)
        await wait_all_tasks_blocked()
        timer.wake_at(0)
        assert timer.run_if_due()
        assert timer.seconds_left() > 0
        nursery.cancel_scope.cancel()
