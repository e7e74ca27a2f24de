"""A connection to a running server, for tools: requests in batches, replies in order."""

import socket
from collections.abc import Sequence

from makoredis.base.record import record
from resp.decode import ReplyError, ReplyParser
from resp.encode import encode_command
from resp.replies import Error, Reply

READ_BYTES = 256 * 1024
TIMEOUT_SECONDS = 300.0
"""For a server to answer, or to take what it is sent."""


class Refused(Exception):
    """An error reply, or a server that cannot be talked to."""


@record
class Address:
    """Which server, and as whom."""

    host: str
    port: int
    user: str
    password: str
    """Empty = don't log in, if the user is the default one."""

    @property
    def logs_in(self) -> bool:
        """Whether there is something to say about who one is."""
        return bool(self.password) or self.user != "default"


class Wire:
    """One connection."""

    def __init__(self, address: Address, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Raises: Refused."""
        try:
            self._socket = socket.create_connection((address.host, address.port), timeout_seconds)
        except OSError as error:
            raise Refused(f"no server at {address.host}:{address.port}: {error.strerror or error}") from None
        self._parser = ReplyParser()
        if address.logs_in:
            self.ask(b"AUTH", address.user.encode(), address.password.encode())

    def close(self) -> None:
        self._socket.close()

    def ask(self, *words: bytes) -> Reply:
        """One request. Raises: Refused with the text of an error reply."""
        reply = self.ask_all([words])[0]
        if isinstance(reply, Error):
            raise Refused(error_text(reply))
        return reply

    def ask_all(self, requests: Sequence[Sequence[bytes]]) -> list[Reply]:
        """Requests in one go; error replies are among the replies. A batch should stay below some megabytes.

        Raises: Refused when the connection is lost.
        """
        replies: list[Reply] = []
        try:
            self._socket.sendall(b"".join(encode_command(words) for words in requests))
            while len(replies) < len(requests):
                data = self._socket.recv(READ_BYTES)
                if not data:
                    raise Refused("the server has closed the connection")
                replies += self._parser.parse(data)
        except (OSError, ReplyError) as error:
            raise Refused(f"the connection is lost: {error}") from None
        return replies


def error_text(reply: Error) -> str:
    """What an error reply says."""
    return reply.text.decode("utf-8", "replace")
