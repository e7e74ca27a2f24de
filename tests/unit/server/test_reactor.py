"""What goes wrong for one connection ends that connection, and no other."""

import socket
from collections.abc import Iterable

import pytest

from makoredis.server.dispatch import Work
from makoredis.server.reactor import REQUESTS_PER_LOOK
from makoredis.server.server import Server
from makoredis.server.session import Session


class Defect(Exception):
    pass


class DefectiveParser:
    broken = False

    def parse(self, data: bytes = b"") -> list[list[bytes]]:
        raise Defect


def connect(server: Server) -> tuple[socket.socket, Session]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    server.reactor._admit(theirs, "")
    return ours, server.by_id[max(server.by_id)]


def test_a_defect_while_reading_ends_one_session(server: Server) -> None:
    unlucky, session = connect(server)
    other, _ = connect(server)
    session.parser = DefectiveParser()  # type: ignore[assignment]
    unlucky.sendall(b"PING\r\n")
    other.sendall(b"PING\r\n")
    assert server.reactor.turn()
    assert other.recv(100) == b"+PONG\r\n"
    assert unlucky.recv(100).startswith(b"-ERR internal error")
    assert unlucky.recv(100) == b""


def test_who_is_served_in_between_is_answered_in_order(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long pipeline is run while the turn still reads; what was read before it goes before what comes meanwhile."""
    other, _ = connect(server)
    busy, session = connect(server)
    other.sendall(b"ECHO 1\r\n")
    busy.sendall(b"PING\r\n" * (REQUESTS_PER_LOOK + 1))
    run, starts = server.dispatcher.run, iter([True])

    def slow(work: Iterable[Work]) -> None:
        if next(starts, False):
            other.sendall(b"ECHO 2\r\n")
            server.reactor.serve_while_busy(session)
        run(work)

    monkeypatch.setattr(server.dispatcher, "run", slow)
    assert server.reactor.turn()
    assert other.recv(100) == b"$1\r\n1\r\n$1\r\n2\r\n"
    assert len(busy.recv(10_000)) == (REQUESTS_PER_LOOK + 1) * len(b"+PONG\r\n")


def test_a_defect_of_somebody_served_in_between_leaves_a_scripts_changes_alone(server: Server) -> None:
    _, session = connect(server)
    access = server.dispatcher.begin(session)
    server.routes.by_name["SET"].handler(access, b"key", b"by the script")
    server.scripting.is_busy = True
    unlucky, other = connect(server)
    other.parser = DefectiveParser()  # type: ignore[assignment]
    unlucky.sendall(b"PING\r\n")
    server.reactor.serve_while_busy(session)
    server.scripting.is_busy = False
    assert unlucky.recv(100).startswith(b"-ERR internal error")
    assert len(access.effects) == 1, "the script goes on with what it has done"
    server.node.host.access.rollback()
