"""When the next entry waits a moment for the clients who have just been answered.

Clients that send their next request when the last is answered fall into two groups: while one group's entry is written,
the other group's requests come together, and so on for ever. Entries are half as large as they could be, and every node
pays twice for reading, writing and acknowledging them. redis-server with `appendfsync always` does not know this,
because it does nothing at all while it syncs.

So after answers the next entry waits until as many requests have come as there were answers, but no longer than
`seconds`. Where clients do not come back in time, the next entries do not wait.
"""

PAUSE_ENTRIES = 50
"""So many entries do not wait after one that has waited in vain."""


class Gathering:
    """One shard's leader. `is_on`: the next entry waits."""

    __slots__ = ("_is_new", "_pause", "_until", "goal", "is_on", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        """The longest wait; 0: none."""
        self.is_on = False
        self.goal = 0
        """Transactions for which the next entry waits."""
        self._is_new = False
        self._until = 0.0
        self._pause = 0

    def answered(self, count: int, waiting: int) -> None:
        """So many transactions were answered, while `waiting` others are not proposed."""
        if count < 2 or not self.seconds:
            return
        if self._pause:
            self._pause -= 1
            return
        self.is_on = self._is_new = True
        self.goal = waiting + count

    def look(self, waiting: int, now: float) -> None:
        """Ends the wait if it has been long enough, or all are there."""
        if self._is_new:
            self._is_new = False
            self._until = now + self.seconds
        if waiting >= self.goal:
            self.is_on = False
        elif now >= self._until:
            self.is_on = False
            if waiting < self.goal * 3 // 4:
                self._pause = PAUSE_ENTRIES

    def end(self) -> None:
        """The entry is proposed."""
        self.is_on = False
