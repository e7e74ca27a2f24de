"""Recorded inputs that a server has to survive, with what redis-server 7.0.15 answers to each.

Each sample is sent on a connection of its own. It names the kind of server it is meant for: `plain`, or `auth` (the
default user's password is `secret`).
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from makoredis.commands.table import TABLE

SAMPLES: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data" / "bad_inputs.json").read_text())
FIXTURES = {"plain": "makoredis_server", "auth": "makoredis_auth_server"}
TIMEOUT_S = 60
PING = b"*1\r\n$4\r\nPING\r\n"

Connect = Callable[[], socket.socket]


def check(connect: Connect, sample: dict[str, Any]) -> None:
    """Sends a sample and compares what comes back, and whether the server then hangs up."""
    expected = re.compile(sample["expect_regex"])
    with connect() as connection:
        connection.settimeout(TIMEOUT_S)
        connection.sendall(bytes.fromhex(sample["bytes_hex"]))
        received = ""
        while not expected.match(received):
            skip_if_missing(received)
            data = receive(connection, received)
            assert data, f"the server hung up after {received!r}"
            received += data.decode("latin-1")
        if sample["closes"]:
            assert receive(connection, received) == b"", "more came instead of the end"
        else:
            connection.sendall(PING)
            assert receive(connection, received), "the server hung up"


def skip_if_missing(received: str) -> None:
    """A sample for a command that makoredis is yet to have says nothing about it."""
    unknown = re.search(r"unknown command '(\w+)'", received)
    if unknown is not None and unknown[1].upper() in TABLE:
        pytest.skip(f"{unknown[1]} is not implemented")


def receive(connection: socket.socket, received: str) -> bytes:
    try:
        return connection.recv(65536)
    except TimeoutError:
        pytest.fail(f"nothing more came after {received!r}")


def empty(connect: Connect) -> None:
    """Removes the keys of the samples before, which share the server."""
    with connect() as connection:
        connection.settimeout(TIMEOUT_S)
        connection.sendall(b"FLUSHALL\r\n")
        connection.recv(100)


def cases(*kinds: str) -> pytest.MarkDecorator:
    """One test per sample for these kinds of server."""
    chosen = [sample for sample in SAMPLES if sample["server"] in kinds]
    return pytest.mark.parametrize("sample", chosen, ids=[sample["name"] for sample in chosen])


@cases("plain", "auth")
def test_makoredis_answers_as_redis_does(sample: dict[str, Any], request: pytest.FixtureRequest) -> None:
    try:
        server = request.getfixturevalue(FIXTURES[sample["server"]])
    except pytest.FixtureLookupError:
        pytest.skip(f"no fixture {FIXTURES[sample['server']]}")

    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S)

    empty(connect)
    check(connect, sample)


@pytest.mark.redis
@cases("plain")
def test_the_samples_say_what_redis_says(sample: dict[str, Any], redis_server: Path) -> None:
    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(redis_server))
        return connection

    empty(connect)
    check(connect, sample)
