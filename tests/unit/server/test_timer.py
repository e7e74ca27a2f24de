"""The timer's turns, by its own task or by the reactor, whoever is awake."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from makoredis.cluster.node import open_node
from makoredis.server.config import Config
from makoredis.server.parameters import ParameterTable
from makoredis.server.server import Server
from makoredis.server.timer import TICK_SECONDS


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    table = ParameterTable()
    table.set_at_start("dir", str(tmp_path))
    table.set_at_start("durability", "memory")
    config = Config(table)
    server = Server(config, open_node(tmp_path / "data", "memory", 16, config.data, lambda text: None))
    yield server
    server.saves_at_stop = False
    server.close()


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
