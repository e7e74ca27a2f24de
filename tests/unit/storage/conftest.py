"""Stores in temporary directories."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from makoredis.base.ids import NodeId
from makoredis.storage.store import Store, open_store

StoreOpener = Callable[[], Store]


def open_test_store(path: Path) -> Store:
    return open_store(path, cluster="test", node_id=NodeId(1), now_ms=1_700_000_000_000, ballast_bytes=1 << 16)


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(data_path: Path) -> Iterator[Store]:
    opened = open_test_store(data_path)
    yield opened
    opened.close()
