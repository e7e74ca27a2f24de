"""Free ports for processes that tests and measurements start."""

import random
import socket
from collections import deque
from pathlib import Path

_LOWEST = 10_240
_RESERVED_MAX = 128
_RANGE_OF_CALLERS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_chance = random.SystemRandom()


_reserved: deque[socket.socket] = deque(maxlen=_RESERVED_MAX)
"""Bound to the ports that were given last."""


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Different ports that nobody listens on, below those that the kernel gives to callers.

    A port that the kernel picks (`bind` to 0) is one of the callers' range. While its process is not up, any outgoing
    connection may get it as its own end, even one to this very port, which then answers itself; the process can't
    start after that.

    This process stays bound to the last of them, without listening, so that no other one that looks for free ports
    finds them while their server is not up, or down for a while. The server gets them with SO_REUSEADDR.
    """
    highest = _first_of_callers()
    found: list[int] = []
    while len(found) < count:
        port = _chance.randrange(_LOWEST, highest)
        probe = socket.socket()
        try:
            probe.bind((host, port))
        except OSError:
            probe.close()
            continue
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if len(_reserved) == _RESERVED_MAX:
            _reserved.popleft().close()
        _reserved.append(probe)
        found.append(port)
    return found


def _first_of_callers() -> int:
    try:
        return max(int(_RANGE_OF_CALLERS.read_text().split()[0]), _LOWEST + 1000)
    except (OSError, ValueError, IndexError):
        return 32_768
