"""A server without a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from makoredis.cluster.node import open_node
from makoredis.server.config import Config
from makoredis.server.parameters import ParameterTable
from makoredis.server.server import Server


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
