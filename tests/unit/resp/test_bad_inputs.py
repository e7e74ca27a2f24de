"""The protocol errors among the recorded inputs, at the parser alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from resp.encode import encode
from resp.parser import RequestParser

SAMPLES: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "data" / "bad_inputs.json").read_text())


@pytest.mark.parametrize("size", [1, 7, 65536])
@pytest.mark.parametrize("sample", SAMPLES, ids=[sample["name"] for sample in SAMPLES])
def test_what_redis_calls_a_protocol_error_is_one(sample: dict[str, Any], size: int) -> None:
    data = bytes.fromhex(sample["bytes_hex"])
    parser = RequestParser()
    for start in range(0, len(data), size):
        parser.parse(data[start : start + size])
    assert parser.broken == sample["closes"]
    if "Protocol error" in sample["reply_of_redis_7_0_15"]:
        assert parser.error is not None
        assert encode(parser.error, 2) == sample["reply_of_redis_7_0_15"].encode()
    else:
        assert parser.held_bytes == 0
