"""A real makoredis process for tests: started on a free port, stopped in order or killed, started again."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import redis
import yaml

ROOT = Path(__file__).parents[1]
START_TIMEOUT_S = 180.0
_READY = re.compile(r"ready on \S+?:(\d+)[;,]")


class ServerProcess:
    """One node on one data directory. As a context manager it is killed at the end, whatever happened."""

    def __init__(
        self,
        folder: Path,
        *,
        durability: str = "sync",
        parameters: Mapping[str, object] | None = None,
        settings: Mapping[str, object] | None = None,
        data: Path | None = None,
        port: int = 0,
        arguments: Sequence[str] = (),
    ) -> None:
        """
        Args:
            folder: for the data (unless `data` says where), the configuration file and the log.
            parameters: what CONFIG SET would take, by name.
            settings: other keys of the configuration file.
            arguments: more of the command line.
            port: 0 for a free one, which the next start changes.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data = data or folder / "data"
        self.durability = durability
        self.parameters = dict(parameters or {})
        self.settings = dict(settings or {})
        self.asked_port = port
        self.arguments = list(arguments)
        self.port = 0
        self.output = ""
        """What the last process has printed, as far as it was looked at."""
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    # -- life

    def start(self, *, wait: bool = True) -> "ServerProcess":
        """Starts the process, and waits until it is ready.

        Raises: AssertionError with its output when it ends instead.
        """
        assert self._process is None, "it is running already"
        self._starts += 1
        config = self.folder / "config.yml"
        parameters = {name: str(value) for name, value in self.parameters.items()}
        settings = {"durability": self.durability, "parameters": parameters, **self.settings}
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        words = [sys.executable, "-m", "makoredis", "--config", str(config)]
        words += ["--port", str(self.asked_port), "--dir", str(self.data), *self.arguments]
        with self.log_path.open("wb") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._process = subprocess.Popen(
                words, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT, env=environment
            )
        if wait:
            self.wait_until_ready()
        return self

    @property
    def log_path(self) -> Path:
        """What the present process prints."""
        return self.folder / f"log-{self._starts}.txt"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while (found := _READY.search(self.read_output())) is None:
            assert self._process is not None
            assert self._process.poll() is None, f"makoredis did not start:\n{self.read_output()}"
            assert time.monotonic() < deadline, f"makoredis does not get ready:\n{self.output}"
            time.sleep(0.01)
        self.port = int(found[1])

    def read_output(self) -> str:
        self.output = self.log_path.read_text(encoding="utf-8", errors="replace")
        return self.output

    def start_refused(self) -> str:
        """Starts, expects that it ends by itself with an error. Returns what it printed."""
        self.start(wait=False)
        assert self._process is not None
        status = self._process.wait(START_TIMEOUT_S)
        self._process = None
        assert status != 0, f"it should have refused to start:\n{self.read_output()}"
        return self.read_output()

    def kill(self) -> None:
        """SIGKILL: nothing is written any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """SIGTERM, an orderly stop. Returns the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(START_TIMEOUT_S)
        self._process = None
        return status

    def wait(self) -> int:
        """Waits until the process ends by itself. Returns the exit status."""
        assert self._process is not None
        status = self._process.wait(START_TIMEOUT_S)
        self._process = None
        return status

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> "ServerProcess":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    # -- clients

    def connect(self, timeout: float = 60.0) -> socket.socket:
        """A plain connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def client(self, **options: object) -> "redis.Redis[bytes]":
        """A redis-py client with a connection of its own; it does not retry."""
        settings: dict[str, object] = {"socket_timeout": 60, "retry": None, "single_connection_client": True, **options}
        return redis.Redis(host="127.0.0.1", port=self.port, **settings)  # type: ignore[arg-type]

    def memory_bytes(self) -> int:
        """Resident memory of the process."""
        with open(f"/proc/{self.pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
