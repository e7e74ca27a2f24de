"""What goes wrong for one connection ends that connection, and no other."""

import socket
from collections.abc import Iterable

import pytest

from makoredis.server.dispatch import Work
from makoredis.server.reactor import REQUESTS_PER_LOOK
from makoredis.server.server import Server
from makoredis.server.session import Request, Session
from makoredis.txn.gate import Gate
from resp.replies import OK


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


def test_who_has_shut_down_its_side_gets_what_waits_for_the_log(server: Server) -> None:
    client, session = connect(server)
    gate = Gate(1)
    session.send_reply(OK, gate)
    client.shutdown(socket.SHUT_WR)
    assert server.reactor.turn()
    assert server.by_id.get(session.id) is session
    assert not server.reactor.turn(), "that there is nothing more to read is known"
    gate.open()
    server.reactor.flush()
    assert client.recv(100) == b"+OK\r\n" and client.recv(100) == b""
    assert session.id not in server.by_id


def test_who_has_shut_down_its_side_waits_for_no_keys(server: Server) -> None:
    for is_asked_elsewhere in (False, True):
        client, session = connect(server)
        if is_asked_elsewhere:
            session.send_reply(OK, Gate(1))
            session.hold_place(Gate(2), Request(1, 0, 0, 2, [[b"BLPOP", b"key", b"0"]], may_block=True))
        else:
            client.sendall(b"BLPOP key 0\r\n")
            assert server.reactor.turn()
            assert session.blocked is not None
        client.shutdown(socket.SHUT_WR)
        assert server.reactor.turn()
        assert client.recv(100) == b"" and session.id not in server.by_id
