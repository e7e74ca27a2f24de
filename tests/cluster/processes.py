"""A cluster of real makoredis processes on free ports: each node started, stopped, killed and started again alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import redis
import yaml

from tools.ports import free_ports

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 60.0
_NOT_NOW = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
)


def wait_for(condition: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """The condition's value once it is true. A node that cannot answer now counts as not true."""
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            if value := condition():
                return value
            last = value
        except _NOT_NOW as error:
            last = error
        except redis.ResponseError as error:
            if not str(error).startswith("STALE"):
                raise
            last = error
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds} s (at last: {last})"
        time.sleep(0.02)


def start_process(
    config: Path, name: str, log_path: Path, *options: str, run_by: Sequence[str] = ()
) -> "subprocess.Popen[bytes]":
    """One node of a configuration file, with its output appended to a file.

    Args:
        run_by: a command line that goes before that of the node, and becomes it.
    """
    words = [*run_by, sys.executable, "-u", "-m", "makoredis", "--config", str(config), "--node", name, *options]
    with log_path.open("ab") as log:
        return subprocess.Popen(
            words,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"},
        )


def note_output(error: BaseException | None, process: "subprocess.Popen[bytes] | None", log_path: Path) -> None:
    """Adds to what a test failed with whether a node was running, and the last lines that it printed."""
    if error is None or not log_path.exists():
        return
    state = "not running"
    if process is not None:
        state = "running" if (status := process.poll()) is None else f"ended with {status}"
    lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
    error.add_note("\n".join([f"--- {log_path.stem}, {state}", *lines]))


class Node:
    """One process of a cluster."""

    host = "127.0.0.1"
    run_by: Sequence[str] = ()

    def __init__(self, cluster: "Cluster", id: int, ports: list[int], *, join: bool) -> None:
        self.cluster = cluster
        self.id = id
        self.name = f"n{id}"
        self.port, self.peer_port = ports
        self.join = join
        self.data = cluster.folder / self.name
        self.log_path = cluster.folder / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> "Node":
        assert self.process is None
        self.process = start_process(self.cluster.config, self.name, self.log_path, *options, run_by=self.run_by)
        return self

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        """An orderly stop. Returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(WAIT_SECONDS)
        self.process = None
        return status

    def client(self, **options: Any) -> "redis.Redis[bytes]":
        settings: dict[str, Any] = {"socket_timeout": 60, "retry": None, "single_connection_client": False, **options}
        return redis.Redis(host=self.host, port=self.port, **settings)

    def info(self, section: str) -> dict[str, Any]:
        with self.client() as client:
            found: dict[str, Any] = client.info(section)
            return found

    def contents(self, *, is_replica: bool = True) -> dict[bytes, bytes]:
        """All strings of database 0 as this replica has them, without asking the leader; or else as the leaders do."""
        with self.client(single_connection_client=True) as client:
            if is_replica:
                client.execute_command("READONLY")
            keys = list(client.scan_iter(count=1000))
            values: list[Any] = []
            for at in range(0, len(keys), 500):
                values += client.mget(keys[at : at + 500])
            return dict(zip(keys, values))


class Cluster:
    """Several nodes, and the configuration file that they share. As a context manager it leaves no process behind."""

    node_class = Node

    def __init__(
        self, folder: Path, count: int = 3, joining: int = 0, settings: Mapping[str, Any] | None = None
    ) -> None:
        """
        Args:
            joining: nodes that start without data and wait to be added.
            settings: keys of the configuration file.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / "cluster.yml"
        ports = free_ports(2 * (count + joining))
        self.nodes = {
            id: self.node_class(self, id, ports[2 * id - 2 : 2 * id], join=id > count)
            for id in range(1, count + joining + 1)
        }
        self.settings = dict(settings or {})
        self.write_config()

    def write_config(self) -> None:
        nodes = {}
        for node in self.nodes.values():
            nodes[node.name] = {
                "id": node.id,
                "host": node.host,
                "port": node.port,
                "peer_port": node.peer_port,
                "dir": str(node.data),
            }
            if node.join:
                nodes[node.name]["join"] = True
        self.config.write_text(yaml.safe_dump({"nodes": nodes, **self.settings}), encoding="utf-8")

    def __getitem__(self, id: int) -> Node:
        return self.nodes[id]

    def start(self, ids: Iterable[int] | None = None) -> "Cluster":
        """Starts nodes (those that do not wait to be added), and waits until they have a leader."""
        chosen = [self.nodes[id] for id in ids] if ids else [node for node in self.nodes.values() if not node.join]
        for node in chosen:
            node.start()
        try:
            for node in chosen:
                wait_for(lambda node=node: self._answers(node), f"{node.name} is ready")
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def _answers(self, node: Node) -> bool:
        with node.client() as client:
            return client.get("no such key") is None

    def leader(self) -> Node:
        """The node that leads now."""
        found: Node = wait_for(self._find_leader, "a leader is elected")
        return found

    def _find_leader(self) -> Node | None:
        for node in self.nodes.values():
            if node.process is None or node.process.poll() is not None:
                continue
            try:
                with node.client(socket_timeout=2) as client:
                    if client.info("replication")["role"] == "master":
                        return node
            except redis.RedisError:
                continue
        return None

    def followers(self, leader: Node | None = None) -> list[Node]:
        """The running nodes beside the leader; or beside that one, which may have led a moment ago."""
        leader = leader or self.leader()
        return [node for node in self.nodes.values() if node is not leader and node.process is not None]

    def wait_equal(self, ids: Iterable[int] | None = None) -> dict[bytes, bytes]:
        """Waits until every running replica holds the strings that the leaders answer with, and returns them.

        That replicas equal each other is not enough: after a start all of them may lack the end of the log as yet.
        """
        nodes = [self.nodes[id] for id in ids] if ids else [node for node in self.nodes.values() if node.process]

        def equal() -> list[dict[bytes, bytes]] | None:
            expected = nodes[0].contents(is_replica=False)
            return [expected] if all(node.contents() == expected for node in nodes) else None

        contents: list[dict[bytes, bytes]] = wait_for(equal, "all replicas are equal")
        return contents[0]

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes.values():
            note_output(error, node.process, node.log_path)
            node.kill()
