"""What the transport knows of its sockets. The rest of it is tested by the clusters of real processes."""

import socket

from makoredis.cluster.transport import calls_itself


def test_a_call_that_reached_itself() -> None:
    with socket.socket() as caller:
        caller.bind(("127.0.0.1", 0))
        caller.connect(caller.getsockname())
        assert calls_itself(caller)


def test_a_call_that_reached_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as caller:
        caller.connect(listener.getsockname())
        assert not calls_itself(caller)


def test_a_call_that_has_ended() -> None:
    with socket.socket() as caller:
        assert not calls_itself(caller)
