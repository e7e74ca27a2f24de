"""Vectors, and what a node knows."""

import pytest

from makoredis.base.errors import Fatal
from makoredis.txn.entries import ClosedEpochs
from makoredis.txn.knowledge import Knowledge, Watermark
from makoredis.txn.vectors import from_wire, join, to_wire


def test_join_takes_the_larger_timestamp_per_shard_and_epoch() -> None:
    assert join([{(0, 1): 5, (1, 1): 9}, {(0, 1): 7, (0, 2): 3}]) == {(0, 1): 7, (0, 2): 3, (1, 1): 9}


def test_wire_form_is_reversible() -> None:
    vector = {(1, 4): 9, (0, 2): 3}
    assert from_wire(to_wire(vector)) == vector


def test_a_watermark_satisfies_only_its_own_epoch() -> None:
    knowledge = Knowledge([0, 1])
    knowledge.hear(Watermark(0, 1, 10, []))
    assert knowledge.is_satisfied({(0, 1): 10})
    assert not knowledge.is_satisfied({(0, 1): 11})
    knowledge.hear(Watermark(0, 2, 50, []))
    assert not knowledge.is_satisfied({(0, 1): 11})


def test_a_closed_epoch_satisfies_up_to_its_end_and_breaks_beyond() -> None:
    knowledge = Knowledge([0])
    knowledge.hear(Watermark(0, 3, 20, [ClosedEpochs(0, 0, 2, 12)]))
    assert knowledge.is_satisfied({(0, 1): 12}) and not knowledge.is_broken({(0, 2): 12})
    assert knowledge.is_broken({(0, 2): 13}) and not knowledge.is_satisfied({(0, 2): 13})
    assert knowledge.open_part({(0, 2): 12, (0, 3): 25}) == {(0, 3): 25}


def test_late_announcements_change_nothing() -> None:
    knowledge = Knowledge([0])
    knowledge.hear(Watermark(0, 2, 30, []))
    assert not knowledge.hear(Watermark(0, 2, 20, []))
    assert not knowledge.hear(Watermark(0, 1, 40, []))
    assert knowledge.watermarks == {0: (2, 30)} and knowledge.global_ts == 30


def test_the_global_watermark_is_the_minimum_once_all_shards_are_known() -> None:
    knowledge = Knowledge([0, 1])
    knowledge.hear(Watermark(0, 1, 30, []))
    assert knowledge.global_ts == 0
    knowledge.hear(Watermark(1, 1, 20, []))
    assert knowledge.global_ts == 20


def test_contradicting_facts_stop_the_node() -> None:
    knowledge = Knowledge([0])
    knowledge.learn([ClosedEpochs(0, 0, 2, 12)])
    with pytest.raises(Fatal):
        knowledge.learn([ClosedEpochs(0, 2, 3, 14)])
