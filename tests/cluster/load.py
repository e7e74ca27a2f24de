"""Clients that write all the time, go to another node when theirs is gone, and remember what was acknowledged."""

import itertools
import threading
from types import TracebackType

import redis

from tests.cluster.processes import Node


class Load:
    """Writers in threads. `acknowledged` is what the cluster must still have at the end."""

    def __init__(self, nodes: list[Node], threads: int = 3) -> None:
        self.nodes = nodes
        self.acknowledged: dict[bytes, bytes] = {}
        self.errors: list[str] = []
        """Replies that were errors: a lost connection is none."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def count(self) -> int:
        return len(self.acknowledged)

    def _run(self, number: int) -> None:
        sequence = itertools.count()
        key, value = b"", b""
        for attempt in itertools.count(number):
            if self._stop.is_set():
                return
            node = self.nodes[attempt % len(self.nodes)]
            try:
                with node.client(single_connection_client=True) as client:
                    while not self._stop.is_set():
                        if not key:
                            key, value = b"load:%d:%d" % (number, next(sequence)), b"%d" % number * 50
                        client.set(key, value)
                        self.acknowledged[key] = value
                        key = b""
            except (redis.ConnectionError, redis.TimeoutError):
                self._stop.wait(0.02)
            except redis.RedisError as error:
                self.errors.append(str(error))
