"""Free ports for processes that tests and measurements start."""

import contextlib
import random
import socket
from pathlib import Path

_LOWEST = 10_240
_RANGE_OF_CALLERS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_chance = random.SystemRandom()


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Different ports that nobody listens on, below those that the kernel gives to callers.

    A port that the kernel picks (`bind` to 0) is one of the callers' range. While its process is not up, any outgoing
    connection may get it as its own end, even one to this very port, which then answers itself; the process can't
    start after that.
    """
    highest = _first_of_callers()
    found: set[int] = set()
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            port = _chance.randrange(_LOWEST, highest)
            probe = stack.enter_context(socket.socket())
            try:
                probe.bind((host, port))
            except OSError:
                continue
            found.add(port)
    return list(found)


def _first_of_callers() -> int:
    try:
        return max(int(_RANGE_OF_CALLERS.read_text().split()[0]), _LOWEST + 1000)
    except (OSError, ValueError, IndexError):
        return 32_768
