"""A TCP proxy between two nodes that can be cut and slowed down."""

import socket
import threading
import time

CHUNK_BYTES = 64 * 1024


class Proxy:
    """Listens on a port of its own and passes on what it hears, later if told so, or not at all."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.delay_seconds = 0.0
        self.is_cut = False
        """Existing connections stand still, as behind a broken switch, and no new one comes about."""
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in (self._listener, *self._sockets):
            each.close()

    def reset(self) -> None:
        """Breaks the connections that there are."""
        for each in self._sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._sockets.clear()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self.is_cut:
                    raise ConnectionRefusedError
                target = socket.create_connection(("127.0.0.1", self.target_port), 2)
            except OSError:
                caller.close()
                continue
            for sink in (caller, target):
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [caller, target]
            for source, sink in ((caller, target), (target, caller)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(CHUNK_BYTES):
                while self.is_cut:
                    time.sleep(0.01)
                if self.delay_seconds:
                    time.sleep(self.delay_seconds)
                sink.sendall(data)
        except OSError:
            source.close()
        sink.close()
