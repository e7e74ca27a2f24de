"""LATENCY: spikes above `latency-monitor-threshold`, per event."""

from collections import deque

SAMPLES_PER_EVENT = 160


class LatencyMonitor:
    """Events and their latest spikes: (Unix seconds, milliseconds)."""

    def __init__(self) -> None:
        self.threshold_ms = 0
        """0 = off."""
        self._events: dict[str, deque[tuple[int, int]]] = {}
        self._highest: dict[str, int] = {}

    def add(self, event: str, at: int, milliseconds: int) -> None:
        """Takes note of a spike. Several in one second count as their highest."""
        samples = self._events.setdefault(event, deque(maxlen=SAMPLES_PER_EVENT))
        if samples and samples[-1][0] == at:
            samples[-1] = (at, max(samples[-1][1], milliseconds))
        else:
            samples.append((at, milliseconds))
        self._highest[event] = max(self._highest.get(event, 0), milliseconds)

    def latest(self) -> list[tuple[str, tuple[int, int, int]]]:
        """Per event: when, how long, and the longest ever."""
        return [(name, (*samples[-1], self._highest[name])) for name, samples in self._events.items()]

    def history(self, event: str) -> list[tuple[int, int]]:
        return list(self._events.get(event, ()))

    def reset(self, events: list[str]) -> int:
        """Forgets these events, or all. Returns how many there were."""
        names = events or list(self._events)
        count = 0
        for name in names:
            if self._events.pop(name, None) is not None:
                self._highest.pop(name, None)
                count += 1
        return count

    def graph(self, event: str) -> str:
        """One bar per spike, scaled to eight lines."""
        samples = self.history(event)
        low, high = min(ms for _, ms in samples), max(ms for _, ms in samples)
        head = f"{event} - high {high} ms, low {low} ms (all time high {self._highest[event]} ms)\n"
        rule = "-" * 80 + "\n"
        heights = [1 + round(7 * (ms - low) / max(1, high - low)) for _, ms in samples]
        rows = ["".join("#" if height >= level else " " for height in heights) for level in range(8, 0, -1)]
        return head + rule + "\n".join(row.rstrip() for row in rows) + "\n"

    def report(self) -> str:
        """What LATENCY DOCTOR says."""
        if not self.threshold_ms:
            return (
                "I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this Redis instance. You may use "
                '"CONFIG SET latency-monitor-threshold <milliseconds>." in order to enable it.\n'
            )
        if not self._events:
            return (
                "Dave, no latency spike was observed during the lifetime of this Redis instance, not in the slightest "
                "bit. I honestly think you ought to sit down calmly, take a stress pill, and think things over.\n"
            )
        lines = [
            f"{name}: {len(self._events[name])} latency spikes (worst {worst} ms)." for name, worst in self._worst()
        ]
        return "\n".join(lines) + "\n"

    def _worst(self) -> list[tuple[str, int]]:
        return sorted(self._highest.items(), key=lambda pair: -pair[1])
