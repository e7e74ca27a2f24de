"""A shard without leader holds up nobody else: what the others' clients get done while one shard's leader is dead,
against before, beside clients whose transactions go over all shards.

Each client is its own closed loop at a bounded rate far below what the machine can do, so a node that dies leaves no
processor time to the others that would hide anything; and it never makes up for time in which it had to wait.
"""

import socket
import threading
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import pytest

from resp.decode import ReplyParser
from resp.encode import encode_command
from resp.replies import Error, Reply
from tests.cluster.cluster_process import ClusterProcess, wait_until

SETTINGS = {"shards": 3, "prefer_spread_leaders": True, "disk_free_bytes_min": 0, "disk_ballast_bytes": 0}
PERIOD_SECONDS = 0.05
"""A client sends not more than one request in this time."""
CLIENTS = 4
"""Of each kind."""
BEFORE_SECONDS = 3.0
ROUNDS = 5
SHARE_MIN = 0.8


class Client:
    """One connection, one request at a time, at a bounded rate. Remembers when each was answered."""

    def __init__(self, port: int, *requests: tuple[str, ...]) -> None:
        self.port = port
        self.requests = [encode_command([word.encode() for word in words]) for words in requests]
        self.answered: list[float] = []
        self.failure: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Client":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def rate(self, since: float, until: float) -> float:
        return sum(since <= at < until for at in self.answered) / (until - since)

    def gap_after(self, at: float) -> float:
        """The end of the longest time without an answer in the five answers behind a moment."""
        times = [at, *[each for each in self.answered if each > at][:5]]
        return max(pairwise(times), key=lambda pair: pair[1] - pair[0])[1]

    def longest(self, since: float, until: float) -> float:
        """The longest time without an answer."""
        times = [since, *(at for at in self.answered if since <= at < until), until]
        return max(after - before for before, after in pairwise(times))

    def _run(self) -> None:
        parser = ReplyParser()
        with socket.create_connection(("127.0.0.1", self.port), 60) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._stop.is_set():
                began = time.monotonic()
                sock.sendall(self.requests[len(self.answered) % len(self.requests)])
                replies: list[Reply] = []
                while not replies:
                    replies = parser.parse(sock.recv(65536))
                if isinstance(replies[0], Error):
                    self.failure = replies[0].text.decode()
                    return
                self.answered.append(time.monotonic())
                self._stop.wait(max(0.0, began + PERIOD_SECONDS - time.monotonic()))


class Healthy:
    """Clients of everything that the third shard has nothing to do with, connected to the first two nodes."""

    def __init__(self, cluster: ClusterProcess) -> None:
        self.clients: dict[str, list[Client]] = {}
        for name, (own, other) in {"n1": "bc", "n2": "cb"}.items():
            for kind, keys in {"own shard": own, "other shard": other, "both shards": own + other}.items():
                self.clients[f"{name}, {kind}"] = _clients(cluster, name, keys)

    @property
    def everybody(self) -> list[Client]:
        return [client for clients in self.clients.values() for client in clients]

    def rate(self, since: float, until: float, kind: str = "") -> float:
        """Requests per second that were answered."""
        clients = self.clients[kind] if kind else self.everybody
        return sum(client.rate(since, until) for client in clients)


def _clients(cluster: ClusterProcess, name: str, tags: str) -> list[Client]:
    """Clients of one node, each with keys of its own that have these tags."""
    clients = []
    for number in range(CLIENTS):
        keys = [f"{{{tag}}}{name}:{tags}:{number}" for tag in tags]
        pairs = [word for key in keys for word in (key, "x" * 20)]
        clients.append(Client(cluster.ports[name], ("MSET", *pairs), ("MGET", *keys)))
    return clients


def _leads_again(cluster: ClusterProcess) -> bool:
    """Whether every shard is led by the node that prefers to."""
    slots = sorted(cluster.client("n1").execute_command("CLUSTER SLOTS"))
    return [leader[1] for _, _, leader, *_ in slots] == list(cluster.ports.values())


@pytest.mark.long
@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_the_other_shards_go_on_while_one_has_no_leader(tmp_path: Path, fault: str) -> None:
    with ClusterProcess(tmp_path, 3, **SETTINGS) as cluster, ExitStack() as stack:
        wait_until(lambda: _leads_again(cluster), "every node leads a shard")
        healthy = Healthy(cluster)
        affected = Client(cluster.ports["n1"], ("SET", "{a}affected", "x"))
        # They wait for the dead shard, and must not make others wait with them.
        over_all = [*_clients(cluster, "n1", "abc"), *_clients(cluster, "n2", "abc")]
        for client in [affected, *over_all, *healthy.everybody]:
            stack.enter_context(client)
        windows: list[tuple[float, float]] = []
        for _ in range(ROUNDS):
            wait_until(lambda: _leads_again(cluster), "every node leads a shard")
            time.sleep(BEFORE_SECONDS)
            fails_at = time.monotonic()
            getattr(cluster, fault)("n3")
            failed = len(affected.answered)
            wait_until(lambda failed=failed: len(affected.answered) > failed + 5, "the third shard has another leader")
            windows.append((fails_at, affected.gap_after(fails_at)))
            if fault == "kill":
                cluster.start("n3")
            else:
                cluster.resume("n3")
        assert [client.failure for client in healthy.everybody if client.failure] == []
        assert _report(healthy, windows) >= SHARE_MIN
        wait_until(lambda: _leads_again(cluster), "every node leads a shard")


def _report(healthy: Healthy, windows: list[tuple[float, float]]) -> float:
    """Prints what was done while the shard had no leader, and returns the lowest share of what was done before."""
    for since, until in windows:
        before = healthy.rate(since - BEFORE_SECONDS, since)
        share = healthy.rate(since, until) / before
        print(f"{until - since:.2f} s without leader: {share:.0%} of {before:.0f} requests per second")
    shares = []
    for kind, clients in healthy.clients.items():
        before = sum(healthy.rate(since - BEFORE_SECONDS, since, kind) * (until - since) for since, until in windows)
        during = sum(healthy.rate(since, until, kind) * (until - since) for since, until in windows)
        longest = max(client.longest(*window) for client in clients for window in windows)
        shares.append(during / before)
        print(f"{kind}: {shares[-1]:.0%}, longest wait {longest:.2f} s")
    return min(shares)
