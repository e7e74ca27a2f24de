"""How long commands took, for LATENCY HISTOGRAM and INFO latencystats.

A distribution is a list of counts by powers of two, the coarsest that says something and the cheapest to keep: it is
counted for each command, in the loop in which most of a server's time is spent. So percentiles are interpolated.
"""

_UNITS_PER_SECOND = 1e9 / 1024
"""Redis counts in 1,024 ns too."""
_UNIT_MICROSECONDS = 1.024
_BUCKET_COUNT = 48
"""The last one begins at four years."""

Latencies = list[int]
"""By the number of bits of a time in units, how many took so long."""


def no_latencies() -> Latencies:
    return [0] * _BUCKET_COUNT


def record_latency(latencies: Latencies, seconds: float, count: int = 1) -> None:
    """Takes note of `count` calls that took `seconds` each."""
    latencies[int(seconds * _UNITS_PER_SECOND).bit_length()] += count


def histogram(latencies: Latencies) -> list[tuple[int, int]]:
    """(microseconds, how many took no longer), wherever there are more than below."""
    rows, total = [], 0
    for bits, count in enumerate(latencies):
        if count:
            total += count
            rows.append((int((1 << bits) * _UNIT_MICROSECONDS), total))
    return rows


def percentile(latencies: Latencies, percent: float) -> float:
    """Microseconds that `percent` of the calls did not exceed, taken to be spread evenly within each bucket."""
    rank = sum(latencies) * percent / 100
    below = 0
    for bits, count in enumerate(latencies):
        if count and below + count >= rank:
            low = 1 << bits >> 1
            share = max(0.0, rank - below) / count
            return (low + ((1 << bits) - low) * share) * _UNIT_MICROSECONDS
        below += count
    return 0.0

