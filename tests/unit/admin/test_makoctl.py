"""What makoctl says while it waits for a node."""

import socket
import threading

import pytest

from makoredis.admin import makoctl
from makoredis.admin.wire import Address


def client_of(port: int, seconds: float = 60.0) -> makoctl.Client:
    return makoctl.Client(Address("127.0.0.1", port, "default", ""), seconds)


def test_whoever_waits_long_is_told_once_what_for(capsys: pytest.CaptureFixture[str]) -> None:
    client = client_of(1)
    client._tell("Connection refused")
    assert capsys.readouterr().err == ""
    client.began -= makoctl.NOTICE_SECONDS
    client._tell("Connection refused")
    client._tell("Connection refused")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("makoctl: 127.0.0.1:1: Connection refused; waiting for up to ")


def test_a_node_that_takes_the_connection_and_does_not_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped, or its machine hangs. When it goes on it answers, to the same request."""
    monkeypatch.setattr(makoctl, "NOTICE_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        is_told = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                is_told.wait(60)
                connection.sendall(b"%0\r\n")
                connection.recv(1024)
                connection.sendall(b"+OK\r\n")

        server = threading.Thread(target=serve)
        server.start()
        client = client_of(listener.getsockname()[1])
        tell = client._tell

        def tell_and_go_on(reason: str) -> None:
            tell(reason)
            is_told.set()

        monkeypatch.setattr(client, "_tell", tell_and_go_on)
        assert client.call("PING") == "OK"
        client.close()
        server.join()
    assert "no answer yet; waiting for up to " in capsys.readouterr().err
