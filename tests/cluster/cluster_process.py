"""A cluster whose nodes go by name, each with a configuration file of its own, so that there can be a proxy on every
way between two of them. Processes, ports and waiting are those of `processes.py`."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import redis
import yaml

from tests.cluster.processes import ROOT as ROOT
from tests.cluster.processes import note_output, start_process, wait_for
from tests.cluster.proxy import Proxy
from tools.ports import free_ports

WAIT_S = 60.0


def wait_until(condition: Callable[[], Any], what: str, seconds: float = WAIT_S) -> Any:
    """As `wait_for`, but any error, of the connection or in a reply, counts as "not yet"."""

    refused: Exception | None = None

    def without_errors() -> Any:
        nonlocal refused
        try:
            return condition()
        except (redis.RedisError, OSError) as error:
            refused = error
            return None

    try:
        return wait_for(without_errors, what, seconds)
    except AssertionError as error:
        error.add_note(f"the last error on the way: {refused!r}")
        raise


class ClusterProcess:
    """Nodes n1 … nN of one configuration file, each a process. As a context manager all are killed at the end."""

    def __init__(self, folder: Path, size: int = 3, *, proxied: bool = False, **settings: object) -> None:
        """
        Args:
            proxied: whether there is a proxy on every way from node to node.
            settings: further keys of the configuration file.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.names = [f"n{number}" for number in range(1, size + 1)]
        ports = free_ports(2 * size)
        self.ports = dict(zip(self.names, ports))
        peers = dict(zip(self.names, ports[size:]))
        nodes = {
            name: {"id": at, "port": self.ports[name], "peer_port": peers[name], "dir": str(folder / name)}
            for at, name in enumerate(self.names, 1)
        }
        self.proxies: dict[tuple[str, str], Proxy] = {}
        """By who calls and who is called."""
        self.configs: dict[str, Path] = {}
        for name in self.names:
            seen = {other: dict(facts) for other, facts in nodes.items()}
            for other in self.names if proxied else ():
                if other != name:
                    proxy = self.proxies[name, other] = Proxy(peers[other])
                    seen[other]["peer_port"] = proxy.port
            self.configs[name] = folder / f"{name}.yml"
            text = yaml.safe_dump({"cluster": "test", "nodes": seen, **settings})
            self.configs[name].write_text(text, encoding="utf-8")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    # -- life

    def __enter__(self) -> "ClusterProcess":
        try:
            for name in self.names:
                self.start(name, wait=False)
            for name in self.names:
                self.wait_until_up(name)
            self.wait_for_leader()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self.names:
            note_output(error, self.processes.get(name), self.folder / f"{name}.log")
        for name in list(self.processes):
            self.kill(name)
        for proxy in self.proxies.values():
            proxy.close()

    def start(self, name: str, *, wait: bool = True) -> None:
        assert name not in self.processes
        self.processes[name] = start_process(self.configs[name], name, self.folder / f"{name}.log")
        if wait:
            self.wait_until_up(name)

    def wait_until_up(self, name: str) -> None:
        wait_until(self.client(name).ping, f"{name} answers")

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def terminate(self, name: str) -> int:
        """SIGTERM, an orderly stop. Returns the exit status. A node that does not stop tells where it is, and dies."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            return process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            return process.wait()

    def pause(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGCONT)

    def output(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def cut(self, name: str) -> None:
        """Nothing goes to or from this node any more, except what its clients say."""
        for pair, proxy in self.proxies.items():
            if name in pair:
                proxy.is_cut = True

    def slow_down(self, name: str, seconds: float) -> None:
        """Everything that this node says to others takes so much longer."""
        for (caller, _), proxy in self.proxies.items():
            if caller == name:
                proxy.delay_seconds = seconds

    def heal(self) -> None:
        """All ways are free and fast again."""
        for proxy in self.proxies.values():
            proxy.is_cut = False
            proxy.delay_seconds = 0.0

    # -- looking

    def client(self, name: str, **options: Any) -> Any:
        """A client of one node; requests may take as long as an election does."""
        return redis.Redis(port=self.ports[name], socket_timeout=options.pop("socket_timeout", 40), **options)

    def leader(self) -> str | None:
        """The running node that says of itself that it leads."""
        for name in self.processes:
            topology = self.client(name, socket_timeout=2).execute_command("CLUSTER NODES")
            if any(facts["flags"] == "myself,master" for facts in topology.values()):
                return name
        return None

    def wait_for_leader(self) -> str:
        name: str = wait_until(self.leader, "there is a leader")
        return name

    def followers(self) -> list[str]:
        leader = self.wait_for_leader()
        return [name for name in self.processes if name != leader]

    def wait_until_equal(self, read: Callable[[Any], Any], expected: Any) -> None:
        """Waits until every running node, read as a replica, gives the expected value."""
        for name in self.processes:
            client = self.client(name, single_connection_client=True)
            client.execute_command("READONLY")
            wait_until(lambda client=client: read(client) == expected, f"{name} has what was acknowledged")  # type: ignore[misc]
