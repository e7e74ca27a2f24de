"""SIGKILL at a random moment, again and again: nothing acknowledged is lost, and a transaction is there or not.

Each writer owns some databases and knows the order of its own units, so after a crash its databases must hold exactly
what a prefix of them makes: all that was acknowledged, and of what was under way any number of whole units from the
front. Checkpoints happen all the time, because they are due after 30 kB of log.
"""

import time
from itertools import count
from random import Random

import pytest

from tests.conftest import ServerFactory
from tests.crash.model import Workload, read_state
from tests.crash.writer import Writer
from tests.server_process import ServerProcess

DATABASES = 6
DEADLINE_S = 60


def run_until(writers: list[Writer], units: int) -> None:
    """Waits until so many units were acknowledged altogether."""
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + DEADLINE_S
    while sum(writer.acknowledged for writer in writers) < units:
        assert all(writer.is_alive() for writer in writers), [writer.problem for writer in writers]
        assert time.monotonic() < deadline, "the server is too slow or stuck"
        time.sleep(0.001)


def saves(server: ServerProcess) -> int:
    """How many checkpoints were made since the start."""
    with server.client() as client:
        return int(client.info("persistence")["rdb_saves"])


def wait_for_save(server: ServerProcess) -> int:
    """Without a checkpoint the test shows less than it should. Writers go on meanwhile."""
    deadline = time.monotonic() + DEADLINE_S
    while (count := saves(server)) == 0:
        assert time.monotonic() < deadline, "no checkpoint is made"
        time.sleep(0.02)
    return count


def check(server: ServerProcess, workloads: list[Workload], seed: int) -> int:
    """Compares what the server holds with what each writer knows. Returns how many unacknowledged units were there."""
    client = server.client()
    found = read_state(client, DATABASES)
    happened = 0
    for workload in workloads:
        own = [keys if number in workload.databases else {} for number, keys in enumerate(found)]
        try:
            happened += workload.settle(own)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, after {server.output!r}: {error}") from None
    return happened


def crash_rounds(server: ServerProcess, rounds: int, seed: int) -> None:
    rng = Random(seed)
    ids = count(1)
    several = [Workload(Random(seed * 10 + n), ids, [2 * n, 2 * n + 1], DATABASES) for n in range(3)]
    alone = Workload(Random(seed * 10 + 9), ids, list(range(DATABASES)), DATABASES, flushes_all=True)
    checkpoints = 0
    server.start()
    for turn in range(rounds):
        if turn % 3 == 2:
            alone.state = _joined(several)
            workloads = [alone]
        else:
            workloads = several
        writers = [Writer(server, workload) for workload in workloads]
        run_until(writers, rng.randrange(50, 1500))
        checkpoints += saves(server)
        if turn == rounds - 1 and not checkpoints:
            checkpoints = wait_for_save(server)
        server.kill()
        for writer in writers:
            writer.join(DEADLINE_S)
            assert writer.problem is None, f"seed {seed}: {writer.problem}"
        server.start()
        check(server, workloads, seed)
        if workloads is not several:
            for workload in several:
                workload.state = [
                    dict(keys) if number in workload.databases else {} for number, keys in enumerate(alone.state)
                ]

def _joined(workloads: list[Workload]) -> list[dict[bytes, object]]:
    state: list[dict[bytes, object]] = [{} for _ in range(DATABASES)]
    for workload in workloads:
        for number in workload.databases:
            state[number] = workload.state[number]
    return state


@pytest.mark.parametrize("durability", ["sync", "interval"])
def test_nothing_acknowledged_is_lost(new_server: ServerFactory, durability: str) -> None:
    server = new_server(durability=durability, settings={"checkpoint_log_bytes": 30_000})
    crash_rounds(server, 5, seed=1 if durability == "sync" else 2)


@pytest.mark.long
@pytest.mark.parametrize("durability", ["sync", "interval"])
def test_nothing_acknowledged_is_lost_in_many_crashes(new_server: ServerFactory, durability: str) -> None:
    server = new_server(durability=durability, settings={"checkpoint_log_bytes": 30_000})
    crash_rounds(server, 50, seed=time.time_ns() % 1_000_000)


def test_an_orderly_stop_keeps_everything_and_is_quick_to_start_from(new_server: ServerFactory) -> None:
    for durability in ("sync", "interval", "memory"):
        server = new_server(durability=durability).start()
        client = server.client()
        client.set("s", "1")
        client.rpush("l", "a", "b")
        assert server.stop() == 0
        server.start()
        client = server.client()
        assert (client.get("s"), client.lrange("l", 0, -1)) == (b"1", [b"a", b"b"])
        assert "2 keys recovered" in server.output


def test_memory_keeps_what_was_saved(new_server: ServerFactory) -> None:
    server = new_server(durability="memory").start()
    client = server.client()
    client.set("saved", "1")
    assert client.save()
    client.set("late", "1")
    server.kill()
    client = server.start().client()
    assert client.get("saved") == b"1"
    assert client.get("late") is None
