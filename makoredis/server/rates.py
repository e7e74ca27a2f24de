"""Rates over the last seconds, sampled ten times a second (`instantaneous_…` in INFO)."""

from collections import deque

SAMPLES = 16


class Rates:
    """Samples of ever growing counters."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, tuple[int, int, int]]] = deque(maxlen=SAMPLES)

    def sample(self, now: float, operations: int, input_bytes: int, output_bytes: int) -> None:
        self._samples.append((now, (operations, input_bytes, output_bytes)))

    def per_second(self) -> tuple[float, float, float]:
        """Operations, and KiB in and out, per second."""
        if len(self._samples) < 2:
            return 0.0, 0.0, 0.0
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        seconds = max(last_at - first_at, 1e-3)
        operations, inward, outward = (max(0, b - a) / seconds for a, b in zip(first, last))
        return operations, inward / 1024, outward / 1024
