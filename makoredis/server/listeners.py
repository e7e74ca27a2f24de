"""Where the server listens, and how that changes while it runs (CONFIG SET bind, port)."""

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from makoredis.server.reactor import Reactor

BACKLOG = 511

Endpoint = tuple[str, int]
"""Address and port as they were asked for; port 0 is any free one."""


class Listeners:
    """The open listeners of a reactor."""

    def __init__(self, reactor: "Reactor") -> None:
        self._reactor = reactor
        self._open: dict[Endpoint, socket.socket] = {}
        self.hosts: Sequence[str] = ()
        self.port = 0

    def move(self, hosts: Sequence[str], port: int) -> None:
        """Listens there, and nowhere else. An address that begins with `-` may be missing on this machine.

        Raises: OSError when an address is taken or not ours; then everything is as before.
        """
        wanted = {(_host(text), port): text.startswith("-") for text in hosts}
        opened: dict[Endpoint, socket.socket] = {}
        for endpoint, is_optional in wanted.items():
            if endpoint in self._open:
                continue
            try:
                opened[endpoint] = open_listener(*endpoint)
            except OSError:
                if is_optional:
                    continue
                for listener in opened.values():
                    listener.close()
                raise
        for endpoint in [each for each in self._open if each not in wanted]:
            self._reactor.remove_listener(self._open.pop(endpoint))
        for endpoint, listener in opened.items():
            self._reactor.add_listener(listener)
            self._open[endpoint] = listener
        self.hosts, self.port = hosts, port

    def bound_port(self) -> int:
        """The port that clients connect to (of use when 0 was asked for); 0 if there is none."""
        return max((listener.getsockname()[1] for listener in self._open.values()), default=0)


def _host(text: str) -> str:
    name = text.removeprefix("-")
    return {"*": "0.0.0.0", "::*": "::"}.get(name, name)


def open_listener(host: str, port: int) -> socket.socket:
    """A listening socket. Raises: OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
