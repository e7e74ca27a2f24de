"""ACL LOG: who was refused what. Repetitions within a minute are counted in one entry."""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from makoredis.server.client_info import client_line
from makoredis.server.session import Session

if TYPE_CHECKING:
    from makoredis.server.server import Server

SAME_SECONDS = 60.0
COMPARED = 10
"""Latest entries that a new one is compared with."""


@dataclass(slots=True)
class LogEntry:
    """`reason`: command, key, channel or auth. `context`: toplevel, multi or lua. `at`: when it happened last."""

    reason: str
    context: str
    object: bytes
    user: bytes
    client: bytes
    at: float
    created_at: float
    id: int
    count: int = 1


class AclLog:
    """The latest refusals, newest first, up to `acllog-max-len`."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.entries: deque[LogEntry] = deque()
        self._next_id = 0
        """Counts entries, also past ACL LOG RESET, so that no two that a client sees have the same id."""

    def add(self, session: Session, reason: str, context: str, object: bytes, user: bytes) -> None:
        server = self.server
        client = client_line(server, session).encode("utf-8", "surrogateescape")
        entry = LogEntry(reason, context, object, user, client, server.now, server.now, self._next_id)
        entries = self.entries
        for number in range(min(COMPARED, len(entries))):
            old = entries[number]
            is_same = (old.reason, old.context, old.object, old.user) == (reason, context, object, user)
            if is_same and server.now - old.at <= SAME_SECONDS:
                del entries[number]
                entry.count, entry.created_at, entry.id = old.count + 1, old.created_at, old.id
                break
        else:
            self._next_id += 1
        entries.appendleft(entry)
        limit = server.config.table.integer("acllog-max-len")
        while len(entries) > limit:
            entries.pop()
