"""Real makoredis servers for all tests that want one."""

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from tests.cluster.processes import Cluster
from tests.server_process import ServerProcess
from tools.ports import free_ports

# A deadline per example measures how busy the machine is, not whether the code is right.
# The same examples in every run: a run must not fail by chance. DIFFERENTIAL_EXAMPLES asks for new ones, and more.
settings.register_profile("makoredis", deadline=None, derandomize="DIFFERENTIAL_EXAMPLES" not in os.environ)
settings.load_profile("makoredis")

ServerFactory = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def makoredis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server that the tests of a session share: leave its configuration as it was.

    DIFFERENTIAL_SHARDS=3 in the environment gives it so many shards; with DIFFERENTIAL_NODES=3 it is a follower of so
    many nodes.
    """
    shards = int(os.environ.get("DIFFERENTIAL_SHARDS", "1"))
    nodes = int(os.environ.get("DIFFERENTIAL_NODES", "1"))
    if nodes > 1:
        folder = tmp_path_factory.mktemp("makoredis")
        with Cluster(folder, nodes, settings={"shards": shards}) as cluster:
            server = ServerProcess(folder)
            server.port = cluster.start().followers()[-1].port
            yield server
        return
    node = {"id": 1, "peer_port": free_ports(1)[0]}
    options = {"shards": shards, "nodes": {"n1": node}} if shards > 1 else {}
    with ServerProcess(tmp_path_factory.mktemp("makoredis"), settings=options) as server:
        yield server


@pytest.fixture(scope="session")
def makoredis_auth_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The same with the password `secret`."""
    with ServerProcess(tmp_path_factory.mktemp("makoredis"), parameters={"requirepass": "secret"}) as server:
        yield server


@pytest.fixture
def new_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFactory]:
    """Makes servers of a test's own, with the arguments of `ServerProcess` behind the folder. Not started yet."""
    servers: list[ServerProcess] = []

    def make(**options: object) -> ServerProcess:
        servers.append(ServerProcess(tmp_path_factory.mktemp("own"), **options))  # type: ignore[arg-type]
        return servers[-1]

    yield make
    for server in servers:
        server.kill()
