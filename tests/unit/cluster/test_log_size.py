"""What counts of a log for the next checkpoint: what no checkpoint has made superfluous."""

from random import Random

from makoredis.cluster.log_size import RUN_BYTES_MIN, RUN_SHARE, LogSize


def test_what_is_behind_a_cut_still_counts() -> None:
    size = LogSize()
    for index in range(1, 11):
        size.add(index, RUN_BYTES_MIN)
    size.cut(4)
    assert size.bytes == 6 * RUN_BYTES_MIN
    size.cut(10)
    assert size.bytes == 0


def test_entries_that_are_replaced_do_not_count() -> None:
    size = LogSize()
    for index in range(1, 11):
        size.add(index, RUN_BYTES_MIN)
    size.add(6, RUN_BYTES_MIN)
    assert size.bytes == 6 * RUN_BYTES_MIN
    size.cut(6)
    assert size.bytes == 0


def test_a_cut_leaves_little_more_than_there_is() -> None:
    rng, size = Random(1), LogSize()
    sizes = {index: rng.randint(1, 2000) for index in range(1, 20_000)}
    for index, each in sizes.items():
        size.add(index, each)
    for cut in sorted(rng.sample(range(1, 20_000), 50)):
        size.cut(cut)
        rest = sum(each for index, each in sizes.items() if index > cut)
        assert rest <= size.bytes <= rest + sum(sizes.values()) / RUN_SHARE + 2000
    assert len(size._runs) < 1000
