"""A client that writes without pause until its server is gone, and knows what was acknowledged."""

import threading

import hiredis

from tests.crash.model import Command, Unit, Workload
from tests.server_process import ServerProcess


class Writer(threading.Thread):
    """Sends a workload's units over one connection, several at a time."""

    def __init__(self, server: ServerProcess, workload: Workload) -> None:
        super().__init__(daemon=True)
        self.workload = workload
        self.acknowledged = 0
        """Units, since the start of this writer."""
        self.problem: Exception | None = None
        self._socket = server.connect()
        self._reader = hiredis.Reader()

    def run(self) -> None:
        try:
            while True:
                self._pipeline(self.workload.rng.randrange(1, 30))
        except OSError:
            return  # the server is gone
        except Exception as error:  # noqa: BLE001 - the test that started this thread raises it
            self.problem = error

    def _pipeline(self, count: int) -> None:
        """Sends some units, then takes their answers."""
        data: list[bytes] = []
        replies: list[int] = []
        for _ in range(count):
            database, unit = self.workload.next()
            data.append(_encode((b"SELECT", b"%d" % database)) + _encode_unit(unit))
            replies.append(2 if len(unit) == 1 else len(unit) + 3)
        self._socket.sendall(b"".join(data))
        for expected in replies:
            for position in range(expected):
                reply = self._reply()
                if isinstance(reply, hiredis.ReplyError):
                    raise AssertionError(f"reply {position} of {self.workload.under_way[0]}: {reply}")
            self.workload.acknowledged()
            self.acknowledged += 1

    def _reply(self) -> object:
        while True:
            reply = self._reader.gets()
            if reply is not False:
                return reply
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError("the server hung up")
            self._reader.feed(data)


def _encode_unit(unit: Unit) -> bytes:
    if len(unit) == 1:
        return _encode(unit[0])
    return _encode((b"MULTI",)) + b"".join(map(_encode, unit)) + _encode((b"EXEC",))


def _encode(command: Command) -> bytes:
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in command)
