"""Starts all nodes of a configuration file on this machine as child processes, and stops them together.

Their output appears here line by line behind the node's name. A node that ends is reported, and the others go on: that
is what they are replicas for. When this process is killed, the nodes notice the end of their standard input and stop in
order: otherwise they would keep their ports, unseen.
"""

import signal
import subprocess
import sys
from pathlib import Path

import trio

from makoredis.base import console
from makoredis.base.config import FileConfig

STOP_SECONDS_MAX = 15.0
"""For a node to end after SIGTERM; then it is killed."""


def launch(file: FileConfig, path: Path) -> int:
    """Runs every node of the file until Ctrl-C or until all have ended. Returns the exit status."""
    return trio.run(_launch, file, path)


async def _launch(file: FileConfig, path: Path) -> int:
    names = [node.name for node in file.nodes]
    width = max(map(len, names))
    children: dict[str, trio.Process] = {}
    async with trio.open_nursery() as nursery:
        for name in names:
            command = [sys.executable, "-u", "-m", "makoredis", "--config", str(path), "--node", name]
            command.append("--stop-with-stdin")
            child = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            children[name] = child
        async with trio.open_nursery() as readers:
            nursery.start_soon(_stop_on_signal, children)
            for name, child in children.items():
                readers.start_soon(_show_output, name.ljust(width), child)
        nursery.cancel_scope.cancel()
    return max(abs(child.returncode or 0) for child in children.values())


async def _show_output(label: str, child: trio.Process) -> None:
    assert child.stdout is not None
    rest = b""
    async for chunk in child.stdout:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            console.say(f"{label} | {line.decode(errors='replace')}")
    status = await child.wait()
    console.say(f"{label} | {console.line('warning' if status else 'info', f'ended with status {status}')}")


async def _stop_on_signal(children: dict[str, trio.Process]) -> None:
    """The first signal stops the nodes in order, a second one at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            first = True
            async for _ in signals:
                if first:
                    first = False
                    nursery.start_soon(_stop, children)
                else:
                    _end(children, signal.SIGKILL)


async def _stop(children: dict[str, trio.Process]) -> None:
    _end(children, signal.SIGTERM)
    await trio.sleep(STOP_SECONDS_MAX)
    _end(children, signal.SIGKILL)


def _end(children: dict[str, trio.Process], number: signal.Signals) -> None:
    for child in children.values():
        if child.poll() is None:
            child.send_signal(number)
