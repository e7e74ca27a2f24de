"""The distributions behind LATENCY HISTOGRAM and INFO latencystats."""

import pytest

from makoredis.server.latencies import histogram, no_latencies, percentile, record_latency


def test_counts_add_up_by_powers_of_two() -> None:
    latencies = no_latencies()
    assert histogram(latencies) == []
    record_latency(latencies, 0.5e-6)
    record_latency(latencies, 3e-6, 5)
    record_latency(latencies, 3600.0)
    assert histogram(latencies) == [(1, 1), (4, 6), (4398046511, 7)]


def test_percentiles_are_in_the_bucket_where_their_rank_is() -> None:
    latencies = no_latencies()
    assert percentile(latencies, 50) == 0
    record_latency(latencies, 10e-6, 99)  # 8.2 to 16.4
    record_latency(latencies, 100e-6)  # 65.5 to 131.1
    assert percentile(latencies, 0) == pytest.approx(8.192)
    assert percentile(latencies, 49.5) == pytest.approx(12.288)
    assert percentile(latencies, 99) == pytest.approx(16.384)
    assert percentile(latencies, 100) == pytest.approx(131.072)
