"""Small limits, so that a handful of keys meets all of them."""

import pytest

from makoredis.cluster import checkpointer
from makoredis.storage import log, state


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointer, "CAPTURE_KEYS_BETWEEN_LOOKS", 1)
    monkeypatch.setattr(state, "PIECE_BYTES_MAX", 40)
    monkeypatch.setattr(state, "CHECKPOINT_BATCH_BYTES", 150)
    monkeypatch.setattr(state, "DELETE_ROWS", 3)
    monkeypatch.setattr(log, "TRUNCATE_PIECE_ROWS", 2)
