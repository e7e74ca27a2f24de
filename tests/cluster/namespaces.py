"""A cluster with a network of its own: each node in a network namespace, all on one bridge.

What a proxy cannot do: a cable that is pulled (nobody is told that the connection has ended), packets that are lost in
one direction only, or one in so many. It takes root, `ip` from iproute2 and, for packets lost at random, `nft` from
nftables; clients call from the bridge's namespace.

    Network("a") ── a-hub: bridge 198.18.0.254
                      ├── a-n1: eth0 198.18.0.1
                      ├── a-n2: eth0 198.18.0.2
"""

import contextlib
import ctypes
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import redis

from tests.cluster.processes import Cluster, Node

NOBODY = "02:00:00:00:00:99"
"""A hardware address that no interface has."""
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """There are no network namespaces for this process."""


def ip(*words: str) -> None:
    """Raises: Unavailable, with what `ip` says."""
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise Unavailable("there is no program `ip`") from None
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"ip {' '.join(words)}: {error.stderr.strip()}") from None


class Network:
    """Namespaces that see each other over a bridge. As a context manager it leaves none behind."""

    def __init__(self, count: int) -> None:
        self.prefix = f"mr{os.getpid()}"
        self.hub = f"{self.prefix}-hub"
        self.names = [self.namespace(number) for number in range(1, count + 1)]

    def namespace(self, number: int) -> str:
        return f"{self.prefix}-n{number}"

    @staticmethod
    def address(number: int) -> str:
        return f"198.18.0.{number}"

    def __enter__(self) -> "Network":
        try:
            ip("netns", "add", self.hub)
            ip("-n", self.hub, "link", "add", "bridge", "type", "bridge")
            ip("-n", self.hub, "address", "add", f"{self.address(254)}/24", "dev", "bridge")
            ip("-n", self.hub, "link", "set", "bridge", "up")
            for number, name in enumerate(self.names, 1):
                ip("netns", "add", name)
                ip("-n", self.hub, "link", "add", f"port{number}", "type", "veth", "peer", "eth0", "netns", name)
                ip("-n", self.hub, "link", "set", f"port{number}", "master", "bridge", "up")
                ip("-n", name, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
                ip("-n", name, "link", "set", "lo", "up")
                ip("-n", name, "link", "set", "eth0", "up")
        except Unavailable:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in (*self.names, self.hub):
            with contextlib.suppress(Unavailable):
                ip("netns", "del", name)

    def unplug(self, number: int) -> None:
        """Pulls a node's cable: nothing arrives or leaves, and nobody is told."""
        ip("-n", self.hub, "link", "set", f"port{number}", "nomaster")

    def plug(self, number: int) -> None:
        ip("-n", self.hub, "link", "set", f"port{number}", "master", "bridge")

    def lose(self, number: int, other: int) -> None:
        """What one node sends to another goes to nobody; the other direction works."""
        words = (self.address(other), "lladdr", NOBODY, "dev", "eth0", "nud", "permanent")
        ip("-n", self.namespace(number), "neighbour", "replace", *words)

    def find(self, number: int, other: int) -> None:
        """Ends that."""
        ip("-n", self.namespace(number), "neighbour", "del", self.address(other), "dev", "eth0")

    def make_lossy(self, number: int, percent: int) -> None:
        """One in so many packets from other nodes does not arrive; those of clients do. 0 ends it.

        Raises: Unavailable, without `nft` or the kernel's part of it.
        """
        if shutil.which("nft") is None:
            raise Unavailable("there is no program `nft`")
        inside = ("netns", "exec", self.namespace(number), "nft")
        ip(*inside, "add table inet loss")
        ip(*inside, "add chain inet loss arrivals { type filter hook input priority 0 ; }")
        ip(*inside, "flush chain inet loss arrivals")
        if percent:
            peers = ", ".join(self.address(other) for other in range(1, len(self.names) + 1))
            rule = f"ip saddr {{ {peers} }} iif eth0 numgen random mod 100 < {percent} counter drop"
            ip(*inside, f"add rule inet loss arrivals {rule}")

    def lost_count(self, number: int) -> int:
        """Packets that were dropped since `make_lossy`."""
        words = ["ip", "netns", "exec", self.namespace(number), "nft", "list", "chain", "inet", "loss", "arrivals"]
        found = re.search(r"counter packets (\d+)", subprocess.run(words, capture_output=True, text=True).stdout)
        return int(found[1]) if found else 0

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread makes meanwhile are the hub's."""
        with open("/proc/thread-self/ns/net", "rb") as home, open(f"/run/netns/{self.hub}", "rb") as hub:
            _enter(hub.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class NetworkedNode(Node):
    """A node in a namespace."""

    def place(self, network: Network) -> None:
        self.network = network
        self.host = network.address(self.id)
        self.run_by = ("ip", "netns", "exec", network.namespace(self.id))

    def client(self, **options: Any) -> "redis.Redis[bytes]":
        network = self.network

        class Connection(redis.Connection):
            def _connect(self) -> socket.socket:
                with network.inside():
                    made: socket.socket = super()._connect()
                    return made

        single = options.pop("single_connection_client", False)
        settings = {"socket_timeout": 60, "socket_connect_timeout": 5, "retry": None, **options}
        pool = redis.ConnectionPool(connection_class=Connection, host=self.host, port=self.port, **settings)
        return redis.Redis(connection_pool=pool, single_connection_client=single)


class NetworkedCluster(Cluster):
    """Nodes in the namespaces of a network."""

    node_class = NetworkedNode

    def __init__(self, folder: Path, network: Network, **settings: Any) -> None:
        super().__init__(folder, len(network.names), settings={"parameters": {"protected-mode": "no"}, **settings})
        for node in self.nodes.values():
            assert isinstance(node, NetworkedNode)
            node.place(network)
        self.write_config()
